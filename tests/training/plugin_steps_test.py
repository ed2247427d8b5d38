"""Stage 2 against Algorithm 1, group by group and in the order of the paper."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import worlds
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import plugins
from twotsrec import trees
from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.plugins import plugged
from twotsrec.training import plugin_steps
from twotsrec.training import steps

GROUPS, LENGTH, BATCH = 3, 5, 12
TRUNK_RATE, PLUGIN_RATE = 0.01, 0.03
SIZES = types.Sizes(12, 30, LENGTH)


@functools.cache
def _model(name):
  small = {'width': 4, **({'hidden': (5,)} if name == 'din' else {})}
  small |= {'num_heads': 2} if name == 'sasrec' else {}
  return models.make(config_lib.ModelConfig(name=name, **small))


@functools.cache
def _plugin(name):
  return plugins.make(config_lib.PluginConfig(name=name))


@functools.cache
def _params(model_name, plugin_name):
  """A trunk and plugins that do something already."""
  model, plugin = _model(model_name), _plugin(plugin_name)

  def start(key):
    trunk = model.init(key, {}, SIZES)
    return trunk, plugin.init(key, model.stages, trunk, GROUPS, SIZES)

  trunk, own = jax.device_get(jax.jit(start)(jax.random.key(0)))
  normal = np.random.default_rng(2).normal
  move = lambda leaf: (leaf + 0.1 * normal(size=leaf.shape)).astype('f4')
  return plugged.join(trunk, jax.tree.map(move, own))


@functools.cache
def _batches():
  """Two stacked batches, and the sizes of the groups."""
  batches = jax.device_get(worlds.stacked_batches(2, LENGTH, BATCH))
  _, groups = worlds.log()
  return batches, jnp.asarray(groups.sizes, jnp.float32)


def _loss(model_name, plugin_name):
  """(trunk, plugin of a group, context, batch, key) -> mean loss."""
  model, plugin = _model(model_name), _plugin(plugin_name)

  def plugin_loss(trunk, own, context, batch, key):
    one = jax.tree.map(lambda leaf: leaf[None], own)
    with_plugin = plugged.attached(model, plugin, one, jnp.ones(1))
    objective = objectives.make(objectives.Loss(), with_plugin)
    return steps.make_group_loss(objective)(trunk, context, batch, key)

  return plugin_loss


def _optimizer(rate):
  # A gradient that is 0 but for rounding (of a key's bias in attention) must
  # not be scaled to a step.
  return optax.adam(rate, eps=1e-3)


def _step(loss, aggregator, trunk_gradient=None):
  _, sizes = _batches()
  gradient = plugin_steps.make_gradient(loss, trunk_gradient, aggregator, sizes)
  optimizer = plugin_steps.make_optimizer(
    _optimizer(TRUNK_RATE), _optimizer(PLUGIN_RATE)
  )
  step = jax.jit(steps.make_step(gradient, optimizer))

  def run(params, batches):
    state = steps.init_state(
      params,
      optimizer,
      aggregator.init(GROUPS, plugged.split(params)[0]),
      jax.random.key(3),
    )
    totals = steps.init_totals(GROUPS)
    for batch in batches:
      state, totals = step(state, totals, {}, batch)
    assert int(totals.bad_step) == -1
    return state, totals

  return run


@functools.cache
def _frozen():
  """The compiled update of DIN's light plugins, whose trunk stands still."""
  joint = aggregators.make(config_lib.AggregatorConfig())
  return _step(_loss('din', 'light'), joint, plugin_steps.frozen_trunk)


@functools.cache
def _run(model_name, plugin_name, aggregator_name):
  """The compiled update, its trunk gradient through the plugins."""
  config = config_lib.AggregatorConfig(name=aggregator_name)
  return _step(_loss(model_name, plugin_name), aggregators.make(config))


def _update(optimizer, gradient, state, params):
  updates, state = optimizer.update(gradient, state)
  return optax.apply_updates(params, updates), state


def _algorithm_1(loss, params, batches, weights):
  """Alg. 1 to the letter: plugins move one by one, then the trunk."""
  trunk, stacked = plugged.split(params)
  own = [trees.take(stacked, j) for j in range(GROUPS)]
  trunk_adam, adam = _optimizer(TRUNK_RATE), _optimizer(PLUGIN_RATE)
  trunk_state, states = trunk_adam.init(trunk), [adam.init(p) for p in own]
  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  update = jax.jit(_update, static_argnums=0)
  for batch in batches:
    queue = []
    for j in range(GROUPS):
      one = trees.take(batch, j)
      trunk_grad, own_grad = gradient(trunk, own[j], {}, one, None)
      own[j], states[j] = update(adam, own_grad, states[j], own[j])
      queue.append(trunk_grad)
    total = jax.tree.map(
      lambda *grads: np.tensordot(weights, np.stack(grads), 1).astype('f4'),
      *queue,
    )
    trunk, trunk_state = update(trunk_adam, total, trunk_state, trunk)
  joined = jax.tree.map(lambda *leaves: np.stack(leaves), *own)
  return plugged.join(trunk, joined)


_assert_close = functools.partial(
  chex.assert_trees_all_close, rtol=2e-4, atol=2e-6
)


