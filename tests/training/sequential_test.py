import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from tests.models import examples
from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.ops import rows
from twotsrec.training import sequential
from twotsrec.training import steps

GROUPS, ROWS, CANDIDATES, LENGTH, ITEMS = 3, 4, 2, 5, 11
SIZES = types.Sizes(8, ITEMS, LENGTH)
KEY = jax.random.key(5)


@functools.cache
def _model(name='din'):
  if name == 'mean':
    return worlds.mean_model()
  options = config_lib.ModelConfig(name=name, width=4)
  if name == 'din':
    options.hidden = (4, 3)
  return models.make(options)


def _draw(shapes, seed):
  rng = np.random.default_rng(seed)
  draw = lambda x: jnp.asarray(0.6 * rng.normal(size=x.shape), x.dtype)
  return jax.tree.map(draw, shapes)


@functools.cache
def _params(name='din'):
  init = functools.partial(_model(name).init, sizes=SIZES)
  return _draw(jax.eval_shape(init, jax.random.key(0), {}), 1)


def _batch(counts=(4, 2, 3), seed=0):
  """Leaves [G, B, ...]; group j fills `counts[j]` places."""
  rng = np.random.default_rng(seed)
  num_groups = len(counts)
  shape = (num_groups, ROWS)
  history = rng.integers(1, ITEMS + 1, (*shape, LENGTH))
  history[..., 3:] *= rng.integers(0, 2, (*shape, 1))
  candidates = rng.integers(1, ITEMS + 1, (*shape, CANDIDATES))
  group = np.broadcast_to(np.arange(num_groups)[:, None], shape)
  weight = np.arange(ROWS) < np.array(counts)[:, None]
  return types.Batch(
    jnp.asarray(history, jnp.int32),
    jnp.asarray(candidates, jnp.int32),
    jnp.zeros(shape, jnp.int32),
    jnp.asarray(group, jnp.int32),
    jnp.asarray(weight, jnp.float32),
  )


def _options(method, **changes):
  defaults = {'inner_rate': 0.5, 'adversary_weight': 0.3}
  return config_lib.TrainConfig(method=method, **(defaults | changes))


def _gradient(method, name='din', num_groups=GROUPS, **changes):
  options = _options(method, **changes)
  model = _model(name)
  objective = objectives.make(objectives.Loss(), model)
  return sequential.make_gradient(
    model, objective, jnp.ones(num_groups), options
  )


@functools.cache
def _compiled(*arguments, **changes):
  return jax.jit(_gradient(*arguments, **changes))


def _init(params, name='din', method='grad_transfer'):
  return sequential.init(KEY, params, _model(name), SIZES, _options(method))


@functools.cache
def _adversary(name='din'):
  """Not at its start: no bias is 0."""
  init = functools.partial(_init, name=name)
  return _draw(jax.eval_shape(init, _params(name)), 3)


def _own(batch, group):
  """The real examples of one group."""
  count = int(np.asarray(batch.weight)[group].sum())
  return jax.tree.map(lambda leaf: leaf[group, :count], batch)


def _user(name, params, own):
  """Features of the observed item's candidate, f32[B, d], stage by stage."""
  stages, items = _model(name).stages, params.tables['item']
  embedded = stages.embed(
    params.net['embed'],
    rows.gather(items, own.history),
    {'history': own.history},
  )
  extractor = params.net['extractor']
  summary = stages.summarize(extractor, embedded, own.history > 0)
  observed = rows.gather(items, own.candidates[:, :1])
  plugged = stages.extract(extractor, summary, observed).plugged
  return plugged.reshape(len(own.user), -1)


def _told(adversary, user, is_head):
  """Mean cross-entropy of the adversary's answer."""
  logits = examples.mlp(adversary, user, jnp.tanh)[:, 0]
  head = 1 / (1 + jnp.exp(-logits))
  return -jnp.mean(jnp.log(head if is_head else 1 - head))


