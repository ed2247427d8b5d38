"""Checks of aggregators, sequence models and plugins."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import trees
from twotsrec import types
from twotsrec.models import stages as stages_lib
from twotsrec.ops import rows
from twotsrec.plugins import plugged

_GROUPS = 4
_GROUP_SIZES = np.array([10.0, 20.0, 30.0, 140.0], np.float32)
_SIZES = types.Sizes(num_users=4, num_items=9, history_length=7)
_LENGTHS = np.array([7, 3, 1, 0])  # full, partial, one item, empty
_close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-5)


# ---- Aggregators


def check_aggregator(
  aggregator: types.GradientAggregator, *, lowers_loss: bool = True
) -> None:
  """Holds an aggregator to its contract, `types.GradientAggregator`.

  * The result has the shapes and dtypes of a single gradient, and is finite
    also where groups are absent or their gradients are 0.
  * What is not finite in a gradient is not finite in the result.
  * An aggregator with `weights` gives their weighted sum.
  * It lowers the mean of the losses of four quadratic functions.

  Args:
    aggregator: to be checked.
    lowers_loss: False leaves out the last; for methods that add noise.
  """
  params = {'bias': jnp.zeros(3), 'kernel': jnp.zeros((2, 2))}
  state = aggregator.init(_GROUPS, params)
  generator = np.random.default_rng(0)
  gradients = jax.tree.map(
    lambda leaf: jnp.asarray(
      generator.normal(size=(_GROUPS, *leaf.shape)), jnp.float32
    ),
    params,
  )
  key = jax.random.key(0)
  update = jax.jit(lambda *given: aggregator.update(*given, key=key)[0])
  every, some = jnp.ones(_GROUPS), jnp.array([1.0, 0.0, 1.0, 0.0])
  for present in (every, some):
    absent_are_zero = jax.tree.map(
      lambda leaf, there=present: leaf * trees.along(there, leaf), gradients
    )
    grads = update(absent_are_zero, _info(present), state)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    chex.assert_tree_all_finite(grads)
  zeros = jax.tree.map(jnp.zeros_like, gradients)
  chex.assert_tree_all_finite(update(zeros, _info(every), state))
  for bad in (np.nan, np.inf):
    spoiled = {**gradients, 'bias': gradients['bias'].at[1, 2].set(bad)}
    finite = jax.tree.map(
      lambda leaf: bool(jnp.all(jnp.isfinite(leaf))),
      update(spoiled, _info(every), state),
    )
    expect(
      not all(jax.tree.leaves(finite)),
      f'a gradient with {bad} gives an update without: training would go on',
    )
  if aggregator.weights is not None:
    weights = aggregator.weights(_info(every))
    chex.assert_shape(weights, (_GROUPS,))
    expected = jax.tree.map(
      lambda leaf: jnp.tensordot(weights, leaf, 1), gradients
    )
    actual = update(gradients, _info(every), state)
    _close(actual, expected)
  if lowers_loss:
    _check_descent(aggregator)


def _info(present, losses=(0.9, 0.6, 0.5, 0.2)):
  counts = 5.0 * np.asarray(present, np.float32)
  losses = np.asarray(losses, np.float32) * (counts > 0)
  return types.GroupInfo(
    jnp.asarray(_GROUP_SIZES), jnp.asarray(counts), jnp.asarray(losses)
  )


def _check_descent(aggregator):
  """Sixty steps on squared distances to four points."""
  points = np.random.default_rng(1).normal(size=(_GROUPS, 6)) + 3.0
  points = jnp.asarray(points, jnp.float32)
  losses_of = lambda x: jnp.mean(jnp.square(points - x['x']), axis=1)

  def step(carry, key):
    params, state = carry
    losses = losses_of(params)
    grads = {'x': 2 * (params['x'] - points) / points.shape[1]}
    info = _info(np.ones(_GROUPS))._replace(losses=losses)
    update, state, _ = aggregator.update(grads, info, state, key=key)
    params = jax.tree.map(lambda p, g: p - 0.3 * g, params, update)
    if aggregator.post is not None:
      state = aggregator.post(info._replace(losses=losses_of(params)), state)
    return (params, state), None

  params = {'x': jnp.zeros(6)}
  start = (params, aggregator.init(_GROUPS, params))
  keys = jax.random.split(jax.random.key(0), 60)
  run = jax.jit(lambda start: jax.lax.scan(step, start, keys)[0][0])
  before, after = losses_of(params), losses_of(run(start))
  expect(
    bool(jnp.mean(after) < 0.8 * jnp.mean(before)),
    f'sixty steps take the mean loss from {float(jnp.mean(before)):.3g} to'
    f' {float(jnp.mean(after)):.3g} only',
  )


# ---- Models


def check_model(model: types.Model, *, reads_history: bool = True) -> None:
  """Holds a sequence model to its contract, `types.Model`.

  * A history is encoded once and scored against candidates of its own or
    shared ones, f32[B, C], the same either way.
  * Padding, and what stands in the padding row of a table, change no score.
  * Gradients are finite, also of a user without history.
  * `stages` and `shared`, if there are any, give the same scores;
    `encode_positions` gives at the last position what `encode` gives. A model
    that fills in hidden items (`cloze`) gives there, if that item is hidden,
    what `encode` gives of the history before it, whatever the item is.
  * `auxiliary`, if there is one, is a number per example with finite gradients.

  Args:
    model: to be checked.
    reads_history: False for a model that gives everybody the same.
  """
  history, own = _history(), _candidates()
  params = _params_off_start(model)
  score = jax.jit(lambda *arguments: _score(model, *arguments))
  every = np.arange(1, _SIZES.num_items + 1, dtype=np.int32)
  shared = score(params, history, every)
  chex.assert_shape(shared, (len(history), len(every)))
  chex.assert_type(shared, jnp.float32)
  repeated = score(params, history, np.tile(every, (len(history), 1)))
  _close(shared, repeated)
  tight = history[1:, : _LENGTHS[1]]
  expected = score(params, history, own)
  _close(score(params, tight, own[1:]), expected[1:])
  drifted = jax.tree.map(lambda leaf: leaf.at[0].set(1e3), params.tables)
  actual = score(params._replace(tables=drifted), history, own)
  chex.assert_trees_all_equal(actual, expected)  # the same program
  if reads_history:
    expect(
      float(jnp.max(jnp.abs(shared[0] - shared[2]))) > 1e-4,
      'two histories give the same scores',
    )
  loss = lambda params: jnp.sum(
    jax.nn.softplus(_score(model, params, history, own))
  )
  chex.assert_tree_all_finite(jax.jit(jax.grad(loss))(params))
  if model.stages is not None:
    by_stages = stages_lib.from_stages(model.stages)
    actual = jax.jit(lambda: _score(by_stages, params, history, own))()
    _close(actual, expected)
  if model.shared is not None:
    faster = jax.jit(lambda *of: _score(model.shared, params, *of))
    _close(faster(history, every), shared)
    _close(faster(tight, every), shared[1:])
  if model.encode_positions is not None:
    _check_positions(model, params, history)
  if model.auxiliary is not None:
    _check_auxiliary(model.auxiliary, params, history)


def _check_auxiliary(auxiliary, params, history):
  """A loss beside the ranking, of a history and items that did not come."""
  others = np.where(history > 0, _SIZES.num_items + 1 - history, 0)

  def values(params):
    look = lambda ids: rows.gather(params.tables['item'], ids)
    inputs = {'history': history}
    return auxiliary(params.net, look(history), inputs, look(others))

  chex.assert_shape(jax.eval_shape(values, params), (len(history),))
  total = lambda params: jnp.sum(values(params))
  chex.assert_tree_all_finite(jax.jit(jax.value_and_grad(total))(params))


def _check_positions(model, params, history):
  """The last position of a history sees all of it, or all but itself."""
  real, last = _LENGTHS > 0, np.maximum(_LENGTHS - 1, 0)
  at_last = (np.arange(history.shape[1]) == last[:, None]) & (history > 0)
  before = np.where(at_last, 0, history) if model.cloze else history
  other = np.where(
    at_last & model.cloze, history % _SIZES.num_items + 1, history
  )

  @jax.jit
  def encode(params, history, before):
    def of(method, history, **more):
      table = rows.gather(params.tables['item'], history)
      return method(params.net, table, {}, {'history': history, **more})

    more = {'masked': jnp.asarray(at_last)} if model.cloze else {}
    positions = of(model.encode_positions, history, **more)
    return positions, of(model.encode, before)

  positions, whole = encode(params, history, before)
  chex.assert_trees_all_equal(encode(params, other, before)[0], positions)
  at_end = jax.tree.map(
    lambda leaf: leaf[np.arange(len(history)), last][real], positions
  )
  expected = jax.tree.map(lambda leaf: leaf[real], whole)
  _close(at_end, expected)


def _history():
  generator = np.random.default_rng(0)
  shape = (len(_LENGTHS), _SIZES.history_length)
  items = generator.integers(1, _SIZES.num_items + 1, shape)
  there = np.arange(_SIZES.history_length) < _LENGTHS[:, None]
  return np.where(there, items, 0).astype(np.int32)


def _candidates():
  generator = np.random.default_rng(1)
  permuted = [1 + generator.permutation(_SIZES.num_items) for _ in _LENGTHS]
  return np.stack(permuted).astype(np.int32)


def _params_off_start(model) -> Any:
  """Parameters of a size at which scores differ."""
  context = {'item_counts': jnp.ones(_SIZES.num_items + 1)}
  init = lambda: model.init(jax.random.key(0), context, _SIZES)
  generator = np.random.default_rng(2)

  def draw(path, leaf):
    center = 1.0 if jax.tree_util.keystr(path[-1:]) == "['scale']" else 0.0
    return jnp.asarray(generator.normal(center, 0.4, leaf.shape), leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init))


def _score(model, params, history, candidates, route=None):
  table = rows.gather(params.tables['item'], history)
  inputs = {'history': history}
  if route is not None:
    inputs['route'] = route
  encoded = model.encode(params.net, table, {}, inputs)
  candidate_rows = rows.gather(params.tables['item'], jnp.asarray(candidates))
  return model.score(params.net, encoded, candidate_rows)


# ---- Plugins


def check_plugin(
  plugin: types.Plugin, model: types.Model, *, starts_as_trunk: bool = True
) -> None:
  """Holds a plugin to its contract, `types.Plugin`, on a sequence model.

  * At the start, and with a weight of 0, scores are those of the bare trunk.
  * A group's scores move its own plugin and the trunk alone.

  Args:
    plugin: to be checked.
    model: a sequence model with stages, such as models.make gives.
    starts_as_trunk: False for a plugin that starts as something else.
  """
  number, history, own = 3, _history(), _candidates()
  joined = plugged.plugged(model, plugin, number)
  trunk = _params_off_start(model)
  fresh = plugin.init(jax.random.key(1), model.stages, trunk, number, _SIZES)
  for leaf in jax.tree.leaves(fresh):
    chex.assert_axis_dimension(leaf, 0, number)
  route = lambda weight: types.Route(
    np.array([1], np.int32), np.array([weight], np.float32)
  )
  score = jax.jit(
    lambda own_plugins, route: _score(
      joined, plugged.join(trunk, own_plugins), history, own, route
    )
  )
  bare = jax.jit(lambda: _score(model, trunk, history, own))()
  if starts_as_trunk:
    _close(score(fresh, route(1.0)), bare)
  generator = np.random.default_rng(3)
  moved = jax.tree.map(
    lambda leaf: jnp.asarray(generator.normal(0, 0.4, leaf.shape), leaf.dtype),
    fresh,
  )
  _close(score(moved, route(0.0)), bare)
  difference = jnp.max(jnp.abs(score(moved, route(1.0)) - bare))
  expect(float(difference) > 1e-4, 'a plugin that has moved changes no score')
  grads = jax.jit(
    jax.grad(lambda own: jnp.sum(jax.nn.softplus(score(own, route(1.0)))))
  )(moved)
  chex.assert_tree_all_finite(grads)
  others = jax.tree.map(lambda leaf: jnp.any(leaf[jnp.array([0, 2])]), grads)
  expect(
    not any(bool(leaf) for leaf in jax.tree.leaves(others)),
    "the scores of group 2 move another group's plugin",
  )


def expect(holds: bool, otherwise: str) -> None:
  """Fails with a sentence.

  Raises:
    AssertionError: the sentence, where something does not hold.
  """
  if not holds:
    raise AssertionError(otherwise)
