"""Q, V and alpha from data, and the threshold that follows from them.

Theorem 2.1 takes the error of a user's own vector after T events as Q / (T + 1)
and the tastes' variance V as known. Neither is seen, as no taste is. But two
vectors a, b of one user, fitted to halves of its events with h and T - h of
them, differ by their errors alone:

    E ||a - b||^2 = Q / (h + 1) + Q / (T - h + 1),

if the errors are independent and have the same mean; what both halves err by
together (the pull of the regularization to 0) is not in Q. Vectors fitted to
all events spread by the tastes and their errors,

    E ||phi_T - m||^2 = V + E[Q / (T + 1)].

Both must come from one way of fitting, or their scales differ:
`user_vectors.ridge_halves` fits all three with the items frozen.
"""

from typing import Any, NamedTuple

import chex
import numpy as np

from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import power_law
from twotsrec.theory import user_vectors

_CELLS_AT_ONCE = 1 << 22


class Estimates(NamedTuple):
  """What Theorem 2.1 needs, with bootstrap errors over users.

  Attributes:
    q: Q.
    variance: V, the noise of the vectors taken off.
    alpha: exponent of the activity of all users; NaN if no law fits.
    threshold: t_opt(q, variance), users with T >= threshold are active; None
      if the vectors differ by no more than their noise (V <= 0), so that every
      user should start at the mean.
    users: how many users Q and V come from.
    q_error: standard error.
    variance_error: standard error.
    alpha_error: standard error.
    alpha_minimum: least activity of the users that alpha is of.
    threshold_low: 2.5 % quantile of the resampled thresholds, infinity where V
      was not positive; None without resamples.
    threshold_high: 97.5 % quantile, likewise.
    noise: E[Q / (T + 1)], what was taken off for V.
  """

  q: float
  variance: float
  alpha: float
  threshold: int | None
  users: int
  q_error: float
  variance_error: float
  alpha_error: float
  alpha_minimum: int
  threshold_low: float | None
  threshold_high: float | None
  noise: float


def user_q(first: Any, second: Any, counts: Any) -> np.ndarray:
  """Every user's unbiased, if wide, estimate of Q, f64[U].

  ||a - b||^2 / (1 / (h + 1) + 1 / (T - h + 1)) with h = T // 2. With T < 2 a
  half is empty and says nothing.

  Args:
    first: f32[U, D], vectors fitted to h of the events of each user.
    second: f32[U, D], to the others.
    counts: i64[U], T.
  """
  first, second = np.asarray(first), np.asarray(second)
  counts = np.asarray(counts)
  chex.assert_equal_shape([first, second])
  chex.assert_shape(counts, first.shape[:1])
  apart = np.sum((first.astype(float) - second.astype(float)) ** 2, axis=1)
  half = counts // 2
  return apart / (1.0 / (half + 1.0) + 1.0 / (counts - half + 1.0))


def estimate_q(
  first: Any,
  second: Any,
  counts: Any,
  weights: Any = None,
  *,
  minimum: int = 2,
  clip: float = 1.0,
) -> float:
  """Q from two vectors of each user, fitted to halves of its events.

  Args:
    first: f32[U, D], of one half.
    second: f32[U, D], of the other.
    counts: i64[U], events T of both halves together.
    weights: f64[U], of the users; None weighs them alike. The threshold needs Q
      from users with T near it, which weights or `minimum` select.
    minimum: users with fewer events take no part; at least 2.
    clip: users above this quantile count as if they were at it. A guard
      against vectors that failed to converge; it pulls Q down a little.
  Returns:
    Weighted mean of `user_q`.
  """
  kept = _kept(counts, minimum)
  values = user_q(first, second, counts)[kept]
  _finite(values)
  values = np.minimum(values, np.quantile(values, clip))
  weights = None if weights is None else np.asarray(weights, float)[kept]
  return float(np.average(values, weights=weights))


def estimate_variance(
  vectors: Any, counts: Any, q: float, *, minimum: int = 2
) -> float:
  """V, the variance of the tastes: E ||phi_T - m||^2 - E[Q / (T + 1)].

  Args:
    vectors: f32[U, D], fitted to all T events of each user.
    counts: i64[U], T.
    q: of vectors fitted the same way.
    minimum: users with fewer events take no part. Vectors of few events lie
      near where the fit starts, so neither part holds for them.
  Returns:
    An estimate without bias, hence below 0 at times where V is small.
  """
  kept = _kept(counts, minimum)
  vectors = np.asarray(vectors)[kept].astype(float)
  _finite(vectors)
  if len(vectors) < 2:
    raise types.UserError(
      f'one user with {minimum} events or more has no variance; lower minimum'
    )
  spread = np.sum((vectors - vectors.mean(axis=0)) ** 2) / (len(vectors) - 1)
  noise = np.mean(q / (np.asarray(counts)[kept] + 1.0))
  return float(spread - noise)


