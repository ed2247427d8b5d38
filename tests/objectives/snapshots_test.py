from typing import NamedTuple

import jax
import numpy as np

from tests import behavior_toys
from tests import configured
from twotsrec import types
from twotsrec.models import dyn_aernn
from twotsrec.objectives import snapshots

NODES = 5


class _Batch(NamedTuple):
  node: np.ndarray
  time: np.ndarray


def test_edges_of_the_next_snapshot_count_more():
  config = configured.by(
    model__width=2,
    dyn_aernn__hidden=(4, 3),
    dyn_aernn__beta=3.0,
    dyn_aernn__penalty=0.01,
  )
  init = lambda key: dyn_aernn.init(key, config, NODES)
  net = behavior_toys.random_like(jax.eval_shape(init, jax.random.key(0)), 0.5)
  first = np.random.default_rng(0).integers(5, size=(NODES, NODES))
  batch = _Batch(np.array([0, 4, 2]), np.array([2, 3, 2]))
  values = snapshots.make(config)(
    types.Params({}, net), {'first': first}, batch, None
  )
  rows = dyn_aernn.rows_of(first, batch.node, batch.time, 2)
  made = np.asarray(dyn_aernn.decode(net, dyn_aernn.embed(net, rows)))
  kernels = _kernels(net)
  size = sum(np.abs(w).sum() + (w**2).sum() for w in kernels)
  for value, node, time, row in zip(values, *batch, made, strict=True):
    expected = 0.01 * size
    for j in range(NODES):
      edge = first[node, j] <= time
      expected += (3.0 if edge else 1.0) ** 2 * (row[j] - edge) ** 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def _kernels(net):
  """Every matrix of weights."""
  found = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(net):
    if path[-1].key == 'kernel':
      found.append(np.asarray(leaf, np.float64))
  return found
