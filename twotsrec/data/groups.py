"""Activeness groups and the thresholds that route new users (PIN sec. 3.2)."""

from typing import NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import prepared as prepared_lib

KEYS = choices.GROUP_KEYS
BALANCES = choices.GROUP_BALANCES


class Groups(NamedTuple):
  """Groups 0..G-1, from the least to the most active.

  Attributes:
    user_group: i32[U].
    thresholds: i64[G - 1], smallest key value of groups 1..G-1.
    sizes: i64[G], train positives n_j.
    centers: f64[G], ascending, mean of log key over the members that train;
      thresholds alone do not say where the outer groups lie.
    event_group: i32[N], group of every event, or None where all events of a
      user are in the user's group.
  """

  user_group: np.ndarray
  thresholds: np.ndarray
  sizes: np.ndarray
  centers: np.ndarray
  event_group: np.ndarray | None = None


def of_events(
  groups: Groups, users: np.ndarray, events: np.ndarray
) -> np.ndarray:
  """Group of each event, i32[E]: its own, or else that of its user.

  Args:
    groups: from `assign`.
    users: i32[E], whose events they are.
    events: i64[E].
  """
  if groups.event_group is not None:
    return np.asarray(groups.event_group)[events]
  return np.asarray(groups.user_group)[users]


def assign(
  data: prepared_lib.Prepared, options: config.GroupConfig | None = None
) -> Groups:
  """Divides users, or single events, by activeness.

  Keys: user_train_count, train positives of the user; user_seq_len, train
  events of the user; sample_history_len, length of the event's own history.
  Balance: users, group sizes differ by at most one user (equal keys are
  ordered by user id, so a border may run through them); samples, cuts where
  the running number of train positives passes k N / G, no user divided.

  Only users with train positives are divided; those without, who would fill
  whole groups that never train, are routed like new users (PIN is silent).

  With sample_history_len it is samples that are divided, so both balances are
  the same; a user's group is then the one of the user's last event.
  """
  options = options or config.GroupConfig()
  _check_options(options)
  train = prepared_lib.targets(data, prepared_lib.TRAIN)
  if options.key == 'sample_history_len':
    groups = _by_event(data, train, options.num_groups)
  else:
    groups = _by_user(data, train, options)
  empty = np.flatnonzero(groups.sizes == 0)
  if len(empty):
    raise types.UserError(
      f'group {empty[0] + 1} has no training samples; lower num_groups (now '
      f'{options.num_groups}) or balance users'
    )
  return groups


def route(counts: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
  """Group of each count, #{k: count >= tau_k}.

  Args:
    counts: i64[...], activeness by the key the thresholds were made with.
    thresholds: i64[G - 1], ascending.
  Returns:
    i32[...], 0..G-1.
  """
  return np.searchsorted(thresholds, counts, side='right').astype(np.int32)


def _by_user(
  data: prepared_lib.Prepared,
  train: prepared_lib.Targets,
  options: config.GroupConfig,
) -> Groups:
  num_groups, num_users = options.num_groups, data.num_users
  samples = np.bincount(train.user, minlength=num_users)
  trained = np.flatnonzero(samples)
  if num_groups > len(trained):
    raise types.UserError(
      f'num_groups is {num_groups}, but there are {num_users} users, '
      f'{len(trained)} of them with training samples; lower num_groups to at '
      f'most {len(trained)}'
    )
  key = samples
  if options.key == 'user_seq_len':
    key = prepared_lib.train_counts(data)
  order = trained[np.argsort(key[trained], kind='stable')]
  weights = samples[order] if options.balance == 'samples' else None
  ranked_group = _cut(len(order), weights, num_groups)
  thresholds = _thresholds(key[order], ranked_group, num_groups)
  user_group = route(key, thresholds)
  user_group[order] = ranked_group
  return Groups(
    user_group=user_group,
    thresholds=thresholds,
    sizes=np.bincount(user_group, samples, num_groups).astype(np.int64),
    centers=_centers(key[order], ranked_group, num_groups),
  )


def _by_event(
  data: prepared_lib.Prepared, train: prepared_lib.Targets, num_groups: int
) -> Groups:
  starts = np.asarray(data.user_offsets)[:-1]
  if num_groups > len(train.event):
    raise types.UserError(
      f'num_groups is {num_groups}, but there are {len(train.event)} training '
      f'samples; lower num_groups'
    )
  length = train.history_end - starts[train.user]
  order = np.argsort(length, kind='stable')
  ranked_group = _cut(len(order), None, num_groups)
  thresholds = _thresholds(length[order], ranked_group, num_groups)
  event_group = np.zeros(data.num_events, np.int32)
  for split in (prepared_lib.VALIDATION, prepared_lib.TEST):
    held_out = prepared_lib.targets(data, split)
    event_group[held_out.event] = route(
      held_out.history_end - starts[held_out.user], thresholds
    )
  event_group[train.event[order]] = ranked_group
  return Groups(
    user_group=route(np.diff(data.user_offsets) - 1, thresholds),
    thresholds=thresholds,
    sizes=np.bincount(ranked_group, minlength=num_groups).astype(np.int64),
    centers=_centers(length[order], ranked_group, num_groups),
    event_group=event_group,
  )


def _cut(
  length: int, weights: np.ndarray | None, num_groups: int
) -> np.ndarray:
  """Group of each rank, i32[length].

  Without weights floor(G * rank / length); with weights the group in which the
  middle of a rank's weight falls, so that who crosses a cut is on the side
  where the larger part is.
  """
  if weights is None:
    return (num_groups * np.arange(length) // length).astype(np.int32)
  twice_middle = 2 * np.cumsum(weights) - weights
  total = max(int(np.sum(weights)), 1)
  group = num_groups * twice_middle // (2 * total)
  return np.minimum(group, num_groups - 1).astype(np.int32)


def _thresholds(
  ranked_key: np.ndarray, ranked_group: np.ndarray, num_groups: int
) -> np.ndarray:
  """Smallest key of groups 1..G-1; an empty group takes the next one's."""
  first = np.searchsorted(ranked_group, np.arange(1, num_groups))
  return ranked_key[np.minimum(first, len(ranked_key) - 1)].astype(np.int64)


def _centers(
  ranked_key: np.ndarray, ranked_group: np.ndarray, num_groups: int
) -> np.ndarray:
  """Mean of log key in each group; keys of what trains are at least 1."""
  total = np.bincount(ranked_group, np.log(ranked_key), num_groups)
  count = np.bincount(ranked_group, minlength=num_groups)
  # Means of equal keys must not descend by a rounding.
  return np.maximum.accumulate(total / np.maximum(count, 1))


def _check_options(options: config.GroupConfig) -> None:
  if options.num_groups < 1:
    raise types.UserError(
      f'num_groups is {options.num_groups}; allowed are 1 and more'
    )
  for name, value, allowed in (
    ('key', options.key, KEYS),
    ('balance', options.balance, BALANCES),
  ):
    if value not in allowed:
      raise types.UserError(
        f'group {name} is {value!r}; allowed are ' + ', '.join(allowed)
      )
