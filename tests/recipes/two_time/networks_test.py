import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import asked
from tests import two_time_toys as toys
from twotsrec import aggregators
from twotsrec import types
from twotsrec.data import streams
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.plugins import plugged
from twotsrec.plugins import recurrent
from twotsrec.recipes.two_time import networks
from twotsrec.training import phases
from twotsrec.training import steps
from twotsrec.training import stream_sources
from twotsrec.training import updates

PLUGINS = {
  'light_z': {'plugin__name': 'light', 'plugin__points': 'Z'},
  'light_a': {
    'plugin__name': 'light',
    'plugin__points': 'A',
    'plugin__history_only': True,
  },
  'naive': {'plugin__name': 'naive'},
  'film': {'plugin__name': 'film', 'plugin__points': 'Z'},
}


pytestmark = pytest.mark.usefixtures('small_programs')


def _phase(setting, job, trunk=None):
  return phases.make(*networks.make_parts(setting, job, None, trunk))


def _part_of_update(monkeypatch, part, *of):
  """What `networks.make_parts` makes an update of.

  Args:
    monkeypatch: of the test.
    part: (gradient, optimizer, ..., post=None) -> one of them.
    *of: its first arguments, and a trunk or None.
  """
  *of, trunk = of
  monkeypatch.setattr(updates, 'of_gradient', part)
  return networks.make_parts(*of, None, trunk).how.update


def _names(tree):
  """Names of the leaves."""
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  named = lambda path: '/'.join(key.key for key in path if hasattr(key, 'key'))
  return {named(path) for path, _ in paths}


def test_no_two_phases_of_a_run_draw_the_same():
  config = toys.config()
  keys = [
    networks.phase_keys(config, name, on)
    for name in ('inactive', 'active', 'both')
    for on in (False, True)
  ]
  keys.append(phases.keys_of(jax.random.key(config.train.seed)))  # stage 1
  every = [
    tuple(jax.random.key_data(key).tolist())
    for init, train, negatives in keys
    for key in (init, train, negatives(0))
  ]
  assert len(set(every)) == len(every) == 21


@pytest.mark.parametrize('name', ['inactive', 'active'])
def test_only_the_network_moves(name):
  changes = {'two_time__variant': '2ts_plus'}
  job, setting = toys.jobs(**changes)[name], toys.setting(**changes)
  before = jax.tree.map(np.array, setting.vectors)
  phase = _phase(setting, job)
  state = phase.init_state()
  first = jax.tree.map(np.array, state.params)
  state, totals = asked.epoch(phase, state, stop=2)
  chex.assert_trees_all_equal(before, setting.vectors)
  trained = {
    'extractor/cell/input/kernel',
    'extractor/cell/input/bias',
    'extractor/cell/recurrent/kernel',
    'extractor/cell/recurrent/bias',
    'extractor/readout',
  } | ({'extractor/psi'} if name == 'inactive' else set())
  assert state.params.tables == {}
  assert _names(state.params.net) == trained
  # Adam's moments, and its count of steps.
  assert _names(state.opt_state) - {''} == trained
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(state.params)):
    assert np.any(a != np.asarray(b))
  assert float(totals.loss.sum()) > 0


def _stacked(job, layout):
  """The only step of a layout [1, G, L, B] with the events' negatives."""
  (entries,) = layout.plan_of(0, 0)
  batches = [toys.batch(job, of_group) for of_group in entries]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)


@functools.cache
def _one_step(**changes):
  """(job, flat batch, stacked batch) of all events of inactive users."""
  job = toys.jobs(**changes)['inactive']
  options = toys.config(two_time__tokens=10**4, **changes).two_time
  (flat,) = stream_sources.make_layout(job, options).plan_of(0, 0)
  layout = stream_sources.make_layout(job, options, by_group=True)
  return job, toys.batch(job, flat), _stacked(job, layout)


