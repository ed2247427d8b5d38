import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from twotsrec.ops import graph_layouts


def random_matrix(num_rows, density, seed=0) -> scipy.sparse.csr_array:
  """Symmetric, with rows of very different length and one that is empty."""
  rng = np.random.default_rng(seed)
  weight = np.linspace(0, 1, num_rows) ** 2
  there = rng.random((num_rows,) * 2) < 3 * density * np.outer(weight, weight)
  upper = np.triu(there * rng.integers(1, 4, there.shape), 1)
  return scipy.sparse.csr_array((upper + upper.T).astype(np.float32))


def laid_out(layout, matrix):
  matrix.sort_indices()
  return graph_layouts.make(layout, matrix.indptr, matrix.indices, matrix.data)


def hub(num_spokes) -> scipy.sparse.csr_array:
  """Node 0 beside all others, which have a few more."""
  matrix = random_matrix(num_spokes + 1, 0.02).toarray()
  matrix[0, 1:] = matrix[1:, 0] = 2
  return scipy.sparse.csr_array(matrix)


@pytest.mark.parametrize('layout', graph_layouts.NAMES)
@pytest.mark.parametrize('density', [0, 0.1, 1])
def test_a_layout_gives_the_product_of_scipy(layout, density):
  matrix = random_matrix(60, density)
  lengths = np.diff(matrix.indptr)
  assert lengths[0] == 0 and lengths.max() >= 40 * density
  x = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)
  adjacency = laid_out(layout, matrix)
  assert adjacency.num_nodes == 60
  product = jax.jit(graph_layouts.product)(adjacency, x)
  assert product.dtype == jnp.float32
  np.testing.assert_allclose(product, matrix @ x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('layout', graph_layouts.NAMES)
@pytest.mark.parametrize('num_spokes', [255, 256, 257, 700])
def test_a_hub_is_cut_and_put_together(layout, num_spokes):
  matrix = hub(num_spokes)
  x = np.random.default_rng(1).normal(size=(num_spokes + 1, 3))
  product = jax.jit(graph_layouts.product)(
    laid_out(layout, matrix), x.astype(np.float32)
  )
  np.testing.assert_allclose(product, matrix @ x, rtol=1e-4, atol=1e-3)


def test_a_hub_of_a_hub_takes_a_third_level(monkeypatch):
  monkeypatch.setattr(graph_layouts, '_WIDTHS', (1, 2, 4))
  monkeypatch.setattr(graph_layouts, '_STEP', 2)
  matrix = hub(50)
  adjacency = laid_out('buckets', matrix)
  assert len(adjacency.levels) == 3  # 50 in 13 parts in 4 parts in 1
  product = graph_layouts.product(adjacency, jnp.eye(51))
  np.testing.assert_array_equal(product, matrix.toarray())


@pytest.mark.parametrize('layout', graph_layouts.NAMES)
def test_sums_of_half_precision_are_full(layout):
  matrix = hub(300)
  x = jnp.ones((301, 2), jnp.bfloat16)
  product = jax.jit(graph_layouts.product)(laid_out(layout, matrix), x)
  assert product.dtype == jnp.float32
  # 601 is no bfloat16; sums of integers are exact in f32.
  sums = matrix.sum(axis=1)
  np.testing.assert_array_equal(product, np.stack([sums, sums], axis=1))


@pytest.mark.parametrize(
  'backend, kind',
  [
    ('cpu', graph_layouts.Csr),
    ('gpu', graph_layouts.Segments),
    ('tpu', graph_layouts.Buckets),
  ],
)
def test_the_layout_goes_by_the_backend(backend, kind, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  assert isinstance(laid_out('auto', random_matrix(9, 0.5)), kind)
