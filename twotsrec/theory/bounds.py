"""Theorem 2.1 of 2TS: what is gained by a common start for inactive users.

A user is a law mu over (x, y), an item vector with ||x|| <= B_x and a click in
{0, 1}; its taste phi* minimizes over ||phi|| <= B_phi the mean of

    l(phi, x, y) = -y x.phi + log(1 + exp(x.phi)) + (c / 2) ||phi||^2.

Tastes have mean m and V = E ||phi* - m||^2. A user has T training events,
independent of its taste, P(T = k) ~ (k + 1)^-alpha. Online gradient descent
over N events starts at the user's own estimate if T >= t (active) and at m
otherwise (inactive). With B = B_x + c B_phi and step size gamma its mean excess
risk is at most

    (beta(t) + gamma^2 B^2 N) / (2 gamma N)

    beta(t) = Q zeta(alpha + 1, t + 1) / zeta(alpha, 1)
              + V (1 - zeta(alpha, t + 1) / zeta(alpha, 1)).

The proof. A projected step gives ||phi' - phi*||^2 <= ||phi - phi*||^2
- 2 gamma <g, phi - phi*> + gamma^2 B^2, and convexity l(phi) - l(phi*) <=
<g, phi - phi*>. Summing over N events leaves the first distance, whose mean is
at most sum_{k >= t} P(k) Q / (k + 1) + P(T < t) V = beta(t): `prop_a1_Q` bounds
an own estimate, and m is the best common start because E ||a - phi*||^2 =
||a - m||^2 + V.

Departure: misprints and limits of the paper's text are put right.

* The bound is printed as "(2 gamma N)^-1 beta + gamma 2 B 2 N"; it is the
  fraction above.
* Eq. 7 prints the minimizer as Q / V - 1, which needs a ceiling (`t_opt`).
* The gap of Implication 1 lacks the factor 1 / zeta(alpha, 1) (`gap`).
* gamma_act is printed without 1 / B, and gamma_act < gamma_in is not true for
  every threshold (`gamma_act`).
* The step size of the offline SGD is 1 / (c j), not 1 / c, and the induction
  that is cited has a gap at its second iterate (`prop_a1_Q`).
* Here a user is active if T >= t, in 2TS sec. 3 inactive if T < t, and in its
  App. C active if T > t; `model_threshold` goes from the first to the last.
* Eq. 8-9 let one index t count states and items; whichever is meant, an item is
  scored with the state before it is seen.
* Q is a worst case. With it t is several times too large; a Q measured near
  the threshold gives the right one (`estimates`, `simulation`).

Everything is NumPy in float64, broadcasts, and needs no x64 switch of JAX.
"""

from typing import Any

import numpy as np

from twotsrec import types
from twotsrec.theory import power_law

_ROUNDING = 1e-12  # a ratio nearer to an integer is taken for it


def gradient_bound(B_x: float, B_phi: float, c: float) -> float:
  """B = B_x + c B_phi, which no gradient of the loss exceeds."""
  return B_x + c * B_phi


def prop_a1_Q(B_x: float, B_phi: float, c: float) -> float:
  """Q with E ||phi_T - phi*||^2 <= Q / (T + 1) for the offline estimate.

    Q = max(B^2 / c^2, ||phi*||^2) = (B_x / c + B_phi)^2

  phi_T is projected SGD after T events, from phi_0 = 0 with the *decaying*
  step 1 / (c j) at event j (the paper prints 1 / c, with which there is no
  1 / T). The second entry never wins, as ||phi*|| <= B_phi <= B / c.

  Proof, with b_j the error of the j-th iterate, j = T + 1. Strong convexity
  gives b_{j+1} <= (1 - 2 / j) b_j + Q / j^2. At j = 1 the factor is -1, so the
  induction that the paper cites does not give b_2 <= Q / 2, and for a general
  start it is false: with f(x) = c x^2 / 2, start at the minimum 0 and noise
  +-B there alone, b_2 = Q. A start at 0 closes the gap: the first gradient is
  (1/2 - y) x, so b_2 <= -b_1 + B_x^2 / (4 c^2) <= Q / 4. At j = 2 the factor is
  0, so b_3 <= Q / 4 <= Q / 3; from there (1 - 2 / j) Q / j + Q / j^2 =
  Q (1 / j - 1 / j^2) <= Q / (j + 1). From another start, such as m, the bound
  holds for T >= 2, and at T = 1 with Q instead of Q / 2.

  V <= E ||phi*||^2 <= B_phi^2 <= Q: the paper's "Q is larger than Var_m".

  Reference: 2TS prop. A.1; Nemirovski, Juditsky, Lan and Shapiro 2009, eq.
  2.9-2.10.
  """
  if not (B_x > 0.0 and B_phi > 0.0 and c > 0.0):
    raise types.UserError(
      f'B_x = {B_x}, B_phi = {B_phi}, c = {c}; all of them must be positive'
    )
  return (B_x / c + B_phi) ** 2


