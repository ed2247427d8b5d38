"""From the pairs of several behaviors to batches of users on the device."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import feeds
from twotsrec.data import prepared as prepared_lib
from twotsrec.ops import pairs as pairs_lib
from twotsrec.ops import sampling


class BehaviorFeed(NamedTuple):
  """Device-resident pairs."""

  # Of each behavior, then those of `Layout.unique`.
  pairs: tuple[pairs_lib.PairSet, ...]
  group: jax.Array  # i32[U], activeness group, 0..G-1


class Layout(NamedTuple):
  """Sizes of the sets of pairs in a batch."""

  # i64[P, U], pairs of each user in a batch, for each set of pairs.
  drawn: np.ndarray
  places: np.ndarray  # i64[P], how many a batch has room for
  batch_size: int  # users of a batch
  # (task, source) of the sets after those of the behaviors: pairs of one of the
  # two without the other.
  unique: tuple[tuple[int, int], ...]
  # i32[n], users to draw from with replacement, so many in an epoch; None deals
  # every user once.
  pool: np.ndarray | None = None
  num_draws: int = 0


def make(
  behaviors: behaviors_lib.Behaviors,
  user_group: np.ndarray,
  config: config_lib.Config,
) -> tuple[BehaviorFeed, Layout]:
  """Lays out the training pairs and moves them to the device.

  Args:
    behaviors: pairs of each behavior, the target last.
    user_group: i32[U].
    config: samples and batch size; which losses want pairs of their own.
  Raises:
    types.UserError: no pair of the target with a negative.
  """
  fields.refuse_section(config.head, 'head')
  trained = with_negatives(behaviors)
  _check(trained)
  samples = config.behavior.samples
  sets = list(behaviors.train)
  drawn = [np.minimum(np.diff(s.offsets), samples) for s in trained.train]
  wanted = config.head.unique_weight and 'unique' in config.behavior.auxiliary
  unique = _unique(behaviors, config) if wanted else {}
  for (task, _), seen in unique.items():
    sets.append(seen)
    drawn.append(np.minimum(np.diff(seen.offsets), drawn[task]))
  layout = _layout(np.stack(drawn), tuple(unique), trained, config)
  feed = BehaviorFeed(
    tuple(pairs_lib.make_set(*s, d) for s, d in zip(sets, drawn, strict=True)),
    feeds.i32(user_group),
  )
  return feed, layout


def make_target_feed(
  behaviors: behaviors_lib.Behaviors, user_group: np.ndarray
) -> feeds.Feed:
  """One example per training pair of the target, of users without a history.

  Negatives are items without such a pair, as in `make`.

  Raises:
    types.UserError: no pair of the target with a negative.
  """
  _check(behaviors)
  pairs = behaviors.train[-1]
  user = pairs.users
  count = len(user)
  nothing = jnp.zeros(count, jnp.int32)
  return feeds.Feed(
    items=feeds.i32(pairs.items),
    first=nothing,
    last=nothing,
    target=jnp.arange(count, dtype=jnp.int32),
    user=feeds.i32(user),
    group=feeds.i32(np.asarray(user_group)[user]),
    weight=jnp.ones(count),
    complements=sampling.make_complements(pairs.offsets, pairs.items),
  )


def make_plan(layout: Layout, seed: int, epoch: int) -> np.ndarray:
  """Users of an epoch in batches; i32[S, B], -1 fills."""
  if layout.pool is not None:
    return pairs_lib.draw_users(
      layout.pool,
      layout.drawn,
      layout.places,
      layout.batch_size,
      layout.num_draws,
      (seed, epoch),
    )
  return pairs_lib.deal_users(
    layout.drawn, layout.places, layout.batch_size, (seed, epoch)
  )


def edges(
  behaviors: behaviors_lib.Behaviors,
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
  """(user i64[E], item i64[E]) of each behavior."""
  return [
    (s.users.astype(np.int64), s.items.astype(np.int64))
    for s in behaviors.train
  ]


def with_negatives(
  behaviors: behaviors_lib.Behaviors,
) -> behaviors_lib.Behaviors:
  """The pairs to which a negative can be drawn.

  Of a behavior that a user has shown toward every item none is left.
  """
  train = []
  for seen in behaviors.train:
    full = feeds.of_everything(seen, behaviors.num_items)
    if full.any():
      counts = np.diff(seen.offsets)
      kept = np.repeat(~full, counts)
      offsets = np.append(0, np.cumsum(np.where(full, 0, counts)))
      seen = prepared_lib.SeenItems(offsets, seen.items[kept])
    train.append(seen)
  return behaviors._replace(train=tuple(train))


def _layout(drawn, unique, behaviors, config):
  """Sizes of the batches of an epoch, as `behavior.epoch` counts it."""
  size, number = config.train.batch_size, len(behaviors.names)
  if config.behavior.epoch == 'users':
    places = [pairs_lib.places_for(d, size) for d in drawn]
    return Layout(drawn, np.asarray(places), size, unique)
  weights = config.behavior.weights or (1.0,) * number
  trained = [k for k in range(number) if weights[k] or k == number - 1]
  pool = np.flatnonzero(drawn[trained].any(axis=0))
  # So many users give as many pairs of the target as there are.
  mean = drawn[number - 1, pool].mean()
  num_draws = int(np.ceil(len(behaviors.train[-1].items) / mean))
  places = [pairs_lib.places_for(d[pool], size, again=True) for d in drawn]
  pool = pool.astype(np.int32)
  return Layout(drawn, np.asarray(places), size, unique, pool, num_draws)


def _check(behaviors):
  if not len(behaviors.train[-1].items):
    raise types.UserError(
      'no training pair of the target behavior'
      f' {behaviors.names[-1]!r} is left to which a negative can be drawn; use'
      ' another target, split or filters'
    )


def _unique(behaviors, config):
  """Pairs that tell two behaviors apart, {(task, source): SeenItems}.

  PKEF's auxiliary task. Pairs of behaviors without such pairs are left out, as
  are tasks that are not trained.
  """
  label, names = config.head.unique_label, behaviors.names
  weights = config.behavior.weights or (1.0,) * len(names)
  codes = [seen.numbers(behaviors.num_items) for seen in behaviors.train]
  sets = {}
  for task in range(len(names)):
    for source in range(len(names)):
      ours, theirs = (task, source) if label == 'task_only' else (source, task)
      if source == task or not weights[task]:
        continue
      own = np.setdiff1d(codes[ours], codes[theirs], assume_unique=True)
      if len(own):
        sets[task, source] = prepared_lib.items_of_pairs(
          own, behaviors.num_users, behaviors.num_items
        )
  return sets
