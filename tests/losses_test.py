import math

from absl.testing import parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from twotsrec import losses


class LossesTest(parameterized.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  @parameterized.named_parameters(
    ('undecided', 0.0, 1.0, math.log(2.0)),
    ('right', 3.0, 1.0, math.log1p(math.exp(-3.0))),
    ('wrong', 3.0, 0.0, 3.0 + math.log1p(math.exp(-3.0))),
    ('hopeless_stays_finite', -1e4, 1.0, 1e4),
  )
  def test_bce_matches_definition(self, logit, label, expected):
    actual = self.variant(losses.bce_loss)(
      jnp.float32(logit), jnp.float32(label)
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-6)

  def test_candidate_loss_is_the_log_loss_of_one_positive_and_the_rest(self):
    scores = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    labels = [1, 0, 0, 0, 0]
    expected = [
      sklearn_metrics.log_loss(labels, 1 / (1 + np.exp(-row))) for row in scores
    ]
    actual = losses.candidate_bce_loss(jnp.asarray(scores))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)

  def test_losses_of_candidates_are_loops_over_the_negatives(self):
    softplus = lambda x: math.log1p(math.exp(x))
    loops = {
      'bpr': lambda first, rest: np.mean([softplus(s - first) for s in rest]),
      'hinge': lambda first, rest: np.mean(
        [max(0.0, 1.0 - (first - s)) for s in rest]
      ),
      'bce': lambda first, rest: np.mean(
        [softplus(-first), *(softplus(s) for s in rest)]
      ),
      'softmax': lambda first, rest: (
        -math.log(
          math.exp(first) / (math.exp(first) + sum(map(math.exp, rest)))
        )
      ),
    }
    self.assertEqual(set(loops), set(losses.OF_CANDIDATES))
    draw = np.random.default_rng(1)
    for count in (1, 4):
      scores = draw.normal(size=(2, 7, 1 + count)).astype(np.float32)
      for name, loop in loops.items():
        actual = losses.OF_CANDIDATES[name](jnp.asarray(scores))
        expected = [[loop(r[0], r[1:]) for r in rows] for rows in scores]
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    for name in ('bpr', 'hinge'):  # nothing to compare with
      with self.assertRaises(AssertionError):
        losses.OF_CANDIDATES[name](jnp.zeros((3, 1)))

  @chex.variants(with_jit=True, without_jit=True)
  def test_offer_loss_is_the_log_loss_of_the_chosen_item(self):
    offer_softmax_loss = self.variant(losses.offer_softmax_loss)
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(6, 5)).astype(np.float32)
    hidden = draw.random((6, 4)) < 0.4
    hidden[0], hidden[1] = True, False
    actual = offer_softmax_loss(scores[:, 0], scores[:, 1:], hidden)
    kept = np.append(np.ones((6, 1), bool), ~hidden, axis=1)
    for row, shown, loss in zip(scores, kept, actual, strict=True):
      chance = np.exp(row[shown].astype(np.float64))
      np.testing.assert_allclose(
        loss, -np.log(chance[0] / chance.sum()), rtol=1e-5, atol=1e-7
      )
    self.assertEqual(actual[0], 0.0)
    undecided = offer_softmax_loss(jnp.zeros(2), jnp.zeros((2, 7)))
    np.testing.assert_allclose(undecided, math.log(8.0), rtol=1e-6)

  def test_offer_loss_and_its_gradient_stay_finite(self):
    value_and_grad = jax.value_and_grad(losses.offer_softmax_loss, (0, 1))
    for positive, other, hidden, loss, grad in (
      (-1e4, 1e4, False, 2e4, 1.0),
      (1e4, -1e4, False, 0.0, 0.0),
      (0.0, 5.0, True, 0.0, 0.0),
    ):
      value, (own, others) = value_and_grad(
        jnp.float32(positive), jnp.array([other]), jnp.array([hidden])
      )
      np.testing.assert_allclose((value, others[0]), (loss, grad))
      np.testing.assert_allclose(own, -grad)

  def test_zero_weight_hides_a_value_and_its_gradient(self):
    mean_and_grad = jax.value_and_grad(losses.weighted_mean)
    value, grad = mean_and_grad(
      jnp.array([2.0, jnp.inf, 4.0]), jnp.array([1.0, 0.0, 3.0])
    )
    np.testing.assert_allclose(value, (2.0 + 3.0 * 4.0) / 4.0)
    np.testing.assert_allclose(grad, [0.25, 0.0, 0.75])

  def test_no_weight_at_all_gives_zero_and_a_finite_gradient(self):
    mean_and_grad = jax.value_and_grad(losses.weighted_mean)
    chex.assert_trees_all_equal(
      mean_and_grad(jnp.ones(3), jnp.zeros(3)), (0.0, jnp.zeros(3))
    )


@pytest.mark.parametrize('share', [0.1, 0.25, 0.5, 1.0])
def test_worst_weights_give_the_mean_of_the_worst_share(share):
  rng = np.random.default_rng(0)
  values = rng.gamma(2.0, size=40).astype(np.float32)
  real = np.arange(64) < 40
  padded = np.where(real, np.pad(values, (0, 24)), 99.0)
  weights = np.asarray(losses.worst_weights(padded, real, share, 0.0))
  assert not weights[40:].any()
  np.testing.assert_allclose(weights.sum(), 40, rtol=1e-5)
  worst = np.sort(values)[-int(np.ceil(share * 40)) :]
  np.testing.assert_allclose(
    np.mean(weights[:40] * values), worst.mean(), rtol=1e-5
  )
  smooth = np.asarray(losses.worst_weights(padded, real, share, 0.2))[:40]
  order = np.argsort(values)
  assert np.all(np.diff(smooth[order]) >= 0)
  np.testing.assert_allclose(smooth.mean(), 1.0, rtol=1e-5)
