"""Gradients of models of several behaviors (COPF sec. 4.4)."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.objectives import auxiliaries
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.training import steps

# Folded in for dropout, far from the small numbers that aggregators fold in.
_DROPOUT = 1 << 30


def make_gradient(
  model: multi_behavior.MultiBehavior,
  config: config_lib.Config,
  num_users: int,
  sizes: jax.Array,
  aggregator: types.GradientAggregator | None = None,
  unique: Sequence[tuple[int, int]] = (),
) -> steps.Gradient:
  """A gradient as in `steps`, of COPF eq. 17.

  Losses are summed over pairs and counts are pairs, f32[K] each, whatever is
  aggregated over. An aggregator whose weights are known before the gradient
  needs one backward pass, unless `aggregator.form` is explicit.

  Args:
    model: scores of all behaviors.
    config: the objective, and the head where it has a loss of its own.
    num_users: U.
    sizes: f32[K], training pairs of the behaviors, or f32[G], those of the
      groups; an aggregator alone reads them.
    aggregator: of the gradients of the behaviors' losses, K lambda_k times
      their means, or of the activeness groups' weighted ones; None sums them
      as COPF eq. 16 does.
    unique: (task, source) of the batch's `unique` pairs.
  """
  options, forward = config.behavior, make_forward(model, config.behavior)
  rest = make_rest(config, num_users, unique)
  weigh = None
  if aggregator is not None:
    form = steps.resolve_form(aggregator, config.aggregator.form)
    if form == 'explicit':
      return _explicit(options, forward, rest, aggregator, sizes)
    weigh = aggregator.weights

  def ranking(values, batch):
    if weigh is None:  # COPF eq. 16
      reduced = _reduce(*by_behavior(values, batch), options)
      return jnp.sum(_lambdas(options, batch) * reduced)
    means, present = _by_part(values, batch, options, sizes)
    return jnp.sum(weigh(types.GroupInfo(sizes, present)) * means)

  def loss(params, context, batch, state, key):
    encoded, values = forward(params, context, batch, key)
    ranked = options.bpr_scale * ranking(values, batch)
    total = ranked + rest(params, encoded, batch)
    return total, (state, *by_behavior(values, batch))

  return steps.one_pass(loss)


def _explicit(options, forward, rest, aggregator, sizes):
  """A gradient per behavior or group from one forward pass, aggregated."""
  number = sizes.shape[0]

  def gradient(params, context, batch, state, key):
    def losses(params):
      encoded, values = forward(params, context, batch, key)
      means, present = _by_part(values, batch, options, sizes)
      extra = rest(params, encoded, batch)
      return (means, extra), (by_behavior(values, batch), present)

    (means, _), pull, (totals, present) = jax.vjp(losses, params, has_aux=True)
    # One after the other: G times the representations would not fit a cache.
    group_grads = jax.lax.map(
      lambda row: pull((row, jnp.zeros(())))[0], jnp.eye(number)
    )
    (extra,) = pull((jnp.zeros(number), jnp.ones(())))
    info = types.GroupInfo(sizes, present, means)
    grads, state, _ = aggregator.update(group_grads, info, state, key=key)
    grads = jax.tree.map(lambda g, e: options.bpr_scale * g + e, grads, extra)
    return grads, state, *totals

  return gradient


def make_post(
  model: multi_behavior.MultiBehavior,
  config: config_lib.Config,
  sizes: jax.Array,
  aggregator: types.GradientAggregator | None,
) -> Callable[..., Any] | None:
  """`steps.make_post` for the losses that `make_gradient` aggregates."""
  if aggregator is None:
    return None
  forward = make_forward(model, config.behavior)

  def losses(params, context, batch, key):
    _, values = forward(params, context, batch, key)
    return _by_part(values, batch, config.behavior, sizes)

  return steps.make_post(losses, aggregator, sizes)


def make_forward(
  model: multi_behavior.MultiBehavior, options: config_lib.BehaviorConfig
) -> Callable[..., Any]:
  """(params, context, batch, key) -> (Encoded, {task: losses f32[P]})."""

  def forward(params, context, batch, key):
    weights = behavior_objectives.task_weights(options, len(batch.pairs))
    # The table of a task without a loss is not needed.
    tasks = tuple(k for k, weight in enumerate(weights) if weight)
    # Without a key, as in evaluation, nothing is dropped.
    own_key = None if key is None else jax.random.fold_in(key, _DROPOUT)
    users = jnp.maximum(batch.users, 0)
    encoded = model.encode(params, context, tasks, users=users, key=own_key)
    losses = functools.partial(
      behavior_objectives.pair_losses, model, params, encoded, batch
    )
    return encoded, {k: losses(k, options.loss) for k in tasks}

  return forward


def by_behavior(
  values: dict[int, jax.Array], batch: behavior_objectives.Batch
) -> tuple[jax.Array, jax.Array]:
  """Summed losses and pairs, f32[K] each; 0 of a task that is not trained."""
  sums = counts = jnp.zeros(len(batch.pairs))
  for k, value in values.items():
    sums = sums.at[k].add(jnp.sum(value))
    counts = counts.at[k].add(jnp.sum(batch.pairs[k].weight))
  return sums, counts


def _by_part(values, batch, options, sizes):
  """Mean losses and pairs of what is aggregated over, f32[K] or f32[G]."""
  lambdas = _lambdas(options, batch)
  if options.aggregate != 'groups':
    sums, counts = by_behavior(values, batch)
    # K lambda_k is 1 where all weigh the same: what is left to the aggregator.
    return len(lambdas) * lambdas * _reduce(sums, counts, options), counts
  means = present = jnp.zeros(len(sizes))
  for k, value in values.items():  # eq. 16 over the pairs of each group
    pairs = batch.pairs[k]
    member = jax.nn.one_hot(batch.group[pairs.slot], len(sizes))
    count = pairs.weight @ member
    means += lambdas[k] * _reduce(value @ member, count, options)
    present += count
  return means, present


def _lambdas(options, batch):
  weights = behavior_objectives.task_weights(options, len(batch.pairs))
  return jnp.asarray(weights)


def _reduce(sums, counts, options):
  """Means, or sums where these are wanted."""
  if options.bpr_reduction == 'sum':
    return sums
  return sums / jnp.maximum(counts, 1.0)


def make_rest(
  config: config_lib.Config, num_users: int, unique: Sequence[tuple[int, int]]
) -> Callable[..., jax.Array]:
  """All of eq. 17 but the ranking losses.

  (params, Encoded, batch) -> f32[].
  """
  options = config.behavior
  losses = auxiliaries.make(config, num_users, unique)

  def rest(params, encoded, batch):
    total = jnp.zeros(())
    for loss in losses.values():
      total += loss(encoded, batch)
    if options.l2:
      total += options.l2 * behavior_objectives.penalty(params, batch, options)
    return total

  return rest
