import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import worlds
from twotsrec import trees
from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.training import grouped
from twotsrec.training import steps

GROUPS, LENGTH, BATCH = 3, 5, 12
KEY = jax.random.key(0)
RAGGED = (8, 40, 208)  # rows enough, and most places of a vmap are filling


@functools.cache
def _ragged(widths):
  """Groups that fill their first places."""
  capacity, length = max(widths), 3
  place = np.arange(capacity)
  weight = (place < np.array(widths)[:, None]).astype(np.float32)
  shape = weight.shape
  history = np.arange(np.prod(shape) * length, dtype=np.int32)
  return types.Batch(
    history=jnp.asarray(history.reshape(*shape, length) % 7),
    candidates=jnp.zeros((*shape, 2), jnp.int32),
    user=jnp.zeros(shape, jnp.int32),
    group=jnp.zeros(shape, jnp.int32),
    weight=jnp.asarray(weight),
  )


def _mean(shared, own, context, batch, key):
  """Weighted mean of a function of what a group sees; rows it was given."""
  del context, key
  values = jnp.tanh(shared * own * jnp.sum(batch.history, axis=-1))
  mean = jnp.sum(values * batch.weight) / jnp.sum(batch.weight)
  return {'mean': mean, 'rows': jnp.asarray(batch.weight.shape[0])}


@pytest.mark.parametrize(
  ('widths', 'rows'),
  [
    (RAGGED, RAGGED),  # group by group
    ((100, 100, 100), (100, 100, 100)),
    ((2, 3, 20), (20, 20, 20)),  # too few rows to be worth it
  ],
)
def test_it_is_the_loop_over_groups_and_skips_filling_where_it_pays(
  widths, rows
):
  own, batch = jnp.array([0.1, 0.2, 0.3]), _ragged(widths)
  mapped = jax.jit(grouped.map_groups(_mean, widths))
  result = mapped(0.5, own, (), batch, KEY)
  assert result['rows'].tolist() == list(rows)
  for j, width in enumerate(widths):
    history = np.asarray(batch.history[j, :width], np.float64)
    expected = np.mean(np.tanh(0.5 * own[j] * history.sum(-1)))
    np.testing.assert_allclose(result['mean'][j], expected, rtol=1e-5)


def test_unknown_widths_are_mapped_over_all_places():
  batch = _ragged(RAGGED)
  result = grouped.map_groups(_mean)(0.5, jnp.ones(3), (), batch, KEY)
  assert result['rows'].tolist() == [max(RAGGED)] * 3


def test_what_a_group_has_of_its_own_gets_its_own_gradient():
  own, batch = jnp.array([0.1, 0.2, 0.3]), _ragged(RAGGED)
  total = lambda run, own: jnp.sum(run(0.5, own, (), batch, KEY)['mean'])
  ragged, mapped = (
    jax.grad(functools.partial(total, grouped.map_groups(_mean, widths)))(own)
    for widths in (RAGGED, None)
  )
  np.testing.assert_allclose(ragged, mapped, rtol=1e-5)


# ---- Groups trained side by side against groups trained on their own


@functools.cache
def _optimizer():
  # A gradient that is 0 but for rounding must not be scaled to a step.
  return optax.adam(0.03, eps=1e-3)


@functools.cache
def _group_loss():
  return steps.make_group_loss(
    objectives.make(objectives.Loss(), worlds.mean_model())
  )


@functools.cache
def _params():
  sizes = types.Sizes(12, 30, LENGTH)
  return worlds.mean_model().init(jax.random.key(0), {}, sizes)


@functools.cache
def _batches():
  """Three stacked batches."""
  return worlds.stacked_batches(3, LENGTH, BATCH)


@functools.cache
def _step():
  gradient = grouped.own_gradient(_group_loss())
  optimizer = grouped.own_optimizer(_optimizer())
  return jax.jit(steps.make_step(gradient, optimizer)), optimizer


