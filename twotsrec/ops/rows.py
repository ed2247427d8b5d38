"""The one place where ids become table rows."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


def gather(table: dict[str, jax.Array], ids: jax.Array) -> dict[str, jax.Array]:
  """Rows of every array of one entity's table, {name: f32[*ids.shape, ...]}.

  Args:
    table: {name: f32[V, ...]}, for example {'embedding': f32[I + 1, D]}.
    ids: i32[...], 0..V-1.
  """
  chex.assert_type(ids, int)
  # Ids are checked on the host, so no bounds test costs time here.
  take = lambda values: values.at[ids].get(mode='promise_in_bounds')
  return jax.tree.map(take, table)


def mask_padding(rows: jax.Array, ids: jax.Array) -> jax.Array:
  """Zero rows where the id is padding; f32[*ids.shape, D].

  The padding row of a table may drift; the looked-up vector may not.
  """
  chex.assert_equal_shape_prefix([rows, ids], ids.ndim)
  return jnp.where((ids > 0)[..., None], rows, 0.0)


def of_candidates(values: jax.Array, ids: jax.Array) -> jax.Array:
  """Numbers [B, C] of candidates i32[C] or i32[B, C] out of all, [B, V]."""
  if ids.ndim == 1:
    return values[:, ids]
  return jnp.take_along_axis(values, ids, axis=1)


class Distinct(NamedTuple):
  """Ids of which every one stands once, for sums over its occurrences.

  Attributes:
    ids: i32[M], M = min(N, V); an id in use, or V and more in places that
      stand for none. All different.
    place: i32[N], where in `ids` each given id stands; M for no row.
  """

  ids: jax.Array
  place: jax.Array


def distinct(ids: jax.Array, num_rows: int) -> Distinct:
  """Finds duplicates without a sort.

  A sort of 90,000 ids takes longer than the update they are wanted for. Small
  tables need none: a place for every row. In large ones every id leaves its
  position in a column of V numbers, and the position that is found there
  stands for all.

  Args:
    ids: i32[N], 0..V-1, or -1 for no row.
    num_rows: V.
  """
  chex.assert_rank(ids, 1)
  count = ids.shape[0]
  ids = jnp.where(ids < 0, num_rows, ids)
  every = jnp.arange(min(count, num_rows), dtype=jnp.int32)
  column = jnp.zeros(num_rows, jnp.int32)
  if count >= num_rows:
    in_use = column.at[ids].set(1, mode='drop') > 0
    return Distinct(jnp.where(in_use, every, num_rows + every), ids)
  position = column.at[ids].set(every, mode='drop')
  place = position.at[ids].get(mode='fill', fill_value=count)
  first = place == every
  return Distinct(jnp.where(first, ids, num_rows + every), place)


def sum_by_row(values: jax.Array, found: Distinct) -> jax.Array:
  """Sums of values f32[N, ...] of an id, f32[M, ...]; 0 in places without."""
  size = found.ids.shape[0]
  zeros = jnp.zeros((size, *values.shape[1:]), values.dtype)
  return zeros.at[found.place].add(values, mode='drop')


def take(values: jax.Array, found: Distinct, fill: float = 0) -> jax.Array:
  """Rows of one array, [M, ...]; `fill` in places without a row."""
  return values.at[found.ids].get(
    mode='fill', fill_value=fill, unique_indices=True
  )


def put(values: jax.Array, found: Distinct, new: jax.Array) -> jax.Array:
  """The array [V, ...] with new rows [M, ...]; the others stay as they are."""
  return values.at[found.ids].set(new, mode='drop', unique_indices=True)
