"""Columns of a log on the device, and rows of them by number."""

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib


def i32(values: np.ndarray) -> jax.Array:
  """A column of integers on the device, i32[...]."""
  return jnp.asarray(np.asarray(values), jnp.int32)


def take(
  column: jax.Array, index: jax.Array, filling: float | None = None
) -> jax.Array:
  """Rows of a column by number, as a plan names them.

  Args:
    column: [N].
    index: i32[...], 0..N-1, or -1 for filling.
    filling: what a row of filling holds; None gives it row 0.
  """
  rows = column[jnp.maximum(index, 0)]
  return rows if filling is None else jnp.where(index >= 0, rows, filling)


def require_choice(data: prepared_lib.Prepared) -> None:
  """Raises UserError for a log of one item, which has no negatives."""
  if data.num_items < 2:
    raise types.UserError(
      'there is one item, so there is nothing to tell it from; use a log with'
      ' more items, or weaker filters'
    )
