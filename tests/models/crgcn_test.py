import jax
import jax.numpy as jnp
import numpy as np

from tests import behavior_toys as toys
from twotsrec.models import crgcn

DEPTHS = (1, 2, 1)


def _unbiased():
  return jax.tree.map(jnp.zeros_like, toys.fusion(crgcn.make)[1])


def test_it_is_its_equations_in_dense_algebra():
  _, net, _ = toys.fusion(crgcn.make, fusion__num_layers=DEPTHS)
  table, expected = toys.nodes(), []
  for mask, biases in zip(toys.masks(), net['bias'], strict=True):
    walk = toys.normalize(toys.adjacency(mask), 'symmetric')
    x = table
    for bias in np.asarray(biases, np.float64):
      x = walk @ x + bias
    table = table + x / np.linalg.norm(x, axis=1, keepdims=True)
    expected.append(table)
  found, _ = toys.encode(crgcn.make, net=net, fusion__num_layers=DEPTHS)
  for ours, theirs in zip(found, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_behavior_adds_a_vector_of_length_one_or_nothing():
  """Without biases, nothing where a node has no edge of the behavior."""
  tables, _ = toys.encode(crgcn.make, net=_unbiased())
  before = np.float32(toys.nodes())
  for mask, table in zip(toys.masks(), tables, strict=True):
    known = np.concatenate([mask.any(1), mask.any(0)])
    np.testing.assert_array_equal(table[~known], before[~known])
    length = np.linalg.norm(table - before, axis=1)
    np.testing.assert_allclose(length[known], 1.0, rtol=1e-5)
    assert known.any() and not known.all()
    before = table


def test_nodes_without_edges_have_a_gradient_that_is_finite_at_the_start():
  """A bias of 0 there has no direction, which a division would not survive."""
  view, cart, buy = toys.masks()
  dense = (view, np.zeros_like(cart), buy)  # a behavior without any edge
  made, _, context = toys.fusion(crgcn.make, dense)
  net = made.init(jax.random.key(0))
  nodes = jnp.asarray(toys.nodes(), jnp.float32)

  def total(net, nodes):
    tables = made.encode(net, nodes, context).behaviors
    return sum(jnp.sum(jnp.sin(table)) for table in tables)

  of_net, of_nodes = jax.jit(jax.grad(total, (0, 1)))(net, nodes)
  for leaf in jax.tree.leaves((of_net, of_nodes)):
    assert np.all(np.isfinite(leaf)) and np.abs(leaf).max() < 1e3
  moved = [bool(np.any(leaf)) for leaf in of_net['bias']]
  assert moved == [True, False, True]
