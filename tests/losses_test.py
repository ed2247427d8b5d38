import math

from absl.testing import parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
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
