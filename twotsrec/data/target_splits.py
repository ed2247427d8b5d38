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

Under global_time and date the question is what a user buys after a moment,
given all before it: histories end at the moment, what was bought before and is
bought again is held out as such, and of several purchases of an item in one
held-out split the first counts. With a test_from date alone nothing before the
moment is dropped: validation is the last target event before it of every user
with `MIN_FOR_VALIDATION` of them.

Elsewhere a held-out pair of user and item is never a train pair of the target:
its other target events are dropped (there are none after de-duplication).
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
MOMENTS = ('global_time', 'date')  # what is bought after a moment


class Held(NamedTuple):
  """The split of every event, and the events that are left out."""

  split: np.ndarray  # i8[N], TRAIN, VALIDATION or TEST
  # Cause -> bool[N], events that go nowhere; one cause each.
  gone: dict[str, np.ndarray]


def hold_out(
  events: interactions.Interactions, rule: splits.Rule, seed: int = 0
) -> Held:
  """Splits the target events of a log with behaviors.

  Args:
    events: sorted by user and time, with behaviors, the target last.
    rule: where a given split has no validation, but the rule has, one random
      training event of every user with `MIN_FOR_VALIDATION` or more of the
      target is moved there.
    seed: of this draw.
  """
  of_target = events.behavior == len(events.behavior_names) - 1
  unit = f'{events.behavior_names[-1]} events'
  if rule.name == 'given':
    split, upstream = _given(events, of_target, rule.validation)
  else:
    split = np.full(len(of_target), prepared_lib.TRAIN, np.int8)
    time = None if events.time is None else events.time[of_target]
    split[of_target] = splits.by_rule(
      rule, events.user[of_target], time, unit=unit
    )
    upstream = _too_late(events, rule, split)
    if rule.name == 'date' and rule.validation and not rule.validation_from:
      before = of_target & (split == prepared_lib.TRAIN)
      split[_last_of_users(events.user, before, unit)] = prepared_lib.VALIDATION
  if rule.name in MOMENTS:
    repeated = _bought_twice(events, of_target, split)
  else:
    repeated = _repeated(events, of_target, split)
  held_out = of_target & (split == prepared_lib.VALIDATION)
  if rule.name == 'given' and rule.validation and not np.any(held_out):
    lendable = of_target & ~repeated & (split == prepared_lib.TRAIN)
    drawn = draw_validation(events.user, events.item, lendable, seed, unit)
    split[drawn] = prepared_lib.VALIDATION
    repeated = _repeated(events, of_target, split)
  gone = {cause: rows & ~of_target for cause, rows in upstream.items()}
  return Held(split, {**gone, REPEATED: repeated})


def draw_validation(
  user: np.ndarray,
  item: np.ndarray,
  lendable: np.ndarray,
  seed: int,
  unit: str = 'events',
) -> np.ndarray:
  """Positions of a random lendable event of every user with enough of them.

  Args:
    user: i32[N], ascending.
    item: i32[N].
    lendable: bool[N].
    seed: of the draw.
    unit: names the events in an error.
  Raises:
    types.UserError: no user has enough of them.
  """
  rows = np.flatnonzero(lendable)
  # By item: the draw must not depend on the order of the rows.
  rows = rows[np.lexsort((item[rows], user[rows]))]
  start, count = _users_with_enough(user[rows], unit)
  generator = np.random.default_rng(seed)
  return rows[start + generator.integers(0, count)]


def _last_of_users(
  user: np.ndarray, lendable: np.ndarray, unit: str
) -> np.ndarray:
  """Positions of the last lendable event of every user with enough of them."""
  rows = np.flatnonzero(lendable)
  start, count = _users_with_enough(user[rows], unit)
  return rows[start + count - 1]


