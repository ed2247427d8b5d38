import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from tests.plugins import cases
from twotsrec import types
from twotsrec.plugins import plugged

NAME = 'gru4rec'


def test_a_model_without_stages_is_refused():
  model = examples.make('popularity')
  with pytest.raises(types.UserError, match='popularity has no stages.*none'):
    plugged.plugged(model, cases.make('light'), cases.GROUPS, 'popularity')


def test_it_starts_as_a_trunk_and_its_plugins():
  trunk_model, plugin = examples.make(NAME), cases.make('light')

  @examples.jit
  def starts(model, key):
    params = model.init(key, {}, examples.SIZES)
    trunk_key, plugin_key = jax.random.split(key)
    trunk = trunk_model.init(trunk_key, {}, examples.SIZES)
    own = plugin.init(
      plugin_key, trunk_model.stages, trunk, cases.GROUPS, examples.SIZES
    )
    return params, trunk, own

  params, *expected = starts(cases.model(NAME, 'light'), cases.KEY)
  trunk, fresh = plugged.split(params)
  chex.assert_trees_all_equal([trunk, fresh], expected)
  assert set(params.net) == {'trunk', 'plugins'}
  assert {leaf.shape[0] for leaf in jax.tree.leaves(fresh)} == {cases.GROUPS}
  chex.assert_trees_all_equal(plugged.join(trunk, fresh), params)


@pytest.mark.parametrize('plugin', ['light', 'naive', 'film'])
def test_a_blend_of_neighbors_equals_an_attached_blend(plugin):
  params = cases.moved(NAME, plugin)
  trunk, moved = plugged.split(params)
  groups = np.array([[0, 1], [1, 2], [2, 1], [1, 1]], np.int32)
  weights = np.array([[1, 0], [0.5, 0.5], [0.9, 0.1], [0.3, 0.3]], np.float32)
  actual = cases.scores(
    cases.model(NAME, plugin), params, types.Route(groups, weights)
  )

  def by_user(model, trunk, moved, groups, weights):
    chosen = jax.tree.map(lambda leaf: leaf[groups], moved)
    one = plugged.attached(model, cases.make(plugin), chosen, weights)
    encoded = cases.encode(one, trunk, None)
    return cases.score(one, trunk, encoded, examples.CANDIDATES)

  by_user = examples.jit(by_user)
  for user in range(len(groups)):
    args = trunk, moved, groups[user], weights[user]
    expected = by_user(examples.make(NAME), *args)[user]
    chex.assert_trees_all_close(
      actual['own'][user], expected, rtol=1e-4, atol=1e-5
    )


def test_an_encoding_keeps_its_route_and_one_row_per_example():
  model, params = cases.model('din', 'light'), cases.moved('din', 'light')
  route = cases.own()
  encoded = jax.eval_shape(lambda: cases.encode(model, params, route))
  for leaf in jax.tree.leaves(encoded):
    assert leaf.shape[0] == len(examples.HISTORY)
  plain = jax.eval_shape(
    lambda: examples.make('din').encode(
      params.net['trunk'],
      {'embedding': params.tables['item']['embedding'][examples.HISTORY]},
      {},
      {'history': examples.HISTORY},
    )
  )
  chex.assert_trees_all_equal_shapes_and_dtypes(encoded.inner, plain)
  shared = jax.eval_shape(lambda: cases.encode(model, params, cases.one(2)))
  chex.assert_trees_all_equal_shapes_and_dtypes(shared.inner, plain)
  chex.assert_shape(shared.route, (1,))


def test_dropout_differs_by_example_and_needs_a_key():
  changes = {'dropout': 0.5}
  model = cases.model('sasrec_original', 'light', **changes)
  params = cases.moved('sasrec_original', 'light', **changes)
  history = np.tile(examples.HISTORY[:1], (len(cases.USER_GROUP), 1))
  route = cases.own(np.zeros(len(history), np.int32))
  encode = examples.jit(
    lambda model, params, key: cases.encode(model, params, route, key, history)
  )
  plain = np.asarray(encode(model, params, None).inner)
  dropped = np.asarray(encode(model, params, jax.random.key(0)).inner)
  np.testing.assert_allclose(plain, plain[:1] + 0.0 * plain, rtol=1e-6)
  for user in range(1, len(history)):
    assert not np.allclose(dropped[user], dropped[0])


def test_a_missing_route_is_an_error():
  model, params = cases.model(NAME, 'light'), cases.moved(NAME, 'light')
  rows = {'embedding': params.tables['item']['embedding'][examples.HISTORY]}
  with pytest.raises(KeyError, match='route'):
    model.encode(params.net, rows, {}, {'history': examples.HISTORY})


def test_a_route_needs_a_weight_for_every_group():
  model, params = cases.model(NAME, 'light'), cases.moved(NAME, 'light')
  route = types.Route(jnp.zeros((4, 2), jnp.int32), jnp.ones((4, 1)))
  with pytest.raises(AssertionError):
    cases.encode(model, params, route)


def test_without_jit_it_starts_at_the_trunk_to_the_bit_too():
  params = cases.start('din', 'light')
  trunk, _ = plugged.split(params)
  encoded = cases.encode(examples.make('din'), trunk, None)
  expected = cases.score(
    examples.make('din'), trunk, encoded, examples.CANDIDATES
  )
  model = cases.model('din', 'light')
  encoded = cases.encode(model, params, cases.one(1))
  actual = cases.score(model, params, encoded, examples.CANDIDATES)
  chex.assert_trees_all_equal(actual, expected)
