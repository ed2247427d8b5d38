import fractions

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import optimize
from scipy import special

from twotsrec import types
from twotsrec.theory import bounds

few = hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
ALPHAS, RATIOS = st.floats(1.05, 4.0), st.floats(1.0, 200.0)


def draws(count, seed=0):
  """Random (alpha, Q, V) as in the paper's setting, Q above V."""
  rng = np.random.default_rng(seed)
  alpha, ratio = rng.uniform(1.05, 4.0, count), rng.uniform(1.0, 200.0, count)
  V = rng.uniform(0.01, 3.0, count)
  return alpha, ratio * V, V


def power_sum(s, start, last=2_000_000):
  """sum of (k + 1)^-s over k >= start: many terms, the rest as an integral.

  The integral starts in the middle between two terms; its error is that of the
  midpoint rule, s / 24 last^(-s - 1).
  """
  terms = np.arange(last, start, -1.0) ** -s  # small ones first
  return terms.sum() + (last + 0.5) ** (1.0 - s) / (s - 1.0)


@pytest.mark.parametrize(
  ('alpha', 'Q', 'V'), [(1.5, 10.0, 0.7), (2.0, 10.0, 1.0), (3.3, 80.0, 2.0)]
)
def test_beta_is_the_expectation_term_by_term(alpha, Q, V):
  whole = power_sum(alpha, 0)
  for t in (0, 1, 8, 40):
    active = Q * power_sum(alpha + 1.0, t)
    inactive = V * np.sum(np.arange(1.0, t + 1.0) ** -alpha)
    expected = (active + inactive) / whole
    np.testing.assert_allclose(
      bounds.beta(t, alpha, Q, V), expected, rtol=1e-12
    )


def test_beta_is_the_formula_of_the_theorem():
  alpha, Q, V = draws(2000)
  t = np.random.default_rng(1).integers(0, 400, len(Q))
  zeta = special.zeta
  expected = zeta(alpha + 1, t + 1) / zeta(alpha, 1) * Q
  expected += (1 - zeta(alpha, t + 1) / zeta(alpha, 1)) * V
  np.testing.assert_allclose(bounds.beta(t, alpha, Q, V), expected, rtol=1e-12)


def test_beta_ends_at_the_variance_and_starts_without_it():
  assert bounds.beta(np.inf, 1.5, 10.0, 0.7) == 0.7
  expected = 10.0 * special.zeta(2.5) / special.zeta(1.5)
  np.testing.assert_allclose(
    bounds.beta(0, 1.5, 10.0, 0.7), expected, rtol=1e-14
  )


def test_a_step_of_the_threshold_moves_one_count():
  alpha, Q, V = draws(2000)
  t = np.random.default_rng(1).integers(0, 400, len(Q))
  step = bounds.beta(t + 1, alpha, Q, V) - bounds.beta(t, alpha, Q, V)
  expected = (t + 1.0) ** -alpha * (V - Q / (t + 1.0)) / special.zeta(alpha, 1)
  scale = bounds.beta(0, alpha, Q, V)
  np.testing.assert_array_less(np.abs(step - expected), 1e-12 * scale)


def test_the_best_integer_threshold_is_the_ceiling():
  alpha, Q, V = draws(4000)
  values = bounds.beta(np.arange(220), alpha[:, None], Q[:, None], V[:, None])
  np.testing.assert_array_equal(bounds.t_opt(Q, V), values.argmin(axis=1))
  np.testing.assert_array_equal(bounds.t_opt(Q, V), np.ceil(Q / V - 1.0))
  # The floor never is: one count is lost.
  floor = np.floor(Q / V - 1.0)
  best = bounds.beta(bounds.t_opt(Q, V), alpha, Q, V)
  assert np.all(bounds.beta(floor, alpha, Q, V) > best)


@few
@hypothesis.given(ratio=st.integers(1, 500), V=st.floats(1e-3, 1e3))
def test_of_two_equal_thresholds_the_smaller_is_taken(ratio, V):
  Q = ratio * V
  assert bounds.t_opt(Q, V) == ratio - 1
  low, high = bounds.beta(np.array([ratio - 1, ratio]), 1.5, Q, V)
  assert low == pytest.approx(high, rel=1e-12)


