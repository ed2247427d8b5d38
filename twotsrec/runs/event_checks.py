"""Which events of a table are played: not twice, not out of order, not absurd.

Every event of the table is played, or counted under one reason why it is not.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import gathers
from twotsrec.runs import event_clocks
from twotsrec.runs import event_identity
from twotsrec.runs import event_tables
from twotsrec.serving import online_windows

LATE = choices.LATE


class Chosen(NamedTuple):
  """What becomes of events.

  Attributes:
    window: those that are played now, by user.
    repeated: bool[N], played before, or earlier in the table.
    late: bool[N], earlier than one that was played, and dropped.
    placed: bool[N], late ones that are played in their place.
    too_late: bool[N], earlier than the stored events of their user, left out.
  """

  window: online_windows.Window
  repeated: np.ndarray
  late: np.ndarray
  placed: np.ndarray
  too_late: np.ndarray


def absurd(
  events: event_tables.Events,
  log: tuple[float, float] | None,
  reached: float,
) -> tuple[np.ndarray, str]:
  """Events of users whose clock cannot be right, bool[N], and why.

  Args:
    events: the whole table.
    log: first and last time of the log of the run, or None.
    reached: the last time that was played before.
  Returns:
    The events, and a clause about the first of the wrong times, '' for none.
  Raises:
    types.UserError: nobody in the table has a time that may be right.
  """
  nothing = np.zeros(len(events.items), bool)
  if not events.is_time or not len(nothing):
    return nothing, ''
  first, last = (
    reduce.reduceat(events.when, events.offsets[:-1])
    for reduce in (np.minimum, np.maximum)
  )
  limits = event_clocks.plausible(log, reached, first, last)
  wrong = (events.when < limits.first) | (events.when > limits.last)
  if not np.any(wrong):
    return nothing, ''
  row = events.row
  at = np.flatnonzero(wrong)[np.argmin(events.lines[wrong])]
  say = lambda value: event_clocks.written(value, limits.ticks)
  why = (
    f'line {events.lines[at]} has {say(events.when[at])}, and times from'
    f' {say(limits.first)} to {say(limits.last)} go with the others'
  )
  users = np.bincount(row[wrong], minlength=len(events.ids)) > 0
  if np.all(users):
    raise types.UserError(
      f'{events.path}: the times of all users are far from those of the run:'
      f' {why}; write times as the training table has them'
    )
  return users[row], why


def choose(
  events: event_tables.Events,
  stored: online_windows.Stored,
  prepared: prepared_lib.Prepared,
  late: str,
) -> Chosen:
  """The events that are played now.

  Args:
    events: of n users, without absurd times.
    stored: these users as they are.
    prepared: data of the run.
    late: of `LATE`, what becomes of events earlier than the last one played.
  Raises:
    types.UserError: a late event, if late is 'error'.
  """
  repeated, row = _repeated(events, stored, prepared), events.row
  base = stored.last_time
  if not events.is_time:
    base = np.full_like(base, -np.inf)
  is_late = ~repeated & (events.when < _latest(events, base, ~repeated))
  if late == 'error' and np.any(is_late):
    _refuse(events, is_late, base)
  too_late = is_late & (events.time < stored.floor[row])
  if late == 'drop':
    too_late = np.zeros_like(is_late)
  dropped = is_late if late == 'drop' else too_late
  place = np.flatnonzero(~repeated & ~dropped)
  if not events.is_time:
    # Positions hold inside of the table alone, so they sort it here.
    place = place[np.lexsort((events.when[place], row[place]))]
  return Chosen(
    window=online_windows.Window(
      offsets=np.searchsorted(row[place], np.arange(len(events.ids) + 1)),
      time=events.time[place],
      item=events.items[place],
      identity=events.identity[place],
    ),
    repeated=repeated,
    late=dropped & ~too_late,
    placed=is_late & ~dropped,
    too_late=too_late,
  )


def _repeated(events, stored, prepared) -> np.ndarray:
  """Events that were played before, or stand in the table before, bool[N]."""
  row, window = events.row, stored.window
  first = _first_equal(
    (online_windows.rows(window), window.identity), (row, events.identity)
  )
  count = len(window.identity)
  again = first < count + np.arange(len(row))
  again &= events.identity != event_identity.NONE
  logged = _logged(events, prepared)
  if logged is not None:
    in_log = _first_equal(logged, (row, events.as_logged)) < len(logged[0])
    again |= in_log & (events.as_logged != event_identity.NONE)
  return again


def _first_equal(there, here) -> np.ndarray:
  """The first event that equals one of `here`, i64[N], counted from `there`.

  Both are (row, identity) of events, `there` before `here`.
  """
  row, identity = map(np.concatenate, zip(there, here, strict=True))
  order = np.lexsort((identity, row))
  row, identity = row[order], identity[order]
  begins = np.ones(len(order), bool)
  begins[1:] = (row[1:] != row[:-1]) | (identity[1:] != identity[:-1])
  first = np.empty_like(order)
  first[order] = order[begins][np.cumsum(begins) - 1]
  return first[len(there[0]) :]


def _logged(events, prepared):
  """Events of the run, of users who come with times that it has seen."""
  if prepared.times is None or not len(events.ids):
    return None
  user = np.maximum(events.user, 0)
  offsets = np.asarray(prepared.user_offsets)
  first, count = offsets[user], offsets[user + 1] - offsets[user]
  # A table of what happened since costs nothing here.
  last, row = event_tables.last_times(prepared, events), events.row
  old = np.bincount(row[events.when <= last[row]], minlength=len(last)) > 0
  old |= np.isneginf(last) | (not events.is_time)
  count = np.where(old & (events.user >= 0), count, 0)
  items = gathers.slices(np.asarray(prepared.items), first, count)
  times = gathers.slices(np.asarray(prepared.times), first, count)
  item = event_identity.of_items(items.values, None)
  identity = event_identity.of_times(item, times.values)
  return items.row, identity


def _latest(events, base, counts) -> np.ndarray:
  """The latest of what came before every event in its user, f64[N]."""
  when = np.where(counts, events.when, -np.inf)
  before = np.concatenate([[-np.inf], when[:-1]])[: len(when)]
  row = events.row
  before[events.offsets[:-1][np.diff(events.offsets) > 0]] = -np.inf
  # Ranks let one running maximum serve all users: those of a user lie above
  # all of the users before.
  distinct, rank = np.unique(before, return_inverse=True)
  rank = np.maximum.accumulate(row * len(distinct) + rank.reshape(-1))
  return np.maximum(distinct[rank - row * len(distinct)], base[row])


def _refuse(events, is_late, base):
  """Names the first event of the file that goes back in time."""
  wrong = np.flatnonzero(is_late)
  at = wrong[np.argmin(events.lines[wrong])]
  row = events.row[at]
  before = base[row]
  way_out = (
    '--late=drop leaves such events out, --late=replay plays them in their'
    ' place'
  )
  if events.when[at] >= before:
    mine = slice(events.offsets[row], at)
    before = np.max(events.when[mine])
    way_out = f'sort the table, or {way_out}'
  raise types.UserError(
    f'{events.path}, line {events.lines[at]}: user {str(events.ids[row])!r}'
    f' goes back in time, from {before:.15g} to {events.when[at]:.15g};'
    f' {way_out}'
  )
