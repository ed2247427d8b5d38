"""Optimizers that touch the rows a batch uses, and no others.

A dense step reads and writes every row of a table, of its moments and of its
gradient: 18 GB for a million users and four million items of width 128. Here
gradients come by row, occurrences of an id are summed before anything is
squared, and the rows in use are written in place.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.ops import rows

# Squared gradients of a mean over thousands of events are small: a usual
# epsilon, 1e-8 or so, would be all there is under the root.
_TINY = 1e-20
COUNTERS = ('row', 'global')


class RowOptimizer(NamedTuple):
  """How rows move.

  Attributes:
    init: tables -> state.
    update: (tables, state, ids i32[N], grads) -> (tables, state); tables with
      leaves f32[V, ...], grads with leaves f32[N, ...]. An id may occur more
      than once; -1 is no row.
  """

  init: Callable[[Any], Any]
  update: Callable[..., tuple[Any, Any]]


class AdamState(NamedTuple):
  """Moments of a table.

  Attributes:
    mean: f32[V, ...].
    square: f32[V, ...].
    count: i32[V], updates of every row, or i32[], of all.
  """

  mean: jax.Array
  square: jax.Array
  count: jax.Array


def row_adagrad(rate: float) -> RowOptimizer:
  """Adagrad with one accumulator per row, of the mean squared gradient.

  acc_r += mean_d(g_rd^2);  x_r -= rate g_r / sqrt(acc_r)

  One number per row instead of one per parameter. It starts at 0, so that the
  first step of a row is as long whatever the batch size divides its gradient
  by.

  Args:
    rate: learning rate.
  Reference: Duchi et al. 2011, sec. 1.2, by rows.
  """

  def init_one(table):
    return jnp.zeros(table.shape[:1], table.dtype)

  def update_one(table, total, found, grads):
    axes = tuple(range(1, grads.ndim))
    new = rows.take(total, found) + jnp.mean(jnp.square(grads), axes)
    scale = rate * jax.lax.rsqrt(new + _TINY)
    step = grads * jnp.expand_dims(scale, axes)
    table = rows.put(table, found, rows.take(table, found) - step)
    return table, rows.put(total, found, new)

  return _by_leaf(init_one, update_one)


def lazy_adam(
  rate: float,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  counter: str = 'row',
) -> RowOptimizer:
  """Adam whose moments move where a row is in use.

  The same as `optax.adam` when every row is in use in every step. Otherwise it
  differs: moments of a row that rests do not decay, and the row rests too,
  where Adam would go on moving it.

  Args:
    rate: learning rate.
    b1: decay of the mean.
    b2: decay of the mean square.
    eps: added to the root.
    counter: what corrects for moments that start at 0: updates of the 'row',
      or 'global' ones. With those a row first seen late takes its first steps
      uncorrected, longer by (1 - b1) / sqrt(1 - b2).
  Reference: Kingma and Ba 2015, algorithm 1.
  """
  chex.assert_equal(counter in COUNTERS, True)
  by_row = counter == 'row'

  def init_one(table):
    count = jnp.zeros(table.shape[:1] if by_row else (), jnp.int32)
    return AdamState(jnp.zeros_like(table), jnp.zeros_like(table), count)

  def update_one(table, state, found, grads):
    mean = b1 * rows.take(state.mean, found) + (1 - b1) * grads
    square = b2 * rows.take(state.square, found)
    square += (1 - b2) * jnp.square(grads)
    if by_row:
      count = rows.take(state.count, found) + 1
      counts = rows.put(state.count, found, count)
    else:
      count = counts = state.count + 1
    axes = tuple(range(1, grads.ndim)) if by_row else ()
    corrected = lambda x, b: x / jnp.expand_dims(1 - b**count, axes)
    step = corrected(mean, b1) / (jnp.sqrt(corrected(square, b2)) + eps)
    table = rows.put(table, found, rows.take(table, found) - rate * step)
    return table, AdamState(
      rows.put(state.mean, found, mean),
      rows.put(state.square, found, square),
      counts,
    )

  return _by_leaf(init_one, update_one)


def make(name: str, rate: float, b2: float = 0.999) -> RowOptimizer:
  """The row optimizer a configuration names.

  Args:
    name: 'row_adagrad' or 'lazy_adam'.
    rate: learning rate.
    b2: of Adam.
  Raises:
    types.UserError: an unknown name.
  """
  if name == 'row_adagrad':
    return row_adagrad(rate)
  if name == 'lazy_adam':
    return lazy_adam(rate, b2=b2)
  raise types.UserError(
    f'row optimizer {name!r}; known: row_adagrad, lazy_adam'
  )


def _by_leaf(init_one, update_one):
  """The optimizer of a tree of arrays with the same rows."""

  def init(tables):
    return [init_one(table) for table in jax.tree.leaves(tables)]

  def update(tables, state, ids, grads):
    leaves, structure = jax.tree.flatten(tables)
    chex.assert_equal_shape(leaves, dims=0)
    found = rows.distinct(ids, leaves[0].shape[0])
    moved = [
      update_one(table, own, found, rows.sum_by_row(grad, found))
      for table, own, grad in zip(leaves, state, structure.flatten_up_to(grads))
    ]
    tables = structure.unflatten([table for table, _ in moved])
    return tables, [own for _, own in moved]

  return RowOptimizer(init, update)