def _literal(params, name, batch, order, rate, adversary=None, weight=0.0):
  """theta and omega after plain gradient steps, and the losses on the way."""
  objective = objectives.make(objectives.Loss(), _model(name))
  predict = lambda params, own: jnp.mean(objective(params, {}, own))
  told = lambda params, adversary, own, is_head: _told(
    adversary, _user(name, params, own), is_head
  )
  theta, losses = params, {}
  for group in order:
    own = _own(batch, group)
    if not len(own.user):
      continue
    losses[group], slope = jax.value_and_grad(predict)(theta, own)
    if adversary is not None:
      is_head = group == len(batch.weight) - 1
      slopes = jax.grad(told, (0, 1))(theta, adversary, own, is_head)
      slope = jax.tree.map(lambda g, d: g - weight * d, slope, slopes[0])
      adversary = jax.tree.map(lambda w, d: w - rate * d, adversary, slopes[1])
    theta = jax.tree.map(lambda p, g: p - rate * g, theta, slope)
  return theta, adversary, losses


def _order(key, num_groups=GROUPS):
  order_key, _ = jax.random.split(key)
  return tuple(jax.random.permutation(order_key, num_groups).tolist())


def _assert_path(found, batch, literal, rate, name='din'):
  theta, _, losses = literal
  grads, _, sums, counts = found
  expected = jax.tree.map(
    lambda before, after: (before - after) / rate, _params(name), theta
  )
  chex.assert_trees_all_close(grads, expected, rtol=1e-3, atol=1e-5)
  np.testing.assert_array_equal(counts, batch.weight.sum(1))
  for group in range(len(counts)):
    mean = losses.get(group, 0.0)
    np.testing.assert_allclose(sums[group], mean * counts[group], rtol=1e-4)


@pytest.mark.parametrize('counts', [(4, 2, 3), (4, 0, 3)])
def test_fish_is_a_loop_of_plain_steps_over_the_groups(counts):
  batch = _batch(counts)
  gradient, params = _compiled('fish', 'mean'), _params('mean')
  orders = set()
  for seed in (0, 1):
    key = jax.random.key(seed)
    orders.add(_order(key))
    found = gradient(params, {}, batch, (), key)
    walk = jax.jit(
      functools.partial(
        _literal, name='mean', batch=batch, order=_order(key), rate=0.5
      )
    )
    _assert_path(found, batch, walk(params), 0.5, 'mean')
    assert found[1] == ()
  assert len(orders) == 2


@pytest.mark.parametrize(
  'name, counts', [('din', (0, 2, 3)), ('gru4rec', (4, 2, 0))]
)
def test_grad_transfer_is_a_loop_of_both_players_steps(name, counts):
  batch, adversary = _batch(counts), _adversary(name)
  gradient = _compiled('grad_transfer', name)
  found = gradient(_params(name), {}, batch, adversary, KEY)
  walk = functools.partial(
    _literal, name=name, batch=batch, order=_order(KEY), rate=0.5, weight=0.3
  )
  literal = jax.jit(walk)(_params(name), adversary=adversary)
  _assert_path(found, batch, literal, 0.5, name)
  chex.assert_trees_all_close(found[1], literal[1], rtol=1e-4, atol=1e-6)


def test_without_weight_the_adversary_does_not_move_the_model():
  batch = _batch()
  fish = _compiled('fish', 'din')(_params(), {}, batch, (), KEY)
  blind = _gradient('grad_transfer', adversary_weight=0.0)
  found = jax.jit(blind)(_params(), {}, batch, _adversary(), KEY)
  chex.assert_trees_all_close(found[0], fish[0], rtol=1e-5, atol=1e-7)
  chex.assert_trees_all_close(found[2:], fish[2:], rtol=1e-5)
  distance = jax.tree.map(
    lambda a, b: jnp.abs(a - b).max(), found[1], _adversary()
  )
  assert min(jax.tree.leaves(distance)) > 0


def test_one_group_gives_its_gradient():
  batch = _batch((3,))
  objective = objectives.make(objectives.Loss(), _model())
  mean = lambda params: jnp.mean(objective(params, {}, _own(batch, 0)))
  expected = jax.jit(jax.grad(mean))(_params())
  gradient = jax.jit(_gradient('fish', num_groups=1, inner_rate=0.01))
  grads, *_ = gradient(_params(), {}, batch, (), KEY)
  chex.assert_trees_all_close(grads, expected, rtol=1e-4, atol=1e-7)


