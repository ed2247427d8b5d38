"""Small optimization problems over one weight per group, in float32.

Every matrix is f32[G, G], positive semi-definite, and scaled to a mean
diagonal of one; rows and columns of groups that do not take part are zero.
Loops end early when nothing moves any more, and at once on NaN, which the
caller's weighted sum then carries into the update.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# Added to correlation matrices: 1e-8 would vanish beside 1 in float32.
_RIDGE = 1e-6

# The least share of sum_j w_j |g_j| that tells |g_w| from 0: rounding the
# entries of a matrix moves |g_w|^2 by eps of the square of that sum.
_LEAST_SHARE = float(np.finfo(np.float32).eps) ** 0.5

# Groups for which all subsets can be tried; 2^8 systems of 8 unknowns.
_MAX_ENUMERATED = 8


def scale(matrix: jax.Array, present: jax.Array) -> jax.Array:
  """A Gram matrix over the groups present, scaled to a mean diagonal of one.

  Args:
    matrix: f32[G, G].
    present: bool[G].
  """
  kept = jnp.where(present[:, None] & present[None, :], matrix, 0.0)
  trace = jnp.trace(kept)
  # Divided before it is multiplied: a small trace would overflow the quotient.
  kept = kept / jnp.where(trace > 0, trace, 1.0)
  return kept * jnp.sum(present)


def uniform(present: jax.Array) -> jax.Array:
  """Equal weights on the groups present, f32[G]."""
  return present / jnp.maximum(jnp.sum(present), 1.0)


def softmax(logits: jax.Array, present: jax.Array) -> jax.Array:
  """Softmax over the groups present, f32[G]; 0 if there is none."""
  kept = jnp.where(present, logits, -jnp.inf)
  top = jnp.max(kept)
  powers = jnp.exp(kept - jnp.where(jnp.isneginf(top), 0.0, top))
  total = jnp.sum(powers)
  return powers / jnp.where(total == 0, 1.0, total)


def length(matrix: jax.Array, weights: jax.Array) -> jax.Array:
  """|sum_j w_j g_j| of weights w >= 0, f32[].

  Not below `_LEAST_SHARE` of sum_j w_j |g_j|: so much rounding leaves where
  gradients cancel.
  """
  square = jnp.dot(weights, matrix @ weights)
  norms = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0.0))
  least = jnp.maximum(_LEAST_SHARE * jnp.dot(weights, norms), 1e-10)
  return jnp.sqrt(jnp.maximum(square, least**2))


def project_simplex(
  values: jax.Array, present: jax.Array, costs: jax.Array | None = None
) -> jax.Array:
  """The nearest x >= 0 with sum_j c_j x_j = 1, f32[G].

  max(v - theta c, 0) with theta the largest (sum_S c v - 1) / sum_S c^2 over
  sets S of leading v / c: for any other set the same quotient is not larger, so
  neither a sort nor a search is needed.

  Args:
    values: f32[G].
    present: bool[G]; the others get 0.
    costs: c, positive f32[G]; None is 1, the probability simplex.
  """
  costs = jnp.ones_like(values) if costs is None else costs
  ratios = values / costs
  leading = (ratios[None, :] >= ratios[:, None]) & present[None, :]
  sums = jnp.sum(jnp.where(leading, costs * values, 0.0), axis=1)
  squares = jnp.sum(jnp.where(leading, costs**2, 0.0), axis=1)
  thetas = (sums - 1.0) / jnp.where(squares > 0, squares, 1.0)
  theta = jnp.max(jnp.where(present, thetas, -jnp.inf))
  return jnp.where(present, jnp.maximum(values - theta * costs, 0.0), 0.0)


def minimize_quadratic(
  matrix: jax.Array,
  linear: jax.Array,
  project: Callable[[jax.Array], jax.Array],
  start: jax.Array,
  num_steps: int = 300,
  tolerance: float = 1e-7,
) -> jax.Array:
  """Minimizes x'Mx / 2 + q'x over a convex set, f32[G].

  Accelerated projected gradient (Beck and Teboulle 2009, FISTA) with step
  1 / lambda_max, restarted where momentum points uphill.

  Args:
    matrix: M.
    linear: q, f32[G].
    project: f32[G] -> the nearest point of the set.
    start: a point of the set.
    num_steps: at most so many.
    tolerance: ends when no weight moves by more of the largest one.
  """
  largest = jnp.linalg.eigvalsh(matrix)[-1]
  step = jnp.where(largest > 0, 1.0 / jnp.where(largest > 0, largest, 1.0), 0.0)

  def body(carry):
    count, x, y, momentum, _ = carry
    moved = project(y - step * (matrix @ y + linear))
    uphill = jnp.dot(y - moved, moved - x) > 0
    momentum = jnp.where(uphill, 1.0, momentum)
    following = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2))
    ahead = moved + (momentum - 1.0) / following * (moved - x)
    moves = jnp.max(jnp.abs(moved - y)) / jnp.max(jnp.abs(moved), initial=1e-30)
    return count + 1, moved, ahead, following, moves

  def going(carry):
    return (carry[0] < num_steps) & (carry[-1] > tolerance)

  first = (0, start, start, jnp.float32(1.0), jnp.float32(jnp.inf))
  return jax.lax.while_loop(going, body, first)[1]


def on_simplex(
  matrix: jax.Array, linear: jax.Array, present: jax.Array
) -> jax.Array:
  """Minimizes x'Mx / 2 + q'x over the probability simplex, f32[G].

  Up to `_MAX_ENUMERATED` groups every support is tried: on the right one the
  solution is that of a linear system, whatever the conditioning. FISTA does
  the rest, in |g| x: a step fits all groups, however long their gradients.

  Args:
    matrix: M.
    linear: q, f32[G].
    present: bool[G]; the others get 0.
  """
  if matrix.shape[0] > _MAX_ENUMERATED:
    correlations, norms, _ = cosines(matrix, present)
    start = norms * uniform(present)
    project = lambda b: project_simplex(b, present, 1.0 / norms)
    scaled = linear / norms
    return minimize_quadratic(correlations, scaled, project, start) / norms

  def on_support(support):
    inside = (support & present).astype(matrix.dtype)
    sides = jnp.stack([inside, -linear * inside], axis=1)
    toward_one, free = jnp.linalg.solve(_restrict(matrix, inside), sides).T
    total = jnp.dot(inside, toward_one)
    shift = (1.0 - jnp.dot(inside, free)) / jnp.where(total > 0, total, 1.0)
    return project_simplex(inside * (free + shift * toward_one), present)

  return _best(matrix, linear, jax.vmap(on_support)(_supports(matrix)))


def above(
  matrix: jax.Array,
  lower: jax.Array,
  kept: jax.Array,
  linear: jax.Array | None = None,
) -> jax.Array:
  """Minimizes x'Mx / 2 + q'x over x >= lower, f32[G]; as `on_simplex`.

  Args:
    matrix: M.
    lower: f32[G].
    kept: bool[G]; the others get 0.
    linear: q, f32[G]; None is 0.
  """
  project = lambda x: jnp.where(kept, jnp.maximum(x, lower), 0.0)
  zeros = jnp.zeros(matrix.shape[0])
  if matrix.shape[0] > _MAX_ENUMERATED:
    tilt = zeros if linear is None else linear
    return minimize_quadratic(matrix, tilt, project, lower, 3000)
  slope = matrix @ lower
  slope = slope if linear is None else slope + linear

  def on_support(support):
    inside = (support & kept).astype(matrix.dtype)
    rise = jnp.linalg.solve(_restrict(matrix, inside), -slope * inside)
    return project(lower + inside * rise)

  points = jax.vmap(on_support)(_supports(matrix))
  return _best(matrix, zeros if linear is None else linear, points)


def _supports(matrix):
  """All subsets of the groups, bool[2^G, G]."""
  size = matrix.shape[0]
  return (np.arange(2**size)[:, None] >> np.arange(size)) % 2 == 1


def _restrict(matrix, inside):
  """M on the groups inside, the identity elsewhere; just regular."""
  ridge = _RIDGE * jnp.diagonal(matrix) + 1e-12
  kept = matrix * inside[:, None] * inside[None, :]
  return kept + jnp.diag(jnp.where(inside > 0, ridge, 1.0))


def _best(matrix, linear, points):
  """The point of least x'Mx / 2 + q'x; all of them can be had. NaN stays."""
  products = jnp.einsum('pi,ij,pj->p', points, matrix, points)
  values = 0.5 * products + points @ linear
  finite = jnp.all(jnp.isfinite(points), axis=1)
  best = points[jnp.argmin(jnp.where(finite, values, jnp.inf))]
  # Only a matrix with NaN leaves no finite point.
  return jnp.where(jnp.any(finite), best, jnp.nan)


def min_norm(matrix: jax.Array, present: jax.Array) -> jax.Array:
  """Simplex weights of the shortest combination, min a'Ma (MGDA)."""
  return on_simplex(matrix, jnp.zeros(matrix.shape[0]), present)


