"""Head-to-tail transfer, by itself and in a run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import finished
from tests import small_runs as runs
from tests.models import examples
from twotsrec import config as config_lib
from twotsrec import plugins
from twotsrec import types
from twotsrec.models import stages as stages_lib
from twotsrec.ops import rows
from twotsrec.plugins import plugged
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.training import transfer

_SIZES = types.Sizes(4, 9, 6)


def _batch(history, weight):
  history = jnp.asarray(history, jnp.int32)
  count = history.shape[0]
  user = jnp.arange(count)
  candidates = jnp.asarray(1 + np.arange(3 * count).reshape(count, 3) % 9)
  return types.Batch(history, candidates, user, user, jnp.asarray(weight))


def _histories():
  """Tail users with histories of 2, and active ones with 6, 4 and 2."""
  rng = np.random.default_rng(0)
  items = rng.integers(1, 10, (4, 6))
  own = np.where(np.arange(6) < 2, items, 0)
  own[3] = items[3]  # filling, which nothing is drawn from
  lengths = np.array([6, 4, 2, 5])
  active = np.where(np.arange(6) < lengths[:, None], items[::-1], 0)
  tail = _batch(own, [1.0, 1.0, 1.0, 0.0])
  return tail, _batch(active, [1.0, 1.0, 1.0, 0.0])


def test_the_last_items_of_a_history_are_moved_to_its_start():
  history = jnp.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0]])
  short, cut = transfer._last(history, jnp.array([2, 3, 1]))
  np.testing.assert_array_equal(short[0], [3, 4, 0, 0])
  np.testing.assert_array_equal(short[1:], history[1:])
  np.testing.assert_array_equal(cut, [True, False, False])


@pytest.mark.parametrize('name', ['gru4rec', 'din', 'bert4rec'])
def test_the_loss_is_the_distance_of_the_states(name):
  stages, params = examples.make(name).stages, examples.params(name)
  plugin = plugins.make(config_lib.PluginConfig(name='film', points='Z'))
  fresh = plugin.init(jax.random.key(0), stages, params, 1, examples.SIZES)
  own = jax.tree.map(lambda leaf: leaf + 0.3, fresh)
  tail, active = _histories()

  def loss(own, params):
    on = plugin.attach(stages, own, jnp.ones(1))
    return transfer.loss(stages, on, params, tail, active, jax.random.key(1))

  value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(own, params)

  def state(history, on):
    inputs = {'history': history}
    given = rows.gather(params.tables['item'], history)
    embedded, mask = stages_lib.embed(
      stages, params.net['embed'], given, inputs
    )
    summary = stages.summarize(params.net['extractor'], embedded, mask)
    items = rows.gather(params.tables['item'], active.candidates)
    bare = stages.extract(params.net['extractor'], summary, items).plugged
    scale, shift = (np.ravel(own['Z'][k]) for k in ('scale', 'shift'))
    return np.asarray(bare) * (1 + scale * on) + shift * on

  short = np.zeros((4, 6), np.int32)
  for row, length in enumerate([6, 4, 2]):
    short[row, :2] = active.history[row, length - 2 : length]
  error = (state(short, 1.0) - state(active.history, 0.0))[:2]
  size = state(active.history, 0.0)[:2]
  expected = np.sum(error**2) / np.sum(size**2)
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  moves, still = (jax.tree.leaves(part) for part in grads)
  assert all(np.any(leaf) for leaf in moves)
  assert not any(np.any(leaf) for leaf in still)


@pytest.mark.parametrize('count', [1, 2, 9])
def test_near_is_the_distance_to_the_mean_of_near_states(count):
  stages, params = examples.make('gru4rec').stages, examples.params('gru4rec')
  plugin = plugins.make(config_lib.PluginConfig(name='film', points='Z'))
  fresh = plugin.init(jax.random.key(0), stages, params, 1, examples.SIZES)
  own = jax.tree.map(lambda leaf: leaf + 0.3, fresh)
  tail, active = _histories()
  tail = tail._replace(history=tail.history.at[1, 1].set(0))  # one item

  def loss(own, params):
    on = plugin.attach(stages, own, jnp.ones(1))
    return transfer.near(stages, on, params, tail, active, count)

  value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(own, params)
  states = [
    np.asarray(transfer._state(stages, params, batch))[:3]
    for batch in (tail, active)
  ]
  scale, shift = (np.ravel(own['Z'][name]) for name in ('scale', 'shift'))
  error = size = 0.0
  for state, length in zip(states[0], (2, 1, 2)):
    alike = states[1] @ state / np.linalg.norm(states[1], axis=1)
    target = np.mean(states[1][np.argsort(-alike)[:count]], axis=0)
    moved = state * (1 + scale) + shift
    error += np.sum((moved - target) ** 2) / (1 + length)
    size += np.sum(target**2) / (1 + length)
  np.testing.assert_allclose(value, error / size, rtol=1e-4)
  moves, still = (jax.tree.leaves(part) for part in grads)
  assert all(np.any(leaf) for leaf in moves)
  assert not any(np.any(leaf) for leaf in still)


def test_without_active_users_nothing_is_near():
  stages, params = examples.make('gru4rec').stages, examples.params('gru4rec')
  tail, active = _histories()
  none = active._replace(weight=jnp.zeros(4))
  assert transfer.near(stages, stages, params, tail, none, 2) == 0


def test_states_that_depend_on_candidates_have_no_near_ones(tmp_path):
  for name, refused in (('gru4rec', False), ('din', True)):
    config = runs.config(
      model__name=name,
      model__hidden=config_lib.ModelConfig().hidden,
      plugin__name='light',
      plugin__trunk=str(tmp_path),
      plugin__transfer=1.0,
      plugin__near=2,
    )
    data = experiment_lib.load_data(config)
    if not refused:
      experiment_lib.make(config, data)
      continue
    with pytest.raises(types.UserError, match='differs by candidate'):
      experiment_lib.make(config, data)


def _sums() -> types.Stages:
  """The state is the sum of what was read: longer is larger."""

  def init(key, context, sizes):
    del key, context
    table = jnp.eye(sizes.num_items + 1)
    net = {'embed': {}, 'extractor': {}, 'classifier': {}}
    return types.Params({'item': {'embedding': table}}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del extractor, key
    return jnp.sum(jnp.where(mask[..., None], embedded, 0.0), axis=1)

  return types.Stages(
    init=init,
    embed=lambda net, rows, inputs: rows['embedding'],
    summarize=summarize,
    extract=lambda net, state, rows: types.Features(state, rows['embedding']),
    classify=lambda net, features, rows: jnp.einsum(
      'bd,bcd->bc', features.plugged, features.fixed
    ),
  )


def test_a_linear_state_is_recovered():
  """Everybody repeats one item, six times, and the tail is seen twice."""
  stages = _sums()
  params = stages.init(None, None, _SIZES)
  plugin = plugins.make(config_lib.PluginConfig(name='film', points='Z'))
  items = 1 + np.arange(9)[:, None] + np.zeros((9, 6), int)
  active = _batch(items, np.ones(9))
  tail = _batch(np.where(np.arange(6) < 2, items, 0), np.ones(9))
  own = plugin.init(jax.random.key(0), stages, params, 1, _SIZES)
  optimizer = optax.adam(0.1)

  def loss(own):
    on = plugin.attach(stages, own, jnp.ones(1))
    return transfer.loss(stages, on, params, tail, active, jax.random.key(1))

  @jax.jit
  def train(own):
    def step(carry, _):
      own, state = carry
      value, grads = jax.value_and_grad(loss)(own)
      moves, state = optimizer.update(grads, state)
      return (optax.apply_updates(own, moves), state), value

    return jax.lax.scan(step, (own, optimizer.init(own)), None, 400)

  (own, _), values = train(own)
  np.testing.assert_allclose(values[0], (4 / 6) ** 2, rtol=1e-5)
  assert values[-1] < 1e-4
  np.testing.assert_allclose(own['Z']['scale'][0, 1:], 2.0, atol=0.05)


@functools.cache
def _run(folder, **changes):
  config = runs.config(
    plugin__name='light',
    plugin__trunk=str(finished.run('ga')),
    plugin__epochs=2,
    plugin__learning_rate=0.03,
    plugin__trunk_learning_rate=0.0,
    plugin__select_metric='none',
    routing__groups=1,
    **changes,
  )
  run_lib.train(config, folder, quiet=True)
  return experiment_lib.load(folder)


def test_active_users_are_served_by_the_trunk_to_the_bit(tmp_path):
  trunk = experiment_lib.load(str(finished.run('ga')))
  plain = _run(str(tmp_path / 'plain'), plugin__points='Z')
  taught = _run(
    str(tmp_path / 'taught'), plugin__points='Z', plugin__transfer=1.0
  )
  scores = []
  for experiment, params in (trunk, plain, taught):
    ranker = experiment_lib.ranker(experiment, params)
    _, per_target = reports.evaluate(experiment, ranker, 'test', quiet=True)[:2]
    scores.append(per_target)
  bare, own, with_transfer = scores
  active = np.asarray(bare['group']) > 0
  for name in ('better', 'tied'):
    for other in (own, with_transfer):
      np.testing.assert_array_equal(bare[name][active], other[name][active])
  assert np.any(bare['better'][~active] != own['better'][~active])
  assert np.any(own['better'][~active] != with_transfer['better'][~active])
  _, added = plugged.split(taught[1])
  for leaf, start in zip(
    jax.tree.leaves(added), jax.tree.leaves(plugged.split(plain[1])[1])
  ):
    np.testing.assert_array_equal(leaf[1:], start[1:])  # never moved
    assert np.any(leaf[0] != start[0])
