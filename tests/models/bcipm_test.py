import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec.models import bcipm

K, D = 3, toys.WIDTH


def convolve(x, matrix, depth):
  total, last = x.copy(), x
  for layer in range(1, depth + 1):
    last = fusions.unit(toys.normalize(matrix, 'symmetric') @ last)
    total += last + last / layer
  return total


def tables(nodes, depth):
  masks = toys.masks()
  union = toys.adjacency(np.any(masks, axis=0))
  general = convolve(np.asarray(nodes, float), union, depth)
  return general, convolve(general, toys.adjacency(masks[-1]), depth)


def preference(net, user, item, k):
  """The equations as they are printed, of one pair."""
  own = {name: np.asarray(value, float) for name, value in net.items()}
  inputs = np.concatenate([user, item, own['behavior'][k]])
  reset, update = np.split(fusions.sigmoid(inputs @ own['gate']), 2)
  inputs[:D] *= reset
  return update * np.tanh(inputs @ own['hat'])


@pytest.mark.parametrize('block', [3, 2**14])
def test_one_product_of_rows_is_the_published_score(monkeypatch, block):
  monkeypatch.setattr(bcipm, '_BLOCK', block)
  made = fusions.make('bcipm', num_layers=(2,))
  user, item = fusions.sides(made.encode().behaviors[-1])
  general, bought = tables(made.nodes, 2)
  of_user, of_item = fusions.sides(general)
  far_user, far_item = fusions.sides(general + bought)
  expected = np.zeros((toys.USERS, toys.ITEMS))
  for u, row in enumerate(toys.masks()[-1]):
    items = np.flatnonzero(row)
    share = 1 / max(len(items), 1)  # without any, the graphs alone
    point = sum(
      (preference(made.net, of_user[u], of_item[i], 2) for i in items),
      np.zeros(D),
    )
    expected[u] = (1 - share) * of_item @ point + share * far_item @ far_user[u]
  fusions.close(user @ item.T, expected)


def test_a_user_of_one_item_has_the_graphs_alone():
  made = fusions.make('bcipm')
  user, _ = fusions.sides(made.encode().behaviors[-1])
  counts = toys.masks()[-1].sum(1)
  assert {0, 1} & set(counts) and max(counts) > 1
  for u, count in enumerate(counts):
    assert np.any(user[u, :D]) == (count > 1)
    assert np.any(user[u, D:])


def test_preferences_of_pairs_are_the_printed_ones_for_every_behavior():
  made = fusions.make('bcipm')
  contextual = made.encode().extra['contextual']
  general, _ = tables(made.nodes, 1)
  users, items = np.array([0, 3, 5, 0]), np.array([1, 0, 7, 4]) + toys.USERS
  for k in range(K):
    ours = jax.jit(bcipm.preference, static_argnums=3)(
      contextual, users, items, k
    )
    pairs = zip(general[users], general[items], strict=True)
    fusions.close(ours, [preference(made.net, u, i, k) for u, i in pairs])


def test_it_has_as_many_parameters_as_published():
  made = fusions.make('bcipm')
  count = sum(leaf.size for leaf in jax.tree.leaves(made.net))
  inputs = 2 * D + K
  assert count == inputs * 2 * D + inputs * D + K * K
