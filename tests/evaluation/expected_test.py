import itertools
import math

from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import numpy as np
from scipy import stats

from twotsrec.evaluation import expected


def _over_all_lists(better, tied, others, n, value):
  """Mean of value(rank) over every list of n of the others, and place in it."""
  means = []
  for one in itertools.combinations(range(others), min(n, others)):
    first = 1 + sum(i < better for i in one)
    last = first + sum(better <= i < better + tied for i in one)
    means.append(np.mean([value(rank) for rank in range(first, last + 1)]))
  return np.mean(means)


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
    better, tied = np.array(
      [(b, t) for b in range(others + 1) for t in range(others - b + 1)]
    ).T
    actual = _actual(better, tied, others, n)
    for name, value in _VALUES.items():
      wanted = [
        _over_all_lists(b, t, others, n, value) for b, t in zip(better, tied)
      ]
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

  @parameterized.parameters((0, 3705), (7, 1), (3000, 400), (20_000, 3))
  def test_a_tie_is_the_mean_over_the_items_above(self, better, tied):
    others = 3705 if better < 3705 else 1_000_000
    above = np.arange(better, better + tied + 1)
    for name, values in _actual(above, 0, others, 499).items():
      actual = _actual(better, tied, others, 499)[name]
      np.testing.assert_allclose(
        actual, values.mean(), rtol=1e-7, atol=1e-9, err_msg=name
      )

  def test_few_others_are_all_candidates(self):
    better, others = np.array([0, 3, 9]), np.array([3, 3, 20])
    rank = expected.reciprocal_rank(better, 0, others, 499)
    np.testing.assert_allclose(rank, 1 / (better + 1))
    np.testing.assert_array_equal(
      expected.hit(better, 0, others, 499, 4), [1.0, 1.0, 0.0]
    )

  def test_nobody_else_is_no_rank(self):
    values = np.array([*_actual(0, 0, np.array([0, 1]), 9).values()])
    np.testing.assert_array_equal(np.isnan(values), [[True, False]] * 3)

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
