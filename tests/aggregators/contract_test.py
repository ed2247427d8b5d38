"""What holds for every aggregator."""

import functools

import chex
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import worlds
from tests.aggregators import cases
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps

PROPERTY = settings(max_examples=12, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31 - 1)
DETERMINISTIC = [n for n in cases.NAMES if n not in cases.RANDOM]
# All but the one that puts a group before the others.
SYMMETRIC = [n for n in DETERMINISTIC if n != 'pcd']
# Clipping is not homogeneous, Adam on weights only up to its epsilon, and a
# step of the weights has a rate.
HOMOGENEOUS = [n for n in cases.NAMES if n not in ('nash', 'gradnorm', 'moco')]


@pytest.mark.parametrize('name', SYMMETRIC)
@PROPERTY
@given(seed=SEEDS, order=st.permutations(range(cases.GROUPS)))
def test_groups_may_be_permuted(name, seed, order):
  vectors, order = cases.draw(seed), list(order)
  info = cases.info()
  shuffled = types.GroupInfo(*(x[np.array(order)] for x in info))
  expected = cases.apply(name, vectors, info)
  actual = cases.apply(name, vectors[order], shuffled)
  size = np.abs(vectors).max()
  np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-3 * size)


@pytest.mark.parametrize('name', HOMOGENEOUS)
@PROPERTY
@given(seed=SEEDS, factor=st.sampled_from([1e-3, 0.3, 7.0, 1e3]))
def test_update_is_positively_homogeneous(name, seed, factor):
  vectors = cases.draw(seed)
  expected = factor * cases.apply(name, vectors)
  actual = cases.apply(name, factor * vectors)
  size = factor * np.abs(vectors).max()
  np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-3 * size)


@pytest.mark.parametrize('name', cases.NAMES)
@PROPERTY
@given(
  seed=SEEDS,
  absent=st.sets(st.integers(0, 3), max_size=4),
  zero=st.sets(st.integers(0, 3), max_size=4),
)
def test_absent_groups_and_zero_gradients_give_finite_updates(
  name, seed, absent, zero
):
  vectors = cases.draw(seed)
  vectors[list(absent | zero)] = 0.0
  counts = np.full(cases.GROUPS, 5.0)
  counts[list(absent)] = 0.0
  losses = np.array(cases.LOSSES) * (counts > 0)
  info = cases.info(counts, losses=losses)
  assert np.all(np.isfinite(cases.apply(name, vectors, info)))


@pytest.mark.parametrize('name', DETERMINISTIC)
@PROPERTY
@given(seed=SEEDS, absent=st.integers(0, 3))
def test_what_an_absent_group_would_say_does_not_matter(name, seed, absent):
  vectors = cases.draw(seed)
  counts = np.full(cases.GROUPS, 5.0)
  counts[absent] = 0.0
  vectors[absent] = 0.0
  expected = cases.apply(name, vectors, cases.info(counts))
  vectors[absent] = 3.0
  losses, sizes = np.array(cases.LOSSES), np.array(cases.SIZES)
  losses[absent] = 9.0
  if name != 'class_balanced':
    sizes[absent] = 1.0
  actual = cases.apply(name, vectors, cases.info(counts, sizes, losses))
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', cases.NAMES)
@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_reported(name, bad):
  for group in range(cases.GROUPS):
    vectors = cases.draw(group)
    vectors[group, 2] = bad
    assert not np.all(np.isfinite(cases.apply(name, vectors)))


def test_one_group_alone_gives_its_gradient():
  g = 0.1 * cases.draw(0, 1)  # shorter than nash_max_norm
  info = cases.info(sizes=cases.SIZES[:1], losses=cases.LOSSES[:1])
  stacked = cases.stack(g)

  def updates(key):
    return {
      name: cases.flat(
        cases.make(name).update(
          stacked, info, cases.first_state(name, 1), key=key
        )[0]
      )
      for name in cases.NAMES
    }

  # CAGrad overshoots by definition, DB-MTL and STCH descend the logarithm of
  # the loss, and MoCo's average starts at 0.
  of_log = 1 / cases.LOSSES[0]
  factors = {
    'cagrad': 1.5 / 1.25,
    'db_mtl': of_log,
    'stch': of_log,
    'moco': 0.5,
  }
  compiled = jax.jit(updates)
  for name, update in compiled(jax.random.key(0)).items():
    np.testing.assert_allclose(
      update, factors.get(name, 1.0) * g[0], rtol=1e-4, err_msg=name
    )


@pytest.mark.parametrize('name', ['pcgrad', 'cagrad', 'nash', 'upgrad'])
def test_updates_with_inner_loops_may_be_mapped(name):
  vectors = np.stack([cases.draw(i) for i in range(2)]).astype(np.float32)
  keys = jax.random.split(cases.key(0), 2)
  update, info = cases.compiled(name), cases.info()
  state = cases.first_state(name)
  mapped = jax.vmap(update, in_axes=(0, None, None, 0))
  actual, *_ = mapped(vectors, info, state, keys)
  for row, vector, key in zip(actual, vectors, keys):
    expected, *_ = update(vector, info, state, key)
    np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', cases.NAMES)
@pytest.mark.parametrize('granularity', ['model', 'leaf'])
def test_the_state_keeps_its_form(name, granularity):
  """Updates run in a loop whose carry may not change shape or type."""
  aggregator = cases.make(name, granularity=granularity)
  state = aggregator.init(cases.GROUPS, cases.params())
  info, vectors = cases.info(), np.float32(cases.draw(0))

  def update(state, key):
    _, state, _ = aggregator.update(cases.stack(vectors), info, state, key=key)
    return state if aggregator.post is None else aggregator.post(info, state)

  after = jax.eval_shape(update, state, cases.key(0))
  before = jax.eval_shape(lambda state: state, state)
  chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
  assert jax.tree.structure(after) == jax.tree.structure(before)


