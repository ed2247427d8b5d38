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
from twotsrec import types
from twotsrec.aggregators import linear
from twotsrec.aggregators import projection
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps
from twotsrec.training import table_rows

GROUPS, LENGTH, BATCH = 3, 5, 12


class _World:
  """A feed, a model and one epoch of plans."""

  def __init__(self, model=None, batching='proportional'):
    self.prepared, self.groups = worlds.log()
    self.model = model or worlds.mean_model()
    data = config_lib.DataConfig(history_length=LENGTH)
    self.feed = feeds.make_feed(self.prepared, self.groups, data)
    self.context = {}
    sizes = types.Sizes(12, 30, LENGTH)
    self.params = self.model.init(jax.random.key(0), self.context, sizes)
    self.objective = objectives.make(objectives.Loss(), self.model)
    group = np.asarray(self.feed.group)
    self.plan = plans.make_plan(group, GROUPS, BATCH, batching, 0, 0)
    self.stacked = plans.stack_plan(self.plan, group, GROUPS, BATCH)
    self.sizes = jnp.asarray(self.groups.sizes, jnp.float32)
    self.batch_of = functools.partial(
      batches.make_batch, draws=batches.Draws(LENGTH, 30, 2)
    )
    self.key = jax.random.key(7)
    self._flat = jax.jit(self.batch_of)
    self._stacked = jax.jit(jax.vmap(self.batch_of, in_axes=(None, 0, None)))

  def batches(self, step):
    flat = self._flat(self.feed, self.plan[step], self.key)
    return flat, self._stacked(self.feed, self.stacked[step], self.key)

  def gradient(self, aggregator, form):
    return jax.jit(
      steps.make_gradient(self.objective, aggregator, self.sizes, form)
    )


@functools.cache
def _world(batching='proportional'):
  return _World(batching=batching)


@pytest.mark.parametrize(
  'aggregator',
  [
    linear.joint(),
    linear.backdoor(),
    linear.backdoor(-1.0, weighting='importance'),
  ],
  ids=['joint', 'backdoor', 'literal_importance'],
)
def test_fused_and_explicit_gradients_are_equal(aggregator):
  """However batches are drawn: their shapes, so the programs, are the same."""
  fused = _world().gradient(aggregator, 'fused')
  explicit = _world().gradient(aggregator, 'explicit')
  arguments = (_world().params, _world().context)
  for batching in plans.BATCHINGS:
    world = _world(batching)
    flat, stacked = world.batches(len(world.plan) - 1)
    key = jax.random.key(1)
    chex.assert_trees_all_close(
      fused(*arguments, flat, (), key),
      explicit(*arguments, stacked, (), key),
      rtol=1e-5,
      atol=1e-6,
    )


@pytest.mark.parametrize(
  ('name', 'positions', 'sharing'),
  [
    ('cross_entropy', 'every', False),
    ('softmax', 'every', True),
    ('gbce', 'last', False),
  ],
)
def test_losses_over_many_items_are_weighed_in_one_pass(
  name, positions, sharing
):
  """Group weights in front of the loss, as in front of group gradients."""
  prepared, groups = worlds.log()
  model, data = (
    worlds.mean_model(),
    config_lib.DataConfig(history_length=LENGTH),
  )
  make = feeds.make_feed
  if positions != 'last':
    make = functools.partial(feeds.make_sequence_feed, positions=positions)
  feed = make(prepared, groups, data)
  count = 0 if name == 'cross_entropy' else 5
  draws = batches.Draws(LENGTH, 30, count, positions, sharing)
  batch_of = functools.partial(batches.make_batch, draws=draws)
  loss = objectives.Loss(name, positions, num_items=30)
  objective = objectives.make(loss, model)
  params = model.init(jax.random.key(0), {}, types.Sizes(12, 30, LENGTH))
  group = np.asarray(feed.group)
  plan = plans.make_plan(group, GROUPS, 12, 'natural', 0, 0)[:1]
  stacked = plans.stack_plan(plan, group, GROUPS, 12)
  sizes, key = jnp.asarray(groups.sizes, jnp.float32), jax.random.key(1)

  @jax.jit
  def both(params):
    of = lambda form: steps.make_gradient(
      objective, linear.backdoor(), sizes, form
    )
    flat = batch_of(feed, plan[0], key)
    rows = jax.vmap(batch_of, (None, 0, None))(feed, stacked[0], key)
    by_rows = table_rows.by_rows(of('fused'))
    return (
      of('fused')(params, {}, flat, (), key),
      of('explicit')(params, {}, rows, (), key),
      by_rows(params, {}, flat, (), key),
    )

  fused, explicit, by_rows = both(params)
  chex.assert_trees_all_close(fused, explicit, rtol=1e-4, atol=1e-6)
  assert np.any(fused[0].tables['item']['embedding'])
  if name != 'cross_entropy':  # which moves all rows
    chex.assert_trees_all_close(fused, by_rows, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['din', 'gru4rec', 'sasrec'])
