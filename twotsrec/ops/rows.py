"""The one place where ids become table rows."""

import chex
import jax
import jax.numpy as jnp


def gather(table: dict[str, jax.Array], ids: jax.Array) -> dict[str, jax.Array]:
  """Rows of every array of one entity's table.

  Args:
    table: {name: f32[V, ...]}, for example {'embedding': f32[I + 1, D]}.
    ids: i32[...], 0..V-1.
  Returns:
    {name: f32[*ids.shape, ...]}.
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
