import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec import types

D = toys.WIDTH


def convolve(x, walk, depth):
  total, last = x.copy(), x
  for layer in range(1, depth + 1):
    last = fusions.unit(walk(last))
    total += last / layer
  return total


def light(x, mask, depth):
  matrix = toys.normalize(toys.adjacency(mask), 'symmetric')
  return convolve(x, lambda y: matrix @ y, depth)


def attended(x, target, mask, depth):
  """What each node gives to its neighbors, node by node."""
  adjacency = toys.adjacency(mask) > 0

  def walk(y):
    out = np.zeros_like(y)
    for node, row in enumerate(adjacency):
      near = np.flatnonzero(row)
      if len(near):
        share = fusions.softmax(y[near] @ target[node], 0)
        out[near] += share[:, None] * y[node]
    return out

  return convolve(x, walk, depth)


def table(made, light_depth, depth):
  masks = toys.masks()
  nodes = np.asarray(made.nodes, float)
  union = light(nodes, np.any(masks, axis=0), light_depth)
  own = [light(union, mask, light_depth) for mask in masks]
  parts = []
  for mask, z in zip(masks[:-1], own[:-1], strict=True):
    parts.append(light(z, mask & masks[-1], light_depth))
    parts.append(attended(z, own[-1], mask & ~masks[-1], depth))
  parts = np.stack(parts)
  weight = np.asarray(made.net['attention'], float)
  share = fusions.softmax(parts @ weight, 0)
  return (share[:, :, None] * parts).sum(0)


@pytest.mark.parametrize('depths', [(1, 2), (2, 1)])
def test_the_table_is_that_of_dense_algebra(depths):
  made = fusions.make('mule', num_layers=depths)
  for ours in made.encode().behaviors:
    fusions.close(ours, table(made, *depths))


def test_where_all_that_was_viewed_was_bought_nothing_is_left_to_attend():
  mask = toys.masks()[0]
  made = fusions.make('mule', dense=[mask, mask], num_layers=(1, 3))
  same = fusions.make('mule', dense=[mask, mask], num_layers=(1, 0))
  own = made.encode(net={'attention': np.zeros(D, 'f4')})
  # Without edges an attended node keeps what it had.
  np.testing.assert_allclose(
    own.behaviors[0],
    same.encode(net={'attention': np.zeros(D, 'f4')}).behaviors[0],
    rtol=1e-6,
  )


def test_three_numbers_of_layers_are_refused():
  with pytest.raises(types.UserError, match='has 3 numbers.*give 1,4'):
    fusions.make('mule', num_layers=(1, 1, 1))
