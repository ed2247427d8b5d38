"""An aggregator with one group before all others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import trees
from twotsrec import types
from twotsrec.aggregators import solvers

# A constraint missed by more of its gradient's square cannot be met.
_MISSED = 1e-3


class PcdState(NamedTuple):
  """State of `pcd`.

  Attributes:
    squares: f32[G], moving averages of |g_j|^2.
    forgotten: f32[G], what the zeros of the start still weigh in them.
  """

  squares: jax.Array
  forgotten: jax.Array


def pcd(
  primary: int = 0,
  tau: float = 0.02,
  beta: float = 0.999,
  epsilon: float = 1e-8,
) -> types.GradientAggregator:
  """The first group's gradient, while all others progress (PCD).

  Priority-Constrained Descent, TMLR 2026, arXiv 2606.29521, as TorchJD has it.

  The nearest vector d to the primary gradient with <g_j, d> >= tau |g_j|^2 for
  all others, of gradients over the root of their averaged squares; then as long
  as the primary gradient is. Where no such vector exists it is that gradient,
  and where the primary group has none the update is 0.

  Args:
    primary: number of the group from 1; 0 is the last, the target of several
      behaviors.
    tau: share of the progress that a step of a group's own would give it.
    beta: of the averages.
    epsilon: added to them.
  """

  def init(num_groups, params):
    del params
    return PcdState(jnp.zeros(num_groups), jnp.ones(num_groups))

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present, place = info.counts > 0, primary - 1  # -1 is the last
    inner = trees.gram(group_grads)
    squares = jnp.where(present, jnp.diagonal(inner), 0.0)
    keep = jnp.where(present, beta, 1.0)
    state = PcdState(
      keep * state.squares + (1.0 - keep) * squares, keep * state.forgotten
    )
    average = state.squares / jnp.where(
      state.forgotten < 1, 1.0 - state.forgotten, 1.0
    )
    scales = jnp.where(present, 1.0 / jnp.sqrt(average + epsilon), 0.0)
    both = present[:, None] & present[None, :]
    matrix = jnp.where(both, inner, 0.0) * scales[:, None] * scales[None, :]
    raw = _constrained(matrix, place, tau)
    length = solvers.length(matrix, raw)
    factor = jnp.sqrt(squares[place]) / length
    weights = jnp.where(squares[place] == 0, 0.0, factor * raw * scales)
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(init, update)


def _constrained(matrix, place, tau):
  """Weights of d, 1 for the primary group; by the dual problem."""
  squares = jnp.diagonal(matrix)
  others = (squares > 0) & (jnp.arange(len(squares)) != place % len(squares))
  least = tau * squares
  zeros = jnp.zeros_like(squares)
  added = solvers.above(matrix, zeros, others, matrix[place] - least)
  alone = zeros.at[place].set(1.0)
  weights = alone + added
  missed = jnp.where(others, least - matrix @ weights, 0.0)
  feasible = jnp.all(missed <= _MISSED * squares)
  # NaN stays.
  feasible = feasible | ~jnp.all(jnp.isfinite(matrix))
  return jnp.where(feasible, weights, alone)
