import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.models import cogcn
from twotsrec.models import rgcn

LAYERS = {'fusion__num_layers': (2,)}


def test_it_is_its_equation_in_dense_algebra():
  _, net, _ = toys.fusion(rgcn.make, **LAYERS)
  x = toys.nodes()
  for own, *others in np.asarray(net['weight'], np.float64):
    summed = x @ own
    for mask, weight in zip(toys.masks(), others, strict=True):
      walk = toys.normalize(toys.adjacency(mask), 'left')
      summed = summed + walk @ x @ weight
    x = np.maximum(summed, 0)
  assert np.mean(x > 0) > 0.2
  for table in toys.encode(rgcn.make, net=net, **LAYERS)[0]:
    np.testing.assert_allclose(table, x, rtol=1e-4, atol=1e-5)


def test_with_maps_that_are_identities_it_is_cogcn_of_summed_graphs():
  """Above 0 nothing is rectified; COGCN adds I for each of K graphs.

  A table of COGCN is the sum of its layers, so its last layer is what a layer
  more adds to it.
  """
  start = np.abs(toys.nodes())
  eye = jnp.eye(toys.WIDTH)
  weight = jnp.stack([3 * eye, eye, eye, eye])
  ours, _ = toys.encode(
    rgcn.make, start, {'weight': jnp.stack([weight, weight])}, **LAYERS
  )
  summed = {
    'fusion__pre_behavior': 'none', 'fusion__in_behavior': 'all',
    'fusion__operator': 'summed',
  }  # fmt: skip
  one, two = (
    toys.encode(cogcn.make, start, fusion__num_layers=(depth,), **summed)[0]
    for depth in (1, 2)
  )
  for table, longer, shorter in zip(ours, two, one, strict=True):
    np.testing.assert_allclose(table, longer - shorter, rtol=1e-4)


def test_its_layers_are_those_of_all_behaviors_together():
  made = toys.config(fusion__num_layers=(1, 1, 1))
  sizes = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)
  with pytest.raises(types.UserError, match='has 3 numbers; give one'):
    rgcn.make(made, sizes)