def test_small_steps_give_the_sum_of_the_group_gradients():
  """To the first order in the inner rate, with an error of that order."""
  batch = _batch()
  objective = objectives.make(objectives.Loss(), _model('mean'))
  params = _params('mean')
  group_gradients = jax.jit(steps.make_group_gradients(objective))
  _, slopes = group_gradients(params, {}, batch, KEY)
  mean = jax.tree.map(lambda leaf: leaf.mean(0), slopes)

  def error(rate):
    gradient = _compiled('fish', 'mean', inner_rate=rate)
    grads, *_ = gradient(params, {}, batch, (), KEY)
    gaps = jax.tree.map(
      lambda a, b: jnp.sum(jnp.square(a / GROUPS - b)), grads, mean
    )
    return float(sum(jax.tree.leaves(gaps))) ** 0.5

  np.testing.assert_allclose(error(0.1) / error(0.01), 10.0, rtol=0.1)


@pytest.mark.parametrize('method', sequential.NAMES)
def test_an_empty_batch_moves_nothing(method):
  batch = _batch((0, 0, 0))
  state = _adversary() if method == 'grad_transfer' else ()
  grads, after, sums, counts = _compiled(method, 'din')(
    _params(), {}, batch, state, KEY
  )
  zeros = jax.tree.map(np.zeros_like, (grads, sums, counts))
  chex.assert_trees_all_equal((grads, sums, counts), zeros)
  chex.assert_trees_all_equal(after, state)


def test_the_adversary_learns_to_tell_the_head_group():
  """Its users have an item nobody else has; the model stands still."""
  name = 'gru4rec'
  params, batch = _params(name), _batch((4, 4, 4))
  history = jnp.where(batch.history == 1, 2, batch.history)
  batch = batch._replace(history=history.at[-1].set(1))
  gradient = _gradient(
    'grad_transfer', name, inner_rate=0.2, adversary_weight=0.0
  )

  def body(state, key):
    _, state, _, _ = gradient(params, {}, batch, state, key)
    return state, None

  keys = jax.random.split(KEY, 600)
  train = jax.jit(lambda state: jax.lax.scan(body, state, keys)[0])

  def loss(adversary):
    told = [
      _told(adversary, _user(name, params, _own(batch, g)), g == 2)
      for g in range(GROUPS)
    ]
    return sum(told) / GROUPS

  loss = jax.jit(loss)
  start = _adversary(name)
  chance = -(np.log(1 / 3) + 2 * np.log(2 / 3)) / 3
  assert loss(start) > 0.9 * chance > 2 * loss(train(start))


def test_fish_takes_any_model_and_objective():
  model = worlds.mean_model()
  params = model.init(jax.random.key(0), {}, SIZES)
  options = _options('fish', positions='every')
  objective = objectives.make(objectives.Loss(positions='every'), model)
  gradient = sequential.make_gradient(
    model, objective, jnp.ones(GROUPS), options
  )
  batch = _batch((4, 2, 0))
  shape = (GROUPS, ROWS, LENGTH, CANDIDATES)
  candidates = jax.random.randint(KEY, shape, 1, ITEMS + 1)
  batch = batch._replace(candidates=candidates)
  state = sequential.init(KEY, params, model, SIZES, options)
  grads, _, sums, _ = jax.jit(gradient)(params, {}, batch, state, KEY)
  chex.assert_tree_all_finite(grads)
  assert float(sums[2]) == 0.0 < float(sums[0])


@pytest.mark.parametrize('name, width', [('din', 8), ('gru4rec', 4)])
def test_the_adversary_is_as_wide_as_what_it_sees(name, width):
  adversary = _init(_params(name), name)
  shapes = jax.tree.map(np.shape, adversary)
  assert shapes == {
    'dense_0': {'bias': (width,), 'kernel': (width, width)},
    'dense_1': {'bias': (1,), 'kernel': (width, 1)},
  }
  assert np.any(adversary['dense_0']['kernel'])
  assert _init(_params(name), name, 'fish') == ()


def test_the_adversary_needs_stages_and_single_targets():
  for name, changes, match in (
    ('mean', {}, 'with stages: din'),
    ('din', {'positions': 'every'}, 'train.positions=last'),
  ):
    with pytest.raises(types.UserError, match=match):
      _gradient('grad_transfer', name, **changes)
