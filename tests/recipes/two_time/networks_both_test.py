import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import asked
from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.data import streams
from twotsrec.models import ccf
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes.two_time import networks
from twotsrec.training import phases
from twotsrec.training import stream_sources

NAMES = ('inactive', 'active')


pytestmark = pytest.mark.usefixtures('small_programs')


@functools.cache
def _system(**changes):
  """(phase, state) of both networks."""
  jobs = toys.jobs(**changes)
  embeddings = None
  if 'single' in changes.get('two_time__variant', ''):
    embeddings = _embeddings()
  parts = networks.make_joint(
    toys.setting(**changes), tuple(jobs.values()), None, embeddings
  )
  phase = phases.make(*parts)
  return phase, phase.init_state()


@functools.cache
def _embeddings():
  prepared, _ = toys.log()
  sizes = types.Sizes(prepared.num_users, prepared.num_items, 0)
  items = np.asarray(prepared.items)[np.asarray(prepared.split) == 0]
  counts = np.bincount(items, minlength=prepared.num_items + 1)
  counts[3] = 0  # as if it had never been trained
  context = {'item_counts': jnp.asarray(counts, jnp.float32)}
  params = ccf.init(jax.random.key(0), context, sizes, toys.config())
  return params, context


def _entries(plan, layout_shapes):
  """Both halves of a step's entries."""
  sizes = [int(np.prod(shape)) for shape in layout_shapes]
  halves = np.split(plan, np.cumsum(sizes)[:-1], axis=1)
  return [h.reshape(-1, *s) for h, s in zip(halves, layout_shapes)]


def test_two_independent_jobs_equal_a_joint_one_under_sgd():
  changes = {'two_time__variant': '2ts_plus'}
  jobs = toys.jobs(**changes)
  config = toys.config(**changes)
  stages = two_rnn.make_stages(config.two_time, toys.WIDTH)
  nets = {n: toys.net(job.part, **changes) for n, job in jobs.items()}
  layouts = {
    n: streams.packed(job.runs, int(job.runs.length.max()), 0, steps=3)
    for n, job in jobs.items()
  }
  batches = [
    {n: toys.batch(jobs[n], layouts[n].plan_of(0, 0)[s]) for n in NAMES}
    for s in range(3)
  ]
  context = {'vectors': toys.vectors()}
  mean = lambda values, weight: jnp.sum(values * weight) / jnp.sum(weight)
  both = stream_objectives.make_joint(stages)

  def joint_loss(nets, batch):
    """L_in + L_act of one objective."""
    params = types.Params({}, {**nets, 'shared': {}})
    pair = stream_objectives.pair(*(batch[n] for n in NAMES))
    values = jnp.split(
      both(params, context, pair), [batch['inactive'].weight.size]
    )
    return sum(mean(v, batch[n].weight) for v, n in zip(values, NAMES))

  def own_loss(name):
    objective = stream_objectives.make(stages, jobs[name].part.own_start)
    return lambda net, batch: mean(
      objective(types.Params({}, net), context, batch), batch.weight
    )

  sgd = optax.sgd(0.5)

  def train(loss, params, batches):
    gradient = jax.jit(jax.grad(loss))
    for batch in batches:
      updates, _ = sgd.update(gradient(params, batch), sgd.init(params))
      params = optax.apply_updates(params, updates)
    return params

  joint = train(joint_loss, nets, batches)
  for name in NAMES:
    alone = train(own_loss(name), nets[name], [b[name] for b in batches])
    chex.assert_trees_all_close(joint[name], alone, rtol=1e-5, atol=1e-5)
    moved = alone['extractor']['readout'] - nets[name]['extractor']['readout']
    assert float(jnp.abs(moved).max()) > 1e-2


def _layout_shapes(changes):
  jobs, setting = toys.jobs(**changes), toys.setting(**changes)
  first = stream_sources.make_layout(jobs['inactive'], setting.config.two_time)
  second = stream_sources.second_layout(
    setting.config, setting.experiment.prepared, jobs['active'], first.shape[0]
  )
  return [first.shape[1:], second.shape[1:]]


