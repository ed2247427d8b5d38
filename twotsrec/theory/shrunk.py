"""A start between the user's own vector and the mean of all, without threshold.

Theorem 2.1 (`bounds`) starts a user either at the own estimate phi_T or at the
mean taste m. Here the start is a mean of both, weighed by what is known:

    h_T = w_T phi_T + (1 - w_T) m,    w_T = V / (V + q_T),    q_T = Q / (T + 1),

and w_0 = 0, because without events there is no own vector. q_T bounds the error
of the own estimate, E ||phi_T - phi*||^2 <= q_T, and V is the variance of the
tastes, E ||phi* - m||^2. Both are as in the theorem, where V <= Q.

Its error. The start misses the taste by w (phi_T - phi*) - (1 - w) (phi* - m),
so for any weight w

    E ||h_T - phi*||^2
      = w^2 E ||phi_T - phi*||^2 + (1 - w)^2 V - 2 w (1 - w) C_T,

    C_T = E <phi_T - phi*, phi* - m>.

If the estimate is unbiased for every user, E[phi_T | user] = phi*, then C_T = 0
and the error is at most w^2 q_T + (1 - w)^2 V. This parabola in w has its
minimum at w_T, where it is

    d_T = V q_T / (V + q_T) = V Q / (V (T + 1) + Q).

Because d_T / q_T = V / (V + q_T) and d_T / V = q_T / (V + q_T) are below 1,

    d_T < min(V, q_T)    for every T >= 1,

and d_0 = V, which is min(V, q_0).

Its place beside the thresholds. The bound of the theorem for threshold t is a
mean over T of q_T where T >= t and of V elsewhere. None of these terms is below
d_T, and those of T >= 1 are above it. So

    beta_shrunk = sum_k P(k) d_k < sum_k P(k) min(V, q_k) <= beta(t)

for every threshold t, infinity among them. The middle sum is beta(t_opt), so
the best threshold loses against the shrunk start too. The rest of the theorem's
proof reads the start by its mean squared distance alone. Hence the mean excess
risk over N events is at most (beta_shrunk + gamma^2 B^2 N) / (2 gamma N) for
every step size gamma, and B sqrt(beta_shrunk / N) at the best one, which is
below the bound of every threshold.

What bias does. With C_T > 0, an estimate that overshoots, the error is smaller
still. With C_T < 0, an estimate that is already pulled toward m, it is larger
than d_T by 2 w (1 - w) |C_T| = 2 d_T |C_T| / (V + q_T). It stays below
min(V, q_T) as long as

    |C_T| < min(V, q_T) / 2,

because then d_T (1 + 2 |C_T| / (V + q_T)) < d_T (1 + min / (V + q_T)), which is
min * max (max + 2 min) / (max + min)^2 and therefore less than min. The SGD of
prop. A.1 starts at 0 for everybody, which is why w_0 has to be 0: there C_0 is
-V. From the first event on it forgets its start. `simulation` measures C_T.

Where the gain is. d_T / min(V, q_T) = max / (max + min) is 1/2 where q_T = V,
at the threshold, and goes to 1 on both sides of it. A wrong ratio Q / V costs
little: with w off by e the error grows by e^2 (V + q_T) alone.

This is the estimate of empirical Bayes (James and Stein 1961; Efron and Morris
1973). For normal tastes and errors it is the mean of the taste given phi_T.

Everything is NumPy in float64 and broadcasts.
"""

from typing import Any

import numpy as np
from scipy import special

from twotsrec import types
from twotsrec.theory import power_law

_TERMS = 64  # summed one by one; the Euler-Maclaurin formula gives the rest


