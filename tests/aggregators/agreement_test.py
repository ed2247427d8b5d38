import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.aggregators import cases
from twotsrec import types
from twotsrec.aggregators import agreement

# Columns: all positive, mixed, a zero among positives, untouched, all negative.
GRADS = np.array(
  [
    [1.0, 1.0, 2.0, 0.0, -1.0],
    [2.0, -1.0, 0.0, 0.0, -3.0],
    [3.0, 4.0, 1.0, 0.0, -0.5],
  ]
)
THREE = types.GroupInfo(jnp.ones(3), jnp.ones(3), jnp.ones(3))


def _update(aggregator, grads, info=THREE, key=None):
  tree = {'w': jnp.asarray(grads, jnp.float32)}
  update, _, log = jax.jit(aggregator.update)(tree, info, (), key=key)
  return np.asarray(update['w']), log


def test_masks_of_a_hand_example():
  strict, log = _update(agreement.agr_sum(), GRADS)
  np.testing.assert_allclose(strict, [6.0, 0.0, 0.0, 0.0, -4.5])
  np.testing.assert_allclose(log['agreement'], 2 / 5)
  ignoring, log = _update(agreement.agr_sum('ignore'), GRADS)
  np.testing.assert_allclose(ignoring, [6.0, 0.0, 3.0, 0.0, -4.5])
  np.testing.assert_allclose(log['agreement'], 4 / 5)


def test_an_absent_group_does_not_veto():
  info = THREE._replace(counts=jnp.array([1.0, 0.0, 1.0]))
  strict, _ = _update(agreement.agr_sum(), GRADS, info)
  np.testing.assert_allclose(strict, [4.0, 5.0, 3.0, 0.0, -1.5])


@pytest.mark.parametrize(
  ('policy', 'scale', 'agreeing', 'deviation'),
  [
    ('strict', 'agreeing', [0, 4], (6.0 + 4.5) / 2),
    ('strict', 'all', [0, 4], (6.0 + 4.5) / 5),
    ('ignore', 'agreeing', [0, 2, 3, 4], (6.0 + 3.0 + 4.5) / 3),
    ('ignore', 'all', [0, 2, 3, 4], (6.0 + 3.0 + 4.5) / 5),
  ],
)
def test_noise_replaces_what_is_disputed(policy, scale, agreeing, deviation):
  repeats = 2000
  grads = np.tile(GRADS, (1, repeats))
  aggregator = agreement.agr_rand(policy, scale)
  update, _ = _update(aggregator, grads, key=jax.random.key(0))
  update = update.reshape(repeats, 5)
  expected = GRADS.sum(0)
  np.testing.assert_allclose(
    update[:, agreeing], np.tile(expected[agreeing], (repeats, 1))
  )
  noise = np.delete(update, agreeing, axis=1)
  error = 5 / np.sqrt(2 * noise.size)  # five standard errors
  np.testing.assert_allclose(noise.std(), deviation, rtol=error)
  assert abs(noise.mean()) < 5 * deviation / np.sqrt(noise.size)


def test_noise_has_the_scale_of_its_own_tensor():
  tree = {
    'agreeing': jnp.ones((3, 4)),
    'disputed': jnp.asarray([[1.0], [-1.0], [1.0]]),
  }
  update, *_ = jax.jit(agreement.agr_rand().update)(
    tree, THREE, (), key=jax.random.key(0)
  )
  np.testing.assert_allclose(update['agreeing'], 3.0)
  np.testing.assert_allclose(update['disputed'], 0.0)  # nothing agrees there


def test_agreement_without_zeros_is_the_same_under_both_policies():
  vectors = cases.draw(4)
  np.testing.assert_allclose(
    cases.apply('agr_sum', vectors),
    cases.apply('agr_sum', vectors, agr_zero_policy='ignore'),
  )
  signs = np.abs(np.sign(vectors).sum(0)) == len(vectors)
  np.testing.assert_allclose(
    cases.apply('agr_sum', vectors), signs * vectors.sum(0), rtol=1e-5
  )
