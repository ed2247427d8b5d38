"""Group gradients of the rows a batch touches, not of whole tables.

Stacked gradients of a table take G V D numbers, 1.3 GB for five groups and a
million items of width 64. All but the rows in the batch are zero, and zeros
change no inner product and no element-wise rule: aggregating the rows that
occur, and scattering the result, is exact. The optimizer sees the same dense
gradient as before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Touched(NamedTuple):
  """The gradient of a table, zero in all rows but these.

  A row optimizer moves them without a gradient of the whole table.

  Attributes:
    ids: i32[N], rows of the table, or -1 for none; a row may occur more than
      once, and its gradients add up.
    grads: {name: f32[N, ...]}.
  """

  ids: jax.Array
  grads: dict[str, jax.Array]


def by_rows(
  gradient: Callable[..., Any], spread: bool = True
) -> Callable[..., Any]:
  """A gradient as in `steps`, computed on the item rows of the batch alone.

  Args:
    gradient: of whole tables.
    spread: whether the result is of the whole table again, or `Touched`.
  """

  def compact(params, context, batch, state, key):
    items = params.tables['item']
    used, local_batch = _renumber(batch, jax.tree.leaves(items)[0].shape[0])
    rows_of = rows.gather(items, jnp.maximum(used, 0))
    local = types.Params({**params.tables, 'item': rows_of}, params.net)
    grads, state, sums, counts = gradient(
      local, context, local_batch, state, key
    )
    item = Touched(used, grads.tables['item'])
    tables = {**grads.tables, 'item': _spread(items, item) if spread else item}
    return types.Params(tables, grads.net), state, sums, counts

  return compact


def _spread(tables, touched):
  """The gradient of the whole table, {name: f32[V, ...]}."""

  def add(table, grad):
    ids = jnp.where(touched.ids < 0, table.shape[0], touched.ids)
    return jnp.zeros_like(table).at[ids].add(grad, mode='drop')

  return jax.tree.map(add, tables, touched.grads)


def _renumber(batch, num_rows):
  """Rows in use i32[U], -1 for none, and the batch in terms of them.

  Place 0 is the padding row, here as in a table.
  """
  names = ['history', 'candidates']
  names += [] if batch.shared is None else ['shared']
  ids = [getattr(batch, name) for name in names]
  flat = jnp.concatenate([jnp.ravel(part) for part in ids])
  found = rows.distinct(jnp.where(flat > 0, flat, -1), num_rows)
  used = jnp.where(found.ids < num_rows, found.ids, -1)
  place = jnp.where(flat > 0, found.place + 1, 0)
  parts = jnp.split(place, np.cumsum([part.size for part in ids])[:-1])
  shaped = [new.reshape(old.shape) for new, old in zip(parts, ids, strict=True)]
  used = jnp.concatenate([jnp.zeros(1, jnp.int32), used])
  return used, batch._replace(**dict(zip(names, shaped, strict=True)))