def conflict_averse(
  matrix: jax.Array, present: jax.Array, c: float
) -> jax.Array:
  """Simplex weights w of min <g_w, g_0> + c |g_0| |g_w| (CAGrad eq. 5).

  With |g_w| <= t / 2 + |g_w|^2 / (2 t), exact at t = |g_w|, the problem is a
  quadratic one for fixed t; the two are solved in turn.
  """
  mean = uniform(present)
  linear = matrix @ mean
  mean_norm = length(matrix, mean)
  norms = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0.0))

  def body(carry):
    count, weights, _ = carry
    curvature = c * mean_norm / length(matrix, weights)
    # Divided by the curvature, the problem keeps the scale of the matrix.
    safe = jnp.where(curvature > 1.0, curvature, 1.0)
    moved = on_simplex(curvature / safe * matrix, linear / safe, present)
    moves = jnp.abs(moved - weights)
    # A small weight on a long gradient may be what counts.
    reach = jnp.max(moves * norms) / jnp.max(moved * norms, initial=1e-30)
    return count + 1, moved, jnp.maximum(jnp.max(moves), 0.1 * reach)

  going = lambda carry: (carry[0] < 300) & (carry[-1] > 1e-6)
  first = (0, mean, jnp.float32(jnp.inf))
  return jax.lax.while_loop(going, body, first)[1]


