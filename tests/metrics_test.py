import functools
import itertools
import math

from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from twotsrec import metrics

_CHECK = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
# Few distinct values, so that ties are common.
_SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25)


_AT_FIVE = {
  'hit': functools.partial(metrics.hit, k=5),
  'ndcg': functools.partial(metrics.ndcg, k=5),
  'reciprocal rank': metrics.reciprocal_rank,
}


def _rank(positive, negative, ties):
  better = sum(score > positive for score in negative)
  tied = sum(score == positive for score in negative)
  return metrics.rank_from_counts(better, tied, ties)


class RankTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('optimistic', 0.0, 3.0), ('mid', 0.5, 4.0), ('pessimistic', 1.0, 5.0)
  )
  def test_ties_move_the_rank(self, ties, expected):
    self.assertEqual(metrics.rank_from_counts(2, 2, ties), expected)

  @parameterized.named_parameters(
    ('first', 0, 1.0, 1.0, 1.0),
    ('third', 2, 1.0, 0.5, 1.0 / 3.0),
    ('last_that_counts', 4, 1.0, 1.0 / math.log2(6.0), 0.2),
    ('just_missed', 5, 0.0, 0.0, 1.0 / 6.0),
  )
  def test_metrics_at_five_match_their_definitions(
    self, better, hit, ndcg, reciprocal
  ):
    actual = [value(better, 0) for value in _AT_FIVE.values()]
    np.testing.assert_allclose(actual, (hit, ndcg, reciprocal), rtol=1e-12)

  @parameterized.product(better=(0, 1, 3, 4, 5, 9), tied=(1, 2, 4))
  def test_a_tie_is_the_mean_over_all_its_orders(self, better, tied):
    orders = list(itertools.permutations(range(tied + 1)))
    places = [better + 1 + order.index(0) for order in orders]
    for name, value in _AT_FIVE.items():
      at = [value(place - 1, 0) for place in places]
      np.testing.assert_allclose(
        value(better, tied), np.mean(at), rtol=1e-12, err_msg=name
      )
      ends = {0.0: max(at), 1.0: min(at)}
      for ties, end in ends.items():
        self.assertEqual(value(better, tied, ties=ties), end)
      # Half way to an end, so that the mean place is a quarter down.
      np.testing.assert_allclose(
        value(better, tied, ties=0.25), (np.mean(at) + max(at)) / 2, rtol=1e-12
      )

  @parameterized.parameters(9, 10, 18, 19, 20, 3000)
  def test_a_constant_scorer_hits_by_chance(self, rivals):
    np.testing.assert_allclose(
      metrics.hit(0, rivals, 10), min(10 / (rivals + 1), 1.0), rtol=1e-12
    )

  @_CHECK
  @hypothesis.given(
    st.lists(
      st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=30
    ),
    st.integers(1, 20),
  )
  def test_ndcg_is_a_share_of_the_hits_that_places_bound(self, counts, k):
    better, tied = np.array(counts).T
    hits = np.mean(metrics.hit(better, tied, k))
    gains = np.mean(metrics.ndcg(better, tied, k))
    self.assertLessEqual(gains, hits + 1e-12)
    self.assertGreaterEqual(gains, hits / math.log2(k + 1) - 1e-12)

  def test_ndcg_equals_sklearn(self):
    rng = np.random.default_rng(0)
    for _ in range(20):
      scores = rng.integers(4, size=12).astype(float)
      other = scores[1:]
      actual = metrics.ndcg(
        np.sum(other > scores[0]), np.sum(other == scores[0]), 5
      )
      expected = sklearn_metrics.ndcg_score(np.eye(1, 12), scores[None], k=5)
      np.testing.assert_allclose(actual, expected)

  def test_harmonic_numbers(self):
    number = np.array([0, 1, 2, 3, 40, 1000])
    summed = [math.fsum(1 / i for i in range(1, n + 1)) for n in number]
    np.testing.assert_allclose(metrics.harmonic(number), summed, atol=1e-12)

  def test_without_rivals_nothing_takes_part(self):
    values = metrics.among_rivals([1.0, 0.5], np.array([0, 3]))
    np.testing.assert_array_equal(values, [np.nan, 0.5])


class AucTest(parameterized.TestCase):
  @_CHECK
  @hypothesis.given(st.integers(-3, 3).map(float), _SCORES)
  def test_user_auc_is_the_auc_of_one_positive(self, positive, negative):
    rank = _rank(positive, negative, 0.5)
    labels = [1] + [0] * len(negative)
    expected = sklearn_metrics.roc_auc_score(labels, [positive, *negative])
    np.testing.assert_allclose(
      metrics.user_auc(rank, len(negative)), expected, atol=1e-12
    )

  def test_without_negatives_there_is_no_auc(self):
    self.assertTrue(np.isnan(metrics.user_auc(1.0, 0)))


@pytest.mark.parametrize('value', [np.nan, np.inf, np.float32('-inf')])
def test_what_is_not_known_is_none(value):
  assert metrics.or_none(value) is None
  assert type(metrics.or_none(np.float32(0.5))) is float
