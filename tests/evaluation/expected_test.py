import itertools
import math

from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import numpy as np
from scipy import stats

from twotsrec.evaluation import expected


def _over_all_lists(above, others, n, value):
  """Mean of value(rank) over every list of n of the others."""
  lists = itertools.combinations(range(others), min(n, others))
  return np.mean([value(1 + sum(i < above for i in one)) for one in lists])


_VALUES = {
  'mrr': lambda rank: 1 / rank,
  'hit@3': lambda rank: float(rank <= 3),
  'ndcg@3': lambda rank: 1 / math.log2(1 + rank) if rank <= 3 else 0.0,
}


def _actual(better, tied, others, n):
  known = better, tied, others, n
  return {
    'mrr': expected.reciprocal_rank(*known),
    'hit@3': expected.hit(*known, 3),
    'ndcg@3': expected.ndcg(*known, 3),
  }


class ExpectedTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 1), (5, 2), (7, 6), (7, 7), (4, 9), (9, 4), (2, 1), (1, 5)
  )
  def test_is_the_mean_over_all_lists(self, others, n):
    above = np.arange(others + 1)
    actual = _actual(above, 0, others, n)
    for name, value in _VALUES.items():
      wanted = [_over_all_lists(g, others, n, value) for g in above]
      np.testing.assert_allclose(actual[name], wanted, atol=1e-12, err_msg=name)

  @parameterized.parameters((3705, 499), (499, 499), (700, 499), (40, 20))
  def test_over_all_ranks_it_is_what_a_random_scorer_gets(self, others, n):
    above = np.arange(others + 1)
    rank = expected.reciprocal_rank(above, 0, others, n)
    harmonic = np.sum(1 / np.arange(1, n + 2))
    np.testing.assert_allclose(rank.mean(), harmonic / (n + 1), rtol=1e-12)
    hit = expected.hit(above, 0, others, n, 10)
    np.testing.assert_allclose(hit.mean(), 10 / (n + 1), rtol=1e-12)

  @parameterized.parameters(1000, 50_000, 4_000_000)
  def test_agrees_with_the_hypergeometric_distribution(self, others):
    above = np.unique(np.geomspace(1, others, 12).astype(np.int64)) - 1
    law = stats.hypergeom(others, above, 499)
    np.testing.assert_allclose(
      expected.hit(above, 0, others, 499, 10), law.cdf(9), rtol=1e-8, atol=1e-14
    )
    chances = law.pmf(np.arange(500)[:, None])
    wanted = np.sum(chances / np.arange(1, 501)[:, None], axis=0)
    np.testing.assert_allclose(
      expected.reciprocal_rank(above, 0, others, 499), wanted, rtol=1e-7
    )

  def test_half_the_ties_count_and_an_odd_one_is_the_mean_of_both(self):
    for name, values in _actual(2, np.array([4, 3]), 11, 5).items():
      at = _actual(np.array([3, 4]), 0, 11, 5)[name]
      np.testing.assert_allclose(values, [at[1], at.mean()], err_msg=name)

  def test_few_others_are_all_candidates(self):
    better, others = np.array([0, 3, 9]), np.array([3, 3, 20])
    rank = expected.reciprocal_rank(better, 0, others, 499)
    np.testing.assert_allclose(rank, 1 / (better + 1))
    np.testing.assert_array_equal(
      expected.hit(better, 0, others, 499, 4), [1.0, 1.0, 0.0]
    )

  def test_nobody_else_is_the_first_rank(self):
    np.testing.assert_array_equal(
      [expected.reciprocal_rank(0, 0, 0, 9), expected.hit(0, 0, 0, 9, 1)], 1.0
    )

  @hypothesis.given(
    others=st.integers(1, 60), n=st.integers(1, 70), data=st.data()
  )
  @hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
  def test_values_fall_with_the_rank_and_stay_in_their_range(
    self, others, n, data
  ):
    tied = data.draw(st.integers(0, others))
    above = np.arange(others - tied + 1)
    for name, values in _actual(above, tied, others, n).items():
      self.assertTrue(np.all(np.diff(values) <= 1e-12), name)
      self.assertTrue(np.all((values > -1e-12) & (values < 1 + 1e-12)), name)
