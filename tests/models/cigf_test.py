import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec.models import cigf
from twotsrec.models import cogcn


def _walks():
  return [toys.normalize(toys.adjacency(mask), 'left') for mask in toys.masks()]


def test_it_is_its_equations_in_dense_algebra():
  depths = (2, 1, 3)
  _, net, _ = toys.fusion(cigf.make, fusion__num_layers=depths)
  nodes, walks = toys.nodes(), _walks()
  found, _ = toys.encode(cigf.make, net=net, fusion__num_layers=depths)
  for k, depth in enumerate(depths):
    message = walks[k] @ nodes
    layers = [nodes, nodes + message]
    for own in net[k]:
      share = nodes @ np.asarray(own['weight'], float) + np.asarray(own['bias'])
      share = np.where(share > 0, share, 0.1 * share)
      message = sum(
        share[:, j, None] * (walk @ message) for j, walk in enumerate(walks)
      )
      layers.append(layers[-1] + message)
    assert len(layers) == depth + 1
    np.testing.assert_allclose(found[k], sum(layers), rtol=1e-5, atol=1e-5)


def test_one_layer_is_cogcn_on_own_graphs_without_a_carry_to_the_bit():
  ours, _ = toys.encode(cigf.make)
  theirs, _ = toys.encode(
    cogcn.make, fusion__pre_behavior='none', fusion__in_behavior='own'
  )
  for table, other in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(table, other)


@pytest.mark.parametrize(('depths', 'promised'), [((1,), True), ((2,), False)])
def test_later_edges_come_in_with_the_second_layer(depths, promised):
  made, net, _ = toys.fusion(cigf.make, fusion__num_layers=depths)
  assert made.upstream_only == promised
  *upstream, target = toys.masks()
  changes = {'net': net, 'fusion__num_layers': depths}
  before, _ = toys.encode(cigf.make, **changes)
  after, _ = toys.encode(cigf.make, dense=(*upstream, ~target), **changes)
  for k in range(2):
    assert np.array_equal(before[k], after[k]) == promised