@pytest.mark.parametrize('name', [n for n in cases.NAMES if n != 'agr_rand'])
def test_an_entry_that_no_group_touches_stands_still(name):
  """A table row out of the batch, say; so rows of the batch are enough."""
  vectors = cases.draw(3)
  vectors[:, 0] = np.abs(vectors[:, 0])  # or Agr-Sum has nothing to say
  vectors[:, [2, 5]] = 0.0
  update = cases.apply(name, vectors)
  np.testing.assert_array_equal(update[[2, 5]], 0.0)
  assert np.any(update)


@pytest.mark.parametrize('name', cases.NAMES)
def test_identical_gradients_are_returned_up_to_scale(name):
  g = cases.draw(1, 1)
  update = cases.apply(name, np.repeat(g, cases.GROUPS, axis=0))
  cosine = update @ g[0] / np.linalg.norm(update) / np.linalg.norm(g)
  assert cosine > 1 - 1e-4


@functools.cache
def _behaviors():
  """Features and clicks of four behaviors, from seldom to frequent."""
  generator = np.random.default_rng(0)
  weights = generator.normal(size=7)
  found = []
  for count in cases.SIZES:
    # Behaviors share most of a taste; each has a part of its own.
    own = weights + 0.3 * generator.normal(size=7)
    features = generator.normal(size=(int(count), 7))
    found.append((features, features @ own))
  return found


def _behavior_gradients(weights):
  """Mean squared errors f64[4] of a linear score, their gradients f64[4, 7]."""
  errors = [(x, x @ weights - y) for x, y in _behaviors()]
  losses = [np.mean(e**2) for _, e in errors]
  return np.array(losses), np.stack([2 * x.T @ e / len(e) for x, e in errors])


@pytest.mark.parametrize('name', cases.NAMES)
def test_behaviors_may_be_aggregated_instead_of_groups(name):
  counts, weights = np.array(cases.SIZES), np.zeros(7)
  start, gradients = _behavior_gradients(weights)
  if name == 'joint':
    pooled = _pooled_behavior_gradient(weights)
    info = cases.info(counts, losses=start)
    joint = cases.apply(name, gradients, info)
    np.testing.assert_allclose(joint, pooled, rtol=1e-4)
  state, key = cases.first_state(name), cases.key(0)
  for _ in range(60):
    losses, gradients = _behavior_gradients(weights)
    update, state, _ = cases.compiled(name)(
      gradients.astype(np.float32),
      cases.info(counts, losses=losses),
      state,
      key,
    )
    weights = weights - 0.03 * np.asarray(update, np.float64)
  losses, _ = _behavior_gradients(weights)
  assert np.mean(losses) < 0.5 * np.mean(start)


def _pooled_behavior_gradient(weights):
  features, targets = (np.concatenate(part) for part in zip(*_behaviors()))
  return 2 * features.T @ (features @ weights - targets) / len(targets)


@functools.cache
def _toy():
  """Objective, stacked batches, sizes and parameters of a small log."""
  prepared, groups = worlds.log()
  model = worlds.mean_model()
  data = config_lib.DataConfig(history_length=5)
  feed = feeds.make_feed(prepared, groups, data)
  params = model.init(jax.random.key(0), {}, types.Sizes(12, 30, 5))
  group = np.asarray(feed.group)
  plan = plans.make_plan(group, 3, 12, 'proportional', 0, 0)
  stacked = plans.stack_plan(plan, group, 3, 12)
  batch_of = functools.partial(
    batches.make_batch, draws=batches.Draws(5, 30, 2)
  )
  over_groups = jax.vmap(batch_of, in_axes=(None, 0, None))
  over_steps = jax.jit(jax.vmap(over_groups, in_axes=(None, 0, None)))
  key = jax.random.key(7)
  return (
    objectives.make(objectives.Loss(), model),
    over_steps(feed, stacked[:2], key),
    jnp.asarray(groups.sizes, jnp.float32),
    params,
  )


# A step does not see which one it is; all of them descend in the test above.
# Linear, by inner products, by signs, by losses, by losses after the update.
@pytest.mark.parametrize(
  'name', ['joint', 'pcgrad', 'mgda', 'agr_rand', 'db_mtl', 'famo']
)
def test_an_aggregator_of_each_kind_trains_a_toy_log(name):
  objective, batches, sizes, params = _toy()
  aggregator, optimizer = cases.make(name), optax.adam(0.05)
  gradient = steps.make_gradient(objective, aggregator, sizes, 'explicit')
  group_loss = steps.of_shared(steps.make_group_loss(objective))
  post = steps.make_post(steps.make_losses(group_loss), aggregator, sizes)
  step = steps.make_step(gradient, optimizer, post)

  def body(carry, index):
    batch = jax.tree.map(lambda leaf: leaf[index % 2], batches)
    state, totals = step(*carry, {}, batch)
    return (state, totals), jnp.sum(totals.loss - carry[1].loss)

  @jax.jit
  def train(params):
    key = jax.random.key(3)
    state = steps.init_state(params, optimizer, aggregator.init(3, params), key)
    start = (state, steps.init_totals(3))
    return jax.lax.scan(body, start, jnp.arange(24))

  (state, totals), sums = train(params)
  assert int(totals.bad_step) == -1
  chex.assert_tree_all_finite(state._replace(key=()))
  if name != 'agr_rand':  # noise on most table rows
    assert sum(sums[-2:]) < sum(sums[:2])
