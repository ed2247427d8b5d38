"""Optimizers that touch the rows a batch uses, and no others.

A dense step reads and writes every row of a table, of its moments and of its
gradient: 18 GB for a million users and four million items of width 128. Here
gradients come by row, occurrences of an id are summed before anything is
squared, and the rows in use are written in place.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.ops import rows
from twotsrec.training import steps

# Squared gradients of a mean over thousands of events are small: a usual
# epsilon, 1e-8 or so, would be all there is under the root.
_TINY = 1e-20
_B1, _EPS = 0.9, 1e-8  # of Adam


class RowOptimizer(NamedTuple):
  """Moves the rows that are in use.

  Attributes:
    init: tables -> state.
    update: (tables, state, ids i32[N], grads) -> (tables, state); tables with
      leaves f32[V, ...], grads with leaves f32[N, ...]. An id may occur more
      than once; -1 is no row.
  """

  init: Callable[[Any], Any]
  update: Callable[..., tuple[Any, Any]]


@jax.tree_util.register_dataclass  # a NamedTuple has a method `count`
@dataclasses.dataclass(frozen=True)
class AdamState:
  """Moments of a table: mean and square f32[V, ...], updates by row i32[V]."""

  mean: jax.Array
  square: jax.Array
  count: jax.Array


def row_sgd(rate: float | jax.Array) -> RowOptimizer:
  """Gradient descent: x_r -= rate g_r, and no state."""

  def update_one(table, state, used, grads):
    table = rows.put(table, used, rows.take(table, used) - rate * grads)
    return table, state

  return _by_leaf(lambda table: (), update_one)


def row_adagrad(rate: float | jax.Array) -> RowOptimizer:
  """Adagrad with one accumulator per row, of the mean squared gradient.

      acc_r += mean_d(g_rd^2);  x_r -= rate g_r / sqrt(acc_r)

  One number per row instead of one per parameter. It starts at 0, so that the
  first step of a row is as long whatever the batch size divides its gradient
  by.

  Reference: Duchi et al. 2011, sec. 1.2, by rows.
  """

  def init_one(table):
    return jnp.zeros(table.shape[:1], table.dtype)

  def update_one(table, total, used, grads):
    axes = tuple(range(1, grads.ndim))
    new = rows.take(total, used) + jnp.mean(jnp.square(grads), axes)
    scale = rate * jax.lax.rsqrt(new + _TINY)
    step = grads * jnp.expand_dims(scale, axes)
    table = rows.put(table, used, rows.take(table, used) - step)
    return table, rows.put(total, used, new)

  return _by_leaf(init_one, update_one)


def lazy_adam(rate: float | jax.Array, b2: float = 0.999) -> RowOptimizer:
  """Adam whose moments move where a row is in use.

  The same as `optax.adam` when every row is in use in every step. Otherwise it
  differs: moments of a row that rests do not decay, and the row rests too,
  where Adam would go on moving it. Moments that start at 0 are corrected by the
  updates of the row.

  Args:
    rate: learning rate.
    b2: decay of the mean square.
  Reference: Kingma and Ba 2015, algorithm 1.
  """

  def init_one(table):
    count = jnp.zeros(table.shape[:1], jnp.int32)
    return AdamState(jnp.zeros_like(table), jnp.zeros_like(table), count)

  def update_one(table, state, used, grads):
    mean = _B1 * rows.take(state.mean, used) + (1 - _B1) * grads
    square = b2 * rows.take(state.square, used)
    square += (1 - b2) * jnp.square(grads)
    count = rows.take(state.count, used) + 1
    axes = tuple(range(1, grads.ndim))
    corrected = lambda x, b: x / jnp.expand_dims(1 - b**count, axes)
    step = corrected(mean, _B1) / (jnp.sqrt(corrected(square, b2)) + _EPS)
    table = rows.put(table, used, rows.take(table, used) - rate * step)
    new = AdamState(mean, square, count)
    write = lambda old, value: rows.put(old, used, value)
    return table, jax.tree.map(write, state, new)

  return _by_leaf(init_one, update_one)


def make(
  options: config_lib.TrainConfig, rate: float | jax.Array
) -> RowOptimizer:
  """The one that `train.table_optimizer` names, which is not `adam`."""
  if options.table_optimizer == 'lazy_adam':
    return lazy_adam(rate, b2=options.beta2)
  return _OF_RATE[options.table_optimizer](rate)


def mover(
  options: config_lib.TrainConfig,
  rate: float,
  net: optax.GradientTransformation,
) -> steps.Mover:
  """Tables row by row, whose gradients are `table_rows.Touched`.

  Args:
    options: optimizer of the tables, and their rate if it is another.
    rate: of tables without a rate of their own.
    net: optimizer of all other parameters.
  """
  net = optax.with_extra_args_support(net)

  def init(params):
    by_row = make(options, rate)
    tables = {e: by_row.init(table) for e, table in params.tables.items()}
    return {'rows': tables, 'net': net.init(params.net)}

  def update(params, state, grads, batch, counts, told):
    del batch
    by_row = make(
      options, options.table_rate or (rate if told is None else told)
    )
    tables, moments = {}, {}
    for entity, (ids, by_place) in grads.tables.items():
      tables[entity], moments[entity] = by_row.update(
        params.tables[entity], state['rows'][entity], ids, by_place
      )
    moves, net_state = net.update(
      grads.net, state['net'], params.net, counts=counts, rate=told
    )
    moved = types.Params(tables, optax.apply_updates(params.net, moves))
    return moved, {'rows': moments, 'net': net_state}

  return steps.Mover(init, update)


def _by_leaf(init_one, update_one):
  """The optimizer of a tree of arrays with the same rows."""

  def init(tables):
    return [init_one(table) for table in jax.tree.leaves(tables)]

  def update(tables, state, ids, grads):
    leaves, structure = jax.tree.flatten(tables)
    chex.assert_equal_shape(leaves, dims=0)
    used = rows.distinct(ids, leaves[0].shape[0])
    moved = [
      update_one(table, own, used, rows.sum_by_row(grad, used))
      for table, own, grad in zip(leaves, state, structure.flatten_up_to(grads))
    ]
    tables = structure.unflatten([table for table, _ in moved])
    return tables, [own for _, own in moved]

  return RowOptimizer(init, update)


_OF_RATE = {'row_adagrad': row_adagrad, 'row_sgd': row_sgd}
NAMES = (*_OF_RATE, 'lazy_adam')