@pytest.mark.parametrize(
  ('window', 'times'),
  [('random', lambda counts: -(-counts // toys.WINDOW)), ('last_k', np.sign)],
)
def test_a_step_holds_events_of_both_networks(window, times):
  changes = {
    'two_time__variant': 'single_stage',
    'two_time__single_stage_window': window,
  }
  jobs = toys.jobs(**changes)
  phase, _ = _system(**changes)
  shapes = _layout_shapes(changes)
  counts = np.diff(toys.log()[0].user_offsets)
  train = np.asarray(toys.log()[0].split) == 0
  for epoch in range(2):
    plan = phase.source.plan_of(epoch)
    inactive, active = _entries(plan, shapes)
    own = np.sort(inactive[inactive >= 0] // 2)
    expected = np.concatenate(
      [np.arange(s, s + n) for s, n in zip(*jobs['inactive'].runs)]
    )
    np.testing.assert_array_equal(own, expected)
    begins = active[(active >= 0) & (active % 2 == 1)] // 2
    user = np.searchsorted(toys.log()[0].user_offsets, begins, 'right') - 1
    assert np.all(train[active[active >= 0] // 2])
    trained = np.bincount(
      np.repeat(np.arange(len(counts)), counts)[train], minlength=len(counts)
    )
    for u in jobs['active'].users:
      assert np.sum(user == u) == times(trained[u])
    assert np.sum(active >= 0) == toys.WINDOW * len(begins)
  assert np.any(phase.source.plan_of(0) != phase.source.plan_of(1))
  np.testing.assert_array_equal(
    phase.source.plan_of(1), phase.source.plan_of(1)
  )


def _run(phase, state, stop):
  copied = jax.tree.map(jnp.array, state)
  return asked.epoch(phase, copied, stop=stop)[0]


def test_one_stage_moves_embeddings_and_networks():
  phase, state = _system(two_time__variant='single_stage_plus')
  moved = _run(phase, state, 2).params
  assert set(moved.tables) == {'user', 'item'}
  for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(moved)):
    assert np.any(np.asarray(a) != np.asarray(b))
  # What is not in training has no vector, nor moves.
  vectors = stream_objectives.vectors_of(moved, _embeddings()[1])
  np.testing.assert_array_equal(np.asarray(vectors.item)[[0, 3]], 0.0)
  first = state.params.tables['item']['embedding']
  after = moved.tables['item']['embedding']
  np.testing.assert_array_equal(first[3], after[3])
  active = toys.jobs()['active'].serves
  users = [p.tables['user']['embedding'] for p in (state.params, moved)]
  same = np.all(np.asarray(users[0]) == np.asarray(users[1]), axis=1)
  assert np.all(same[~active]) and not np.any(same[active])


def test_a_shared_readout_is_one_matrix_for_both():
  changes = {'two_time__variant': '2ts_plus', 'two_time__share_readout': True}
  phase, state = _system(**changes)
  assert set(state.params.net['shared']) == {'readout'}
  for name in NAMES:
    assert 'readout' not in state.params.net[name]['extractor']
  before = jax.tree.map(np.array, toys.vectors())
  moved = _run(phase, state, 2).params
  nets = stream_objectives.of_both(moved)
  readouts = [nets[name]['extractor']['readout'] for name in NAMES]
  np.testing.assert_array_equal(*readouts)
  start = np.concatenate([np.eye(toys.WIDTH), 0.1 * np.eye(toys.WIDTH)])
  assert np.any(np.asarray(readouts[0]) != start.astype(np.float32))
  assert moved.tables == {}
  chex.assert_trees_all_equal(before, toys.vectors())


def test_networks_come_out_as_if_trained_alone():
  changes = {'two_time__variant': '2ts_plus', 'two_time__share_readout': True}
  _, state = _system(**changes)
  found = stream_objectives.of_both(state.params)
  for name, job in toys.jobs(**changes).items():
    alone = networks.init_net(
      toys.setting(**changes), job.part, jax.random.key(0)
    )
    assert jax.tree.structure(found[name]) == jax.tree.structure(alone)


def test_starts_that_are_trained_give_no_scale():
  changes = {
    'two_time__variant': 'single_stage',
    'two_time__cell': 'scaled_gru',
  }
  _, state = _system(**changes)
  for name in NAMES:
    assert state.params.net[name]['extractor']['cell']['scale'] == 1.0


def test_training_everything_at_once_has_its_own_number_of_epochs():
  of = lambda variant: networks.train_config(
    toys.config(
      two_time__variant=variant,
      two_time__single_stage_epochs=33,
      two_time__epochs=4,
    )
  )
  assert of('single_stage').epochs == 33
  assert of('2ts_plus').epochs == 4
