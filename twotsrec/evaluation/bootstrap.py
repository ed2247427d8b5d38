"""95 % intervals by resampling users, and paired comparisons.

Every metric here is a ratio of sums over users, sum_u a_u / sum_u n_u: n_u is
1 for a mean over users and the number of held-out items of the user for a mean
over items. Users are drawn with replacement, all items of a user at once.

A p-value comes from the same resamples as the interval: 1 - p is about the
confidence of the widest percentile interval that excludes no difference. Where
p < .05 the 95 % interval excludes it too.
"""

from collections.abc import Iterator

import chex
import numpy as np

_CELLS_AT_ONCE = 1 << 21
_ROUNDING = 1e-12  # of sums of metrics, which lie in 0..1


def weights(num_users: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
  """Draws of each user, f64[r, U], in chunks of the R resamples.

  Each row is multinomial: U draws with equal chances.
  """
  generator = np.random.Generator(np.random.Philox(seed))
  chunk = max(1, _CELLS_AT_ONCE // max(num_users, 1))
  for first in range(0, resamples, chunk):
    rows = min(chunk, resamples - first)
    drawn = generator.integers(num_users, size=(rows, num_users))
    drawn += np.arange(rows)[:, None] * num_users
    counts = np.bincount(drawn.ravel(), minlength=rows * num_users)
    yield counts.reshape(rows, num_users).astype(np.float64)


def resampled_ratios(
  sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
  """Ratios of sums in every resample, f64[R, M]; NaN where one holds nothing.

  Args:
    sums: f64[U, M], a_u of M metrics.
    counts: f64[U, M], n_u.
    resamples: R.
    seed: the same seed gives the same draws for all metrics.
  """
  chex.assert_equal_shape([sums, counts])
  both = np.concatenate([sums, counts], axis=1)
  totals = [chunk @ both for chunk in weights(len(sums), resamples, seed)]
  totals = np.concatenate([np.zeros((0, both.shape[1])), *totals])
  upper, lower = np.split(totals, 2, axis=1)
  return np.divide(
    upper, lower, out=np.full(upper.shape, np.nan), where=lower > 0
  )


def intervals(
  sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """`percentiles` of `resampled_ratios`; NaN without any."""
  return percentiles(resampled_ratios(sums, counts, resamples, seed))


def percentiles(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Middle 95 % of resampled ratios f64[R, M], (low f64[M], high f64[M])."""
  finite = np.isfinite(ratios)
  bounds = np.full((2, ratios.shape[1]), np.nan)
  for column in np.flatnonzero(finite.any(axis=0)):
    values = ratios[finite[:, column], column]
    bounds[:, column] = np.quantile(values, (0.025, 0.975))
  return bounds[0], bounds[1]


def p_values(ratios: np.ndarray) -> np.ndarray:
  """Two-sided p-values of no difference, by inverting percentile intervals.

  p = 2 min(1 + #{d <= 0}, 1 + #{d >= 0}) / (1 + R), at most 1. The ones count
  the sample itself, so p is never 0 (Davison and Hinkley 1997, sec. 4.2).

  Args:
    ratios: f64[R, M], resampled differences d; NaN where one is undefined.
  Returns:
    f64[M]; NaN without a defined resample.
  """
  finite = np.isfinite(ratios)
  # Rounding in the sums must not hide that a resample shows no difference.
  below = np.count_nonzero(finite & (ratios <= _ROUNDING), axis=0)
  above = np.count_nonzero(finite & (ratios >= -_ROUNDING), axis=0)
  total = np.count_nonzero(finite, axis=0)
  p = np.minimum(1.0, 2.0 * (1 + np.minimum(below, above)) / (1 + total))
  return np.where(total > 0, p, np.nan)