def test_rounding_of_the_quotient_does_not_move_the_threshold():
  assert 0.6 / 0.2 < 3.0 and 2.1 / 0.7 > 2.9
  tenths = np.arange(1, 300)
  np.testing.assert_array_equal(bounds.t_opt(tenths / 10, 0.1), tenths - 1)


def test_users_without_events_are_active_only_where_tastes_differ_most():
  assert bounds.t_opt(0.5, 1.0) == 0
  assert isinstance(bounds.t_opt(0.5, 1.0), int)
  for Q, V in ((1.0, 0.0), (1.0, -1.0), (np.nan, 1.0), (-1.0, 1.0), (1e9, 0)):
    with pytest.raises(types.UserError, match='no threshold'):
      bounds.t_opt(Q, V)


def test_the_values_that_were_computed_by_hand_before():
  values = bounds.beta(np.array([8, 9, 10, 11]), 2.0, 10.0, 1.0)
  expected = [0.970488, 0.969654, 0.969654, 0.970110]
  np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
  assert bounds.gap(1.5, 10.0, 0.7) == pytest.approx(4.52966, abs=5e-6)
  rates = [(0, 3.20472), (5, 1.03323), (10, 0.95582), (19, 0.94122)]
  for t, one in rates:
    arguments = (t, 1.5, 20.0, 1.0, 1.0, 1.0)
    assert bounds.bound(*arguments) == pytest.approx(one, abs=5e-6)


def test_the_gap_is_the_sum_of_the_paper_over_its_normalizer():
  for alpha, Q, V in zip(*draws(200)):
    k = np.arange(1, bounds.t_opt(Q, V) + 1)
    printed = np.sum((Q / k - V) * k**-alpha)
    expected = bounds.beta(0, alpha, Q, V)
    expected -= bounds.beta(bounds.t_opt(Q, V), alpha, Q, V)
    actual = bounds.gap(alpha, Q, V)
    tolerance = 1e-12 * bounds.beta(0, alpha, Q, V)
    assert abs(actual - printed / special.zeta(alpha, 1)) < tolerance
    assert abs(actual - expected) < tolerance
  assert bounds.gap(1.5, 0.5, 1.0) == 0.0


def test_the_real_extension_has_its_minimum_elsewhere():
  ratio = 20.0
  found = optimize.minimize_scalar(
    lambda t: float(bounds.beta(t, 2.0, ratio, 1.0)),
    bounds=(15.0, 25.0),
    method='bounded',
  )
  assert found.x == pytest.approx(19.4875, abs=1e-3)
  assert bounds.t_opt(ratio, 1.0) == 19


@few
@hypothesis.given(alpha=ALPHAS, ratio=RATIOS, more=st.integers(0, 50))
def test_active_users_step_less_from_the_best_threshold_on(alpha, ratio, more):
  t = bounds.t_opt(ratio, 1.0) + more
  active = bounds.gamma_act(t, alpha, ratio, 1.5, 20)
  assert active < bounds.gamma_in(1.0, 1.5, 20)


def test_below_the_best_threshold_active_users_may_step_more():
  active = bounds.gamma_act(0, 2.0, 10.0, 1.5, 20)
  ratio = active / bounds.gamma_in(1.0, 1.5, 20)
  expected = 10.0 * special.zeta(3.0) / special.zeta(2.0)
  np.testing.assert_allclose(ratio**2, expected, rtol=1e-12)
  assert ratio > 1.0


