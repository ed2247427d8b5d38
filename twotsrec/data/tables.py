"""An interaction table on disk becomes typed columns in memory.

Every row is either kept or counted under the cause it was dropped for; without
leave to drop, the first bad row is an error that names file, line and value.
"""

from collections.abc import Iterable, Sequence
import functools
import os
import pathlib
import stat
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import columnar
from twotsrec.data import delimited
from twotsrec.data import ids
from twotsrec.data import rows as rows_lib
from twotsrec.data import text_files

_DELIMITERS = {'.csv': ',', '.tsv': '\t', '.txt': None}  # None: first line
_JSON_LINES = ('.jsonl', '.ndjson')
_PARQUET = '.parquet'
_ID_TYPES = ('auto', 'int', 'string')
_ON_BAD_ROWS = ('error', 'drop')

_KINDS = {
  'user': cells.ID,
  'item': cells.ID,
  'time': cells.TIME,
  'rating': cells.NUMBER,
  'behavior': cells.TEXT,
  'split': cells.TEXT,
  'order': cells.INTEGER,
  'event': cells.TEXT,
}
_DROP = '--bad_rows=drop drops and counts such rows'
Dropped = rows_lib.Dropped


class Columns(NamedTuple):
  """Names of the columns to read; None where the table has none.

  `order` is a column of integers that orders the rows of a user; it goes
  before `time`, which goes before the order of the rows.
  """

  user: str = 'user_id'
  item: str = 'item_id'
  time: str | None = None
  rating: str | None = None
  behavior: str | None = None
  split: str | None = None
  order: str | None = None


class Table(NamedTuple):
  """The kept rows of a table, in file order; text is `ids.Texts`."""

  user: ids.Column  # external ids, i64[N] or text[N]
  item: ids.Column  # external ids, i64[N] or text[N]
  time: np.ndarray | None  # Unix seconds, i64[N] or f64[N], or None
  rating: np.ndarray | None  # f64[N], or None
  behavior: ids.Column | None  # text[N], or None
  split: ids.Column | None  # text[N], or None
  order: np.ndarray | None  # i64[N], or None
  rows_read: int  # N plus all dropped rows; header and blank lines are no rows
  dropped: dict[str, Dropped]  # cause -> Dropped
  path: str  # of the file
  # Lines of the file, from 1, ascending i64[N]; rows if Parquet; None if the
  # table is not one file.
  lines: np.ndarray | None = None
  # What `order` was made of if it is no column, for reports.
  ordered_by: str = ''
  event: ids.Column | None = None  # ids of events, text[N], or None


def make(
  path: str,
  dropped: dict[str, Dropped] | None = None,
  rows_read: int | None = None,
  **columns: Any,
) -> Table:
  """A table of columns by role, `user` and `item` among them; see `Table`.

  By default nothing was dropped.
  """
  count = len(columns['user']) if rows_read is None else rows_read
  columns = {**dict.fromkeys(Columns._fields), **columns}
  return Table(**columns, rows_read=count, dropped=dropped or {}, path=path)


def read_table(
  path: str | os.PathLike,
  columns: Columns,
  *,
  delimiter: str | None = None,
  column_names: Sequence[str] | None = None,
  id_type: str = 'auto',
  on_bad_rows: str = 'error',
  event: str | None = None,
) -> Table:
  """Reads an interaction table.

  Args:
    path: .csv, .tsv or .txt, JSON lines (.jsonl or .ndjson), all also with .gz
      or .zst; .parquet; any other text file if `delimiter` is given.
    columns: which columns to read.
    delimiter: one or more characters; by default told by the extension, and
      by the first line of a .txt file.
    column_names: names of all columns of a file without a header line.
    id_type: 'int', 'string', or 'auto': integers if the first id of the
      column is one as Python would write it (so not '007').
    on_bad_rows: 'error', or 'drop' to count and leave out bad rows.
    event: column with ids of the events, or None.
  Returns:
    A Table with at least one row.
  """
  for name, value, allowed in (
    ('id_type', id_type, _ID_TYPES),
    ('bad_rows', on_bad_rows, _ON_BAD_ROWS),
  ):
    if value not in allowed:
      raise types.UserError(
        f'--{name}={value} is unknown; allowed: {", ".join(allowed)}'
      )
  path = pathlib.Path(path)
  _format(path, delimiter)
  if not columns.user or not columns.item or columns.user == columns.item:
    raise types.UserError(
      f'{path}: users come from column {columns.user!r} and items from '
      f'{columns.item!r}; name two columns with --user_column and '
      '--item_column'
    )
  named = {**columns._asdict(), 'event': event}
  roles = {role: name for role, name in named.items() if name}
  wanted = {name: _KINDS[role] for role, name in roles.items()}
  read = blocks(path, wanted, delimiter=delimiter, column_names=column_names)
  return _collect(path, roles, read, id_type, on_bad_rows == 'drop')


