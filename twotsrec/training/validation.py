"""Loss on held-out items, for early stopping (PIN sec. 4.1.4)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import feeds
from twotsrec.objectives import sampled as objectives


def make_loss(
  objective: objectives.Objective,
  batch_of: Callable[..., types.Batch],
  num_groups: int,
) -> Callable[..., Any]:
  """Compiles (params, context, feed, plan, key) -> Totals-like sums.

  Args:
    objective: losses per example; called without a key, so without dropout.
    batch_of: (feed, examples, key) -> Batch.
    num_groups: G.
  Returns:
    Function giving (f32[G] summed losses, f32[G] summed weights) over all
    rows of the plan.
  """

  @jax.jit
  def loss(params, context, feed, plan, key):
    def add(sums, examples):
      batch = batch_of(feed, examples, key)
      values = objective(params, context, batch)
      totals = objectives.group_totals(values, batch, num_groups)
      return jax.tree.map(jnp.add, sums, totals), None

    zeros = jnp.zeros(num_groups, jnp.float32)
    return jax.lax.scan(add, (zeros, zeros), plan)[0]

  return loss


def make_evaluate(
  loss: Callable[..., Any],
  context: Any,
  feed: feeds.Feed,
  batch_size: int,
  key: jax.Array,
) -> Callable[..., dict[str, Any]]:
  """params -> {'loss': float, 'loss_by_group': list}, on fixed negatives.

  A list of params, one per group, is judged each on its own group. A group
  without held-out items has None.
  """
  count = feed.target.shape[0]
  plan = np.full(-(-count // batch_size) * batch_size, -1, np.int32)
  plan[:count] = np.arange(count)
  plan = jnp.asarray(plan.reshape(-1, batch_size))

  def evaluate(params):
    several = params if isinstance(params, list) else [params]
    totals = [loss(one, context, feed, plan, key) for one in several]
    sums, weights = (np.stack(part) for part in zip(*jax.device_get(totals)))
    if len(several) > 1:
      sums, weights = np.diagonal(sums), np.diagonal(weights)
    else:
      sums, weights = sums[0], weights[0]
    return {
      'loss': float(sums.sum() / weights.sum()),
      'loss_by_group': [
        float(total / weight) if weight else None
        for total, weight in zip(sums, weights)
      ],
    }

  return evaluate
