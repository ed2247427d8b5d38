import jax
import jax.numpy as jnp
import numpy as np

from tests.aggregators import cases
from twotsrec.aggregators import axes


def _stacks():
  """Gradients of four decades of length, some in three dimensions only."""
  generator = np.random.default_rng(0)
  vectors = generator.normal(size=(24, cases.GROUPS, cases.WIDTH))
  vectors[::4, 3] = vectors[::4, 0] - vectors[::4, 1]
  return vectors * 10 ** generator.uniform(-4, 0, (24, cases.GROUPS, 1))


def _principal(vectors, present=(True,) * cases.GROUPS):
  grams = np.stack([cases.scaled_gram(v) for v in vectors])
  principal = jax.jit(jax.vmap(axes.principal, in_axes=(0, None)))
  return principal(jnp.asarray(grams, jnp.float32), jnp.asarray(present))


def test_lengths_are_singular_values_each_to_its_own_accuracy():
  vectors = _stacks()
  found = _principal(vectors)
  for gradients, lengths, counts in zip(vectors, found.lengths, found.counts):
    values = np.linalg.svd(gradients, compute_uv=False)
    values *= np.sqrt(cases.GROUPS) / np.linalg.norm(gradients)
    number = np.linalg.matrix_rank(gradients)
    assert np.sum(counts) == number
    np.testing.assert_allclose(
      np.sort(lengths)[::-1][:number], values[:number], rtol=2e-3
    )


def test_vectors_are_orthonormal_and_make_the_gradients_orthogonal():
  vectors = _stacks()
  found = _principal(vectors)
  for gradients, turned in zip(vectors, np.asarray(found.vectors, np.float64)):
    np.testing.assert_allclose(turned @ turned.T, np.eye(4), atol=2e-6)
    products = (turned @ gradients) @ (turned @ gradients).T
    spread = np.abs(products - np.diag(np.diagonal(products))).max()
    assert spread <= 1e-5 * np.trace(products)


def test_absent_groups_and_zero_gradients_have_no_axis():
  vectors = _stacks()[1:2]
  present = np.array([True, False, True, True])
  vectors[:, 0] = 0.0
  found = _principal(vectors * present[:, None], present)
  assert np.sum(found.counts) == 2
  chosen = np.asarray(found.vectors)[0][np.asarray(found.counts)[0]]
  np.testing.assert_allclose(chosen[:, :2], 0.0, atol=1e-6)