def beta(t: Any, alpha: Any, Q: Any, V: Any) -> np.ndarray:
  """Bound on the mean squared distance of the start from the taste.

  Args:
    t: f64[...], users with T >= t are active; infinity makes none active.
    alpha: f64[...], exponent of the activity, above 1.
    Q: f64[...], E ||phi_T - phi*||^2 <= Q / (T + 1).
    V: f64[...], variance of the tastes.
  Returns:
    f64[...].
  Reference: 2TS theorem 2.1.
  """
  power_law.check_exponent(alpha)
  t = np.asarray(t, float)
  alpha = np.asarray(alpha, float)
  whole = power_law.zeta(alpha)
  active = power_law.zeta(alpha + 1.0, t + 1.0) / whole
  inactive = 1.0 - power_law.zeta(alpha, t + 1.0) / whole
  return active * Q + inactive * V


def t_opt(Q: Any, V: Any) -> Any:
  """The threshold that minimizes beta, max(0, ceil(Q / V - 1)).

  beta(t + 1) - beta(t) = (t + 1)^-alpha (V - Q / (t + 1)) / zeta(alpha, 1) is
  negative exactly if t + 1 < Q / V. So the minimizer over integers is the
  ceiling of the paper's Q / V - 1 (eq. 7). If Q / V is an integer, Q / V - 1
  and Q / V give the same beta, and the smaller is returned: it leaves more
  users their own start.

  Do not look for it by continuous optimization. Extended to real t by the zeta
  function, beta has its minimum not at Q / V - 1 but 0.4 to 0.5 above.

  Args:
    Q: f64[...], not negative.
    V: f64[...], positive.
  Returns:
    i64[...]; an int for scalars.
  """
  Q, V = np.asarray(Q, float), np.asarray(V, float)
  if not (np.all(V > 0.0) and np.all(Q >= 0.0) and np.all(Q / V < 2.0**53)):
    raise types.UserError(
      f'no threshold follows from Q = {Q} and V = {V}: Q must not be negative '
      'and V positive; without variance every user starts at the mean'
    )
  ratio = Q / V
  nearest = np.rint(ratio)
  # The quotient of 0.6 and 0.2 is an integer, that of their floats is not.
  close = np.abs(ratio - nearest) <= _ROUNDING * ratio
  least = np.ceil(np.where(close, nearest, ratio)) - 1.0
  best = np.maximum(least, 0.0).astype(np.int64)
  return best if best.ndim else int(best)


def model_threshold(t: int) -> int:
  """t* of the model, whose active users have T > t* (2TS App. C).

  A user without events has no vector of its own, so it is never active there.
  """
  return max(int(t) - 1, 0)


def gap(alpha: float, Q: float, V: float) -> float:
  """beta(0) - beta(t_opt), what a common start for inactive users gains.

    1 / zeta(alpha, 1) * sum_{k=1}^{t_opt} (Q / k - V) k^-alpha

  Implication 1 of the paper prints it without 1 / zeta(alpha, 1).
  """
  power_law.check_exponent(alpha)
  last = t_opt(Q, V)
  # The sum itself, by its ends: thresholds may be of any size.
  head = lambda s: power_law.zeta(s) - power_law.zeta(s, last + 1.0)
  total = Q * head(alpha + 1.0) - V * head(alpha)
  return float(total / power_law.zeta(alpha))


def gamma_single(t: Any, alpha: Any, Q: Any, V: Any, B: Any, N: Any) -> Any:
  """Best step size common to all users, sqrt(beta(t) / N) / B.   (2TS eq. 6)"""
  return np.sqrt(beta(t, alpha, Q, V) / N) / B


def gamma_in(V: Any, B: Any, N: Any) -> Any:
  """Best step size of inactive users, sqrt(V / N) / B."""
  return np.sqrt(np.asarray(V, float) / N) / B


def active_error(t: Any, alpha: Any, Q: Any) -> Any:
  """E[Q / (T + 1) | T >= t], f64[...]; t finite."""
  power_law.check_exponent(alpha)
  start, alpha = np.asarray(t, float) + 1.0, np.asarray(alpha, float)
  return Q * power_law.zeta(alpha + 1.0, start) / power_law.zeta(alpha, start)


def gamma_act(t: Any, alpha: Any, Q: Any, B: Any, N: Any) -> Any:
  """Best step size of active users, sqrt(E[Q / (T + 1) | T >= t] / N) / B.

  It is below `gamma_in` for t >= t_opt, where E[Q / (T + 1) | T >= t] <
  Q / (t + 1) <= V. For a smaller t it need not be: with alpha = 2, Q / V = 10
  and t = 0 its square is 7.3 times that of `gamma_in`.
  """
  return np.sqrt(active_error(t, alpha, Q) / N) / B


def bound(t: Any, alpha: Any, Q: Any, V: Any, B: Any, N: Any) -> Any:
  """Bound on the mean excess risk over N events at the best step size.

    B sqrt(beta(t) / N), of `gamma_single` for each t           (2TS eq. 6)

  Args:
    t: f64[...], threshold; the rest as in `beta`.
    alpha: f64[...].
    Q: f64[...].
    V: f64[...].
    B: f64[...], `gradient_bound`.
    N: f64[...], events online.
  """
  return B * np.sqrt(beta(t, alpha, Q, V) / N)


def bound_at(gamma: Any, start: Any, B: Any, N: Any) -> Any:
  """The bound at any step size, (beta + gamma^2 B^2 N) / (2 gamma N).

  Args:
    gamma: f64[...], step size.
    start: f64[...], `beta` of the threshold.
    B: f64[...], `gradient_bound`.
    N: f64[...], events online.
  Reference: 2TS eq. 5.
  """
  return (start + gamma**2 * B**2 * N) / (2.0 * gamma * N)