def equal_utility(
  matrix: jax.Array, present: jax.Array, alpha: float = 1.0
) -> jax.Array:
  """The positive a with M a = a^(-1 / alpha), f32[G].

  alpha = 1 is the bargaining solution (Nash-MTL eq. 3), the others are
  alpha-fair (FairGrad eq. 6). It minimizes the strictly convex
  a'Ma / 2 - sum phi(a), phi' = a^(-1 / alpha), by damped Newton steps on
  b = |g| a. A zero gradient gets weight 0.

  Args:
    matrix: M.
    present: bool[G].
    alpha: positive.
  """
  size = matrix.shape[0]
  correlations, norms, kept = cosines(matrix, present)
  # Groups left out become independent problems with solution 1.
  correlations = correlations + jnp.diag(jnp.where(kept, _RIDGE, 1.0))
  power = 1.0 / alpha
  utility = jnp.where(kept, norms ** (power - 1.0), 1.0)

  def body(_, b):
    slope = correlations @ b - utility * b**-power
    curvature = correlations + jnp.diag(power * utility * b ** (-power - 1.0))
    newton = jnp.linalg.solve(curvature, -slope)
    decrement = jnp.sqrt(jnp.maximum(-jnp.dot(slope, newton), 0.0))
    rate = jnp.where(decrement > 0.25, 1.0 / (1.0 + decrement), 1.0)
    # The damping is for logarithms; other powers converge better without.
    rate = rate if alpha == 1 else 1.0
    # Stay inside: no weight falls by more than nine tenths at once.
    fall = jnp.max(-newton / b)
    return b + jnp.minimum(rate, 0.9 / jnp.maximum(fall, 1e-3)) * newton

  alone = utility ** (1.0 / (1.0 + power))  # without the other groups
  b = jax.lax.fori_loop(0, 30, body, alone / jnp.sqrt(size))
  return jnp.where(kept, b / norms, 0.0)


