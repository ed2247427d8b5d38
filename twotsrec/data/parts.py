"""Tables of the parts of one log become one table with a split column."""

import numpy as np

from twotsrec import types
from twotsrec.data import ids
from twotsrec.data import tables


def join(parts: dict[str, tables.Table]) -> tables.Table:
  """One table from a table for each split.

  Args:
    parts: label of the split -> its table; 'train' comes first. Where only
      some have times, these order their rows and the others come after them:
      the table has no `time` then, because not every event has one.
  """
  columns = {}
  for role in ('user', 'item', 'time', 'rating', 'behavior', 'order'):
    arrays = [getattr(part, role) for part in parts.values()]
    if role in ('user', 'item') and len(set(map(ids.is_text, arrays))) > 1:
      raise types.UserError(
        f'{role} ids are integers in one table and text in another; use '
        '--id_type=string'
      )
    absent = any(array is None for array in arrays)
    columns[role] = None if absent else ids.concatenate(arrays)
  first = next(iter(parts.values()))
  ordered_by = ''
  if columns['time'] is None and first.time is not None:
    columns['order'], ordered_by = _order_by_time(list(parts.values())), 'time'
  labels = [ids.constant(name, len(p.user)) for name, p in parts.items()]
  return first._replace(
    **columns,
    split=ids.concatenate(labels),
    lines=None,  # a line number does not tell the file
    ordered_by=ordered_by,
    rows_read=sum(part.rows_read for part in parts.values()),
    dropped={
      f'{cause} ({name} table)': rows
      for name, part in parts.items()
      for cause, rows in part.dropped.items()
    },
  )


def _order_by_time(parts: list[tables.Table]) -> np.ndarray:
  """Ranks of times, i64[N]; parts without times follow, one after another."""
  orders, behind = [], 0
  for part in parts:
    if part.time is None:
      orders.append(np.full(len(part.user), behind, np.int64))
    else:
      distinct, ranks = np.unique(part.time, return_inverse=True)
      orders.append(behind + ranks.reshape(-1).astype(np.int64))
      behind += len(distinct)
    behind += 1
  return np.concatenate(orders)
