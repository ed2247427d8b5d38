"""Training pairs of user and item, one set for every behavior."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib

# The one behavior of a log that tells none apart.
ONLY = 'interaction'


class Touches(NamedTuple):
  """Training events of all behaviors, in no order of times.

  Attributes:
    user: i64[N].
    item: i64[N], 1..I.
    is_target: bool[N], whether the behavior is the target.
    time: i64[N] or f64[N].
  """

  user: np.ndarray
  item: np.ndarray
  is_target: np.ndarray
  time: np.ndarray


class Behaviors(NamedTuple):
  """Distinct training pairs of every behavior."""

  names: tuple[str, ...]  # of K behaviors, the target last
  num_users: int  # U
  num_items: int  # I
  # K times the distinct training pairs, items 1..I of users 0..U-1.
  train: tuple[prepared_lib.SeenItems, ...]
  touches: Touches | None = None  # the events, where the log has times


def of_prepared(
  data: prepared_lib.Prepared, strip_heldout: bool = False
) -> Behaviors:
  """Training pairs of prepared data; a log without behaviors has one.

  Args:
    data: the log.
    strip_heldout: whether the pairs of held-out events are removed from the
      upstream behaviors, so that finding them is discovery. COPF's files keep
      them.
  """
  behavior, names = _behavior_of(data)
  in_train = np.asarray(data.split) == prepared_lib.TRAIN
  if np.any(~in_train & (behavior != len(names) - 1)):
    raise types.UserError(
      f'{data.path or "the log"} holds out events of other behaviors than '
      f'{names[-1]!r}; prepare it again'
    )
  chosen = [in_train & (behavior == code) for code in range(len(names))]
  if strip_heldout:
    elsewhere = ~np.isin(_pairs(data), _pairs(data)[~in_train])
    chosen = [rows & elsewhere for rows in chosen[:-1]] + chosen[-1:]
  return Behaviors(
    names=names,
    num_users=data.num_users,
    num_items=data.num_items,
    train=tuple(prepared_lib.distinct_items(data, rows) for rows in chosen),
    touches=_touches(data, chosen),
  )


def _touches(data, chosen) -> Touches | None:
  """Events that one of the behaviors has chosen, bool[N] each."""
  if data.times is None or len(chosen) == 1:
    return None
  rows = np.any(chosen, axis=0)
  return Touches(
    user=data.event_users[rows].astype(np.int64),
    item=np.asarray(data.items)[rows].astype(np.int64),
    is_target=chosen[-1][rows],
    time=np.asarray(data.times)[rows],
  )


def before_test(
  data: prepared_lib.Prepared,
) -> tuple[tuple[str, ...], tuple[prepared_lib.SeenItems, ...]]:
  """Names of the behaviors, and the distinct pairs of each outside of the test.

  Those of the validation are among them, as in the files of a paper that has
  none.
  """
  behavior, names = _behavior_of(data)
  left = np.asarray(data.split) != prepared_lib.TEST
  return names, tuple(
    prepared_lib.distinct_items(data, left & (behavior == code))
    for code in range(len(names))
  )


def patterns(
  pairs: Sequence[prepared_lib.SeenItems], num_items: int
) -> dict[str, int]:
  """Numbers of pairs that are in certain behaviors and no others.

  Args:
    pairs: of K behaviors.
    num_items: I.
  Returns:
    By pattern, K places of 1 or 0 in the order of the behaviors, ascending;
    those that occur.
  """
  numbers = [one.numbers(num_items) for one in pairs]
  every = np.unique(np.concatenate(numbers))
  is_in = [np.isin(every, one, assume_unique=True) for one in numbers]
  rows, counts = np.unique(np.stack(is_in, 1), axis=0, return_counts=True)
  text = (''.join('01'[is_one] for is_one in row) for row in rows.astype(int))
  return dict(zip(text, counts.tolist(), strict=True))


def notes(data: prepared_lib.Prepared, behaviors: Behaviors) -> list[str]:
  """A line for each thing that limits what can be learned or measured."""
  lines = [
    f'behavior {name!r} has no training row'
    for name, pairs in zip(behaviors.names, behaviors.train, strict=True)
    if not len(pairs.items)
  ]
  for name, pairs in zip(behaviors.names, behaviors.train, strict=True):
    full = int(np.sum(np.diff(pairs.offsets) >= behaviors.num_items))
    if full:
      lines.append(
        f'{full:,} of {behaviors.num_users:,} users have {name!r} of all'
        f' {behaviors.num_items:,} items, so they have no negatives and take no'
        ' part in its training'
      )
  target = behaviors.train[-1]
  if without := int(np.sum(np.diff(target.offsets) == 0)):
    lines.append(
      f'{without:,} of {behaviors.num_users:,} users have no training row of '
      f'the target behavior {behaviors.names[-1]!r}'
    )
  held_out = np.asarray(data.split) != prepared_lib.TRAIN
  trained = np.zeros(data.num_items + 1, bool)
  active = np.zeros(data.num_users, bool)
  for pairs in behaviors.train:
    trained[pairs.items] = True
    active |= np.diff(pairs.offsets) > 0
  for kind, held, trained_on in (
    ('items', np.asarray(data.items)[held_out], trained),
    ('users', data.event_users[held_out], active),
  ):
    held = np.unique(held)
    if cold := int(np.sum(~trained_on[held])):
      lines.append(
        f'{cold:,} of {len(held):,} held-out {kind} never occur in training'
      )
  return lines


def describe(data: prepared_lib.Prepared) -> list[dict[str, object]]:
  """Events, users and items of every behavior, for reports."""
  behavior, names = _behavior_of(data)
  user, item = data.event_users, np.asarray(data.items)
  described = []
  for code, name in enumerate(names):
    chosen = behavior == code
    per_split = np.bincount(
      np.asarray(data.split)[chosen], minlength=len(prepared_lib.SPLITS)
    )
    described.append(
      {
        'behavior': name,
        **dict(zip(prepared_lib.SPLITS, per_split.tolist(), strict=True)),
        'users': len(np.unique(user[chosen])),
        'items': len(np.unique(item[chosen])),
      }
    )
  return described


def _behavior_of(
  data: prepared_lib.Prepared,
) -> tuple[np.ndarray, tuple[str, ...]]:
  if data.behaviors is None:
    return np.zeros(data.num_events, np.int8), (ONLY,)
  return np.asarray(data.behaviors), tuple(data.manifest['behaviors'])


def _pairs(data: prepared_lib.Prepared) -> np.ndarray:
  """One number for user and item of every event, i64[N]."""
  return prepared_lib.pairs(data.event_users, data.items, data.num_items)
