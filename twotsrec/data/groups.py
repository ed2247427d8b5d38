"""Activeness groups and the thresholds that route new users (PIN sec. 3.2)."""

from typing import NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import fields
from twotsrec import types
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib


class Groups(NamedTuple):
  """Groups 0..G-1, from the least to the most active."""

  user_group: np.ndarray  # i32[U]
  thresholds: np.ndarray  # i64[G - 1], smallest key value of groups 1..G-1
  sizes: np.ndarray  # i64[G], train positives n_j
  # f64[G], ascending, mean of log key over the members that train; thresholds
  # alone do not say where the outer groups lie.
  centers: np.ndarray
  # i32[N], group of every event (with labels, of every impression), or None
  # where all events of a user are in the user's group.
  event_group: np.ndarray | None = None
  # Samples that a click of a history stands for: with labels, what is shown
  # for every click, so that a history of clicks alone can be routed.
  per_click: float = 1.0


def of_events(
  groups: Groups, users: np.ndarray, events: np.ndarray
) -> np.ndarray:
  """Group of each event i64[E] of users i32[E]: its own, or its user's."""
  if groups.event_group is not None:
    return np.asarray(groups.event_group)[events]
  return np.asarray(groups.user_group)[users]


def assign(
  data: prepared_lib.Prepared, options: config.GroupConfig | None = None
) -> Groups:
  """Divides users, or single events, by activeness.

  Keys: user_train_count, train positives of the user; user_seq_len, train
  events of the user; sample_history_len, length of the event's own history.
  With labels a user's samples, and so the first key, are the user's train
  impressions, clicks or not (PIN sec. 4.1.4, "the number of samples").
  Balance: users, group sizes differ by at most one user (equal keys are
  ordered by user id, so a border may run through them); samples, cuts where
  the running number of train positives passes k N / G, no user divided.

  Only users with train positives are divided; those without, who would fill
  whole groups that never train, are routed like new users (PIN is silent).

  With sample_history_len it is samples that are divided, so both balances are
  the same; a user's group is then the one of the user's last event.
  """
  options = options or config.GroupConfig()
  fields.refuse_section(options, 'groups')
  train = _samples(data, prepared_lib.TRAIN)
  if not len(train.event):
    raise types.UserError(
      f'{data.path or "this log"}: no user has two training events, so there '
      'is nobody to group; use weaker filters, another split, or a log with '
      'more of a user'
    )
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
  """Group of each count, #{k: count >= tau_k}, i32[...].

  Counts are activeness by the key that the thresholds were made with.
  """
  return np.searchsorted(thresholds, counts, side='right').astype(np.int32)


def keys(
  data: prepared_lib.Prepared, options: config.GroupConfig
) -> np.ndarray:
  """What is divided: keys of users, i64[U], or of single samples, i64[n]."""
  train = _samples(data, prepared_lib.TRAIN)
  if options.key == 'sample_history_len':
    return train.history_end - np.asarray(data.user_offsets)[train.user]
  if options.key == 'user_seq_len':
    return prepared_lib.train_counts(data)
  return np.bincount(train.user, minlength=data.num_users)


def _samples(data: prepared_lib.Prepared, split: int) -> prepared_lib.Targets:
  """What is trained, or predicted, of a split: impressions if there are any."""
  if not impressions.there_are(data):
    return prepared_lib.targets(data, split)
  return impressions.targets(impressions.of_split(data, split))


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
  key = keys(data, options)
  weights = samples[trained] if options.balance == 'samples' else None
  of_trained, thresholds, centers = _divided(key[trained], weights, num_groups)
  user_group = route(key, thresholds)
  user_group[trained] = of_trained
  sizes = np.bincount(user_group, samples, num_groups).astype(np.int64)
  groups = Groups(user_group, thresholds, sizes, centers)
  if impressions.there_are(data) and options.key == 'user_train_count':
    clicks = np.sum(prepared_lib.train_counts(data))
    groups = groups._replace(per_click=float(np.sum(samples) / clicks))
  return groups


def _by_event(
  data: prepared_lib.Prepared, train: prepared_lib.Targets, num_groups: int
) -> Groups:
  starts = np.asarray(data.user_offsets)[:-1]
  if num_groups > len(train.event):
    raise types.UserError(
      f'num_groups is {num_groups}, but there are {len(train.event)} training '
      f'samples; lower num_groups to at most {len(train.event)}'
    )
  length = train.history_end - starts[train.user]
  group, thresholds, centers = _divided(length, None, num_groups)
  numbers = data.num_events
  if impressions.there_are(data):
    numbers = len(impressions.all_items(data))
  event_group = np.zeros(numbers, np.int32)
  for split in (prepared_lib.VALIDATION, prepared_lib.TEST):
    held_out = _samples(data, split)
    event_group[held_out.event] = route(
      held_out.history_end - starts[held_out.user], thresholds
    )
  event_group[train.event] = group
  return Groups(
    user_group=route(np.diff(data.user_offsets) - 1, thresholds),
    thresholds=thresholds,
    sizes=np.bincount(group, minlength=num_groups).astype(np.int64),
    centers=centers,
    event_group=event_group,
  )


def _divided(
  key: np.ndarray, weights: np.ndarray | None, num_groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Group i32[n] of every key i64[n], and thresholds and centers of `Groups`.

  Keys are ranked. Without weights a rank's group is floor(G * rank / n); with
  weights i64[n] the one in which the middle of its weight falls, so that who
  crosses a cut is on the side where the larger part is.
  """
  order = np.argsort(key, kind='stable')
  key, count = key[order], len(order)
  if weights is None:
    ranked = num_groups * np.arange(count) // count
  else:
    twice_middle = 2 * np.cumsum(weights[order]) - weights[order]
    ranked = num_groups * twice_middle // (2 * max(int(np.sum(weights)), 1))
  ranked = np.minimum(ranked, num_groups - 1).astype(np.int32)
  # An empty group takes the threshold of the next one.
  first = np.searchsorted(ranked, np.arange(1, num_groups))
  thresholds = key[np.minimum(first, count - 1)].astype(np.int64)
  # Keys of what trains are at least 1, but for impressions without a history;
  # means of equal keys must not descend by a rounding.
  total = np.bincount(ranked, np.log(np.maximum(key, 1)), num_groups)
  members = np.bincount(ranked, minlength=num_groups)
  centers = np.maximum.accumulate(total / np.maximum(members, 1))
  group = np.empty(count, np.int32)
  group[order] = ranked
  return group, thresholds, centers
