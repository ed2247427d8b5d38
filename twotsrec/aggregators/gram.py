"""Aggregators that see the gradients through their inner products alone.

The update is sum_j a_j g_j with weights computed from the Gram matrix of the
groups present, so that parameters are never concatenated. The matrix is scaled
by n / trace first, which makes the methods homogeneous: c times the gradients
give c times the update.

Departure: Nash-MTL and FairGrad take the Gram matrix as it is. Here both see it
over its mean diagonal, so that one group alone gets its own gradient, and the
update of Nash-MTL has the length min(1, sqrt(sum_j |g_j|^2)) where the
published one always has 1; `nash('published')` is the latter.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from twotsrec import trees
from twotsrec import types
from twotsrec.aggregators import axes
from twotsrec.aggregators import linear
from twotsrec.aggregators import solvers


def _from_gram(
  weights_of: Callable[..., jax.Array],
  max_norm: float = 0.0,
  published: bool = False,
) -> types.GradientAggregator:
  """The aggregator with weights (matrix, present, info) -> f32[G].

  `published`: they are inverse to lengths, so those of the matrix as it is
  follow from those of the scaled one.
  """

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present = info.counts > 0
    gram = trees.gram(group_grads)
    matrix = solvers.scale(gram, present)
    group_weights = weights_of(matrix, present, info)
    if published:
      trace = jnp.sum(jnp.where(present, jnp.diagonal(gram), 0.0))
      root = jnp.sqrt(jnp.where(trace == 0, 1.0, trace))
      group_weights = group_weights * (jnp.sqrt(jnp.sum(present)) / root)
    grads = trees.combine(group_weights, group_grads)
    if max_norm > 0:
      squares = [jnp.sum(g**2) for g in jax.tree.leaves(grads)]
      norm = jnp.sqrt(sum(squares))
      factor = max_norm / jnp.maximum(norm, max_norm)
      grads = jax.tree.map(lambda g: factor * g, grads)
    return grads, state, {'weights': group_weights}

  return types.GradientAggregator(lambda num_groups, params: (), update)


def mgda(normalization: str = 'none') -> types.GradientAggregator:
  """The shortest convex combination (Sener and Koltun 2018, eq. 3).

  It opposes no group, and vanishes only where no common descent exists.

  Args:
    normalization: what gradients are divided by before the weights are found:
      none, l2 (|g_j|), loss (L_j) or loss+ (L_j |g_j|). As in the authors'
      code the weights then apply to the gradients as they were.
  """

  def weights_of(matrix, present, info):
    scale = jnp.ones(matrix.shape[0])
    if normalization in ('l2', 'loss+'):
      scale = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0.0))
    if normalization in ('loss', 'loss+'):
      scale = scale * info.losses
    scale = jnp.where(scale == 0, 1.0, scale)
    normalized = matrix / scale[:, None] / scale[None, :]
    return solvers.min_norm(solvers.scale(normalized, present), present)

  return _from_gram(weights_of)


def cagrad(c: float = 0.5) -> types.GradientAggregator:
  """The best worst improvement in a ball around the mean (Liu et al. 2021).

  (g_0 + c |g_0| / |g_w| g_w) / (1 + c^2) with w from eq. 5. c = 0 is the mean
  gradient, c to infinity MGDA's direction. Gradients that agree are scaled by
  (1 + c) / (1 + c^2), also when there is one group only.
  """

  def weights_of(matrix, present, info):
    del info
    mean = solvers.uniform(present)
    weights = solvers.conflict_averse(matrix, present, c)
    # The same lengths as where the weights come from.
    ratio = solvers.length(matrix, mean) / solvers.length(matrix, weights)
    return (mean + c * ratio * weights) / (1.0 + c**2)

  return _from_gram(weights_of)


def imtl_g() -> types.GradientAggregator:
  """Equal projections on every unit gradient (Liu et al. 2021, IMTL eq. 6).

  Weights sum to one and may be negative; where no such weights exist it is the
  mean.
  """
  return _from_gram(lambda matrix, present, info: impartial(matrix, present))


def impartial(matrix: jax.Array, present: jax.Array) -> jax.Array:
  """The weights of `imtl_g`, f32[G], of a matrix as in `solvers`."""
  raw = solvers.equal_projections(matrix, present)
  total, size = jnp.sum(raw), jnp.sum(jnp.abs(raw))
  degenerate = jnp.abs(total) <= 1e-6 * size
  return jnp.where(
    degenerate,
    solvers.uniform(present),
    raw / jnp.where(degenerate, 1.0, total),
  )


def nash(
  max_norm: float = 1.0, scale: str = 'gradients'
) -> types.GradientAggregator:
  """The bargaining solution M a = 1 / a (Navon et al. 2022).

  Args:
    max_norm: longer updates are shortened to it, as published; 0 never.
    scale: of M, and so of the update before it is shortened. 'gradients': it is
      sqrt(sum_j |g_j|^2) long and falls with the gradients. 'published': M is
      the Gram matrix as it is, and the update sqrt(G) long whatever the
      gradients are, hence always max_norm where that is at most 1.
  """
  weights_of = lambda matrix, present, _: solvers.equal_utility(matrix, present)
  return _from_gram(weights_of, max_norm, scale == 'published')


def fairgrad(alpha: float = 1.0) -> types.GradientAggregator:
  """Alpha-fair utilities, M a = a^(-1 / alpha) (Ban and Ji 2024).

  Args:
    alpha: 1 is proportional fairness, the solution of `nash`; larger values
      approach the maximum of the least improvement.
  """
  weights_of = lambda matrix, present, _: solvers.equal_utility(
    matrix, present, alpha
  )
  return _from_gram(weights_of)


def aligned(
  tau: float = 0.0, prior: Sequence[float] = (), scale: str = 'min'
) -> types.GradientAggregator:
  """Gradients made orthogonal and equally long (Senushkin et al. 2023).

  a = s V diag(l^-1/2) V' w_0 over the eigenvalues l of M that are not
  numerically zero, as many as those of the cosines.

  The preference w_0 of the groups is as the prior of `linear.backdoor`.

  Args:
    tau: of the preference.
    prior: of the preference.
    scale: the common length s, a root of an eigenvalue: 'min' the least, as
      published, 'median' the (lower) median, 'rmse' that of their mean, as in
      the authors' code.
  """
  preference = linear.backdoor_weights(tau, prior)

  def weights_of(matrix, present, info):
    vectors, lengths, counts = axes.principal(matrix, present)
    least = _common_length(lengths, counts, scale)
    inverse = jnp.where(counts, least / jnp.where(counts, lengths, 1.0), 0.0)
    return (inverse * (vectors @ preference(info))) @ vectors

  return _from_gram(weights_of)


def _common_length(lengths, counts, scale):
  """One length for all axes that count, as `aligned` says."""
  counted, number = jnp.where(counts, lengths, jnp.inf), jnp.sum(counts)
  if scale == 'rmse':
    squares = jnp.sum(jnp.where(counts, lengths**2, 0.0))
    return jnp.sqrt(squares / jnp.maximum(number, 1))
  if scale == 'median':
    return jnp.sort(counted)[jnp.maximum(number - 1, 0) // 2]
  return jnp.min(counted)


def config(
  tau: float = 0.0, prior: Sequence[float] = ()
) -> types.GradientAggregator:
  """A direction free of conflict (Liu et al. 2024, ConFIG eq. 2).

  It has the same cosine with every gradient, and is as long as their parts
  along it together. The preference of the groups, as the prior of
  `linear.backdoor`, is what the cosines are proportional to.
  """
  preference = linear.backdoor_weights(tau, prior)
  weights_of = lambda matrix, present, info: solvers.conflict_free(
    matrix, present, preference(info)
  )
  return _from_gram(weights_of)


def krum(byzantine: int = 1, selected: int = 1) -> types.GradientAggregator:
  """The gradients nearest to the others (Blanchard et al. 2017, Multi-Krum).

  The mean of those with the least sum of squared distances to their n - f - 2
  nearest of the n groups present. Equal sums, as two have that are nearest to
  each other, are told apart by the distances to all.

  Args:
    byzantine: f, how many gradients may be anything.
    selected: how many are averaged; at most all that are present.
  """

  def weights_of(matrix, present, info):
    del info
    squares, place = jnp.diagonal(matrix), jnp.arange(matrix.shape[0])
    # Both triangles alike, so that equal distances are equal bits.
    distances = squares[:, None] + squares - (matrix + matrix.T)
    others = present & (place[:, None] != place)
    distances = jnp.where(others, jnp.maximum(distances, 0.0), jnp.inf)
    nearest = jnp.maximum(jnp.sum(present) - byzantine - 2, 1)
    near = jnp.where(place < nearest, jnp.sort(distances, axis=1), 0.0)
    total = jnp.sum(jnp.where(others, distances, 0.0), axis=1)
    order = jnp.lexsort((total, jnp.sum(near, axis=1), ~present))
    weights = solvers.uniform(present & (jnp.argsort(order) < selected))
    # Comparisons hide NaN, which has to reach the update.
    finite = jnp.all(jnp.isfinite(matrix))
    return jnp.where(finite, weights, jnp.nan)

  return _from_gram(weights_of)


def upgrad(
  tau: float = 0.0, prior: Sequence[float] = ()
) -> types.GradientAggregator:
  """The mean of gradients freed of conflict (Quinton and Rey 2024, UPGrad).

  The preference of the groups is as the prior of `linear.backdoor`.
  """
  preference = linear.backdoor_weights(tau, prior)
  weights_of = lambda matrix, present, info: solvers.dual_cone(
    matrix, present, preference(info)
  )
  return _from_gram(weights_of)


def dualproj(
  tau: float = 0.0, prior: Sequence[float] = ()
) -> types.GradientAggregator:
  """The mean, moved onto the dual cone (Lopez-Paz and Ranzato 2017, eq. 11).

  The vector nearest to the mean that opposes no group; `upgrad` moves every
  gradient and takes the mean then. The preference of the groups is as the prior
  of `linear.backdoor`.
  """
  preference = linear.backdoor_weights(tau, prior)
  weights_of = lambda matrix, present, info: solvers.projected_mean(
    matrix, present, preference(info)
  )
  return _from_gram(weights_of)
