"""Splits of a log with behaviors: events of the target alone are held out.

The rules are those of `splits`, applied to the events of the target behavior;
upstream events are train events, or they are dropped, never held out:

    leave_last_out      dropped after the test event of their user, if a time or
                        a position tells what is later; without either, rows
                        are often grouped by behavior, and all are kept. Those
                        between validation and test are kept, since they are
                        what a purchase to predict starts from: the test is
                        free of later events, the validation is not quite.
    per_user_time       dropped from the first held-out event of their user on,
                        if a time or a position tells what is later, as under
                        leave_last_out.
    global_time, date   dropped from the first cut on: training ends there.
    given               dropped if labeled as held out.

A held-out pair of user and item is never a train pair of the target: its other
target events are dropped (there are none after de-duplication).
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import interactions
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits

MIN_FOR_VALIDATION = 3  # target events that a user needs to lend one
AFTER_TEST = 'upstream event after the test event of its user'
AFTER_HELD = 'upstream event after a held-out event of its user'
AFTER_CUT = 'upstream event at or after the first cut'
LABELED = 'upstream event labeled as held out'
REPEATED = 'other target event of a held-out pair'


class Held(NamedTuple):
  """The split of every event, and the events that are left out.

  Attributes:
    split: i8[N], TRAIN, VALIDATION or TEST.
    gone: cause -> bool[N], events that go nowhere; one cause each.
  """

  split: np.ndarray
  gone: dict[str, np.ndarray]


def hold_out(
  events: interactions.Interactions,
  name: str,
  validation: bool = True,
  *,
  seed: int = 0,
  validation_from: float | None = None,
  test_from: float | None = None,
) -> Held:
  """Splits the target events of a log with behaviors.

  Args:
    events: sorted by user and time, with behaviors, the target last.
    name: one of `splits.NAMES`.
    validation: whether a validation split is held out. Where a given split
      has none, one random training event of every user with
      `MIN_FOR_VALIDATION` or more of the target is moved there.
    seed: of this draw.
    validation_from: first time of validation, for date.
    test_from: first time of test, for date.
  """
  of_target = events.behavior == len(events.behavior_names) - 1
  unit = f'{events.behavior_names[-1]} events'
  if name == 'given':
    held = _given(events, of_target, validation)
  elif name == 'leave_last_out':
    held = _leave_last_out(events, of_target, validation, unit)
  elif name == 'per_user_time':
    held = _per_user_time(events, of_target, validation, unit)
  else:
    cuts = (validation_from if validation else None, test_from)
    held = _by_time(events, of_target, name, validation, cuts)
  repeated = _repeated(events, of_target, held.split)
  split = held.split
  if name == 'given' and validation and not np.any(_validated(held, of_target)):
    lendable = of_target & ~repeated & (split == prepared_lib.TRAIN)
    split = split.copy()
    drawn = draw_validation(events.user, events.item, lendable, seed, unit)
    split[drawn] = prepared_lib.VALIDATION
    repeated = _repeated(events, of_target, split)
  return Held(split, {**held.gone, REPEATED: repeated})


def draw_validation(
  user: np.ndarray,
  item: np.ndarray,
  lendable: np.ndarray,
  seed: int,
  unit: str = 'events',
) -> np.ndarray:
  """One random event of every user with `MIN_FOR_VALIDATION` or more.

  Args:
    user: i32[N].
    item: i32[N]; the draw depends on items, not on the order of the rows.
    lendable: bool[N], the events to draw from.
    seed: equal seeds draw the same events.
    unit: what the events are called in an error.
  Returns:
    Positions of the drawn events, i64[users].
  """
  rows = np.flatnonzero(lendable)
  rows = rows[np.lexsort((item[rows], user[rows]))]
  start = np.flatnonzero(np.diff(user[rows], prepend=-1))
  count = np.diff(start, append=len(rows))
  enough = count >= MIN_FOR_VALIDATION
  if not np.any(enough):
    raise types.UserError(
      f'nothing is left for validation: no user has {MIN_FOR_VALIDATION} '
      f'training {unit}; turn validation off, or give a validation part'
    )
  generator = np.random.default_rng(seed)
  return rows[start[enough] + generator.integers(0, count[enough])]


def _leave_last_out(
  events: interactions.Interactions,
  of_target: np.ndarray,
  validation: bool,
  unit: str,
) -> Held:
  split = np.full(len(events.user), prepared_lib.TRAIN, np.int8)
  split[of_target] = splits.leave_last_out(
    events.user[of_target], validation, unit
  )
  later = _later_than(events, np.flatnonzero(split == prepared_lib.TEST))
  return Held(split, {AFTER_TEST: later & ~of_target})


def _per_user_time(
  events: interactions.Interactions,
  of_target: np.ndarray,
  validation: bool,
  unit: str,
) -> Held:
  split = np.full(len(events.user), prepared_lib.TRAIN, np.int8)
  split[of_target] = splits.per_user_time(
    events.user[of_target], validation=validation, unit=unit
  )
  # Backwards, so that the first held-out event of a user is written last.
  held_out = np.flatnonzero(split != prepared_lib.TRAIN)[::-1]
  later = _later_than(events, held_out)
  return Held(split, {AFTER_HELD: later & ~of_target})


def _later_than(
  events: interactions.Interactions, rows: np.ndarray
) -> np.ndarray:
  """Events after the row of their user, bool[N]; none without an order."""
  count = len(events.user)
  if events.time is None and events.order is None:
    return np.zeros(count, bool)
  of_user = np.full(len(events.user_ids), count)
  of_user[events.user[rows]] = rows
  return np.arange(count) > of_user[events.user]


def _by_time(
  events: interactions.Interactions,
  of_target: np.ndarray,
  name: str,
  validation: bool,
  cuts: tuple[float | None, float | None],
) -> Held:
  time = None if events.time is None else events.time[of_target]
  split = np.full(len(events.user), prepared_lib.TRAIN, np.int8)
  if name == 'global_time':
    # The fractions are of the target events. A cut is the time of an event,
    # so the first held-out event has it.
    held = splits.global_time(time, validation)
    first_cut = np.min(time[held != prepared_lib.TRAIN])
  else:
    held = splits.date(time, *cuts)
    first_cut = cuts[1] if cuts[0] is None else cuts[0]
  split[of_target] = held
  return Held(split, {AFTER_CUT: ~of_target & (events.time >= first_cut)})


def _given(
  events: interactions.Interactions, of_target: np.ndarray, validation: bool
) -> Held:
  split = splits.given(events.split, validation)
  test = split == prepared_lib.TEST
  if not np.any(test & of_target):
    names = events.behavior_names
    common = int(np.argmax(np.bincount(events.behavior[test])))
    order = [name for name in names if name != names[common]] + [names[common]]
    raise types.UserError(
      f'no test row is of the target behavior {names[-1]!r}, most are of '
      f'{names[common]!r}; the target comes last: --behaviors={",".join(order)}'
    )
  labeled = ~of_target & (split != prepared_lib.TRAIN)
  # They stay out of training, and do not count as held out.
  return Held(np.where(labeled, prepared_lib.TRAIN, split), {LABELED: labeled})


def _validated(held: Held, of_target: np.ndarray) -> np.ndarray:
  return of_target & (held.split == prepared_lib.VALIDATION)


def _repeated(
  events: interactions.Interactions, of_target: np.ndarray, split: np.ndarray
) -> np.ndarray:
  """Target events of held-out pairs but the last and latest held, bool[N]."""
  gone = np.zeros(len(split), bool)
  rows = np.flatnonzero(of_target)
  pair = events.user[rows].astype(np.int64) * (len(events.item_ids) + 1)
  pair += events.item[rows]
  rows = rows[np.lexsort((split[rows], pair))]
  pair = np.sort(pair)
  last = np.flatnonzero(np.diff(pair, append=-1))
  run = np.searchsorted(last, np.arange(len(rows)))
  in_held_pair = split[rows[last[run]]] != prepared_lib.TRAIN
  in_held_pair[last] = False
  gone[rows[in_held_pair]] = True
  return gone
