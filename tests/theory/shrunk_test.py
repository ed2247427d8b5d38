import numpy as np
import pytest
from scipy import special

from tests.theory import bounds_test
from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import power_law
from twotsrec.theory import shrunk


def test_the_weight_is_nothing_without_events_and_all_after_many():
  counts = np.array([0, 1, 9, 99, 10**12])
  weights = shrunk.weight(counts, 10.0, 0.5)
  expected = 0.5 / (0.5 + 10.0 / (counts[1:] + 1.0))
  np.testing.assert_allclose(weights[1:], expected, rtol=1e-14)
  assert weights[0] == 0.0 and np.all(np.diff(weights) > 0)
  assert weights[-1] == pytest.approx(1.0, abs=1e-10)


def test_only_the_ratio_of_noise_and_differences_counts():
  counts = np.arange(50)
  for scale in (1e-6, 3.0, 1e9):
    np.testing.assert_allclose(
      shrunk.weight(counts, 7.0 * scale, 2.0 * scale),
      shrunk.weight(counts, 7.0, 2.0),
      rtol=1e-14,
    )


def test_tastes_that_do_not_differ_leave_nothing_to_an_own_vector():
  for variance in (0.0, -0.3):
    np.testing.assert_array_equal(shrunk.weight([0, 5], 2.0, variance), 0.0)
    assert shrunk.error(5, 2.0, variance) == 0.0
  # Without noise it is everything.
  np.testing.assert_array_equal(shrunk.weight([0, 5], 0.0, 1.0), [0.0, 1.0])


def test_the_weight_is_the_minimum_of_its_parabola():
  rng = np.random.default_rng(0)
  V, Q = rng.uniform(0.01, 3.0, (2, 200))
  counts = rng.integers(1, 60, 200)
  q, best = Q / (counts + 1.0), shrunk.weight(counts, Q, V)
  parabola = lambda w: w**2 * q + (1.0 - w) ** 2 * V
  errors = shrunk.error(counts, Q, V)
  np.testing.assert_allclose(parabola(best), errors, rtol=1e-12)
  off = rng.uniform(-0.5, 0.5, 200)
  grown = parabola(best + off) - errors
  np.testing.assert_allclose(grown, off**2 * (V + q), rtol=1e-9)
  assert np.all(errors < np.minimum(V, q))
  larger, smaller = np.maximum(V, q), np.minimum(V, q)
  np.testing.assert_allclose(errors / smaller, larger / (larger + smaller))


@pytest.mark.parametrize('count', [1, 9, 40])
def test_it_is_the_mean_of_normal_tastes_and_its_error_is_theirs(count):
  """Monte Carlo, and the posterior mean by conditioning a joint normal law."""
  V, Q, width, users = 0.5, 10.0, 4, 200_000
  rng = np.random.default_rng(count)
  q, mean = Q / (count + 1.0), rng.normal(size=width)
  tastes = mean + np.sqrt(V / width) * rng.normal(size=(users, width))
  own = tastes + np.sqrt(q / width) * rng.normal(size=(users, width))
  w = shrunk.weight(count, Q, V)
  start = w * own + (1.0 - w) * mean
  squares = np.sum((start - tastes) ** 2, axis=1)
  off = 5.0 * squares.std() / np.sqrt(users)
  assert abs(squares.mean() - shrunk.error(count, Q, V)) < off
  covariance = np.array([[V, V], [V, V + q]]) / width
  slope = covariance[0, 1] / covariance[1, 1]
  posterior = mean + slope * (own - mean)
  np.testing.assert_allclose(start, posterior, rtol=1e-9, atol=1e-9)


def test_bias_within_its_limit_keeps_it_below_both_starts():
  rng = np.random.default_rng(1)
  V, q = rng.uniform(0.01, 3.0, (2, 500))
  smaller, w = np.minimum(V, q), V / (V + q)
  error = lambda product: (
    w**2 * q + (1 - w) ** 2 * V - 2 * w * (1 - w) * product
  )
  assert np.all(error(-0.5 * smaller) < smaller)
  assert np.all(error(0.3 * smaller) < error(0.0))
  # Where both starts are as good, more than twice the limit is too much.
  equal = np.isclose(V, q, rtol=0.05)
  assert np.all(error(-1.1 * smaller)[equal] > smaller[equal])


@pytest.mark.parametrize(
  ('alpha', 'Q', 'V'),
  [
    (1.05, 3.0, 1.0),
    (1.5, 10.0, 0.7),
    (2.0, 10.0, 1.0),
    (2.0, 40.0, 0.002),
    (3.3, 1.0, 1.0),
  ],
)
def test_beta_is_the_mean_error_over_activity(alpha, Q, V):
  """Term by term up to 4 r, and by a series of zeta functions beyond."""
  ratio = Q / V
  first = max(int(4 * ratio), 10)
  n = np.arange(first - 1.0, 0.0, -1.0)
  head = np.sum(n**-alpha * shrunk.error(n - 1.0, Q, V))
  orders = np.arange(60)
  terms = (-ratio) ** orders * special.zeta(alpha + 1.0 + orders, first)
  expected = (head + Q * terms.sum()) / special.zeta(alpha, 1)
  assert shrunk.beta(alpha, Q, V) == pytest.approx(expected, rel=1e-11)


def test_beta_is_below_that_of_every_threshold():
  alpha, Q, V = bounds_test.draws(400)
  ours = shrunk.beta(alpha, Q, V)
  thresholds = np.arange(400)[:, None]
  assert np.all(ours < bounds.beta(thresholds, alpha, Q, V))
  assert np.all(ours < V)  # the threshold that nobody passes
  best = bounds.beta(bounds.t_opt(Q, V), alpha, Q, V)
  assert np.all(ours < best)
  bound = shrunk.bound(alpha, Q, V, 2.0, 30)
  np.testing.assert_allclose(bound, 2.0 * np.sqrt(ours / 30), rtol=1e-14)
  assert np.all(bound < bounds.bound(thresholds, alpha, Q, V, 2.0, 30))


def test_the_middle_sum_is_the_best_threshold():
  alpha, Q, V = 1.5, 12.0, 0.7
  counts = np.arange(200_000)
  smaller = np.minimum(V, Q / (counts + 1.0))
  total = np.sum(power_law.pmf(counts, alpha) * smaller)
  tail = Q * power_law.zeta(alpha + 1.0, len(counts) + 1.0)
  total += tail / power_law.zeta(alpha)
  best = bounds.beta(bounds.t_opt(Q, V), alpha, Q, V)
  assert total == pytest.approx(best, rel=1e-10)


def test_numbers_that_give_no_weight_are_refused():
  for call in (
    lambda: shrunk.weight(-1, 1.0, 1.0),
    lambda: shrunk.weight(1, -1.0, 1.0),
    lambda: shrunk.weight(1, 1.0, np.nan),
    lambda: shrunk.beta(2.0, np.inf, 1.0),
  ):
    with pytest.raises(types.UserError, match='no weight follows'):
      call()
  with pytest.raises(types.UserError, match='must be positive'):
    shrunk.beta(2.0, 1.0, 0.0)
  with pytest.raises(types.UserError, match='above 1'):
    shrunk.beta(1.0, 1.0, 1.0)
