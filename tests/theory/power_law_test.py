import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import optimize
from scipy import special

from twotsrec import types
from twotsrec.theory import power_law

EXPONENTS = st.floats(1.01, 12.0)
few = hypothesis.settings(max_examples=50, deadline=None, derandomize=True)


@few
@hypothesis.given(s=EXPONENTS, a=st.floats(0.1, 1e6))
def test_zeta_is_that_of_scipy(s, a):
  np.testing.assert_allclose(
    power_law.zeta(s, a), special.zeta(s, a), rtol=1e-14
  )


def test_zeta_broadcasts():
  s, a = np.array([[1.5], [2.5]]), np.array([1.0, 7.0, 400.0])
  actual = power_law.zeta(s, a)
  np.testing.assert_allclose(actual, special.zeta(s, a), rtol=1e-14)
  assert power_law.zeta(2.0) == pytest.approx(np.pi**2 / 6, rel=1e-15)


@few
@hypothesis.given(s=EXPONENTS, a=st.floats(0.1, 1e4))
def test_zeta_loses_one_term_when_its_shift_grows_by_one(s, a):
  first = a**-s
  difference = power_law.zeta(s, a) - power_law.zeta(s, a + 1.0)
  np.testing.assert_allclose(
    difference, first, atol=1e-13 * power_law.zeta(s, a)
  )


def test_zeta_ends_at_zero_and_refuses_exponents_that_diverge():
  np.testing.assert_array_equal(power_law.zeta(1.5, np.array([np.inf])), 0.0)
  for wrong in (1.0, 0.5, np.nan):
    with pytest.raises(types.UserError, match='above 1'):
      power_law.zeta(wrong)
    with pytest.raises(types.UserError, match='above 1'):
      power_law.survival(3, wrong)
  with pytest.raises(types.UserError, match='positive'):
    power_law.zeta(2.0, 0.0)


def test_results_are_float64_without_the_switch_of_jax():
  assert power_law.zeta(np.float32(2.0)).dtype == np.float64


@few
@hypothesis.given(alpha=EXPONENTS, count=st.integers(0, 300))
def test_survival_is_one_less_the_chances_below(alpha, count):
  below = power_law.pmf(np.arange(count), alpha).sum()
  np.testing.assert_allclose(
    power_law.survival(count, alpha), 1.0 - below, atol=1e-13
  )


@pytest.mark.parametrize('minimum', [0, 3, 20])
@pytest.mark.parametrize('alpha', [1.3, 2.2])
def test_the_exponent_of_a_sample_is_found_again(alpha, minimum):
  counts = np.random.default_rng(0).zipf(alpha, size=200_000) - 1
  fitted = power_law.fit_alpha(counts, minimum)
  assert fitted.users == np.count_nonzero(counts >= minimum)
  assert fitted.minimum == minimum
  assert abs(fitted.alpha - alpha) < 3.5 * fitted.standard_error


@pytest.mark.parametrize('minimum', [0, 5])
def test_the_fit_maximizes_the_likelihood_and_knows_its_curvature(minimum):
  counts = np.random.default_rng(1).geometric(0.02, size=500)  # no power law
  kept = counts[counts >= minimum]

  def loss(a):
    normalizer = np.log(special.zeta(a, minimum + 1.0))
    return a * np.sum(np.log(kept + 1.0)) + len(kept) * normalizer

  found = optimize.minimize_scalar(
    loss, bounds=(1.001, 10.0), method='bounded', options={'xatol': 1e-9}
  )
  fitted = power_law.fit_alpha(counts, minimum)
  assert fitted.alpha == pytest.approx(found.x, abs=1e-6)
  a, h = fitted.alpha, 1e-3
  curvature = (loss(a + h) - 2.0 * loss(a) + loss(a - h)) / h**2
  assert fitted.standard_error == pytest.approx(curvature**-0.5, rel=1e-3)


def test_the_standard_error_is_the_spread_over_samples():
  rng = np.random.default_rng(2)
  fits = [power_law.fit_alpha(rng.zipf(1.8, size=1000) - 1) for _ in range(200)]
  spread = np.std([fit.alpha for fit in fits])
  assert np.mean([f.standard_error for f in fits]) == pytest.approx(
    spread, rel=0.15
  )


def test_the_law_begins_where_most_users_with_events_are():
  assert power_law.law_start(np.array([0, 0, 0, 4, 4, 9])) == 4
  assert power_law.law_start(np.array([0, 0])) == 0


def test_counts_without_a_power_law_are_refused():
  with pytest.raises(types.UserError, match='hardly differ'):
    power_law.fit_alpha(np.zeros(10, int))
  with pytest.raises(types.UserError, match='hardly differ'):
    power_law.fit_alpha(np.full(10, 7), minimum=7)
  with pytest.raises(types.UserError, match='no user has 9 events'):
    power_law.fit_alpha(np.array([1, 2, 3]), minimum=9)
