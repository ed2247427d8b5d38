from absl.testing import absltest
import numpy as np
from scipy import stats

from twotsrec.evaluation import bootstrap


class BootstrapTest(absltest.TestCase):
  def test_every_resample_draws_as_many_users_as_there_are(self):
    chunks = list(bootstrap.weights(50, 37, seed=0))
    drawn = np.concatenate(chunks)
    self.assertEqual(drawn.shape, (37, 50))
    np.testing.assert_array_equal(drawn.sum(axis=1), 50)

  def test_weights_are_multinomial(self):
    drawn = np.concatenate(list(bootstrap.weights(20, 20000, seed=1)))
    # Var = U (1/U)(1 - 1/U), Cov = -1/U; about 5 standard errors.
    covariance = np.cov(drawn.T)
    expected = np.eye(20) - 1 / 20
    np.testing.assert_allclose(drawn.mean(axis=0), 1.0, atol=0.04)
    np.testing.assert_allclose(covariance, expected, atol=0.08)

  def test_chunks_do_not_change_the_draws(self):
    whole = np.concatenate(list(bootstrap.weights(30, 40, seed=2)))
    cells = bootstrap._CELLS_AT_ONCE
    try:
      bootstrap._CELLS_AT_ONCE = 90
      pieces = list(bootstrap.weights(30, 40, seed=2))
    finally:
      bootstrap._CELLS_AT_ONCE = cells
    self.assertGreater(len(pieces), 10)
    np.testing.assert_array_equal(whole, np.concatenate(pieces))

  def test_interval_of_a_mean_approaches_the_normal_one(self):
    values = np.random.default_rng(3).normal(2.0, 1.0, size=4000)
    low, high = bootstrap.intervals(
      values[:, None], np.ones((4000, 1)), resamples=4000, seed=0
    )
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(4000)
    self.assertAlmostEqual(low[0], values.mean() - half, delta=0.1 * half)
    self.assertAlmostEqual(high[0], values.mean() + half, delta=0.1 * half)

  def test_ratio_keeps_the_items_of_a_user_together(self):
    # Each user has either 4 items of value 1 or 4 of value 0: the interval is
    # that of 500 users, not of 2,000 items.
    sums = np.repeat([4.0, 0.0], 250)[:, None]
    counts = np.full((500, 1), 4.0)
    low, high = bootstrap.intervals(sums, counts, resamples=4000, seed=0)
    half = stats.norm.ppf(0.975) * np.sqrt(0.25 / 500)
    self.assertAlmostEqual((high[0] - low[0]) / 2, half, delta=0.1 * half)

  def test_same_seed_gives_the_same_interval(self):
    values, ones = np.arange(20.0)[:, None], np.ones((20, 1))
    first = bootstrap.intervals(values, ones, 50, seed=5)
    again = bootstrap.intervals(values, ones, 50, seed=5)
    other = bootstrap.intervals(values, ones, 50, seed=6)
    np.testing.assert_array_equal(first, again)
    self.assertFalse(np.array_equal(first, other))

  def test_without_resamples_or_items_there_is_no_interval(self):
    values, ones = np.ones((3, 1)), np.ones((3, 1))
    self.assertTrue(np.isnan(bootstrap.intervals(values, ones, 0, 0)).all())
    self.assertTrue(np.isnan(bootstrap.intervals(values, 0 * ones, 9, 0)).all())


class PairedTest(absltest.TestCase):
  def test_small_but_steady_difference_is_found(self):
    rng = np.random.default_rng(0)
    user = rng.normal(size=2000)
    low, _, p = _compared(user + 0.02 + 0.1 * rng.normal(size=2000), user)
    self.assertGreater(low, 0.0)
    self.assertLess(p, 0.01)

  def test_p_value_is_near_that_of_the_t_test(self):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 300)) + [[0.1], [0.0]]
    expected = stats.ttest_rel(a, b).pvalue
    *_, actual = _compared(a, b, resamples=8000)
    self.assertAlmostEqual(actual, expected, delta=0.02)

  def test_swapping_the_runs_turns_the_sign(self):
    a, b = np.random.default_rng(2).normal(size=(2, 100))
    low, high, p = _compared(b, a)
    np.testing.assert_allclose(_compared(a, b), (-high, -low, p), atol=1e-12)

  def test_equal_runs_differ_by_nothing(self):
    a = np.random.default_rng(3).normal(size=50)
    self.assertEqual(_compared(a, a), (0.0, 0.0, 1.0))

  def test_without_resamples_nothing_is_known(self):
    self.assertTrue(np.isnan(bootstrap.p_values(np.zeros((0, 2)))).all())


def _compared(a, b, resamples=1000):
  """Interval and p-value of a - b, of the same users."""
  difference = (a - b)[:, None]
  ratios = bootstrap.resampled_ratios(
    difference, np.ones_like(difference), resamples, seed=0
  )
  (low,), (high,) = bootstrap.percentiles(ratios)
  (p,) = bootstrap.p_values(ratios)
  return low, high, p