def _train(batches):
  """State and totals after a step on each of the stacked batches."""
  step, optimizer = _step()
  params = grouped.stack(_params(), GROUPS)
  state = steps.init_state(params, optimizer, (), jax.random.key(3))
  totals = steps.init_totals(GROUPS)
  for batch in batches:
    state, totals = step(state, totals, {}, batch)
  assert int(totals.bad_step) == -1
  return state, totals


@functools.cache
def _loss_and_gradient():
  return jax.jit(jax.value_and_grad(_group_loss()))


def _train_alone(group, batches):
  """A model on the examples of one group, and its losses."""
  params, state, losses = _params(), _optimizer().init(_params()), []
  for batch in batches:
    own = trees.take(batch, group)
    loss, grads = _loss_and_gradient()(params, {}, own, None)
    updates, state = _optimizer().update(grads, state)
    params = optax.apply_updates(params, updates)
    losses.append(float(loss))
  return params, losses


def _without(batch, group):
  """The batch with a group absent."""
  there = np.arange(GROUPS) != group
  return batch._replace(weight=batch.weight * there[:, None])


_assert_close = functools.partial(
  chex.assert_trees_all_close, rtol=1e-5, atol=1e-7
)


def test_side_by_side_is_each_group_alone():
  state, totals = _train(_batches())
  found = grouped.unstack(state.params, GROUPS)
  for group in range(GROUPS):
    expected, losses = _train_alone(group, _batches())
    _assert_close(found[group], expected)
    counts = [float(b.weight[group].sum()) for b in _batches()]
    np.testing.assert_allclose(totals.loss[group], np.dot(losses, counts), 1e-5)
    assert totals.weight[group] == sum(counts) > 0
  with pytest.raises(AssertionError):
    _assert_close(found[0], found[1])


def test_an_absent_group_does_not_move_and_goes_on_later():
  """Its moments and its step count wait, so the next step is its first."""
  first, second, _ = _batches()
  state, totals = _train([_without(first, 1)])
  moved = jax.tree.map(
    lambda new, old: np.any(np.asarray(new) != old, axis=None),
    grouped.unstack(state.params, GROUPS),
    [_params()] * GROUPS,
  )
  assert [all(jax.tree.leaves(tree)) for tree in moved] == [True, False, True]
  assert not any(jax.tree.leaves(moved[1])) and totals.weight[1] == 0
  state, _ = _train([_without(first, 1), second])
  expected, _ = _train_alone(1, [second])
  _assert_close(trees.take(state.params, 1), expected)
  expected, _ = _train_alone(0, [first, second])
  _assert_close(trees.take(state.params, 0), expected)


def test_groups_that_run_one_by_one_have_the_same_gradients():
  params = grouped.stack(_params(), GROUPS)
  batch = _batches()[0]
  found = []
  for widths in (None, (BATCH, BATCH, 1000)):  # so ragged that they do
    gradient = jax.jit(grouped.own_gradient(_group_loss(), widths))
    found.append(gradient(params, {}, batch, (), jax.random.key(0)))
  (grads, state, losses, counts), ragged = found
  assert state == () and counts.tolist() == batch.weight.sum(1).tolist()
  _assert_close(losses, ragged[2])
  _assert_close(grads, ragged[0])


def test_unstacking_gives_back_what_was_stacked():
  stacked = grouped.stack(_params(), GROUPS)
  for leaf, one in zip(jax.tree.leaves(stacked), jax.tree.leaves(_params())):
    assert leaf.shape == (GROUPS, *one.shape)
  for own in grouped.unstack(stacked, GROUPS):
    chex.assert_trees_all_equal(own, _params())
  numbered = jax.tree.map(lambda leaf: jnp.arange(GROUPS), _params())
  for group, own in enumerate(grouped.unstack(numbered, GROUPS)):
    assert set(map(int, jax.tree.leaves(own))) == {group}
