from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.plugins import cases
from twotsrec import config as config_lib
from twotsrec import plugins
from twotsrec import types
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
GROUP = np.arange(toys.USERS) % GROUPS
PLUGINS = {'light': {'points': 'Z'}, 'film': {'points': 'Z'}, 'naive': {}}


@functools.cache
def _system(variant='copf'):
  return toys.system(toys.config(variant))


def _scores(model, params, ids, **inputs):
  """Scores as evaluation asks for them."""
  history = jnp.zeros((toys.USERS, 1), jnp.int32)
  history_rows = rows.gather(params.tables['item'], history)
  inputs = {'history': history, 'user': USERS, **inputs}
  encoded = model.encode(params.net, history_rows, {}, inputs)
  return model.score(
    params.net, encoded, rows.gather(params.tables['item'], ids)
  )


def _close(ours, theirs):
  size = np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * size)


def test_its_parameters_start_in_the_shape_that_a_trained_model_gives():
  model, context, params = _system()
  fresh = jax.eval_shape(
    lambda key: model.trunk.init(key, context, SIZES), jax.random.key(0)
  )
  trained = jax.eval_shape(model.freeze, params, context)
  assert jax.tree.structure(fresh) == jax.tree.structure(trained)
  assert jax.tree.leaves(fresh) == jax.tree.leaves(trained)


class Plugged(NamedTuple):
  """A trunk with plugins.

  Attributes:
    trunk: its parameters.
    own: plugins as they start.
    bare: f32[U, I], scores without a plugin.
    look: plugins -> scores where users have the plugin of their own group, of
      all items and of their own, and where all share that of group 1.
  """

  trunk: types.Params
  own: types.PyTree
  bare: np.ndarray
  look: Callable[[types.PyTree], dict[str, np.ndarray]]


@functools.cache
def _plugged(variant, name) -> Plugged:
  model, context, params = _system(variant)
  plugin = plugins.make(config_lib.PluginConfig(name=name, **PLUGINS[name]))
  joined = plugged.plugged(model.trunk, plugin, GROUPS)
  trunk = jax.jit(model.freeze)(params, context)

  @jax.jit
  def look(own, trunk):
    params = plugged.join(trunk, own)
    by_group = _route(GROUP[:, None])
    return {
      'all': _scores(joined, params, ALL_ITEMS, route=by_group),
      'own': _scores(joined, params, OWN_ITEMS, route=by_group),
      'shared': _scores(joined, params, ALL_ITEMS, route=_route([1])),
    }

  @jax.jit
  def start(trunk):
    own = plugin.init(cases.KEY, model.trunk.stages, trunk, GROUPS, SIZES)
    return own, _scores(model.trunk, trunk, ALL_ITEMS)

  own, bare = start(trunk)
  return Plugged(trunk, own, bare, lambda own: look(own, trunk))


def _route(groups):
  groups = jnp.asarray(groups, jnp.int32)
  return types.Route(groups, jnp.ones(groups.shape))


@pytest.mark.parametrize('name', PLUGINS)
@pytest.mark.parametrize('variant', ['copf', 'bilinear'])
def test_a_plugin_starts_as_the_trunk_and_moves_its_own_group_alone(
  variant, name
):
  _, own, bare, look = _plugged(variant, name)
  _close(look(own)['all'], bare)
  moved = cases.drawn(own)
  second = jax.tree.map(lambda old, new: old.at[1].set(new[1]), own, moved)
  of_second = look(second)['all']
  changed = np.abs(of_second - bare).max(1)
  assert np.all(changed[GROUP == 1] > 1e-3 * np.abs(bare).max())
  assert np.all(changed[GROUP != 1] < 1e-5 * np.abs(bare).max())
  # All examples share a plugin, or candidates are their own: the same scores.
  said = look(moved)
  _close(said['shared'][GROUP == 1], of_second[GROUP == 1])
  _close(
    said['own'],
    np.take_along_axis(said['all'], np.asarray(OWN_ITEMS) - 1, axis=1),
  )


def test_a_light_plugin_changes_every_vector_of_the_user_before_the_head():
  _, own, _, look = _plugged('copf', 'light')
  own = cases.drawn(own)
  model, context, params = _system('copf')
  plug = jax.tree.map(lambda leaf: np.asarray(leaf[1], np.float64), own['Z'])
  table = np.asarray(model.encode(params, context, (2,)).tasks[2])
  vectors = table[: toys.USERS].reshape(toys.USERS, 3, toys.WIDTH)
  hidden = np.tanh(vectors @ plug['V'] + plug['a'])
  vectors = vectors + hidden @ plug['Q'] + plug['c']
  flat = jnp.asarray(vectors.reshape(toys.USERS, -1), jnp.float32)
  head = experts.make(toys.config('copf').head, toys.WIDTH, 3)
  items = jnp.asarray(table[toys.USERS :])
  expected = head.score(params.net['head'], flat[:, None], items, 2)
  _close(look(own)['shared'], np.asarray(expected))