def test_backdoor_equals_the_reweighted_loss_for_every_base_model(name):
  """PIN eq. 7 is linear: the gradient of sum_j 1/n (mean loss of group j)."""
  options = config_lib.ModelConfig(name=name, width=8)
  world = _World(models.make(options))
  flat, stacked = world.batches(0)

  def reweighted(params):
    values = world.objective(params, world.context, flat)
    member = flat.group[None] == jnp.arange(GROUPS)[:, None]
    means = jnp.sum(member * values, axis=1) / jnp.sum(member, axis=1)
    return jnp.mean(means)

  expected = jax.jit(jax.grad(reweighted))(world.params)
  for form, batch in (('fused', flat), ('explicit', stacked)):
    grads, *_ = world.gradient(linear.backdoor(), form)(
      world.params, world.context, batch, (), jax.random.key(1)
    )
    chex.assert_trees_all_close(grads, expected, rtol=2e-4, atol=1e-6)


def test_joint_on_proportional_batches_is_plain_mini_batch_training():
  world = _world()
  flat, _ = world.batches(0)
  plain = jax.jit(
    jax.grad(lambda p: jnp.mean(world.objective(p, world.context, flat)))
  )(world.params)
  grads, *_ = world.gradient(linear.joint(), 'fused')(
    world.params, world.context, flat, (), jax.random.key(1)
  )
  chex.assert_trees_all_close(grads, plain, rtol=1e-5, atol=1e-7)


def _runner(world, optimizer, aggregator=None):
  gradient = steps.make_gradient(
    world.objective, aggregator or linear.backdoor(), world.sizes, 'fused'
  )
  step = steps.make_step(gradient, optimizer)
  chexed = chex.assert_max_traces(step, n=1)
  return step, steps.make_runner(chexed, world.batch_of)


def _start(world, optimizer):
  copy = jax.tree.map(jnp.array, world.params)
  state = steps.init_state(copy, optimizer, (), jax.random.key(3))
  return state, steps.init_totals(GROUPS)


def test_scanned_steps_equal_single_ones_however_the_host_cuts_them():
  world, optimizer = _world(), optax.adam(0.01)
  step, runner = _runner(world, optimizer)
  plan = jnp.asarray(world.plan)
  num_steps = len(world.plan)

  def run(cuts):
    state, totals = _start(world, optimizer)
    for start, stop in zip(cuts, cuts[1:]):
      state, totals = runner(
        state,
        totals,
        world.context,
        world.feed,
        plan,
        world.key,
        jnp.int32(start),
        jnp.int32(stop),
      )
    return state, totals

  whole = run([0, num_steps])
  chex.assert_trees_all_equal(
    jax.device_get(whole[0].params),
    jax.device_get(run([0, 1, 3, num_steps])[0].params),
  )
  state, totals = _start(world, optimizer)
  single = jax.jit(step)
  for index in range(num_steps):
    flat, _ = world.batches(index)
    state, totals = single(state, totals, world.context, flat)
  chex.assert_trees_all_close(state.params, whole[0].params, rtol=1e-4)
  chex.assert_trees_all_close(totals, whole[1], rtol=1e-4)
  np.testing.assert_allclose(totals.weight.sum(), num_steps * BATCH)


