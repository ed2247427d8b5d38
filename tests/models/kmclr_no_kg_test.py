import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec import types

WIDTH = 8
D = WIDTH // 2


def light(branch, adjacency):
  walk = toys.normalize(adjacency, 'symmetric')
  layers = [np.asarray(branch, float)]
  for _ in range(3):
    layers.append(walk @ layers[-1])
  return np.mean(layers, axis=0)


def test_the_table_is_cml_beside_lightgcn_and_cml_alone_without_it():
  own = fusions.make('kmclr_no_kg', width=WIDTH)
  alone = fusions.make('kmclr_no_kg', width=WIDTH, branch_weight=0.0)
  plain = fusions.make('cml', width=D)
  cml = plain.encode(net=own.net, nodes=own.nodes[:, :D])
  np.testing.assert_array_equal(
    alone.encode(net=own.net).behaviors[0], cml.behaviors[0]
  )
  branch = light(own.nodes[:, D:], toys.adjacency(toys.masks()[-1]))
  expected = 0.9 * np.asarray(cml.behaviors[0]) + 0.1 * branch
  fused = own.encode()
  fusions.close(fused.behaviors[-1], expected)
  for view in fused.extra['augmented']:
    fusions.close(view, branch)


def test_views_are_walks_of_graphs_that_lost_some_edges():
  # In a view of a graph with two edges, each is there or not.
  mask = np.zeros((toys.USERS, toys.ITEMS), bool)
  mask[0, :2] = True
  made = fusions.make('kmclr_no_kg', width=WIDTH, dense=[mask, mask])
  possible = []
  for kept in [(0, 0), (0, 1), (1, 0), (1, 1)]:
    left = mask.copy()
    left[0, :2] = kept
    possible.append(light(made.nodes[:, D:], toys.adjacency(left)))
  seen = set()
  for seed in range(24):
    extra = made.encode(key=jax.random.key(seed)).extra
    for view in extra['augmented']:
      far = [np.abs(np.asarray(view) - one).max() for one in possible]
      assert min(far) < 1e-6
      seen.add(int(np.argmin(far)))
  assert seen == {0, 1, 2, 3}


def test_an_odd_width_is_refused():
  with pytest.raises(types.UserError, match='give a multiple of 2'):
    fusions.make('kmclr_no_kg', width=5)
