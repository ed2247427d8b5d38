from absl.testing import absltest
import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import trees


def _stacked(seed=0, num_groups=4):
  draw = np.random.default_rng(seed).normal
  return {
    'a': jnp.asarray(draw(size=(num_groups, 3, 2)), jnp.float32),
    'b': [jnp.asarray(draw(size=(num_groups,)), jnp.float32)],
  }


def _flat(stacked):
  leaves = jax.tree.leaves(stacked)
  return np.concatenate([np.reshape(x, (x.shape[0], -1)) for x in leaves], 1)


class TreesTest(absltest.TestCase):
  def test_combine_is_a_matrix_product_on_flat_vectors(self):
    stacked, weights = _stacked(), jnp.array([0.5, -1.0, 0.0, 2.0])
    combined = trees.combine(weights, stacked)
    chex.assert_trees_all_equal_shapes(
      combined, jax.tree.map(lambda x: x[0], stacked)
    )
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(combined)])
    np.testing.assert_allclose(flat, weights @ _flat(stacked), rtol=1e-5)

  def test_gram_equals_the_one_of_concatenated_vectors(self):
    flat = _flat(_stacked())
    np.testing.assert_allclose(trees.gram(_stacked()), flat @ flat.T, rtol=1e-5)

  def test_cosines_are_those_of_unit_vectors_and_zero_for_a_zero_vector(self):
    flat = _flat(_stacked())
    flat[2] = 0.0
    norms, cosines = trees.cosines(jnp.asarray(flat @ flat.T))
    lengths = np.linalg.norm(flat, axis=1)
    unit = flat / np.where(lengths > 0, lengths, 1.0)[:, None]
    np.testing.assert_allclose(norms, lengths, rtol=1e-5)
    np.testing.assert_allclose(cosines, unit @ unit.T, atol=1e-6)

  def test_one_bad_number_anywhere_is_noticed(self):
    stacked = _stacked()
    self.assertTrue(trees.all_finite(stacked))
    for bad in (np.nan, np.inf, -np.inf):
      broken = {**stacked, 'b': [stacked['b'][0].at[1].set(bad)]}
      self.assertFalse(trees.all_finite(broken))
    self.assertTrue(trees.all_finite(()))
