"""An interaction table on disk becomes typed columns in memory.

Every row is either kept or counted under the cause it was dropped for; without
leave to drop, the first bad row is an error that names file, line and value.
"""

from collections.abc import Callable, Iterable, Sequence
import functools
import os
import pathlib
import stat
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import columnar
from twotsrec.data import delimited

_DELIMITERS = {'.csv': ',', '.tsv': '\t', '.txt': None}  # None: first line
FIRST_LINES = 5  # told of every cause
_ID_TYPES = ('auto', 'int', 'string')
_ON_BAD_ROWS = ('error', 'drop')
_ENGINES = ('numpy', 'polars')

_KINDS = {
  'user': columnar.ID,
  'item': columnar.ID,
  'time': columnar.TIME,
  'rating': columnar.NUMBER,
  'behavior': columnar.TEXT,
  'split': columnar.TEXT,
  'order': columnar.INTEGER,
}
_ALLOWED = {
  columnar.ID: 'integers of 64 bits, or any text with --id_type=string',
  columnar.TIME: 'Unix seconds from 0 on, or dates like 2021-07-01 '
  'and 2021-07-01 12:30:00',
  columnar.NUMBER: 'finite numbers',
  columnar.TEXT: 'any text that is not empty',
  columnar.INTEGER: 'integers of 64 bits',
}
_DROP = '--bad_rows=drop drops and counts such rows'


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


class Dropped(NamedTuple):
  """Rows dropped for one cause."""

  count: int
  first_lines: tuple[int, ...]  # up to five, from 1; rows if Parquet


class Table(NamedTuple):
  """The kept rows of a table, in file order.

  Attributes:
    user: external ids, i64[N] or unicode[N].
    item: external ids, i64[N] or unicode[N].
    time: Unix seconds, i64[N] or f64[N], or None.
    rating: f64[N], or None.
    behavior: unicode[N], or None.
    split: unicode[N], or None.
    order: i64[N], or None.
    rows_read: N plus all dropped rows; header and blank lines are no rows.
    dropped: cause -> Dropped.
    path: of the file.
    lines: lines of the file, from 1, ascending i64[N]; rows if Parquet; None
      if the table is not one file.
    ordered_by: what `order` was made of if it is no column, for reports.
  """

  user: np.ndarray
  item: np.ndarray
  time: np.ndarray | None
  rating: np.ndarray | None
  behavior: np.ndarray | None
  split: np.ndarray | None
  order: np.ndarray | None
  rows_read: int
  dropped: dict[str, Dropped]
  path: str
  lines: np.ndarray | None = None
  ordered_by: str = ''


def read_table(
  path: str | os.PathLike,
  columns: Columns,
  *,
  delimiter: str | None = None,
  column_names: Sequence[str] | None = None,
  id_type: str = 'auto',
  on_bad_rows: str = 'error',
  engine: str = 'numpy',
) -> Table:
  """Reads an interaction table.

  Args:
    path: .csv, .tsv or .txt, also with .gz; .parquet (needs polars); any
      other text file if `delimiter` is given.
    columns: which columns to read.
    delimiter: one or more characters; by default told by the extension, and
      by the first line of a .txt file.
    column_names: names of all columns of a file without a header line.
    id_type: 'int', 'string', or 'auto': integers if the first id of the
      column is one as Python would write it (so not '007').
    on_bad_rows: 'error', or 'drop' to count and leave out bad rows.
    engine: 'numpy', or 'polars' for parallel reading of a clean file; a file
      that is not clean is read again by 'numpy', so both give the same.
  Returns:
    A Table with at least one row.
  """
  _check_option('id_type', id_type, _ID_TYPES)
  _check_option('bad_rows', on_bad_rows, _ON_BAD_ROWS)
  _check_option('engine', engine, _ENGINES)
  path = pathlib.Path(path)
  delimiter = delimiter_of(path, delimiter)
  _check_columns(path, columns)
  wanted = {
    name: _KINDS[role] for role, name in columns._asdict().items() if name
  }
  collect = functools.partial(_collect, path, columns, id_type=id_type)
  if path.suffix.lower() == '.parquet':
    blocks = [columnar.read_parquet(path, wanted)]
    return collect(blocks, on_bad_rows=on_bad_rows, unit='row')
  if engine == 'polars' and delimiter is not None:
    block = columnar.read_csv(
      path, list(wanted), delimiter=delimiter, column_names=column_names
    )
    try:
      if block is not None:
        # Polars skips blank lines before the first record.
        skipped = delimited.first_line(path) - 1
        block = block._replace(lines=block.lines + skipped)
        return collect([block], on_bad_rows='error', unit='line')
    except types.UserError:
      pass  # the reader below tells the line, or drops the row
  blocks = delimited.read(
    path, list(wanted), delimiter=delimiter, column_names=column_names
  )
  return collect(blocks, on_bad_rows=on_bad_rows, unit='line')


