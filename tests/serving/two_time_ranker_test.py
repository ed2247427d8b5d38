import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.models import two_rnn
from twotsrec.serving import two_time_ranker

VARIANT = '2ts_plus'
PART = toys.jobs()['inactive'].part
HISTORY = np.array(
  [[3, 7, 7, 12], [5, 0, 0, 0], [9, 2, 0, 0], [0, 0, 0, 0]], np.int32
)


@functools.cache
def _net(with_network=True):
  generator = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)
  networks = {}
  if with_network:
    networks['inactive'] = toys.net(PART, two_time__variant=VARIANT)
  shape = toys.vectors().user.shape
  user = {name: draw(*shape) for name in ('start', 'state', 'query')}
  return {'user': user, 'new': draw(toys.WIDTH), 'networks': networks}


@functools.cache
def _model():
  return two_time_ranker.make(toys.config(two_time__variant=VARIANT))


def _encode(net, user):
  rows = {'embedding': toys.vectors().item[HISTORY]}
  inputs = {'history': jnp.asarray(HISTORY), 'user': jnp.asarray(user)}
  return np.asarray(jax.jit(_model().encode)(net, rows, {}, inputs))


def test_a_known_user_is_the_query_that_was_kept():
  actual = _encode(_net(), [4, -1, 0, 4])
  kept = np.asarray(_net()['user']['query'])
  np.testing.assert_array_equal(actual[[0, 2, 3]], kept[[4, 0, 4]])


def _bare(network):
  """Queries of the histories by the network itself, f32[4, D]."""
  options = toys.config(two_time__variant=VARIANT).two_time
  stages = two_rnn.make_stages(options, toys.WIDTH)
  embedded = toys.vectors().item[HISTORY]
  summary = stages.summarize(network['extractor'], embedded, HISTORY > 0)
  return np.asarray(two_rnn.query_of(stages)(network, summary))


def test_anybody_else_goes_through_the_network_of_inactive_users():
  actual = _encode(_net(), [-1] * 4)
  expected = _bare(_net()['networks']['inactive'])
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_a_newcomer_has_the_plugin_of_the_least_active():
  config = toys.config(
    two_time__variant=VARIANT, plugin__name='film', plugin__points='Z'
  )
  network = _net()['networks']['inactive']
  shift = jnp.arange(2.0 * toys.WIDTH).reshape(2, toys.WIDTH)
  plugins = {'Z': {'scale': jnp.zeros_like(shift), 'shift': 1.0 + shift}}
  whole = {'trunk': network, 'plugins': plugins}
  net = {**_net(), 'networks': {'inactive': whole}}
  rows = {'embedding': toys.vectors().item[HISTORY]}
  inputs = {'history': jnp.asarray(HISTORY), 'user': jnp.full(4, -1)}
  actual = two_time_ranker.make(config).encode(net, rows, {}, inputs)
  expected = _bare(network) + np.asarray(1.0 + shift[0])
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_without_such_a_network_all_others_are_alike():
  net = _net(with_network=False)
  actual = _encode(net, [-1, 3, -1, -1])
  kept, new = net['user']['query'][3], net['new']
  np.testing.assert_array_equal(actual, jnp.stack([new, kept, new, new]))


def test_one_network_for_everyone_serves_anybody():
  inactive, active, everyone = ({'extractor': x} for x in 'iae')
  serves = two_time_ranker.newcomers_network
  assert serves({'everyone': everyone}) is everyone
  assert serves({'active': active, 'inactive': inactive}) is inactive
  assert serves({'active': active}) is None


@pytest.mark.parametrize('shared', [True, False])
def test_scores_are_inner_products(shared):
  encoded = toys.vectors().user[:3]
  ids = np.array([1, 5, 2, 9]) if shared else np.arange(1, 13).reshape(3, 4)
  items = toys.vectors().item[ids]
  scores = _model().score(_net(), encoded, {'embedding': items})
  each = np.broadcast_to(items, (3, 4, toys.WIDTH))
  expected = np.sum(each * np.asarray(encoded)[:, None], axis=-1)
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_it_is_not_drawn():
  with pytest.raises(ValueError, match='put together by training'):
    _model().init(jax.random.key(0), {}, types.Sizes(1, 1, 1))
