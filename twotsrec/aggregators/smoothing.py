"""Weights that change slowly, around any aggregator that has weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import trees
from twotsrec import types


class SmoothState(NamedTuple):
  """State of `smoothed`.

  Attributes:
    inner: of the aggregator.
    weights: f32[G], moving averages.
    seen: bool[G], whether a group was in a batch before.
  """

  inner: types.PyTree
  weights: jax.Array
  seen: jax.Array


def smoothed(
  aggregator: types.GradientAggregator, alpha: float
) -> types.GradientAggregator:
  """Moving averages of the weights (Zhou et al. 2022, CR-MOGM).

  w <- alpha w + (1 - alpha) w_new, from the first ones. An absent group keeps
  its average and takes no part.

  Args:
    aggregator: whose update is the sum of the group gradients with the
      `weights` of its log.
    alpha: share of the past. The paper lets it grow as learning rates fall.
  """

  def init(num_groups, params):
    inner = aggregator.init(num_groups, params)
    return SmoothState(
      inner, jnp.zeros(num_groups), jnp.zeros(num_groups, bool)
    )

  def update(group_grads, info, state, *, key=None):
    _, inner, log = aggregator.update(group_grads, info, state.inner, key=key)
    present = info.counts > 0
    blended = alpha * state.weights + (1.0 - alpha) * log['weights']
    fresh = jnp.where(state.seen, blended, log['weights'])
    kept = jnp.where(present, fresh, state.weights)
    weights = jnp.where(present, kept, 0.0)
    state = SmoothState(inner, kept, state.seen | present)
    grads = trees.combine(weights, group_grads)
    return grads, state, {**log, 'weights': weights}

  post = None
  if (learn := aggregator.post) is not None:
    post = lambda info, state: state._replace(inner=learn(info, state.inner))
  return types.GradientAggregator(init, update, post=post)
