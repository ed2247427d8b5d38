"""What every plugin promises on every model, whatever its equations."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from tests.plugins import cases
from twotsrec import config
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.plugins import plugged

PAIRS = [(name, plugin) for name in models.TRAINED for plugin in plugins.NAMES]


def test_an_unknown_name_lists_the_known_plugins():
  with pytest.raises(types.UserError, match="'lite'.*light, naive, film.*none"):
    plugins.make(config.PluginConfig(name='lite'))


@pytest.mark.parametrize('plugin', plugins.NAMES)
def test_an_option_that_would_change_nothing_is_refused(plugin):
  others = {
    'points': 'A', 'history_only': True, 'ratio': 0.25, 'activation': 'relu',
    'init': 'small', 'post_activation': True,
  }  # fmt: skip
  for option, value in others.items():
    options = config.PluginConfig(name=plugin, **{option: value})
    if option in plugins.OPTIONS[plugin]:
      plugins.make(options)
    else:
      with pytest.raises(types.UserError, match=f'{option}.*no such option'):
        plugins.make(options)


@pytest.mark.parametrize('plugin', plugins.NAMES)
def test_how_plugins_are_trained_is_not_their_business(plugin):
  options = config.PluginConfig(
    name=plugin, trunk='runs/base', learning_rate=1.0, trunk_learning_rate=1.0,
    trunk_gradient='bare', epochs=1, patience=1, select='per_group',
    select_metric='loss',
  )  # fmt: skip
  plugins.make(options)


@pytest.mark.parametrize(('name', 'plugin'), PAIRS)
def test_at_the_start_scores_equal_those_of_the_trunk_to_the_bit(name, plugin):
  params = cases.start(name, plugin)
  model = cases.model(name, plugin)
  trunk, _ = plugged.split(params)
  expected = cases.trunk_scores(name, trunk)
  repeated = expected.pop('repeated')
  actual = cases.scores(model, params, cases.one(1))
  chex.assert_trees_all_equal(actual, expected)
  # With plugins of its own, an example has candidates of its own.
  expected = {**expected, 'shared': repeated}
  actual = cases.scores(model, params, cases.own())
  if plugin == 'naive':  # every example has matrices of its own: other sums
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-5)
  else:
    chex.assert_trees_all_equal(actual, expected)


@pytest.mark.parametrize(('name', 'plugin'), PAIRS)
def test_weights_of_zero_leave_the_bare_trunk(name, plugin):
  params = cases.moved(name, plugin)
  trunk, _ = plugged.split(params)
  expected = cases.trunk_scores(name, trunk)
  actual = cases.scores(cases.model(name, plugin), params, cases.one(1, 0.0))
  chex.assert_trees_all_equal(actual, {key: expected[key] for key in actual})


@pytest.mark.parametrize(('name', 'plugin'), PAIRS)
def test_examples_with_their_own_plugins_equal_a_loop_over_groups(name, plugin):
  params = cases.moved(name, plugin)
  model = cases.model(name, plugin)
  actual = cases.scores(model, params, cases.own())
  by_group = [
    cases.scores(model, params, cases.one(g)) for g in range(cases.GROUPS)
  ]
  for candidates, values in actual.items():
    expected = jnp.stack([by_group[g][candidates] for g in range(cases.GROUPS)])
    picked = expected[cases.USER_GROUP, np.arange(len(cases.USER_GROUP))]
    chex.assert_trees_all_close(values, picked, rtol=1e-4, atol=1e-5)
  # The plugins do something, and something else for each group.
  trunk, _ = plugged.split(params)
  bare = cases.trunk_scores(name, trunk)['own']
  kinds = [bare, *(values['own'] for values in by_group)]
  for i, one in enumerate(kinds):
    for other in kinds[:i]:
      assert float(jnp.max(jnp.abs(one - other))) > 1e-3


@pytest.mark.parametrize('plugin', plugins.NAMES)
def test_a_group_moves_its_own_plugin_and_the_trunk_only(plugin):
  model = cases.model('din', plugin)
  params = cases.moved('din', plugin)

  def loss(params, model, route):
    encoded = cases.encode(model, params, route)
    scores = cases.score(model, params, encoded, examples.CANDIDATES)
    return jnp.sum(jax.nn.softplus(scores))

  grad = lambda model, params, route: jax.grad(loss)(params, model, route)
  grads = examples.jit(grad)(model, params, cases.own(np.array([2, 1, 1, 1])))
  chex.assert_tree_all_finite(grads)
  trunk, moved = plugged.split(grads)
  norm = lambda leaf: np.linalg.norm(leaf.reshape(cases.GROUPS, -1), axis=1)
  norms = np.array([norm(leaf) for leaf in jax.tree.leaves(moved)])
  np.testing.assert_array_equal(norms > 0, [[False, True, True]] * len(norms))
  assert np.any(trunk.tables['item']['embedding'])


@pytest.mark.parametrize(
  ('name', 'changes', 'plugin'),
  [
    ('gru4rec', {}, 'light'),
    ('gru4rec', {}, 'naive'),
    ('sasrec', {'causal': True}, 'light'),
    ('sasrec_original', {}, 'light'),
  ],
)
def test_the_last_position_is_encoded_like_the_history(name, changes, plugin):
  model = cases.model(name, plugin, **changes)
  by_position = model._replace(encode=model.encode_positions)
  params = cases.moved(name, plugin, **changes)
  batch, length = examples.HISTORY.shape
  last = np.maximum(np.array(examples.LENGTHS) - 1, 0)
  candidates = examples.CANDIDATES[:, :3]
  ids = np.tile(candidates[:, None], (1, length, 1))

  def both(_, params, route):
    encoded = cases.encode(model, params, route)
    positions = cases.encode(by_position, params, route)
    at_positions = [
      cases.score(model, params, positions, ids),
      cases.score(model, params, positions, cases.SHARED),
    ]
    at_end = [
      cases.score(model, params, encoded, candidates),
      cases.score(model, params, encoded, cases.SHARED),
    ]
    return [x[np.arange(batch), last] for x in at_positions], at_end

  actual, expected = examples.jit(both)(model, params, cases.own())
  real = np.array(examples.LENGTHS) > 0  # an empty one has no last position
  for x, y in zip(actual, expected, strict=True):
    chex.assert_trees_all_close(x[real], y[real], rtol=1e-4, atol=1e-5)


def test_a_model_that_looks_ahead_has_no_encoding_per_position():
  assert cases.model('din', 'light').encode_positions is None


@pytest.mark.parametrize('plugin', plugins.NAMES)
def test_a_half_precision_trunk_stays_in_half_precision(plugin):
  changes = {'compute_dtype': 'bfloat16'}
  trunk, moved = plugged.split(cases.moved('din', plugin, **changes))
  stages = examples.make('din', **changes).stages
  chosen = jax.tree.map(lambda leaf: leaf[:1], moved)
  plugged_stages = cases.make(plugin).attach(stages, chosen, jnp.ones(1))

  def run(stages, net, table):
    history = jnp.asarray(examples.HISTORY)
    rows = {'embedding': table[history]}
    embedded = stages.embed({}, rows, {'history': history})
    summary = stages.summarize(net['extractor'], embedded, history > 0)
    candidate_rows = {'embedding': table[1:]}
    features = stages.extract(net['extractor'], summary, candidate_rows)
    return features, stages.classify(net['classifier'], features, {})

  table = trunk.tables['item']['embedding']
  expected, actual = (
    jax.eval_shape(functools.partial(run, one), trunk.net, table)
    for one in (stages, plugged_stages)
  )
  assert expected[0].plugged.dtype == jnp.bfloat16
  chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)


def test_a_half_precision_trunk_is_plugged_exactly_too():
  changes = {'compute_dtype': 'bfloat16'}
  params = cases.start('din', 'light', **changes)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype('f4')}
  expected = cases.trunk_scores('din', plugged.split(params)[0], **changes)
  model = cases.model('din', 'light', **changes)
  actual = cases.scores(model, params, cases.one(0))
  chex.assert_trees_all_equal(actual, {key: expected[key] for key in actual})