def column_names(
  path: str | os.PathLike, delimiter: str | None = None
) -> list[str]:
  """Names of all columns of a table with a header line, or of Parquet."""
  path = pathlib.Path(path)
  delimiter = delimiter_of(path, delimiter)
  if path.suffix.lower() == '.parquet':
    return columnar.parquet_names(path)
  return delimited.header(path, delimiter)


def _check_option(name: str, value: str, allowed: Sequence[str]) -> None:
  if value not in allowed:
    raise types.UserError(
      f'--{name}={value} is unknown; allowed: {", ".join(allowed)}'
    )


def _check_columns(path: pathlib.Path, columns: Columns) -> None:
  if not columns.user or not columns.item or columns.user == columns.item:
    raise types.UserError(
      f'{path}: users come from column {columns.user!r} and items from '
      f'{columns.item!r}; name two columns with --user_column and '
      '--item_column'
    )


def delimiter_of(path: pathlib.Path, delimiter: str | None) -> str | None:
  """Checks that the file is there; the delimiter if its name tells it."""
  try:
    mode = path.stat().st_mode
  except (FileNotFoundError, NotADirectoryError) as error:
    raise types.UserError(
      f'{path}: no such file; looked in {path.absolute().parent}'
    ) from error
  except OSError as error:
    raise cells.unreadable(path, error) from error
  if stat.S_ISDIR(mode):
    raise types.UserError(f'{path}: a folder, not a table; name a file in it')
  if delimiter is not None:
    return delimiter.replace('\\t', '\t')  # as typed in a shell
  name = path.name.lower().removesuffix('.gz')
  suffix = pathlib.PurePath(name).suffix
  if suffix not in _DELIMITERS and path.suffix.lower() != '.parquet':
    raise types.UserError(
      f'{path}: unknown extension {suffix!r}; known: .csv, .tsv, .txt (also '
      'with .gz) and .parquet; for another text file pass --delimiter'
    )
  return _DELIMITERS.get(suffix)


def _collect(
  path: pathlib.Path,
  columns: Columns,
  blocks: Iterable[cells.Block],
  *,
  id_type: str,
  on_bad_rows: str,
  unit: str,
) -> Table:
  """Parses blocks, keeps good rows, and counts or reports bad ones."""
  roles = {role: name for role, name in columns._asdict().items() if name}
  id_types = {'user': id_type, 'item': id_type}
  kept = {role: [] for role in roles}
  kept_lines = []
  dropped: dict[str, Dropped] = {}
  rows_read = 0
  for block in blocks:
    rows_read += block.lines.size + block.ragged_lines.size
    id_types = _settle_id_types(block, roles, id_types)
    parsed = {
      role: _parser(role, id_types)(block.columns[name])
      for role, name in roles.items()
    }
    bad = _bad_rows(block, roles, parsed)
    if bad and on_bad_rows == 'error':
      raise _bad_row_error(path, unit, block, bad, roles, id_type)
    dropped = _count_dropped(dropped, bad)
    good = np.ones(block.lines.size, bool)
    for fault in bad:
      good[fault.rows] = False
    kept_lines.append(block.lines[good])
    for role, column in parsed.items():
      kept[role].append(column.values if good.all() else column.values[good])
  if not rows_read:
    raise types.UserError(
      f'{path}: a header but no rows; the table needs at least one row'
    )
  if sum(drop.count for drop in dropped.values()) == rows_read:
    causes = ', '.join(f'{k}: {v.count}' for k, v in dropped.items())
    raise types.UserError(
      f'{path}: no row is left, {rows_read} of {rows_read} were dropped '
      f'({causes}); check --delimiter and the column names'
    )
  arrays = {role: np.concatenate(kept.pop(role)) for role in roles}
  return Table(
    **{role: arrays.get(role) for role in columns._fields},
    rows_read=rows_read,
    dropped=dropped,
    path=str(path),
    lines=np.concatenate(kept_lines),
  )