def test_the_fused_gradient_equals_that_of_stacked_groups():
  changes = {'two_time__variant': '2ts_plus'}
  job, flat, stacked = _one_step(**changes)
  config = toys.config(aggregator__name='backdoor', **changes)
  objective = stream_objectives.make(
    two_rnn.make_stages(config.two_time, toys.WIDTH)
  )
  params = types.Params({}, toys.net(job.part, **changes))
  context, key = {'vectors': toys.vectors()}, jax.random.key(0)
  found = []
  for form, batch in (('fused', flat), ('explicit', stacked)):
    gradient = steps.make_gradient(
      objective,
      aggregators.make(config.aggregator),
      jnp.asarray(job.sizes),
      form,
    )
    grads, _, losses, counts = jax.jit(gradient)(
      params, context, batch, (), key
    )
    found.append((grads, losses, counts))
  chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(found[0][2], job.sizes)


@pytest.mark.parametrize('name', ['inactive', 'active'])
@pytest.mark.parametrize('by_group', [False, True])
def test_a_layout_has_every_event_of_a_job_once(name, by_group):
  job = toys.jobs()[name]
  layout = stream_sources.make_layout(job, toys.config().two_time, by_group)
  plan = layout.plan_of(0, 3)
  events = [
    np.arange(first, first + length) for first, length in zip(*job.runs)
  ]
  np.testing.assert_array_equal(
    np.sort(plan[plan >= 0] // 2), np.concatenate(events)
  )
  if by_group:
    user = np.repeat(job.users, job.runs.length)
    of_event = dict(zip(np.concatenate(events).tolist(), job.group[user]))
    for g in range(len(job.sizes)):
      own = plan[:, g][plan[:, g] >= 0] // 2
      assert {int(of_event[e]) for e in own.tolist()} == {g}
  if name == 'active' and not by_group:
    assert layout.shape[1] == toys.WINDOW


def test_a_carried_layout_is_cut_every_window():
  job = toys.jobs(two_time__variant='two_gru')['active']
  options = toys.config(two_time__variant='two_gru').two_time
  layout = stream_sources.make_layout(job, options)
  assert layout.shape[1] == toys.WINDOW
  assert layout.shape[2] == min(64 // toys.WINDOW, len(job.users))


def test_the_padded_loader_has_a_run_per_stream():
  job = toys.jobs()['inactive']
  options = toys.config(two_time__loader='padded').two_time
  plan = stream_sources.make_layout(job, options).plan_of(0, 0)
  assert np.all(np.sum((plan >= 0) & (plan % 2 == 1), axis=1) <= 1)


# ---- Plugins


def _plugged(which, seed=None):
  """(setting, job, trunk, plugins) of inactive users; drawn or at the start."""
  changes = {'two_time__variant': '2ts_plus', **PLUGINS[which]}
  job, setting = toys.jobs(**changes)['inactive'], toys.setting(**changes)
  trunk = toys.net(job.part, two_time__variant='2ts_plus')
  key = jax.random.key(0)
  plugins = networks.init_plugins(setting, job, trunk, key)
  if seed is not None:
    plugins = toys.random_like(plugins, 0.2, seed)
  return setting, job, trunk, plugins


def _losses(setting, plugin, trunk, batch):
  net = {} if plugin is None else {'trunk': trunk, 'plugins': plugin}
  config = setting.config
  stages = two_rnn.make_stages(config.two_time, config.model.width)
  stages, _ = recurrent.make_bind(stages, config.plugin)(net)
  objective = stream_objectives.make(stages)
  context = {'vectors': toys.vectors()}
  return objective(types.Params({}, trunk), context, batch)


@pytest.mark.parametrize('which', PLUGINS)
def test_a_plugin_starts_as_the_bare_network_to_the_bit(which):
  setting, job, trunk, plugins = _plugged(which)
  _, flat, _ = _one_step(two_time__variant='2ts_plus')
  run = jax.jit(functools.partial(_losses, setting))
  bare = run(None, trunk, flat)
  for g in range(len(job.sizes)):
    own = jax.tree.map(lambda leaf, g=g: leaf[g], plugins)
    np.testing.assert_array_equal(run(own, trunk, flat), bare)
  drawn = toys.random_like(own, 0.2)
  assert np.any(np.asarray(run(drawn, trunk, flat)) != np.asarray(bare))


def test_a_plugin_follows_the_mean_loss_of_its_group_alone(monkeypatch):
  setting, job, trunk, plugins = _plugged('naive', seed=3)
  _, _, stacked = _one_step(two_time__variant='2ts_plus')
  params = plugged.join(types.Params({}, trunk), plugins)
  gradient = _part_of_update(
    monkeypatch, lambda gradient, *rest, **post: gradient, setting, job, trunk
  )
  aggregator = aggregators.make(setting.config.aggregator)
  state = aggregator.init(len(job.sizes), trunk)
  context, key = {'vectors': toys.vectors()}, jax.random.key(0)
  grads, _, losses, counts = jax.jit(gradient)(
    params, context, stacked, state, key
  )
  _, actual = plugged.split(grads)

  @jax.jit
  @jax.value_and_grad
  def mean_loss(own, batch):
    values = _losses(setting, own, trunk, batch)
    return jnp.sum(values * batch.weight) / jnp.sum(batch.weight)

  for g in range(len(job.sizes)):
    take = lambda tree, g=g: jax.tree.map(lambda leaf: leaf[g], tree)
    loss, expected = mean_loss(take(plugins), take(stacked))
    np.testing.assert_allclose(losses[g] / counts[g], loss, rtol=1e-5)
    chex.assert_trees_all_close(take(actual), expected, rtol=1e-4, atol=1e-6)


def test_a_phase_with_plugins_starts_at_the_trunk_and_moves_both():
  setting, job, trunk, _ = _plugged('light_z')
  phase = _phase(setting, job, trunk)
  state = phase.init_state()
  first = jax.tree.map(np.array, state.params)
  chex.assert_trees_all_equal(first.net['trunk'], trunk)
  state, _ = asked.epoch(phase, state, stop=2)
  kept, moved = first.net['plugins']['Z']['Q'], state.params.net['plugins']
  for before, after in zip(kept, np.asarray(moved['Z']['Q'])):
    assert np.any(before != after)
  chex.assert_tree_all_finite(state.params)
  psi = state.params.net['trunk']['extractor']['psi']
  assert np.any(np.asarray(psi) != np.asarray(trunk['extractor']['psi']))


def test_filling_of_a_group_belongs_to_it():
  setting, job, _, _ = _plugged('light_z')
  layout = streams.stacked(
    [stream_sources.make_layout(job, setting.config.two_time)] * len(job.sizes)
  )
  batch_of = stream_sources.batch_of(
    setting.config.two_time, toys.log()[0].num_items, layout.shape
  )
  feed = stream_sources.of_job(toys.config(), toys.log()[0], job).feed
  plan = jnp.asarray(layout.plan_of(0, 0))
  batch = jax.jit(batch_of)(feed, plan[0], jax.random.key(0))
  for g in range(len(job.sizes)):
    np.testing.assert_array_equal(batch.group[g], g)


def test_an_aggregator_that_asks_for_the_losses_after_an_update_gets_them(
  monkeypatch,
):
  job = toys.jobs()['inactive']
  post = lambda *rest, post, **stacked: post
  of = lambda name: _part_of_update(
    monkeypatch, post, toys.setting(aggregator__name=name), job, None
  )
  assert of('famo') is not None
  assert of('pcgrad') is None


def test_stage_2_runs_as_its_section_says():
  config = toys.config(two_time__epochs=7, two_time__patience=2)
  train = networks.train_config(config)
  assert (train.epochs, train.patience, train.select_metric) == (7, 2, 'mrr')
  config = toys.config(plugin__epochs=5, plugin__patience=4)
  train = networks.train_config(config, plugins_on=True)
  assert (train.epochs, train.patience) == (5, 4)
