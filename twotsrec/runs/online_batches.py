"""Batches of events that are played in a store, wholly or not at all."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from twotsrec.data import prepared as prepared_lib
from twotsrec.runs import event_checks
from twotsrec.runs import event_tables
from twotsrec.runs import state_store
from twotsrec.serving import online_windows


class Rules(NamedTuple):
  """How events are played.

  Attributes:
    late: what becomes of an event earlier than the last one played of its user:
      'error', 'drop' (it is counted), or 'replay' (the stored events are played
      again with it in its place).
    keep_events: last events of every user that are stored, at least; so many
      are recognized and can be played again.
  """

  late: str = 'error'
  keep_events: int = 64


class Played(NamedTuple):
  """What became of events, by number.

  Attributes:
    new_users: users whom neither the run nor the store had.
    unknown: played, but with items that the model does not know.
    repeated: played before, or twice in the table.
    late: earlier than one that was played, and dropped.
    placed: late ones that were played in their place.
    too_late: earlier than the stored events of their user, and left out.
    refused: of users with a time that cannot be right.
  """

  new_users: int = 0
  unknown: int = 0
  repeated: int = 0
  late: int = 0
  placed: int = 0
  too_late: int = 0
  refused: int = 0


def together(parts: Sequence[Played]) -> Played:
  """The sum of all parts."""
  return Played(*map(sum, zip(*parts, strict=True)))


def sound(
  store: state_store.Store,
  prepared: prepared_lib.Prepared,
  events: event_tables.Events,
) -> tuple[event_tables.Events, np.ndarray, str]:
  """The events that may be played in a store.

  Args:
    store: open.
    prepared: data of its run.
    events: a whole table, which is judged as one.
  Returns:
    The table without users whose clock cannot be right; their events,
    bool[N]; and a clause about the first of the wrong times, '' for none.
  Raises:
    types.UserError: nobody in the table has a time that may be right.
  """
  times, log = prepared.times, None
  if times is not None and len(times):
    log = float(np.min(times)), float(np.max(times))
  absurd, why = event_checks.absurd(events, log, state_store.reached(store))
  return event_tables.without(events, absurd), absurd, why


def play(
  store: state_store.Store,
  prepared: prepared_lib.Prepared,
  events: event_tables.Events,
  rules: Rules,
  show: Callable[[int, int], None] = lambda users, events: None,
) -> tuple[online_windows.Stored, Played]:
  """Plays events in a store, inside of `state_store.writing`.

  Args:
    store: open.
    prepared: data of its run.
    events: of users who all fit into memory, of what `sound` leaves.
    rules: how.
    show: called with users done and events played since the last call.
  Returns:
    The users of `events` afterwards, and what became of their events.
  Raises:
    types.UserError: a late event, where the rules say so.
  """
  after, outcome = _play(store, prepared, events, rules, show)
  return after, Played(*(int(np.sum(each)) for each in outcome))


def play_parts(
  store: state_store.Store,
  prepared: prepared_lib.Prepared,
  parts: Sequence[event_tables.Events],
  rules: Rules,
) -> list[Played]:
  """What became of the events of several tables, which are played as one.

  Args:
    store: open; inside of `state_store.writing`.
    prepared: data of its run.
    parts: one or more, of what `sound` leaves, the earlier ones first.
    rules: how.
  Raises:
    types.UserError: a late event, where the rules say so.
  """
  events, source = event_tables.join(parts)
  _, outcome = _play(store, prepared, events, rules)
  # A user who is new counts for the first table that has one.
  first = np.full(len(events.ids), len(parts))
  np.minimum.at(first, events.row, source)
  tables = first[outcome.new_users], *(source[each] for each in outcome[1:])
  counts = [np.bincount(of, minlength=len(parts)) for of in tables]
  return [Played(*each) for each in np.stack(counts, axis=1).tolist()]


def _play(
  store, prepared, events, rules, show=lambda users, events: None
) -> tuple[online_windows.Stored, Played]:
  """The users afterwards, and which of them are new and what became of each
  event, as masks in place of numbers."""
  before, is_old = _current(store, prepared, events)
  chosen = event_checks.choose(events, before, prepared, rules.late)
  after = online_windows.play(
    store.service, before, chosen.window, rules.keep_events, show
  )
  state_store.write(store, after)
  reached = np.fmax.reduce(chosen.window.time, initial=-np.inf)
  state_store.reach(store, float(reached))
  is_played = ~(chosen.repeated | chosen.late | chosen.too_late)
  masks: dict[str, Any] = {
    'new_users': (events.user < 0) & ~is_old,
    'unknown': is_played & (events.items == 0),
    'repeated': chosen.repeated,
    'late': chosen.late,
    'placed': chosen.placed,
    'too_late': chosen.too_late,
    'refused': np.zeros_like(chosen.repeated),
  }
  return after, Played(**masks)


def now(
  store: state_store.Store,
  prepared: prepared_lib.Prepared,
  ids: np.ndarray,
) -> online_windows.Stored:
  """Users as the store has them, or else as the run left them.

  Args:
    store: open.
    prepared: data of its run.
    ids: external ids, ascending [n]; anybody may be asked for.
  """
  return _current(store, prepared, event_tables.none_of(prepared, ids))[0]


def check(
  store: state_store.Store,
  prepared: prepared_lib.Prepared,
  events: event_tables.Events,
  rules: Rules,
) -> None:
  """Raises what `play` would raise now, and plays nothing."""
  before, _ = _current(store, prepared, events)
  event_checks.choose(events, before, prepared, rules.late)


def _current(
  store: state_store.Store,
  prepared: prepared_lib.Prepared,
  events: event_tables.Events,
) -> tuple[online_windows.Stored, np.ndarray]:
  """The users as the store has them, or else as the run left them.

  Also who of them is in the store, bool[n].
  """
  last_time = event_tables.last_times(prepared, events)
  fresh = online_windows.begin(
    store.service, events.ids, events.user, last_time
  )
  old, place = state_store.read(store, events.ids)
  for name in ('last_time', 'floor'):
    getattr(fresh, name)[place] = getattr(old, name)
  for name in ('start', 'state'):
    pairs = zip(getattr(fresh, name), getattr(old, name), strict=True)
    for leaf, values in pairs:
      leaf[place] = values
  counts = np.zeros(len(events.ids) + 1, np.int64)
  counts[place + 1] = np.diff(old.window.offsets)
  window = old.window._replace(offsets=np.cumsum(counts))
  is_old = np.zeros(len(events.ids), bool)
  is_old[place] = True
  return fresh._replace(window=window), is_old