@pytest.mark.parametrize(
  ('model_name', 'plugin_name'),
  # A step sees a loss of both; each of them is here once.
  [('din', 'light'), ('gru4rec', 'film'), ('sasrec', 'naive')],
)
def test_one_mapped_step_is_algorithm_1(model_name, plugin_name):
  loss = _loss(model_name, plugin_name)
  params = _params(model_name, plugin_name)
  batches, _ = _batches()
  state, _ = _run(model_name, plugin_name, 'backdoor')(params, batches)
  uniform = np.full(GROUPS, 1 / GROUPS)
  expected = _algorithm_1(loss, params, batches, uniform)
  _assert_close(state.params, expected)


def _without(batch, groups):
  """The batch with some groups absent."""
  there = ~np.isin(np.arange(GROUPS), groups)
  return batch._replace(weight=batch.weight * there[:, None])


def test_a_group_alone_in_the_batch_moves_its_plugin_and_the_trunk():
  params = _params('din', 'light')
  run = _run('din', 'light', 'backdoor')
  batch = _without(_batches()[0][0], [0, 2])
  state, totals = run(params, [batch])
  assert totals.weight[0] == totals.weight[2] == 0 < totals.weight[1]
  trunk, own = plugged.split(state.params)
  old_trunk, old_own = plugged.split(params)
  moved = lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b)))
  assert all(jax.tree.leaves(jax.tree.map(moved, trunk, old_trunk)))
  for new, old in zip(
    jax.tree.leaves(own), jax.tree.leaves(old_own), strict=True
  ):
    changed = [moved(new[j], old[j]) for j in range(GROUPS)]
    assert changed == [False, True, False]


def test_a_group_that_was_absent_goes_on_as_if_nothing_had_been():
  """Its moments and its step count wait, so the next step is its first."""
  params = _params('din', 'light')
  first, second = _batches()[0]
  waited, _ = _frozen()(params, [_without(first, [1]), second])
  alone, _ = _frozen()(params, [second])
  present, _ = _frozen()(params, [first, second])
  one = lambda state: jax.tree.map(
    lambda leaf: leaf[1], plugged.split(state.params)[1]
  )
  chex.assert_trees_all_equal(one(waited), one(alone))
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(one(waited), one(present))


def test_a_frozen_trunk_does_not_move():
  params = _params('din', 'light')
  gradient = plugin_steps.frozen_trunk(
    plugged.split(params)[0], {}, _batches()[0][0], (), None
  )
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient[0]))
  state, _ = _frozen()(params, _batches()[0])
  trunk, old = plugged.split(state.params)[0], plugged.split(params)[0]
  chex.assert_trees_all_equal(trunk, old)


def test_a_bare_trunk_learns_as_if_there_were_no_plugins():
  params, (batches, sizes) = _params('din', 'light'), _batches()
  backdoor = aggregators.make(config_lib.AggregatorConfig(name='backdoor'))
  objective = objectives.make(objectives.Loss(), _model('din'))
  bare = steps.make_gradient(objective, backdoor, sizes, 'explicit')
  state, _ = _step(_loss('din', 'light'), backdoor, bare)(params, batches)
  trunk = plugged.split(params)[0]
  alone = steps.init_state(trunk, _optimizer(TRUNK_RATE), (), jax.random.key(3))
  step = jax.jit(steps.make_step(bare, _optimizer(TRUNK_RATE)))
  totals = steps.init_totals(GROUPS)
  for batch in batches:
    alone, totals = step(alone, totals, {}, batch)
  _assert_close(plugged.split(state.params)[0], alone.params)
  through, _ = _run('din', 'light', 'backdoor')(params, batches)
  with pytest.raises(AssertionError):
    _assert_close(through.params, state.params)


# One of each kind: of inner products, of signs, of losses after the update, of
# losses and steps, and of remembered gradients.
@pytest.mark.parametrize('name', ['mgda', 'agr_rand', 'famo', 'stch', 'moco'])
def test_any_aggregator_joins_the_trunks_gradients(name):
  params, (batches, _) = _params('din', 'light'), _batches()
  run = _run('din', 'light', name)
  state, _ = run(params, batches)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.params))
  # What a plugin learns in the first step does not depend on the aggregator.
  first, _ = run(params, batches[:1])
  other, _ = _run('din', 'light', 'backdoor')(params, batches[:1])
  _assert_close(plugged.split(first.params)[1], plugged.split(other.params)[1])
  with pytest.raises(AssertionError):
    _assert_close(first.params, other.params)


def test_losses_after_the_update_are_those_with_the_groups_plugin():
  params, (batches, _) = _params('din', 'naive'), _batches()
  loss = _loss('din', 'naive')
  losses = jax.jit(steps.make_losses(loss, split=plugged.split))
  own_loss = jax.jit(loss)
  means, counts = losses(params, {}, batches[0], jax.random.key(0))
  np.testing.assert_array_equal(counts, batches[0].weight.sum(1))
  trunk, own = plugged.split(params)
  for j in range(GROUPS):
    one, mine = trees.take(batches[0], j), trees.take(own, j)
    expected = own_loss(trunk, mine, {}, one, None)
    np.testing.assert_array_equal(means[j], expected)