def test_the_error_of_active_users_is_a_conditional_mean():
  for alpha, t in ((1.5, 7), (3.0, 0)):
    expected = 6.0 * power_sum(alpha + 1.0, t) / power_sum(alpha, t)
    actual = bounds.active_error(t, alpha, 6.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_the_step_sizes_minimize_the_bounds_they_belong_to():
  alpha, Q, V, B, N, t = 1.5, 20.0, 1.0, 1.7, 20, 9
  rates = np.geomspace(1e-3, 1e2, 4001)
  for best, start in (
    (bounds.gamma_single(t, alpha, Q, V, B, N), bounds.beta(t, alpha, Q, V)),
    (bounds.gamma_in(V, B, N), V),
    (bounds.gamma_act(t, alpha, Q, B, N), bounds.active_error(t, alpha, Q)),
  ):
    values = (start + rates**2 * B**2 * N) / (2.0 * rates * N)
    assert rates[values.argmin()] == pytest.approx(best, rel=0.01)
  grid = bounds.bound_at(rates, bounds.beta(t, alpha, Q, V), B, N)
  least = bounds.bound(t, alpha, Q, V, B, N)
  assert np.all(grid >= least)
  single = bounds.gamma_single(t, alpha, Q, V, B, N)
  np.testing.assert_allclose(
    bounds.bound_at(single, bounds.beta(t, alpha, Q, V), B, N),
    least,
    rtol=1e-12,
  )


def test_thresholds_go_from_the_theorem_to_the_model():
  counts = np.arange(20)
  for t in range(1, 10):
    np.testing.assert_array_equal(
      counts >= t, counts > bounds.model_threshold(t)
    )
  assert bounds.model_threshold(0) == 0


def test_the_constant_of_the_worst_case_bounds_every_variance():
  B_x, B_phi, c = 1.3, 0.8, 0.4
  Q = bounds.prop_a1_Q(B_x, B_phi, c)
  B = bounds.gradient_bound(B_x, B_phi, c)
  np.testing.assert_allclose(Q, B**2 / c**2, rtol=1e-12)
  assert Q > B_phi**2
  with pytest.raises(types.UserError, match='c = 0'):
    bounds.prop_a1_Q(B_x, B_phi, 0.0)


def test_the_recursion_of_the_proof_stays_below_its_bound():
  Q = fractions.Fraction(1)
  # b_2 from the zero start; the recursion takes it from there.
  error = Q / 4
  for j in range(2, 2000):
    assert error <= Q / j
    error = (1 - fractions.Fraction(2, j)) * error + Q / j**2
    error = fractions.Fraction(int(error * 10**30) + 1, 10**30)  # rounded up


def test_the_cited_induction_fails_from_a_general_start():
  # f(x) = c x^2 / 2 from its minimum; the gradient there is +-B, without noise
  # elsewhere, and never longer than B as |x| <= B / c.
  B, c = fractions.Fraction(3), fractions.Fraction(1, 2)
  Q = (B / c) ** 2
  errors = []
  for sign in (-1, 1):
    x, squares = fractions.Fraction(0), []
    for j in range(1, 7):
      gradient = sign * B if x == 0 else c * x
      assert abs(gradient) <= B
      x = max(min(x - gradient / (c * j), B / c), -B / c)
      squares.append(x**2)
    errors.append(squares)
  b = {j + 2: (low + high) / 2 for j, (low, high) in enumerate(zip(*errors))}
  assert b[2] == Q > Q / 2
  assert all(b[j] <= Q / j for j in range(3, 8))


def test_from_zero_the_first_step_is_short():
  # All laws of (x, y) in one dimension with |x| = B_x, by P(y = 1).
  B_x, c = 1.0, 0.3
  Q = bounds.prop_a1_Q(B_x, B_x / c, c)
  for chance in np.linspace(0.0, 1.0, 11):
    slope = lambda phi, p=chance: (
      special.expit(B_x * phi) * B_x - p * B_x + c * phi
    )
    taste = optimize.brentq(slope, -B_x / c, B_x / c, xtol=1e-14)
    second = np.array([0.5 - 1.0, 0.5]) * B_x * -1.0 / c  # after y = 1, y = 0
    error = np.array([chance, 1.0 - chance]) @ (second - taste) ** 2
    assert error <= B_x**2 / (4.0 * c**2) - taste**2 + 1e-12
    assert error <= Q / 4.0
