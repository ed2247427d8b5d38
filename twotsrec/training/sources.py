"""Batches of positives and sampled negatives, as `contracts.Source`."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.evaluation import fitted
from twotsrec.models import closed_form
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.ops import pairs as pairs_lib
from twotsrec.training import phases


def of_histories(experiment: contracts.Experiment) -> contracts.Source:
  """Positives with their histories, or whole sequences."""
  config, prepared = experiment.config, experiment.prepared
  data, groups = config.data, experiment.groups
  draws = batches.draws(config, prepared.num_items)
  if config.train.positions == 'last':
    feed = feeds.make_feed(prepared, groups, data)
  else:
    feed = feeds.make_sequence_feed(
      prepared, groups, data, config.train.positions
    )
  batches.require_dislikes(feed, draws)
  if draws.augment is not None:
    feed = feed._replace(near=_near(prepared, draws.augment))
  counts = np.bincount(
    np.asarray(feed.group), minlength=config.groups.num_groups
  )
  for group in np.flatnonzero(counts == 0)[:1]:
    raise types.UserError(
      f'users of group {group + 1} have touched all {prepared.num_items} items,'
      ' so it has nothing to train on; lower groups.num_groups (now'
      f' {config.groups.num_groups})'
    )
  return sampled(config, feed, batch_of(config, prepared.num_items))


def _near(prepared, options) -> jax.Array:
  """Items that go with each in training, best first; i32[I + 1, K]."""
  pairs = fitted.train_pairs(prepared)
  shrinkage = config_lib.ClosedFormConfig().shrinkage
  ids, _ = closed_form.nearest(pairs, pairs, options.neighbors, shrinkage)
  return jnp.asarray(ids)


def of_pairs(
  config: config_lib.Config,
  behaviors: behaviors_lib.Behaviors,
  user_group: np.ndarray,
) -> contracts.Source:
  """Training pairs of the target behavior, of users without a history."""
  behaviors = behavior_feeds.with_negatives(behaviors)
  feed = behavior_feeds.make_target_feed(behaviors, user_group)
  return sampled(config, feed, batch_of(config, behaviors.num_items, length=1))


def of_users(
  config: config_lib.Config,
  behaviors: behaviors_lib.Behaviors,
  user_group: np.ndarray,
) -> tuple[contracts.Source, behavior_feeds.Layout]:
  """Users with pairs of every behavior (COPF sec. 5.1), and their layout.

  Sizes are training pairs of what `behavior.aggregate` aggregates over.
  """
  feed, layout = behavior_feeds.make(behaviors, user_group, config)
  places, num_behaviors = layout.places.tolist(), len(behaviors.names)
  num_items, negatives = behaviors.num_items, config.behavior.negatives

  def batch_of(feed, users, key):
    key = jax.random.fold_in(key, _number(users, layout))
    keys = jax.random.split(key, len(places))
    drawn = tuple(
      pairs_lib.draw(k, own, users, num_items, count, negatives)
      for k, own, count in zip(keys, feed.pairs, places, strict=True)
    )
    pairs, unique = drawn[:num_behaviors], drawn[num_behaviors:]
    group = feed.group[jnp.maximum(users, 0)]
    return behavior_objectives.Batch(users, group, pairs, unique)

  source = contracts.Source(
    feed=feed,
    sizes=_pairs_by_part(config, behaviors, user_group),
    batch_of=batch_of,
    plan_of=lambda epoch: behavior_feeds.make_plan(
      layout, config.train.seed, epoch
    ),
  )
  return source, layout


def _number(users, layout):
  """What tells a batch of users from the others of an epoch, i32[]."""
  if layout.pool is None:  # a user is in one batch only
    return users[0]
  return jnp.sum(users * (2 * jnp.arange(len(users)) + 1))  # it may overflow


def _pairs_by_part(config, behaviors, user_group) -> jax.Array:
  """f32[K] by behavior, f32[G] by group of its user where it has a loss."""
  options, number = config.behavior, config.groups.num_groups
  behaviors = behavior_feeds.with_negatives(behaviors)
  if options.aggregate == 'loss':  # one weighted sum, COPF eq. 16
    return jnp.ones(len(behaviors.names))
  sizes = [len(seen.items) for seen in behaviors.train]
  if options.aggregate == 'groups':
    weights = behavior_objectives.task_weights(options, len(behaviors.names))
    users = [
      seen.users
      for weight, seen in zip(weights, behaviors.train, strict=True)
      if weight
    ]
    group = np.asarray(user_group)[np.concatenate(users)]
    sizes = np.bincount(group, minlength=number)
  # An aggregator may divide by a size, or take its logarithm.
  return jnp.maximum(jnp.asarray(sizes, jnp.float32), 1.0)


def sampled(
  config: config_lib.Config,
  feed: feeds.Feed,
  batch_of: Callable[..., types.Batch],
) -> contracts.Source:
  """Examples of a feed, batched as `train.batching` says.

  Args:
    config: batches and groups.
    feed: the examples, with group and weight.
    batch_of: (feed, examples, key) -> Batch.
  """
  train, num_groups = config.train, config.groups.num_groups
  group = np.asarray(feed.group)
  capacity, widths = train.batch_size, None
  if train.batching != 'natural':
    counts = np.bincount(group, minlength=num_groups)
    shares = plans.group_batch_sizes(counts, train.batch_size, train.batching)
    capacity, widths = int(shares.max()), tuple(shares.tolist())
  plan_of = lambda epoch: plans.make_plan(
    group, num_groups, train.batch_size, train.batching, train.seed, epoch
  )
  stack = lambda plan: plans.stack_plan(
    np.asarray(plan), group, num_groups, capacity
  )
  flat = contracts.Source(
    feed=feed,
    # What the feed trains: a sequence longer than L trains L positions.
    sizes=jnp.asarray(
      np.bincount(group, np.asarray(feed.weight), num_groups), jnp.float32
    ),
    batch_of=batch_of,
    plan_of=plan_of,
    widths=widths,
    stack=stack,
  )
  stacked = flat._replace(
    batch_of=jax.vmap(batch_of, in_axes=(None, 0, None)),
    plan_of=lambda epoch: stack(plan_of(epoch)),
    stack=np.asarray,
  )
  return flat._replace(by_group=lambda: stacked)


def batch_of(
  config: config_lib.Config,
  num_items: int,
  length: int | None = None,
  single: bool = False,
) -> Callable[..., types.Batch]:
  """(feed, examples, key) -> Batch.

  Args:
    config: negatives, and what an example is.
    num_items: I.
    length: L, items of a history; None is `data.history_length`.
    single: one target a history, whatever training does.
  """
  draws = batches.draws(config, num_items)
  if single:
    draws = draws._replace(positions='last', sharing=False, augment=None)
  if length:
    draws = draws._replace(history_length=length)
  return functools.partial(batches.make_batch, draws=draws)


def keys(config: config_lib.Config) -> phases.Keys:
  """Parameters and updates follow the seed; static negatives do not."""
  update_key, data_key = jax.random.split(jax.random.key(config.train.seed))
  init_key, train_key = jax.random.split(update_key)
  negatives: Callable[[int], Any]
  if config.data.negative_mode == 'static':
    # Whatever the seed of the training, like a file of them.
    negatives = lambda epoch: jax.random.key(config.data.seed)
  else:
    negatives = lambda epoch: jax.random.fold_in(data_key, epoch)
  return phases.Keys(init=init_key, train=train_key, negatives=negatives)