def dual_cone(
  matrix: jax.Array, present: jax.Array, preference: jax.Array
) -> jax.Array:
  """Weights of the gradients projected onto the dual cone, f32[G].

  Every p_i g_i moves to the nearest vector that opposes no group: weights
  w >= p_i e_i of least w'Mw; the sum over i is returned (UPGrad eq. 5).

  Departure: the ridge 1e-4 on the Gram matrix is relative to each gradient and
  not absolute as published; beside a small gradient an absolute one would
  outweigh the constraint.
  """
  correlations, norms, kept = cosines(matrix, present)
  ridged = correlations + 1e-4 * jnp.eye(matrix.shape[0])
  solve = jax.vmap(lambda lower: above(ridged, lower, kept))
  scaled = solve(jnp.diag(jnp.where(kept, preference * norms, 0.0)))
  return jnp.sum(scaled, axis=0) / norms


def projected_mean(
  matrix: jax.Array, present: jax.Array, preference: jax.Array
) -> jax.Array:
  """Weights of sum_j p_j g_j moved onto the dual cone, f32[G] (DualProj).

  The nearest vector that opposes no group: weights w >= p of least w'Mw, with
  the ridge of `dual_cone`.
  """
  correlations, norms, kept = cosines(matrix, present)
  ridged = correlations + 1e-4 * jnp.eye(matrix.shape[0])
  return above(ridged, jnp.where(kept, preference * norms, 0.0), kept) / norms


def conflict_free(
  matrix: jax.Array, present: jax.Array, shares: jax.Array
) -> jax.Array:
  """Weights of the direction with shares p as its cosines (ConFIG eq. 2).

  v = sum_j b_j g_j / |g_j| with C b = p, and as long as the gradients' parts
  along it together. Eigenvalues of C count as in `equal_projections`.
  """
  correlations, norms, kept = cosines(matrix, present)
  wanted = jnp.where(kept, shares, 0.0)
  rank_tolerance = tolerance(matrix)
  solved = jnp.linalg.pinv(correlations, rtol=rank_tolerance, hermitian=True)
  b = solved @ wanted
  square = jnp.dot(wanted, b)  # b'Cb, without the rounding of C b
  along = jnp.dot(jnp.where(kept, norms, 0.0), correlations @ b)
  # NaN takes the quotient.
  vanishes = square <= _RIDGE * jnp.sum(jnp.abs(b))
  factor = along / jnp.where(vanishes, 1.0, square)
  return jnp.where(vanishes, 0.0, factor) * b / norms


def equal_projections(matrix: jax.Array, present: jax.Array) -> jax.Array:
  """a with the same projection of sum_j a_j g_j on every unit gradient, f32[G].

  Up to a factor a_j = b_j / |g_j|, C b = 1. Eigenvalues of the cosines C below
  G eps times the largest count as 0; those of the Gram matrix would be cut
  where gradients are merely short. A zero gradient gets weight 0.
  """
  correlations, norms, kept = cosines(matrix, present)
  ones = kept.astype(matrix.dtype)
  rank_tolerance = tolerance(matrix)
  solved = jnp.linalg.pinv(correlations, rtol=rank_tolerance, hermitian=True)
  # Unit gradients that add up to 0 have the projections 0 of their sum.
  b = solved @ ones
  return jnp.where(jnp.max(jnp.abs(b)) < _RIDGE, ones, b) / norms


def tolerance(matrix: jax.Array) -> float:
  """Eigenvalues of cosines below this share of the largest count as 0."""
  return matrix.shape[0] * float(jnp.finfo(matrix.dtype).eps)


def cosines(
  matrix: jax.Array, present: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Cosines, norms and which gradients are present and not zero.

  Problems in b = |g| a are as well conditioned when the gradients are of very
  different size. Norms of the gradients left out are 1, their cosines 0.
  """
  norms = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0.0))
  kept = present & ~(norms <= 1e-8)  # NaN is kept, and carried on
  norms = jnp.where(kept, norms, 1.0)
  both = kept[:, None] & kept[None, :]
  quotients = matrix / norms[:, None] / norms[None, :]
  return jnp.where(both, quotients, 0.0), norms, kept
