"""What is strange in a table that could be read: was a column meant otherwise?

Any of it may be right, so nothing is refused; the report says it.
"""

from collections.abc import Sequence

import numpy as np

from twotsrec.data import interactions
from twotsrec.data import tables
from twotsrec.data import times
from twotsrec.data import usual_names

_MANY = 1000  # rows from which few users or items are strange
_FEW, _ALMOST_ALL = 10, 0.8
_FIRST_DATE = 1e8  # in 1973; earlier times rather count something else


def doubts(
  events: interactions.Interactions,
  columns: tables.Columns,
  names: Sequence[str],
  where: Sequence[str],
) -> list[str]:
  """Sentences about a table, each with the flag that may be meant.

  Args:
    events: that were read.
    columns: as they were named.
    names: all columns of the table.
    where: conditions on rows, COLUMN=VALUE.
  """
  return [
    *_exchanged(columns),
    *_numbers('user', columns.user, len(events.user_ids), len(events.user)),
    *_numbers('item', columns.item, len(events.item_ids), len(events.user)),
    *_early(events.time, columns.time),
    *_unread(columns, names, where),
  ]


def _exchanged(columns) -> list[str]:
  if usual_names.role(columns.user) != 'item':
    return []
  if usual_names.role(columns.item) != 'user':
    return []
  return [
    f'users are of column {columns.user!r} and items of {columns.item!r}; if'
    f' these are exchanged: --user_column={columns.item}'
    f' --item_column={columns.user}'
  ]


def _numbers(what, column, number, rows) -> list[str]:
  """Whether there are too few of users or items, or too many."""
  if rows < _MANY or _FEW <= number <= _ALMOST_ALL * rows:
    return []
  return [
    f'{rows:,} events are of {number:,} {what}s; if column {column!r} is not'
    f' that of {what}s, name another with --{what}_column'
  ]


def _early(time, column) -> list[str]:
  if time is None or not len(time) or np.max(time) >= _FIRST_DATE:
    return []
  return [
    f'times are from {times.shown(np.min(time))} to'
    f' {times.shown(np.max(time))}; if column {column!r} is not that of times,'
    ' name another with --time_column'
  ]


def _unread(columns, names, where) -> list[str]:
  """A column of behaviors that nobody asked for."""
  name = usual_names.find(names).get('behavior')
  read = {*columns, *(condition.split('=')[0] for condition in where)}
  if name is None or name in read or columns.behavior:
    return []
  return [
    f'column {name!r} is not used, so all its values count alike;'
    f' --behavior_column={name} tells them apart, --where={name}=VALUE reads'
    ' rows of one'
  ]