def estimate(
  halves: user_vectors.Halves,
  *,
  activity: Any = None,
  minimum: int = 2,
  alpha_minimum: int = 0,
  resamples: int = 200,
  seed: int = 0,
) -> Estimates:
  """Everything the threshold needs, with errors by resampling users.

  Args:
    halves: vectors fitted to all events of a user, and to either half.
    activity: i64[A], events of all users, for alpha; None takes those of
      `halves`.
    minimum: users with fewer events are not asked for Q and V.
    alpha_minimum: where the power law starts, as in `power_law.fit_alpha`.
    resamples: of users, for the errors of Q, V and the threshold; 0 gives NaN.
    seed: of the resamples.
  """
  _, first, second, vectors, counts = halves
  chex.assert_equal_shape([vectors, first, second])
  q = estimate_q(first, second, counts, minimum=minimum)
  variance = estimate_variance(vectors, counts, q, minimum=minimum)
  law = _law(counts if activity is None else activity, alpha_minimum)
  kept = _kept(counts, minimum)
  values = user_q(first, second, counts)[kept]
  inverse = 1.0 / (counts[kept] + 1.0)
  drawn = _resampled(vectors[kept], values, inverse, resamples, seed)
  errors = np.full(2, np.nan)
  if resamples > 1:
    errors = drawn.std(axis=0, ddof=1)
  low, high = _threshold_interval(drawn)
  return Estimates(
    q=q,
    variance=variance,
    alpha=law.alpha,
    threshold=bounds.t_opt(q, variance) if variance > 0.0 else None,
    users=int(kept.sum()),
    q_error=float(errors[0]),
    variance_error=float(errors[1]),
    alpha_error=law.standard_error,
    alpha_minimum=law.minimum,
    threshold_low=low,
    threshold_high=high,
    noise=float(q * inverse.mean()),
  )


def _law(counts, minimum):
  """The power law of activity; the threshold does not need one."""
  try:
    return power_law.fit_alpha(counts, minimum)
  except types.UserError:
    return power_law.PowerLaw(np.nan, np.nan, 0, minimum)


def _kept(counts, minimum):
  counts = np.asarray(counts)
  kept = counts >= minimum
  if minimum < 2 or not kept.any():
    raise types.UserError(
      f'minimum is {minimum}; choose it from 2, so that either half of a user '
      f'has events, to the largest count, {counts.max(initial=0)}'
    )
  return kept


def _finite(values):
  if not np.isfinite(values).all():
    raise types.UserError(
      'a user vector is not finite; raise the regularization of the fit'
    )


def _resampled(vectors, values, inverse, resamples, seed):
  """Q and V in every resample of users, f64[R, 2]."""
  rng = np.random.Generator(np.random.Philox(seed))
  users = len(vectors)
  # Around their mean, so that the squares below do not cancel.
  vectors = vectors.astype(float) - vectors.mean(axis=0, dtype=float)
  squares = np.sum(vectors**2, axis=1)
  columns = np.concatenate(
    [np.stack([values, inverse, squares], axis=1), vectors], axis=1
  )
  drawn = np.zeros((resamples, 2))
  at_once = max(1, _CELLS_AT_ONCE // users)
  for start in range(0, resamples, at_once):
    rows = len(drawn[start : start + at_once])
    weights = rng.multinomial(users, np.full(users, 1.0 / users), size=rows)
    means = weights @ columns / users
    q, of_inverse, square = means[:, :3].T
    spread = square - np.sum(means[:, 3:] ** 2, axis=1)
    variance = spread * users / (users - 1) - q * of_inverse
    drawn[start : start + rows] = np.stack([q, variance], axis=1)
  return drawn


def _threshold_interval(drawn):
  """Middle 95 % of the thresholds; they are not normal, V may be near 0."""
  if not len(drawn):
    return None, None
  q, variance = drawn.T
  positive = variance > 0.0
  thresholds = np.full(len(drawn), np.inf)
  thresholds[positive] = bounds.t_opt(q[positive], variance[positive])
  low, high = np.quantile(thresholds, (0.025, 0.975), method='nearest')
  return float(low), float(high)
