import functools

import numpy as np

from tests import behavior_toys as toys
from twotsrec.models import cogcn
from twotsrec.models import pkef

DEPTHS = (3, 1, 2)


def _project(x, y):
  """Part of x along y; of nothing where y is nothing."""
  size = np.sum(y * y, axis=1, keepdims=True)
  return np.sum(x * y, axis=1, keepdims=True) / np.where(size, size, 1) * y


def test_it_is_its_equations_in_dense_algebra():
  nodes = start = toys.nodes()
  found, extra = toys.encode(pkef.make, fusion__num_layers=DEPTHS)
  for k, (mask, depth) in enumerate(zip(toys.masks(), DEPTHS, strict=True)):
    walk = toys.normalize(toys.adjacency(mask), 'left')
    alone, cascade = [nodes], [start]
    for _ in range(depth):
      alone.append(walk @ alone[-1] + alone[-1])
      message = walk @ cascade[-1]
      taken = 0.3 * _project(alone[-1], message)
      cascade.append(message + cascade[-1] + taken)
    start = start + cascade[-1]
    np.testing.assert_allclose(found[k], sum(cascade), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
      extra['parallel'][k], sum(alone), rtol=1e-5, atol=1e-5
    )


def test_without_what_it_takes_it_is_cogcn_on_own_graphs_to_the_bit():
  layers = {'fusion__num_layers': DEPTHS}
  ours, _ = toys.encode(functools.partial(pkef.make, share=0.0), **layers)
  theirs, _ = toys.encode(cogcn.make, fusion__in_behavior='own', **layers)
  for table, other in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(table, other)
  taking, _ = toys.encode(pkef.make, **layers)
  assert all(np.abs(a - b).max() > 0.01 for a, b in zip(taking, ours))


def test_a_parallel_table_is_of_its_own_graph_alone():
  """COGCN on own graphs without a carry."""
  layers = {'fusion__num_layers': DEPTHS}
  _, extra = toys.encode(pkef.make, **layers)
  theirs, _ = toys.encode(
    cogcn.make, fusion__in_behavior='own', fusion__pre_behavior='none', **layers
  )
  for table, other in zip(extra['parallel'], theirs, strict=True):
    np.testing.assert_allclose(table, other, rtol=1e-6)


def test_a_behavior_without_pairs_passes_on_what_it_got():
  view, cart, buy = toys.masks()
  found, extra = toys.encode(pkef.make, dense=(view, np.zeros_like(cart), buy))
  first, second, _ = found
  # x + x with nothing to walk, of x = E + E^{1,1}, where table 1 is x.
  np.testing.assert_allclose(second, 2 * first, rtol=1e-6)
  nodes = np.float32(toys.nodes())
  np.testing.assert_array_equal(extra['parallel'][1], 2 * nodes)
