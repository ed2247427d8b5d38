"""Group gradients of the rows a batch touches, not of whole tables.

Stacked gradients of a table take G V D numbers, 1.3 GB for five groups and a
million items of width 64. All but the rows in the batch are zero, and zeros
change no inner product and no element-wise rule: aggregating the rows that
occur, and scattering the result, is exact. The optimizer sees the same dense
gradient as before.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.ops import rows

# Methods that do something to rows no group touches, or remember every row.
DENSE_ONLY = (
  'agr_rand', 'db_mtl', 'moco', 'modo', 'sdmgrad', 'excess_mtl',
)  # fmt: skip

# Stacked gradients of the tables above which rows are worth their sort.
_DENSE_BYTES = 1 << 28


def resolve(form: str, name: str, num_groups: int, tables: Any) -> bool:
  """Whether to aggregate by rows.

  Args:
    form: 'dense', 'rows' or 'auto', rows where the stacked gradients of the
      tables are large and the aggregator allows it.
    name: of the aggregator.
    num_groups: G; 1 where gradients are not stacked.
    tables: arrays or their shapes, leaves [V, ...].
  Raises:
    types.UserError: rows with a method that needs all.
  """
  if form == 'rows' and name in DENSE_ONLY:
    raise types.UserError(
      f'aggregator.table_gradients rows: {name} acts on rows that no group'
      ' touches; use dense'
    )
  if form != 'auto':
    return form == 'rows'
  sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tables)]
  large = num_groups > 1 and num_groups * sum(sizes) > _DENSE_BYTES
  return large and name not in DENSE_ONLY


def by_rows(gradient: Callable[..., Any]) -> Callable[..., Any]:
  """A gradient as in `steps`, computed on the item rows of the batch alone."""

  def compact(params, context, batch, state, key):
    items = params.tables['item']
    num_rows = jax.tree.leaves(items)[0].shape[0]
    used, batch = _renumber(batch, num_rows)
    local = types.Params(
      {**params.tables, 'item': rows.gather(items, used)}, params.net
    )
    grads, state, sums, counts = gradient(local, context, batch, state, key)
    # Unused places repeat row 0 and have a zero gradient.
    spread = lambda table, grad: jnp.zeros_like(table).at[used].add(grad)
    item = jax.tree.map(spread, items, grads.tables['item'])
    tables = {**grads.tables, 'item': item}
    return types.Params(tables, grads.net), state, sums, counts

  return compact


def _renumber(batch, num_rows):
  """Rows in use i32[U], padding first, and the batch in terms of them."""
  names = ['history', 'candidates']
  names += [] if batch.shared is None else ['shared']
  ids = [getattr(batch, name) for name in names]
  flat = jnp.concatenate([jnp.zeros(1, jnp.int32), *map(jnp.ravel, ids)])
  used, place = jnp.unique(
    flat, size=min(num_rows, flat.size), fill_value=0, return_inverse=True
  )
  place = jnp.ravel(place)[1:].astype(jnp.int32)
  parts = jnp.split(place, np.cumsum([part.size for part in ids])[:-1])
  shaped = [new.reshape(old.shape) for new, old in zip(parts, ids, strict=True)]
  return used, batch._replace(**dict(zip(names, shaped, strict=True)))