def join(parts: dict[str, Table]) -> Table:
  """One table with a split column from the table of each split, train first.

  Where only some have times, these order their rows and the others come after
  them: the table has no `time` then, because not every event has one.
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


def blocks(
  path: pathlib.Path,
  wanted: dict[str, cells.Kind],
  *,
  delimiter: str | None = None,
  column_names: Sequence[str] | None = None,
) -> Iterable[cells.Block]:
  """Columns by name of a file of any format of `read_table`, in blocks."""
  kind, delimiter = _format(path, delimiter)
  if kind == _PARQUET:
    return [columnar.read_parquet(path, wanted)]
  if kind in _JSON_LINES:
    return columnar.read_json_lines(path, wanted)
  return delimited.read(
    path, list(wanted), delimiter=delimiter, column_names=column_names
  )


def column_names(
  path: str | os.PathLike, delimiter: str | None = None
) -> list[str]:
  """Names of all columns of a table; of JSON lines those of the first line."""
  path = pathlib.Path(path)
  kind, delimiter = _format(path, delimiter)
  if kind == _PARQUET:
    return columnar.parquet_names(path)
  if kind in _JSON_LINES:
    return columnar.json_names(path)
  return delimited.header(path, delimiter)


def _format(
  path: pathlib.Path, delimiter: str | None
) -> tuple[str, str | None]:
  """Checks that the file is there; its extension, and delimiter if that tells.

  A delimiter that is given goes with any extension but those of Parquet and
  JSON lines.
  """
  try:
    mode = path.stat().st_mode
  except (FileNotFoundError, NotADirectoryError) as error:
    raise types.UserError(
      f'{path}: no such file; looked in {path.absolute().parent}'
    ) from error
  except OSError as error:
    raise text_files.unreadable(path, error) from error
  if stat.S_ISDIR(mode):
    raise types.UserError(f'{path}: a folder, not a table; name a file in it')
  name = path.name.lower()
  for packed in text_files.COMPRESSED:
    name = name.removesuffix(packed)
  kind = pathlib.PurePath(name).suffix
  if path.suffix.lower() == _PARQUET or kind in _JSON_LINES:
    return kind, None
  if delimiter is not None:
    return kind, delimiter.replace('\\t', '\t')  # as typed in a shell
  if kind not in _DELIMITERS:
    raise types.UserError(
      f'{path}: unknown extension {kind!r}; known: .csv, .tsv, .txt, .jsonl '
      'and .ndjson (also with .gz or .zst) and .parquet; for another text file '
      'pass --delimiter'
    )
  return kind, _DELIMITERS[kind]


def _collect(
  path: pathlib.Path,
  roles: dict[str, str],
  read: Iterable[cells.Block],
  id_type: str,
  drop: bool,
) -> Table:
  """Parses blocks, keeps good rows, and counts or reports bad ones."""
  kinds = {role: _KINDS[role] for role in roles}
  for role in ('user', 'item'):
    kinds[role] = {'string': cells.TEXT_ID}.get(id_type, cells.ID)
  unsettled = {'user', 'item'} if id_type == 'auto' else set()
  remedy = None if drop else functools.partial(_remedy, id_type)
  parts = []
  for block in read:
    for role in sorted(unsettled):
      # Empty ids, which are a fault either way, do not tell.
      integer = cells.starts_with_integer(block.columns[roles[role]])
      if integer is not None:
        unsettled.remove(role)
        kinds[role] = cells.ID if integer else cells.TEXT_ID
    parsers = {role: (name, kinds[role].parse) for role, name in roles.items()}
    parts.append(rows_lib.parse(block, parsers, remedy))
  rows = rows_lib.join(parts)
  del parts
  if not rows.rows_read:
    raise types.UserError(
      f'{path}: a header but no rows; the table needs at least one row'
    )
  if not len(rows.lines):
    raise types.UserError(
      f'{path}: no row is left, {rows.rows_read} of {rows.rows_read} were '
      f'dropped ({rows_lib.causes(rows.dropped)}); check --delimiter and the '
      'column names'
    )
  arrays = {role: column(rows.columns[role]) for role in roles}
  return make(str(path), rows.dropped, rows.rows_read, **arrays)._replace(
    lines=rows.lines
  )


def column(values: rows_lib.Values) -> ids.Column:
  """A column of a table from parsed values."""
  return ids.texts(values) if isinstance(values, polars.Series) else values


def _remedy(id_type: str, fault: rows_lib.Fault) -> str:
  if not fault.name:
    return f'; correct it, or {_DROP}'
  kind, mixed = _KINDS[fault.name], ''
  if kind == cells.ID and fault.code == cells.NOT_INTEGER and id_type == 'auto':
    mixed = ', but the column began with integers (mixed types)'
  return f'{mixed}; allowed: {kind.allowed}; {_DROP}'


def _order_by_time(parts: list[Table]) -> np.ndarray:
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