def test_thirty_steps_learn_a_toy_log():
  world, optimizer = _world(), optax.adam(0.05)
  _, runner = _runner(world, optimizer)
  state, totals = _start(world, optimizer)
  plan = jnp.asarray(np.tile(world.plan, (4, 1))[:30])
  first = world.objective(state.params, world.context, world.batches(0)[0])
  state, totals = runner(
    state,
    totals,
    world.context,
    world.feed,
    plan,
    world.key,
    jnp.int32(0),
    jnp.int32(30),
  )
  assert int(state.step) == 30
  chex.assert_tree_all_finite(state.params)
  last = world.objective(state.params, world.context, world.batches(0)[0])
  assert float(last.mean()) < 0.9 * float(first.mean())


@pytest.mark.parametrize('where', ['loss', 'gradient'])
def test_a_number_that_is_not_finite_stops_at_its_step(where):
  world, optimizer = _world(), optax.sgd(0.1)

  def spoiled(params, context, batch, key=None):
    values = world.objective(params, context, batch, key)
    scale = jax.lax.stop_gradient(params.net['kernel'][0, 0])
    if where == 'loss':
      return values + jnp.where(scale > 2.5, jnp.nan, 0.0)
    # Finite value, infinite slope: sqrt at 0.
    zero = params.net['kernel'][1, 1] * jnp.where(scale > 2.5, 0.0, 1.0)
    return values + jnp.where(scale > 2.5, jnp.sqrt(jnp.abs(zero)), 0.0)

  def count_up(updates, state, params=None):
    del params
    zeros = jax.tree.map(jnp.zeros_like, updates)
    net = {'kernel': zeros.net['kernel'].at[0, 0].set(1.0)}
    return zeros._replace(net=net), state

  counting = optax.GradientTransformation(lambda params: (), count_up)
  gradient = steps.make_gradient(spoiled, linear.joint(), world.sizes, 'fused')
  runner = steps.make_runner(
    steps.make_step(gradient, counting), world.batch_of
  )
  del optimizer
  params = jax.tree.map(jnp.array, world.params)
  params.net['kernel'] = params.net['kernel'].at[0, 0].set(0.0)
  state = steps.init_state(params, counting, (), jax.random.key(3))
  state, totals = runner(
    state,
    steps.init_totals(GROUPS),
    world.context,
    world.feed,
    jnp.asarray(world.plan),
    world.key,
    jnp.int32(0),
    jnp.int32(len(world.plan)),
  )
  # The kernel passes 2.5 after three updates, so step 3 is the first bad one.
  assert int(totals.bad_step) == 3 and int(state.step) == 4
  assert bool(totals.bad_loss) == (where == 'loss')


def test_the_form_is_fused_wherever_that_is_possible():
  assert steps.resolve_form(linear.backdoor(), 'auto') == 'fused'
  assert steps.resolve_form(linear.backdoor(), 'explicit') == 'explicit'
  assert steps.resolve_form(projection.pcgrad(), 'auto') == 'explicit'


def test_losses_after_the_update_are_shown_to_those_who_ask():
  world, optimizer = _world(), optax.sgd(0.1)
  _, stacked = world.batches(0)
  joint = linear.joint()
  group_loss = steps.of_shared(steps.make_group_loss(world.objective))
  losses = steps.make_losses(group_loss)
  assert steps.make_post(losses, joint, world.sizes) is None
  asking = joint._replace(
    post=lambda info, state: info.losses,
  )
  gradient = world.gradient(asking, 'explicit')
  post = steps.make_post(losses, asking, world.sizes)
  start = steps.init_state(
    world.params, optimizer, jnp.zeros(GROUPS), jax.random.key(3)
  )
  step = jax.jit(steps.make_step(gradient, optimizer, post))
  state, totals = step(start, steps.init_totals(GROUPS), {}, stacked)
  _, _, sums, counts = gradient(
    state.params, {}, stacked, start.aggregator_state, jax.random.key(3)
  )
  np.testing.assert_allclose(state.aggregator_state, sums / counts, rtol=1e-5)
  assert np.all(np.abs(totals.loss / counts - state.aggregator_state) > 1e-6)


def test_forms_that_cannot_be_are_refused():
  world = _world()
  gram = aggregators.make(config_lib.AggregatorConfig())._replace(weights=None)
  for aggregator, form in ((linear.joint(), 'fast'), (gram, 'fused')):
    with pytest.raises(types.UserError, match='explicit'):
      steps.make_gradient(world.objective, aggregator, world.sizes, form)
