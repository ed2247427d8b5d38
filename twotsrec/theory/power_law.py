"""The power law of activity and the Hurwitz zeta function behind it.

    P(T = k) = (k + 1)^-alpha / zeta(alpha, 1),   k = 0, 1, ...   (2TS sec. 2.1)

All of it is NumPy in float64 on the host: `jax.scipy.special.zeta` has the
precision of JAX's global switch, float32 unless a caller turns it, and
thresholds are integers that float32 sums would miss.
"""

from typing import Any, NamedTuple

import numpy as np

from twotsrec import types

_TERMS = 24  # summed one by one; the Euler-Maclaurin formula gives the rest
# B_2j / (2j)! for j = 1..12; the ratio of two is near -1 / (2 pi)^2.
_BERNOULLI = (
  1 / 12,
  -1 / 720,
  1 / 30240,
  -1 / 1209600,
  1 / 47900160,
  -691 / 1307674368000,
  1 / 74724249600,
  -3617 / 10670622842880000,
  43867 / 5109094217170944000,
  -174611 / 802857662698291200000,
  77683 / 14101100039391805440000,
  -236364091 / 1693824136731743669452800000,
)
_TINY = 1e-30  # step of complex differentiation, which has no cancellation
_STEEPEST = 1e3  # largest exponent that is looked for
_FLATTEST = 1.0 + 1e-6


class PowerLaw(NamedTuple):
  """An exponent fitted by maximum likelihood.

  Attributes:
    alpha: the exponent.
    standard_error: 1 / sqrt(n I(alpha)), I the Fisher information of a user.
    users: n, how many users took part.
    minimum: the least count that took part.
  """

  alpha: float
  standard_error: float
  users: int
  minimum: int


def zeta(s: Any, a: Any = 1.0) -> np.ndarray:
  """Hurwitz zeta function, sum over n >= 0 of (n + a)^-s.

  Accurate to about 1e-14 relative for 1 < s < 60.

  Args:
    s: f64[...], above 1.
    a: f64[...], positive; infinity gives 0.
  Returns:
    f64[...], of the shape of both together.
  """
  s, a = np.broadcast_arrays(np.asarray(s, float), np.asarray(a, float))
  if not (np.all(s > 1.0) and np.all(a > 0.0)):
    raise types.UserError(
      f'zeta({s}, {a}) does not exist; the exponent must be above 1 and the '
      'shift positive'
    )
  ends = np.isinf(a)
  return np.where(ends, 0.0, _zeta(s, np.where(ends, 1.0, a), 1.0))[()]


def _zeta(s, a, scale):
  """sum of ((n + a) / scale)^-s; complex s is allowed."""
  s, a = np.asarray(s), np.asarray(a)
  steps = np.arange(_TERMS - 1, -1, -1)  # small terms first
  head = ((a[..., None] + steps) / scale) ** -s[..., None]
  end = a + _TERMS
  tail = end / (s - 1.0) + 0.5
  factor = s / end  # s (s + 1) ... (s + 2j - 2) / end^(2j - 1)
  for j, coefficient in enumerate(_BERNOULLI, 1):
    tail = tail + coefficient * factor
    factor = factor * (s + 2 * j - 1) * (s + 2 * j) / end**2
  return head.sum(axis=-1) + (end / scale) ** -s * tail


def check_exponent(alpha: Any) -> None:
  """Raises a UserError unless alpha > 1, where the law can be normalized."""
  if not np.all(np.asarray(alpha, float) > 1.0):
    raise types.UserError(
      f'alpha is {alpha}; a power law over all counts needs an exponent above 1'
    )


def pmf(count: Any, alpha: Any) -> np.ndarray:
  """P(T = count), f64[...]; counts are integers from 0."""
  check_exponent(alpha)
  return (np.asarray(count, float) + 1.0) ** -np.asarray(alpha) / zeta(alpha)


def survival(count: Any, alpha: Any) -> np.ndarray:
  """P(T >= count), f64[...]; 1 at count 0 and 0 at infinity."""
  check_exponent(alpha)
  return zeta(alpha, np.asarray(count, float) + 1.0) / zeta(alpha)


def fit_alpha(counts: Any, minimum: int = 0) -> PowerLaw:
  """Maximum likelihood of the exponent, from the counts of users.

    alpha = argmax_a  -a sum_u log(T_u + 1) - n log zeta(a, minimum + 1)

  This is an exponential family in log(T + 1): the maximum is the only exponent
  at which E[log(T + 1) | T >= minimum] is the mean of the data.

  Args:
    counts: i64[U], events of each user.
    minimum: users with less take no part, and the law is conditioned on that;
      logs cut at some activity need it.
  Returns:
    PowerLaw.
  Reference: 2TS fig. 5; Clauset, Shalizi and Newman 2009, eq. 3.5.
  """
  counts = np.asarray(counts)
  kept = counts[counts >= minimum].astype(float)
  if minimum < 0 or not kept.size:
    raise types.UserError(
      f'no user has {minimum} events or more, or the minimum is negative; '
      f'choose one from 0 to the largest count of the {counts.size} users'
    )
  start = minimum + 1.0
  mean = float(np.mean(np.log1p(kept) - np.log(start)))
  if not _mean_log(_STEEPEST, start) < mean < _mean_log(_FLATTEST, start):
    raise types.UserError(
      f'no power law fits {kept.size} users with {kept.min():.0f} to '
      f'{kept.max():.0f} events: they hardly differ; lower the minimum, now '
      f'{minimum}, or give more users'
    )
  alpha = _solve(mean, start)
  step = 1e-4 * (alpha - 1.0)
  slope = _mean_log(alpha - step, start) - _mean_log(alpha + step, start)
  information = slope / (2.0 * step)
  error = 1.0 / np.sqrt(kept.size * information)
  return PowerLaw(alpha, float(error), int(kept.size), int(minimum))


def law_start(counts: Any) -> int:
  """Where the law is taken to begin: the count of most users with events.

  Logs hold few users of little activity where the data were filtered; below
  their mode activity rises, which no power law does.

  Args:
    counts: i64[U], events of each user; 0 without any.
  """
  counts = np.asarray(counts)
  known = counts[counts > 0]
  return int(np.bincount(known).argmax()) if known.size else 0


def _mean_log(alpha, start):
  """E[log((T + 1) / start) | T + 1 >= start], which falls with alpha."""
  value = _zeta(alpha + 1j * _TINY, start, start)
  return float(-value.imag / _TINY / value.real)


def _solve(mean, start):
  """The exponent with this mean, by bisection of log(alpha - 1)."""
  low, high = np.log(_FLATTEST - 1.0), np.log(_STEEPEST - 1.0)
  for _ in range(80):
    middle = (low + high) / 2.0
    above = _mean_log(1.0 + np.exp(middle), start) > mean
    low, high = (middle, high) if above else (low, middle)
  return float(1.0 + np.exp((low + high) / 2.0))
