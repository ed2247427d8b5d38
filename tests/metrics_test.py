import math

from absl.testing import parameterized
import chex
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from twotsrec import metrics

_CHECK = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
# Few distinct values, so that ties are common.
_SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25)


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

  @chex.variants(with_jit=True, without_jit=True)
  @parameterized.named_parameters(
    ('first', 1.0, 1.0, 1.0, 1.0),
    ('third', 3.0, 1.0, 0.5, 1.0 / 3.0),
    ('last_that_counts', 5.0, 1.0, 1.0 / math.log2(6.0), 0.2),
    ('just_missed', 5.5, 0.0, 0.0, 1.0 / 5.5),
  )
  def test_metrics_at_five_match_their_definitions(
    self, rank, hit, ndcg, reciprocal
  ):
    at_five = self.variant(
      lambda r: (
        metrics.hit(r, 5),
        metrics.ndcg(r, 5),
        metrics.reciprocal_rank(r),
      )
    )
    actual = at_five(jnp.float32(rank))
    np.testing.assert_allclose(actual, (hit, ndcg, reciprocal), rtol=1e-6)

  @_CHECK
  @hypothesis.given(
    st.lists(st.integers(2, 60), min_size=1, max_size=30), st.integers(1, 20)
  )
  def test_ndcg_is_a_share_of_the_hits_that_places_bound(self, doubled, k):
    ranks = np.array(doubled, np.float64) / 2  # ties take half ranks
    hits, gains = (
      np.mean(metrics.hit(ranks, k)),
      np.mean(metrics.ndcg(ranks, k)),
    )
    self.assertLessEqual(gains, hits + 1e-12)
    self.assertGreaterEqual(gains, hits / math.log2(k + 1) - 1e-12)

  def test_ndcg_equals_sklearn(self):
    rng = np.random.default_rng(0)
    for _ in range(20):
      scores = rng.permutation(12).astype(float)
      rank = _rank(scores[0], scores[1:], 0.5)
      expected = sklearn_metrics.ndcg_score(np.eye(1, 12), scores[None], k=5)
      np.testing.assert_allclose(metrics.ndcg(rank, 5), expected)

  def test_numpy_and_jax_agree(self):
    ranks = np.arange(1, 20) / 2 + 0.5
    for function in (
      lambda r: metrics.hit(r, 3),
      lambda r: metrics.ndcg(r, 3),
      lambda r: metrics.user_auc(r, 9),
    ):
      np.testing.assert_allclose(
        function(ranks), jax.jit(function)(jnp.asarray(ranks)), atol=1e-6
      )


class AucTest(parameterized.TestCase):
  @_CHECK
  @hypothesis.given(_SCORES, _SCORES)
  def test_pooled_auc_equals_sklearn_with_ties(self, positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)
    expected = sklearn_metrics.roc_auc_score(labels, positive + negative)
    actual = metrics.pooled_auc(np.array(positive), np.array(negative))
    np.testing.assert_allclose(actual, expected, atol=1e-12)

  @_CHECK
  @hypothesis.given(_SCORES, _SCORES, st.sampled_from([0.0, 0.5, 1.0]))
  def test_pooled_auc_equals_the_sum_over_pairs(self, positive, negative, ties):
    credit = sum(
      1.0 if n < p else ties if n == p else 0.0
      for p in positive
      for n in negative
    )
    expected = credit / (len(positive) * len(negative))
    actual = metrics.pooled_auc(
      np.float32(positive), np.float32(negative), ties
    )
    np.testing.assert_allclose(actual, expected, atol=1e-12)

  @_CHECK
  @hypothesis.given(_SCORES, st.randoms())
  def test_order_of_the_negatives_does_not_matter(self, negative, random):
    shuffled = list(negative)
    random.shuffle(shuffled)
    positive = np.array([0.0, 1.0])
    self.assertEqual(
      metrics.pooled_auc(positive, np.array(negative)),
      metrics.pooled_auc(positive, np.array(shuffled)),
    )

  @_CHECK
  @hypothesis.given(st.integers(-3, 3).map(float), _SCORES)
  def test_user_auc_is_the_auc_of_one_positive(self, positive, negative):
    rank = _rank(positive, negative, 0.5)
    expected = metrics.pooled_auc(np.array([positive]), np.array(negative))
    np.testing.assert_allclose(
      metrics.user_auc(rank, len(negative)), expected, atol=1e-12
    )

  def test_without_negatives_there_is_no_auc(self):
    self.assertTrue(np.isnan(metrics.user_auc(1.0, 0)))
    self.assertTrue(np.isnan(metrics.pooled_auc(np.ones(2), np.zeros(0))))

  def test_counts_do_not_overflow_or_round(self):
    negative = np.zeros(1 << 18, np.float32)
    positive = np.full(1 << 15, 1.0, np.float32)  # 2^33 pairs
    self.assertEqual(metrics.pooled_auc(positive, negative), 1.0)


@pytest.mark.parametrize('value', [np.nan, np.inf, np.float32('-inf')])
def test_what_is_not_known_is_none(value):
  assert metrics.or_none(value) is None
  assert type(metrics.or_none(np.float32(0.5))) is float
