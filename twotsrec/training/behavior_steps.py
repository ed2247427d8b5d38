"""The gradient of a multi-behavior model, as `steps.make_step` wants it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.training import steps

AGGREGATES = ('loss', 'behaviors', 'groups')
# Folded in for dropout, far from the small numbers that aggregators fold in.
_DROPOUT = 1 << 30


class Parts(NamedTuple):
  """Losses of a batch, for its gradient and for a look after the update.

  Attributes:
    forward: (params, context, batch, key) -> (Encoded, {task: losses f32[P]}).
    by_behavior: (losses, batch) -> summed losses and pairs, f32[K] each; 0 of
      a task that is not trained.
    by_part: (losses, batch) -> mean losses and pairs of what is aggregated
      over, f32[K] or f32[G] each.
  """

  forward: Callable[..., Any]
  by_behavior: Callable[..., tuple[jax.Array, jax.Array]]
  by_part: Callable[..., tuple[jax.Array, jax.Array]]


def make_gradient(
  model: multi_behavior.MultiBehavior,
  config: config_lib.Config,
  num_users: int,
  num_behaviors: int,
  unique: Sequence[tuple[int, int]] = (),
  aggregator: types.GradientAggregator | None = None,
  sizes: jax.Array | None = None,
  form: str = 'auto',
) -> Callable[..., Any]:
  """(params, context, batch, state, key) -> (grads, state, losses, counts).

  Losses and counts are summed BPR losses and pairs, f32[K] each, whatever is
  aggregated over.

  Args:
    model: scores of all behaviors.
    config: the objective, and the head where it has a loss of its own.
    num_users: U.
    num_behaviors: K.
    unique: (task, source) of the batch's `unique` pairs.
    aggregator: of the gradients of the behaviors' losses, K lambda_k times
      their means, or of the activeness groups' weighted ones; None sums them
      as COPF eq. 16 does.
    sizes: f32[K], training pairs of the behaviors, or f32[G], those of the
      groups; with an aggregator only.
    form: of `steps.resolve_form`: an aggregator whose weights are known before
      the gradient needs one backward pass.
  """
  parts = _make_parts(model, config, num_behaviors, sizes)
  rest = _make_rest(config, num_users, unique)
  scale = config.behavior.bpr_scale
  lambdas = jnp.asarray(
    behavior_objectives.task_weights(config.behavior, num_behaviors)
  )

  def summed(values, batch):
    """COPF eq. 16."""
    reduced = _reduce(*parts.by_behavior(values, batch), config.behavior)
    return jnp.sum(lambdas * reduced)

  if aggregator is None:
    return _one_pass(parts, rest, scale, summed)
  if steps.resolve_form(aggregator, form) == 'fused':
    weighted = _weighted(parts, aggregator.weights, sizes)
    return _one_pass(parts, rest, scale, weighted)
  return _explicit(parts, rest, scale, aggregator, sizes)


def _weighted(parts, weigh, sizes):
  """Losses of the parts, weighed before any gradient."""

  def weighted(values, batch):
    means, present = parts.by_part(values, batch)
    return jnp.sum(weigh(types.GroupInfo(sizes, present)) * means)

  return weighted


def _one_pass(parts, rest, scale, ranking):
  """Gradient of one loss; `ranking` makes one of the losses of all tasks."""

  def gradient(params, context, batch, state, key):
    def loss(params):
      encoded, values = parts.forward(params, context, batch, key)
      total = scale * ranking(values, batch) + rest(params, encoded, batch)
      return total, parts.by_behavior(values, batch)

    grads, totals = jax.grad(loss, has_aux=True)(params)
    return grads, state, *totals

  return gradient


def _explicit(parts, rest, scale, aggregator, sizes):
  """A gradient per behavior or group from one forward pass, aggregated."""

  def gradient(params, context, batch, state, key):
    def losses(params):
      encoded, values = parts.forward(params, context, batch, key)
      means, present = parts.by_part(values, batch)
      extra = rest(params, encoded, batch)
      return (means, extra), (parts.by_behavior(values, batch), present)

    (means, _), pull, (totals, present) = jax.vjp(losses, params, has_aux=True)
    number = sizes.shape[0]
    # One after the other: G times the representations would not fit a cache.
    group_grads = jax.lax.map(
      lambda row: pull((row, jnp.zeros(())))[0], jnp.eye(number)
    )
    (extra,) = pull((jnp.zeros(number), jnp.ones(())))
    info = types.GroupInfo(sizes, present, means)
    grads, state, _ = aggregator.update(group_grads, info, state, key=key)
    grads = jax.tree.map(lambda g, e: scale * g + e, grads, extra)
    return grads, state, *totals

  return gradient


def make_post(
  model: multi_behavior.MultiBehavior,
  config: config_lib.Config,
  num_behaviors: int,
  aggregator: types.GradientAggregator | None,
  sizes: jax.Array | None,
) -> Callable[..., Any] | None:
  """(params, context, batch, state, key) -> aggregator state.

  As `steps.make_post`: the losses of the same batch after the update, with the
  same dropout, for an aggregator that asks for them; None for all others.

  Args:
    model: scores of all behaviors.
    config: the objective.
    num_behaviors: K.
    aggregator: as in `make_gradient`.
    sizes: the same.
  """
  if aggregator is None or aggregator.post is None:
    return None
  parts = _make_parts(model, config, num_behaviors, sizes)
  return _post(parts, aggregator.post, sizes)


def _post(parts, learn, sizes):
  """Hands the losses of the parts to an aggregator."""

  def post(params, context, batch, state, key):
    _, values = parts.forward(params, context, batch, key)
    means, present = parts.by_part(values, batch)
    return learn(types.GroupInfo(sizes, present, means), state)

  return post


def _make_parts(model, config, num_behaviors, sizes):
  options = config.behavior
  lambdas = behavior_objectives.task_weights(options, num_behaviors)
  tasks = _tasks(options, num_behaviors)

  def forward(params, context, batch, key):
    # Without a key, as in evaluation, nothing is dropped.
    own_key = None if key is None else jax.random.fold_in(key, _DROPOUT)
    encoded = model.encode(params, context, tasks, key=own_key)
    values = {
      k: behavior_objectives.pair_losses(model, params, encoded, batch, k)
      for k in tasks
    }
    return encoded, values

  def by_behavior(values, batch):
    sums = counts = jnp.zeros(num_behaviors)
    for k, value in values.items():
      sums = sums.at[k].add(jnp.sum(value))
      counts = counts.at[k].add(jnp.sum(batch.pairs[k].weight))
    return sums, counts

  def by_group(values, batch):
    """Eq. 16 over the pairs of each activeness group, and its pairs."""
    number = sizes.shape[0]
    means = present = jnp.zeros(number)
    for k, value in values.items():
      pairs = batch.pairs[k]
      member = jax.nn.one_hot(batch.group[pairs.slot], number)
      count = pairs.weight @ member
      means += lambdas[k] * _reduce(value @ member, count, options)
      present += count
    return means, present

  def by_part(values, batch):
    if options.aggregate == 'groups':
      return by_group(values, batch)
    sums, counts = by_behavior(values, batch)
    # K lambda_k is 1 where all weigh the same: what is left to the aggregator.
    relative = num_behaviors * jnp.asarray(lambdas)
    return relative * _reduce(sums, counts, options), counts

  return Parts(forward, by_behavior, by_part)


def _reduce(sums, counts, options):
  """Means, or sums where these are wanted."""
  if options.bpr_reduction == 'sum':
    return sums
  return sums / jnp.maximum(counts, 1.0)


def _tasks(options, num_behaviors):
  """Tasks with a loss; the table of another is not needed."""
  weights = behavior_objectives.task_weights(options, num_behaviors)
  return tuple(k for k, weight in enumerate(weights) if weight)


def _make_rest(config, num_users, unique):
  """All of eq. 17 but the ranking losses."""
  options, head = config.behavior, config.head

  def rest(params, encoded, batch):
    total = jnp.zeros(())
    if options.contrastive:
      total += options.contrastive * behavior_objectives.alignment(
        encoded, batch, num_users, options
      )
    if options.l2:
      total += options.l2 * behavior_objectives.l2_penalty(
        params, options.l2_scope
      )
    if unique:
      weights = behavior_objectives.task_weights(options, len(batch.pairs))
      values = behavior_objectives.unique_losses(
        encoded, batch, unique, num_users, head
      )
      for (task, _), value in zip(unique, values, strict=True):
        weight = head.unique_weight * options.bpr_scale * weights[task]
        total += weight * value
    return total

  return rest