def _settle_id_types(
  block: cells.Block, roles: dict[str, str], id_types: dict[str, str]
) -> dict[str, str]:
  """Replaces 'auto' by what the first id of the column tells."""
  settled = dict(id_types)
  for role, id_type in id_types.items():
    if id_type == 'auto':
      integer = cells.starts_with_integer(block.columns[roles[role]])
      if integer is not None:
        settled[role] = 'int' if integer else 'string'
  return settled


def _parser(
  role: str, id_types: dict[str, str]
) -> Callable[[cells.Cells | cells.Typed], cells.Parsed]:
  kind = _KINDS[role]
  if kind == columnar.ID:
    # Still 'auto': all ids so far are empty, which is a fault either way.
    is_text = id_types[role] == 'string'
    return cells.parse_texts if is_text else cells.parse_integer_ids
  return {
    columnar.TIME: cells.parse_times,
    columnar.NUMBER: cells.parse_numbers,
    columnar.TEXT: cells.parse_texts,
    columnar.INTEGER: cells.parse_order,
  }[kind]


class _Bad(NamedTuple):
  """Rows of a block that share a cause; each row has one cause, its first."""

  cause: str
  role: str  # '' if the row has a wrong number of fields
  fault: int
  rows: np.ndarray  # i64[M], into the block's well-formed rows
  lines: np.ndarray  # i64[M], ascending


def _bad_rows(
  block: cells.Block, roles: dict[str, str], parsed: dict[str, cells.Parsed]
) -> list[_Bad]:
  bad = []
  none = np.zeros(0, np.int64)
  broken = block.ragged_fields == 0
  for cause, which in (
    ('broken quotes', broken),
    ('wrong number of fields', ~broken),
  ):
    if which.any():
      bad.append(_Bad(cause, '', 0, none, block.ragged_lines[which]))
  taken = np.zeros(block.lines.size, bool)
  for role, name in roles.items():
    faults = parsed[role].faults
    for fault in np.unique(faults[faults > 0]).tolist():
      rows = np.flatnonzero((faults == fault) & ~taken)
      if rows.size:
        cause = f'{name} {cells.PHRASES[fault]}'
        bad.append(_Bad(cause, role, fault, rows, block.lines[rows]))
    taken |= faults > 0
  return bad


def _count_dropped(
  dropped: dict[str, Dropped], bad: list[_Bad]
) -> dict[str, Dropped]:
  counted = dict(dropped)
  for fault in bad:
    before = counted.get(fault.cause, Dropped(0, ()))
    lines = (*before.first_lines, *fault.lines[:FIRST_LINES].tolist())
    counted[fault.cause] = Dropped(
      before.count + fault.lines.size, lines[:FIRST_LINES]
    )
  return counted


def _bad_row_error(
  path: pathlib.Path,
  unit: str,
  block: cells.Block,
  bad: list[_Bad],
  roles: dict[str, str],
  id_type: str,
) -> types.UserError:
  """The error of the first bad row."""
  first = min(bad, key=lambda fault: fault.lines[0])
  where = f'{path}, {unit} {first.lines[0]}'
  if not first.role:
    index = int(np.argmax(block.ragged_lines == first.lines[0]))
    fields = int(block.ragged_fields[index])
    what = f'wrong number of fields, {fields} instead of {block.num_fields}'
    if not fields:
      what = 'broken quotes; double the quotes inside a quoted field'
    return types.UserError(f'{where}: {what}; correct it, or {_DROP}')
  name, kind = roles[first.role], _KINDS[first.role]
  value = cells.text_at(block.columns[name], int(first.rows[0]))
  value = repr(value if len(value) <= 60 else value[:60] + '...')
  what = f'{name} {value} {cells.PHRASES[first.fault]}'
  mixed = first.fault == cells.NOT_INTEGER and id_type == 'auto'
  if kind == columnar.ID and mixed:
    what += ', but the column began with integers (mixed types)'
  return types.UserError(f'{where}: {what}; allowed: {_ALLOWED[kind]}; {_DROP}')
