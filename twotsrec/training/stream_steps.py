"""Gradients of recurrent networks whose streams go on from step to step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps


def make_carried_gradient(
  objective: Callable[..., tuple[jax.Array, jax.Array]],
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
) -> Callable[..., Any]:
  """As `steps.make_gradient`; states f32[B, S] stand in the method's state.

  Back-propagation is cut between steps: the states a step begins with are
  numbers to it (truncated back-propagation through time).

  Args:
    objective: from `stream_objectives.make_carried`.
    aggregator: one whose weights are known before the gradient.
    sizes: f32[G], training samples per group.
  Raises:
    types.UserError: an aggregator that needs the group gradients.
  """
  if aggregator.weights is None:
    raise types.UserError(
      'states that go on from step to step need an aggregator whose weights'
      ' are known before the gradient; use joint, backdoor or class_balanced'
    )

  def gradient(params, context, batch, state, key):
    del key  # no dropout
    weight, counts = steps.fused_weights(batch, aggregator, sizes)

    def loss(params):
      values, last = objective(params, context, batch, state['carried'])
      total = jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
      return total, (values, last)

    grads, (values, last) = jax.grad(loss, has_aux=True)(params)
    sums, _ = objectives.group_totals(values, batch, sizes.shape[0])
    return grads, {**state, 'carried': last}, sums, counts

  return gradient
