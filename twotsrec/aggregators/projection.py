"""Aggregators that turn gradients away from each other, one pair at a time.

Both keep, for every group, coefficients of the original gradients, so that
projections need inner products only.
"""

from collections.abc import Callable
import functools

import chex
import jax
import jax.numpy as jnp

from twotsrec import trees
from twotsrec import types
from twotsrec.aggregators import solvers


def draw_order(key: jax.Array, num_groups: int) -> jax.Array:
  """A random order of the groups for each of them, i32[G, G]."""
  keys = jax.random.split(key, num_groups)
  return jax.vmap(lambda k: jax.random.permutation(k, num_groups))(keys)


def _sweep(
  matrix: jax.Array,
  order: jax.Array,
  extra: jax.Array,
  change: Callable[..., tuple[jax.Array, jax.Array]],
) -> tuple[jax.Array, jax.Array]:
  """Meets every group i with the others j in its order.

  `change` is (v_i . g_j, |v_i|^2, |g_j|^2, extra_ij) -> (what to add of g_j,
  new extra_ij). Gives coefficients of the gradients in each v_i, and `extra`.
  """
  size = matrix.shape[0]
  chex.assert_shape([matrix, order, extra], (size, size))

  def sweep(i, row_order, row_extra):
    def body(step, carry):
      coefficients, row_extra = carry
      j = row_order[step]
      products = matrix @ coefficients
      added, renewed = change(
        products[j], coefficients @ products, matrix[j, j], row_extra[j]
      )
      # `where`, not a product: a pair that does not meet may hold anything.
      added = jnp.where(i == j, 0.0, added)
      renewed = jnp.where(i == j, row_extra[j], renewed)
      return coefficients.at[j].add(added), row_extra.at[j].set(renewed)

    first = (jnp.zeros(size).at[i].set(1.0), row_extra)
    return jax.lax.fori_loop(0, size, body, first)

  return jax.vmap(sweep)(jnp.arange(size), order, extra)


def pcgrad_coefficients(matrix: jax.Array, order: jax.Array) -> jax.Array:
  """Each gradient with its conflicts projected out (PCGrad algorithm 1).

  Args:
    matrix: f32[G, G], inner products of the gradients.
    order: i32[G, G], row i the order in which i meets the others.
  Returns:
    f32[G, G], row i the coefficients of the gradients in v_i.
  """

  def change(product, length2, other2, extra):
    del length2
    conflict = jnp.minimum(product, 0.0)
    added = -conflict / jnp.where(other2 == 0, 1.0, other2)
    return added, extra

  return _sweep(matrix, order, jnp.zeros_like(matrix), change)[0]


def pcgrad() -> types.GradientAggregator:
  """Conflicts projected out in random order, then the mean (Yu et al. 2020).

  The paper sums; the mean is the same under Adam. The first published code
  shuffles nothing and projects a gradient on itself; neither is repeated.
  """

  def coefficients(matrix, order, state):
    return pcgrad_coefficients(matrix, order), state

  return _projected(lambda num_groups, params: (), coefficients)


def gradvac_coefficients(
  matrix: jax.Array, order: jax.Array, targets: jax.Array, beta: float
) -> tuple[jax.Array, jax.Array]:
  """Each gradient turned towards the usual similarity (GradVac algorithm 1).

  As `pcgrad_coefficients`, with moving averages f32[G, G] of the cosines, of
  which a new one has the share beta; gives coefficients and new averages.
  """
  bound = 0.999  # of the averages; beyond it the factor below diverges

  def change(product, length2, other2, target):
    both = jnp.sqrt(jnp.maximum(length2, 0.0) * other2)
    cosine = jnp.clip(product / jnp.where(both == 0, 1.0, both), -1.0, 1.0)
    target = jnp.clip(target, -bound, bound)
    sine, target_sine = jnp.sqrt(1 - cosine**2), jnp.sqrt(1 - target**2)
    factor = (target * sine - cosine * target_sine) / target_sine
    ratio = both / jnp.where(other2 == 0, 1.0, other2)
    # Written so that NaN takes the branch that keeps it.
    added = jnp.where(cosine >= target, 0.0, ratio * factor)
    renewed = (1 - beta) * target + beta * cosine
    # A group that is absent or has no gradient teaches nothing.
    return added, jnp.where(both == 0, target, renewed)

  return _sweep(matrix, order, targets, change)


def gradvac(beta: float = 0.01) -> types.GradientAggregator:
  """Gradient vaccine: similarities kept at their average (Wang et al. 2021).

  The averages start at 0, so the first step is that of `pcgrad`; they move at
  every meeting, whether a gradient was turned or not, as in algorithm 1.

  Departure: the paper clips both the cosine and its average. Here the average
  alone is clipped; clipping the cosine would break "the first step is PCGrad".

  Args:
    beta: share of the new cosine in the average (paper: .01; LibMTL: .5).
  """

  init = lambda num_groups, params: jnp.zeros((num_groups, num_groups))
  return _projected(init, functools.partial(gradvac_coefficients, beta=beta))


def _projected(init, coefficients_of):
  """The mean of the v_i, by (matrix, order, state) -> (coefficients, state)."""

  def update(group_grads, info, state, *, key):
    present = info.counts > 0
    matrix = solvers.scale(trees.gram(group_grads), present)
    order = draw_order(key, matrix.shape[0])
    coefficients, state = coefficients_of(matrix, order, state)
    weights = solvers.uniform(present) @ coefficients
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(init, update)
