"""Gradients of recurrent networks whose streams go on from step to step."""

from collections.abc import Callable

import jax

from twotsrec import types
from twotsrec.training import steps


def make_carried_gradient(
  objective: Callable[..., tuple[jax.Array, types.PyTree]],
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
) -> steps.Gradient:
  """A gradient as in `steps`; states, a tree, stand in the method's state.

  Back-propagation is cut between steps: the states a step begins with are
  numbers to it (truncated back-propagation through time).

  Args:
    objective: from `stream_objectives.make_carried` or `objectives.spans`.
    aggregator: one whose weights are known before the gradient.
    sizes: f32[G], training samples per group.
  Raises:
    types.UserError: an aggregator that needs the group gradients.
  """
  weigh = steps.weighted(aggregator, sizes, 'carrying states between steps')

  def loss(params, context, batch, state, key):
    del key  # no dropout
    values, last = objective(params, context, batch, state['carried'])
    value, *totals = weigh(values, batch)
    return value, ({**state, 'carried': last}, *totals)

  return steps.one_pass(loss)