def _users_with_enough(
  user: np.ndarray, unit: str
) -> tuple[np.ndarray, np.ndarray]:
  """First place and number of the events of users with enough, in order."""
  start = np.flatnonzero(np.diff(user, prepend=-1))
  count = np.diff(start, append=len(user))
  enough = count >= MIN_FOR_VALIDATION
  if not np.any(enough):
    raise types.UserError(
      f'nothing is left for validation: no user has {MIN_FOR_VALIDATION} '
      f'training {unit}; turn validation off (--novalidation), or give a '
      'validation part'
    )
  return start[enough], count[enough]


def _too_late(
  events: interactions.Interactions, rule: splits.Rule, split: np.ndarray
) -> dict[str, np.ndarray]:
  """Events that come after a held-out event, cause -> bool[N]."""
  held_out = np.flatnonzero(split != prepared_lib.TRAIN)
  if rule.name in MOMENTS:
    time = np.asarray(events.time)
    # The fractions are of the target events. A cut is the time of an event,
    # so the first held-out event has it.
    first = np.min(time[held_out])
    if rule.name == 'date':
      dated, test = splits.cuts(rule)
      first = test if dated is None else dated
    return {AFTER_CUT: time >= first}
  cause = AFTER_HELD
  if rule.name == 'leave_last_out':
    cause, held_out = AFTER_TEST, np.flatnonzero(split == prepared_lib.TEST)
  count = len(events.user)
  if events.time is None and events.order is None:
    return {cause: np.zeros(count, bool)}
  of_user = np.full(len(events.user_ids), count)
  # Backwards, so that the first held-out event of a user is written last.
  of_user[events.user[held_out[::-1]]] = held_out[::-1]
  return {cause: np.arange(count) > of_user[events.user]}


def _given(
  events: interactions.Interactions, of_target: np.ndarray, validation: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  split = splits.given(events.split, validation)
  test = split == prepared_lib.TEST
  if not np.any(test & of_target):
    names, behavior = events.behavior_names, np.asarray(events.behavior)
    common = int(np.argmax(np.bincount(behavior[test])))
    order = [name for name in names if name != names[common]] + [names[common]]
    raise types.UserError(
      f'no test row is of the target behavior {names[-1]!r}, most are of '
      f'{names[common]!r}; name the target last: --behaviors={",".join(order)}'
    )
  labeled = split != prepared_lib.TRAIN
  # Upstream ones stay out of training, and do not count as held out.
  return np.where(of_target, split, prepared_lib.TRAIN), {LABELED: labeled}


def _bought_twice(
  events: interactions.Interactions, of_target: np.ndarray, split: np.ndarray
) -> np.ndarray:
  """Target events of a pair after its first in the same held-out split."""
  rows = np.flatnonzero(of_target & (split != prepared_lib.TRAIN))
  pair = _pairs(events, rows) * len(prepared_lib.SPLITS) + split[rows]
  _, first = np.unique(pair, return_index=True)  # rows are in order of time
  gone = np.zeros(len(split), bool)
  gone[np.delete(rows, first)] = True
  return gone


def _repeated(
  events: interactions.Interactions, of_target: np.ndarray, split: np.ndarray
) -> np.ndarray:
  """Target events of held-out pairs but the last and latest held, bool[N]."""
  gone = np.zeros(len(split), bool)
  rows = np.flatnonzero(of_target)
  pair = _pairs(events, rows)
  rows = rows[np.lexsort((split[rows], pair))]
  pair = np.sort(pair)
  last = np.flatnonzero(np.diff(pair, append=-1))
  run = np.searchsorted(last, np.arange(len(rows)))
  in_held_pair = split[rows[last[run]]] != prepared_lib.TRAIN
  in_held_pair[last] = False
  gone[rows[in_held_pair]] = True
  return gone


def _pairs(events: interactions.Interactions, rows: np.ndarray) -> np.ndarray:
  """One number for user and item of some events, i64[R]."""
  return prepared_lib.pairs(
    events.user[rows], events.item[rows], len(events.item_ids)
  )
