import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.plugins import cases
from twotsrec import config as config_lib
from twotsrec import plugins
from twotsrec import types
from twotsrec.models import behavior_ranker
from twotsrec.models import experts
from twotsrec.ops import rows
from twotsrec.plugins import plugged

USERS = jnp.arange(toys.USERS)
ALL_ITEMS = jnp.arange(1, toys.ITEMS + 1)
OWN_ITEMS = jnp.asarray(
  np.random.default_rng(0).integers(1, toys.ITEMS + 1, (toys.USERS, 5))
)
SIZES = types.Sizes(toys.USERS, toys.ITEMS, 1)
GROUPS = 3
PLUGINS = {'light': {'points': 'Z'}, 'film': {'points': 'Z'}, 'naive': {}}


@functools.cache
def _system(variant='copf'):
  return toys.system(toys.config(variant))


def _scores(model, params, ids, **inputs):
  """Scores as evaluation asks for them."""

  def scores(params, ids, inputs):
    history = jnp.zeros((toys.USERS, 1), jnp.int32)
    history_rows = rows.gather(params.tables['item'], history)
    inputs = {'history': history, 'user': USERS, **inputs}
    encoded = model.encode(params.net, history_rows, {}, inputs)
    return model.score(
      params.net, encoded, rows.gather(params.tables['item'], ids)
    )

  return np.asarray(jax.jit(scores)(params, ids, inputs))


def _close(ours, theirs):
  size = np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize(
  'variant',
  ['copf', 'copf_prior', 'mesi', 'no_aggregation', 'attention', 'bilinear'],
)
def test_the_trunk_ranks_as_the_model_does(variant):
  model, context, params = _system(variant)
  trunk = jax.jit(model.freeze)(params, context)
  if 'prior' in context:
    trunk = behavior_ranker.with_prior(trunk, context['prior'])
  served = model.serve(params, context)
  for ids in (ALL_ITEMS, OWN_ITEMS):
    ours = _scores(model.trunk, trunk, ids)
    assert np.ptp(ours) > 0.1
    _close(ours, _scores(model.ranker, served, ids))


def test_its_parameters_start_in_the_shape_that_a_trained_model_gives():
  model, context, params = _system()
  fresh = jax.eval_shape(
    lambda key: model.trunk.init(key, context, SIZES), jax.random.key(0)
  )
  trained = jax.eval_shape(model.freeze, params, context)
  assert jax.tree.structure(fresh) == jax.tree.structure(trained)
  assert jax.tree.leaves(fresh) == jax.tree.leaves(trained)


@functools.cache
def _plugged(variant, name):
  model, context, params = _system(variant)
  plugin = plugins.make(config_lib.PluginConfig(name=name, **PLUGINS[name]))
  trunk = jax.jit(model.freeze)(params, context)
  own = plugin.init(cases.KEY, model.trunk.stages, trunk, GROUPS, SIZES)
  return plugged.plugged(model.trunk, plugin, GROUPS), trunk, own


def _route(groups):
  groups = jnp.asarray(groups, jnp.int32)
  return types.Route(groups, jnp.ones(groups.shape))


@pytest.mark.parametrize('name', PLUGINS)
@pytest.mark.parametrize('variant', ['copf', 'bilinear'])
def test_a_plugin_starts_as_the_trunk_and_moves_its_own_group_alone(
  variant, name
):
  joined, trunk, own = _plugged(variant, name)
  bare = _scores(_system(variant)[0].trunk, trunk, ALL_ITEMS)
  group = np.arange(toys.USERS) % GROUPS
  route = _route(group[:, None])
  score = lambda own, ids=ALL_ITEMS: _scores(
    joined, plugged.join(trunk, own), ids, route=route
  )
  _close(score(own), bare)
  moved = cases.drawn(own)
  second = jax.tree.map(lambda old, new: old.at[1].set(new[1]), own, moved)
  changed = np.abs(score(second) - bare).max(1)
  assert np.all(changed[group == 1] > 1e-3 * np.abs(bare).max())
  assert np.all(changed[group != 1] < 1e-5 * np.abs(bare).max())
  # All examples share a plugin, or candidates are their own: the same scores.
  shared = _scores(
    joined, plugged.join(trunk, moved), ALL_ITEMS, route=_route([1])
  )
  _close(shared[group == 1], score(second)[group == 1])
  _close(
    score(moved, OWN_ITEMS),
    np.take_along_axis(score(moved), np.asarray(OWN_ITEMS) - 1, axis=1),
  )


def test_a_light_plugin_changes_every_vector_of_the_user_before_the_head():
  joined, trunk, own = _plugged('copf', 'light')
  own = cases.drawn(own)
  model, context, params = _system('copf')
  options = toys.config('copf').head
  plug = jax.tree.map(lambda leaf: np.asarray(leaf[2], np.float64), own['Z'])
  table = np.asarray(model.encode(params, context, (2,)).tasks[2])
  vectors = table[: toys.USERS].reshape(toys.USERS, 3, toys.WIDTH)
  hidden = np.tanh(vectors @ plug['V'] + plug['a'])
  vectors = vectors + hidden @ plug['Q'] + plug['c']
  flat = jnp.asarray(vectors.reshape(toys.USERS, -1), jnp.float32)
  expected = experts.mix(
    params.net['head'],
    flat[:, None],
    jnp.asarray(table[toys.USERS :]),
    2,
    3,
    options,
  )
  ours = _scores(joined, plugged.join(trunk, own), ALL_ITEMS, route=_route([2]))
  _close(ours, np.asarray(expected))


@pytest.mark.parametrize('variant', ['shared_bottom', 'mmoe', 'ple'])
def test_a_head_without_vectors_of_a_user_takes_no_plugin(variant):
  model, _, _ = _system(variant)
  assert model.trunk is None and model.freeze is None
  with pytest.raises(types.UserError, match='no stages for a plugin'):
    plugged.plugged(model.trunk, None, GROUPS, variant)
