import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec import types

K, D = 3, toys.WIDTH


def by_side(x, weights):
  users, items = fusions.sides(x)
  user, item = np.asarray(weights, float)
  return np.concatenate([users @ user, items @ item])


def tables(net, nodes, how):
  """The table of all behaviors, then one of each."""
  graphs = [toys.normalize(toys.adjacency(m), how) for m in toys.masks()]
  last, kept = np.asarray(nodes, float), [[] for _ in range(K + 1)]
  for weights in net['walk']:
    messages = [graph @ last for graph in graphs]
    for place, x in enumerate([np.mean(messages, axis=0), *messages]):
      kept[place].append(fusions.sigmoid(by_side(x, weights)))
    last = kept[0][-1]
  return [by_side(np.concatenate(x, 1), net['out']) for x in kept]


@pytest.mark.parametrize('normalization', ['symmetric', 'none'])
def test_tables_are_those_of_dense_algebra(normalization):
  made = fusions.make('cml', num_layers=(3,), normalization=normalization)
  fused = made.encode()
  merged, *own = tables(made.net, made.nodes, normalization)
  fusions.close(fused.behaviors[-1], merged)
  for ours, theirs in zip(fused.extra['views'], own, strict=True):
    fusions.close(ours, theirs)


def test_it_has_as_many_parameters_as_published():
  made = fusions.make('cml', num_layers=(3,))
  count = sum(leaf.size for leaf in jax.tree.leaves(made.net))
  assert count == 2 * 3 * D * D + 2 * 3 * D * D


def test_without_a_layer_there_is_no_table():
  with pytest.raises(types.UserError, match='num_layers is 0.*give 1 or more'):
    fusions.make('cml', num_layers=(0,))
