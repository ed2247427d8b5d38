import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import mb_cgcn as own
from twotsrec import types
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import mb_cgcn

DEPTHS = (1, 2, 1)


def _net():
  return toys.fusion(mb_cgcn.make)[1]


@pytest.mark.parametrize('post', ['decoupled', 'merged'])
def test_it_is_what_a_file_without_the_loop_computes(post):
  """own_fusion_test.py compares that file with dense algebra."""
  changes = {'fusion__num_layers': DEPTHS, 'fusion__post_behavior': post}
  ours, _ = toys.encode(mb_cgcn.make, net=_net(), **changes)
  theirs, _ = toys.encode(own.make, net=_net(), **changes)
  for table, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(table, other, rtol=1e-5, atol=1e-6)
  assert (post == 'merged') == np.array_equal(ours[0], ours[1])


def test_without_layers_and_maps_it_is_matrix_factorization():
  """Z_k = E for every k, and their sum is K times E."""
  identity = {'weight': jnp.broadcast_to(jnp.eye(toys.WIDTH), (2, 2, 4, 4))}
  none = {'fusion__num_layers': (0,)}
  apart, _ = toys.encode(mb_cgcn.make, net=identity, **none)
  merged, _ = toys.encode(
    mb_cgcn.make, net=identity, **none, fusion__post_behavior='merged'
  )
  nodes = np.float32(toys.nodes())
  for table, joined in zip(apart, merged, strict=True):
    np.testing.assert_array_equal(table, nodes)
    np.testing.assert_allclose(joined, 3 * nodes, rtol=1e-6)


def test_its_maps_start_near_the_identity():
  made, *_ = toys.fusion(mb_cgcn.make)
  weight = made.init(jax.random.key(0))['weight']
  assert weight.shape == (2, 2, toys.WIDTH, toys.WIDTH)
  assert 0 < np.abs(weight - np.eye(toys.WIDTH)).max() < 0.1


def test_one_behavior_alone_leads_nowhere():
  made = toys.config(fusion__name='mb_cgcn')
  sizes = types.NodeSizes(1, toys.USERS, toys.ITEMS, toys.WIDTH)
  assert fusion_lib.make(made, sizes._replace(num_behaviors=2))
  assert mb_cgcn.make(made, sizes).least_behaviors == 2
