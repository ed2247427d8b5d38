import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec.ops import links as links_lib

USERS, ITEMS, WIDTH = 5, 6, 3
NODES = USERS + ITEMS


def make(seed=0, size=14):
  """Links, and their dense adjacency; some nodes have no edge."""
  generator = np.random.default_rng(seed)
  users = generator.integers(0, USERS - 1, size)
  items = generator.integers(1, ITEMS, size)
  adjacency = np.zeros((NODES, NODES), bool)
  adjacency[users, USERS + items - 1] = True
  return links_lib.from_pairs([(users, items)], USERS, ITEMS), (
    adjacency | adjacency.T
  )


def tables(count, seed=1):
  draw = np.random.default_rng(seed).normal
  return [jnp.asarray(draw(size=(NODES, WIDTH)), 'f4') for _ in range(count)]


def dense(links, values):
  """f32[n, n] of values of edges."""
  return jnp.zeros((NODES, NODES)).at[links.rows, links.columns].set(values)


def test_an_edge_stands_once_in_each_direction():
  links, adjacency = make()
  rows, columns, offsets, reverse = map(np.asarray, links)
  np.testing.assert_array_equal(np.stack([rows, columns], 1),
                                np.argwhere(adjacency))  # fmt: skip
  np.testing.assert_array_equal(np.diff(offsets), adjacency.sum(1))
  np.testing.assert_array_equal(rows[reverse], columns)
  np.testing.assert_array_equal(columns[reverse], rows)


def attention(product):
  """A loss of attention along rows and along columns."""

  def loss(query, key, value):
    along, across = product(query, key, value)
    return jnp.sum(jnp.tanh(along) ** 2) + jnp.sum(jnp.sin(across))

  return loss


def by_links(links):
  def product(query, key, value):
    logits = links_lib.dots(links, query, key)
    share = links_lib.softmax(links, logits)
    along = links_lib.attend(links, logits, value)
    return along, links_lib.weigh(links, share[links.reverse], value)

  return product


def by_matrix(adjacency):
  has_any = adjacency.any(1)[:, None]

  def product(query, key, value):
    logits = jnp.where(adjacency, query @ key.T, -1e9)
    share = jnp.where(adjacency & has_any, jax.nn.softmax(logits, axis=1), 0)
    return share @ value, share.T @ value

  return product


@pytest.mark.parametrize('numbers_of_a_block', [WIDTH, 4 * WIDTH, 2**20])
def test_attention_and_its_gradient_are_those_of_dense_algebra(
  monkeypatch, numbers_of_a_block
):
  monkeypatch.setattr(links_lib, '_BLOCK_NUMBERS', numbers_of_a_block)
  links, adjacency = make()
  x = tables(3)
  ours, theirs = by_links(links), by_matrix(adjacency)
  for mine, other in zip(jax.jit(ours)(*x), theirs(*x), strict=True):
    np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
  slope = lambda product: jax.grad(attention(product), argnums=(0, 1, 2))
  for mine, other in zip(
    jax.jit(slope(ours))(*x), slope(theirs)(*x), strict=True
  ):
    assert np.abs(other).max() > 1e-2
    np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_equal_logits_give_the_mean_and_large_ones_stay_finite():
  links, adjacency = make()
  (value,) = tables(1)
  degree = adjacency.sum(1, keepdims=True)
  mean = adjacency @ np.asarray(value) / np.maximum(degree, 1)
  actual = links_lib.attend(links, jnp.full(len(links.rows), 3e4), value)
  np.testing.assert_allclose(actual, mean, rtol=1e-5, atol=1e-6)


def test_a_graph_without_edges_gives_nothing():
  nothing = np.zeros(0, np.int64)
  links = links_lib.from_pairs([(nothing, nothing)], USERS, ITEMS)
  query, value = tables(2)
  loss = lambda query: jnp.sum(
    links_lib.attend(links, links_lib.dots(links, query, value), value)
  )
  assert loss(query) == 0
  np.testing.assert_array_equal(jax.grad(loss)(query), jnp.zeros_like(query))


def test_a_dropped_edge_goes_in_both_directions():
  links, _ = make(seed=3, size=400)
  draws = [
    np.asarray(links_lib.drop(links, jax.random.key(n), 0.4))
    for n in range(200)
  ]
  for weights in draws[:5]:
    matrix = dense(links, weights)
    np.testing.assert_array_equal(matrix, matrix.T)
  kept = np.mean(draws)
  edges = len(links.rows) / 2 * len(draws)
  assert abs(kept - 0.6) < 4 * np.sqrt(0.24 / edges)
  assert np.all(links_lib.drop(links, jax.random.key(0), 0.0) == 1)