def weight(count: Any, Q: Any, V: Any) -> np.ndarray:
  """w_T, how much of the start is the user's own vector; 0 without events.

  A V that is not positive counts as 0, as in the positive-part estimate of
  James and Stein: tastes that do not differ leave nothing to an own vector.

  Args:
    count: f64[...], events T that the vector was made of.
    Q: f64[...], E ||phi_T - phi*||^2 <= Q / (T + 1); not negative.
    V: f64[...], variance of the tastes.
  Returns:
    f64[...], from 0 to 1, rising with T.
  Raises:
    types.UserError: a negative count or Q, or a number that is not finite.
  """
  count, Q, V = _checked(count, Q, V)
  own = np.where(count > 0.0, np.maximum(V, 0.0) * (count + 1.0), 0.0)
  return np.divide(own, own + Q, out=np.zeros_like(own + Q), where=own > 0.0)


def error(count: Any, Q: Any, V: Any) -> np.ndarray:
  """d_T, what bounds the mean squared distance of the start from the taste.

    V Q / (V (T + 1) + Q) for T >= 1, and V for T = 0

  It is (1 - w_T) V. Arguments are those of `weight`.
  """
  return (1.0 - weight(count, Q, V)) * np.maximum(np.asarray(V, float), 0.0)


def beta(alpha: Any, Q: Any, V: Any) -> np.ndarray:
  """Bound on the mean squared distance of the shrunk start from the taste.

    sum_k P(T = k) d_k
      = (V + Q sum_{n >= 2} n^-alpha / (n + r)) / zeta(alpha, 1),    r = Q / V

  The head of the sum is added up, its tail is the integral

    a^-alpha / alpha * 2F1(1, alpha; alpha + 1; -r / a)

  and corrections by derivatives at its beginning a.

  Args:
    alpha: f64[...], exponent of the activity, above 1.
    Q: f64[...], not negative.
    V: f64[...], positive.
  Returns:
    f64[...], below `bounds.beta` of every threshold.
  """
  power_law.check_exponent(alpha)
  _, Q, V = _checked(0.0, Q, V)
  if not np.all(V > 0.0):
    raise types.UserError(
      f'V = {V}: the variance of the tastes must be positive; without any,'
      ' every user starts at the mean'
    )
  alpha, Q, V = np.broadcast_arrays(np.asarray(alpha, float), Q, V)
  ratio, a = Q / V, float(_TERMS)
  n = np.arange(2.0, a)
  head = np.sum(n ** -alpha[..., None] / (n + ratio[..., None]), axis=-1)
  tail = special.hyp2f1(1.0, alpha, alpha + 1.0, -ratio / a) / alpha
  # Of f(x) = x^-alpha / (x + r), as shares of f(a): 1/2 - f'/12 + f'''/720.
  one, two = 1.0 / a, 1.0 / (a + ratio)
  s = [alpha * one, alpha * (alpha + 1.0) * one**2]
  s.append(s[1] * (alpha + 2.0) * one)
  first = s[0] + two
  third = s[2] + 3.0 * s[1] * two + 6.0 * s[0] * two**2 + 6.0 * two**3
  ends = two * (0.5 + first / 12.0 - third / 720.0)
  total = head + a**-alpha * (tail + ends)
  return ((V + Q * total) / power_law.zeta(alpha))[()]


def bound(alpha: Any, Q: Any, V: Any, B: Any, N: Any) -> np.ndarray:
  """Bound on the mean excess risk at the best step size, as `bounds.bound`.

    B sqrt(beta_shrunk / N)

  Args:
    alpha: f64[...].
    Q: f64[...].
    V: f64[...].
    B: f64[...], `bounds.gradient_bound`.
    N: f64[...], events online.
  """
  return B * np.sqrt(beta(alpha, Q, V) / N)


def _checked(count, Q, V):
  """Arguments as f64[...]."""
  count, Q, V = (np.asarray(x, float) for x in (count, Q, V))
  finite = all(np.isfinite(x).all() for x in (count, Q, V))
  if not (finite and np.all(count >= 0.0) and np.all(Q >= 0.0)):
    raise types.UserError(
      f'no weight follows from Q = {Q} and V = {V}: both must be finite, Q and'
      ' the numbers of events not negative; estimate them from other data'
    )
  return count, Q, V
