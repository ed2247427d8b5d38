import jax
import numpy as np
import scipy.sparse

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec.models import s_mbrec

K, D = 3, toys.WIDTH


def views(net, nodes, depth):
  made = []
  for k, mask in enumerate(toys.masks()):
    adjacency = toys.adjacency(mask) + np.eye(toys.NODES)
    walk = toys.normalize(adjacency, 'symmetric')
    x = np.asarray(nodes, float)
    for layer in range(depth):
      x = walk @ x @ np.asarray(net['layers'], float)[k, layer]
    made.append(x)
  return made


def test_both_sides_are_those_of_dense_algebra():
  made = fusions.make('s_mbrec', num_layers=(2,))
  fused, net = made.encode(), made.net
  expected = views(net, made.nodes, 2)
  for ours, theirs in zip(fused.extra['views'], expected, strict=True):
    fusions.close(ours, theirs)
  counts = np.stack([mask.sum(1) for mask in toys.masks()], 1)
  logits = net['share'] * counts / np.maximum(counts.max(1, keepdims=True), 1)
  share = fusions.softmax(np.asarray(logits, float), 1)
  user = sum(
    share[:, [k]] * fusions.sides(x)[0] for k, x in enumerate(expected)
  )
  item = np.concatenate([fusions.sides(x)[1] for x in expected], 1)
  ours = fusions.sides(fused.behaviors[-1])
  for own, x, layer in zip(ours, (user, item), ('user', 'item'), strict=True):
    fusions.close(own, x @ net[layer]['kernel'] + net[layer]['bias'])


def test_rows_alike_are_those_of_the_highest_information():
  generator = np.random.default_rng(5)
  # More rows than are counted at a time.
  dense = generator.random((1100, 60)) < generator.random(60) * 0.15
  matrix = scipy.sparse.csr_array(dense.astype(float))
  found = s_mbrec.alike(matrix)
  common = dense.astype(float) @ dense.T
  sizes = dense.sum(1)
  for row in (0, 5, 1023, 1024, 1099):
    with np.errstate(divide='ignore', invalid='ignore'):
      information = np.log(common[row] * 60 / (sizes[row] * sizes))
    information[row] = -np.inf
    information[~np.isfinite(information)] = -np.inf
    some = np.isfinite(information).sum()
    expected = np.argsort(-information, kind='stable')[: min(some, 10)]
    kept = found[row][found[row] >= 0]
    np.testing.assert_allclose(
      information[kept], information[expected], rtol=1e-12
    )
  assert np.all(found[sizes == 0] == -1)


def test_nodes_alike_are_of_their_own_side():
  alike = np.asarray(fusions.make('s_mbrec').context['alike'])
  users, items = alike[: toys.USERS], alike[toys.USERS :]
  assert users.max() < toys.USERS and np.any(users >= 0)
  assert items[items >= 0].min() >= toys.USERS


def test_it_has_as_many_parameters_as_published():
  made = fusions.make('s_mbrec', num_layers=(2,))
  count = sum(leaf.size for leaf in jax.tree.leaves(made.net))
  assert count == K + 2 * K * D * D + D * D + D + K * D * D + D
