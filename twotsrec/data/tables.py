"""An interaction table on disk becomes typed columns in memory.

Every row is either kept or counted under the cause it was dropped for; without
leave to drop, the first bad row is an error that names file, line and value.
What a column holds is decided from all of its rows, whatever their order.
"""

from collections.abc import Iterable, Sequence
import functools
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import columnar
from twotsrec.data import delimited
from twotsrec.data import ids
from twotsrec.data import rows as rows_lib
from twotsrec.data import table_files
from twotsrec.data import times
from twotsrec.data import whole

_ID_TYPES = ('auto', 'int', 'string')
_ON_BAD_ROWS = ('error', 'drop')

_KINDS = {
  'user': cells.ID,
  'item': cells.ID,
  'time': times.KIND,
  'rating': cells.NUMBER,
  'behavior': cells.TEXT,
  'split': cells.TEXT,
  'order': cells.INTEGER,
  'event': cells.TEXT,
  'label': cells.LABEL,
}
_OF_TEXT = ('user', 'item', 'behavior', 'split', 'event')
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
  label: str | None = None  # of impressions: 1 for a click, 0 for none


class Forms(NamedTuple):
  """How cells are written, and which rows are wanted."""

  time_unit: str = 'auto'  # of times that are numbers, see `times.Writing`
  time_format: str = ''  # of times that are dates, as for strptime
  decimal: str = '.'  # in numbers, or ','
  # Names such as NA that are ids, and stand for no missing value.
  keep_ids: tuple[str, ...] = ()
  # 'column=value,value' of the rows to read; those of every condition.
  where: tuple[str, ...] = ()


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
  # What was changed in cells, or could be -> how often, for reports.
  notes: dict[str, int] = {}
  label: np.ndarray | None = None  # i8[N], 1 for a click, or None


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
  forms: Forms | None = None,
  one_scale: bool = True,
  every_value: bool = True,
) -> Table:
  """Reads an interaction table.

  Args:
    path: .csv, .tsv, .txt, .inter, JSON lines (.jsonl, .ndjson or .json), all
      also compressed; .parquet; any other text file if `delimiter` is given; a
      folder of such files, several with commas between, or a pattern such as
      part-*.csv.
    columns: which columns to read.
    delimiter: one or more characters; by default told by the extension, and
      by the first line of a .txt file.
    column_names: names of all columns of a file without a header line.
    id_type: 'int', 'string', or 'auto': integers if all ids of the column are
      such as Python would write them (so not '007').
    on_bad_rows: 'error', or 'drop' to count and leave out bad rows.
    event: column with ids of the events, or None.
    forms: of the cells, and the rows to read.
    one_scale: whether a time of another scale than most is a bad row.
    every_value: whether a value of `forms.where` that no row has is an error.
  Returns:
    A Table with at least one row.
  """
  forms = forms or Forms()
  for name, value, allowed in (
    ('id_type', id_type, _ID_TYPES),
    ('bad_rows', on_bad_rows, _ON_BAD_ROWS),
    ('decimal', forms.decimal, ('.', ',')),
  ):
    if value not in allowed:
      raise types.UserError(
        f'--{name}={value} is unknown; allowed: {", ".join(allowed)}'
      )
  writing = times.Writing(forms.time_unit, forms.time_format, one_scale)
  times.check(writing)
  conditions = _conditions(forms.where)
  paths = table_files.named(path)
  path = paths[0]
  if not columns.user or not columns.item or columns.user == columns.item:
    raise types.UserError(
      f'{path}: users come from column {columns.user!r} and items from '
      f'{columns.item!r}; name two columns with --user_column and '
      '--item_column'
    )
  named = {**columns._asdict(), 'event': event}
  roles = {role: name for role, name in named.items() if name}
  wanted = dict.fromkeys(conditions, cells.ANY_TEXT)
  wanted |= {name: _KINDS[role] for role, name in roles.items()}
  block = gathered(paths, wanted, delimiter, column_names)
  if column_names:
    numbers = [name for name in (columns.time, columns.rating) if name]
    ids_in = [columns.user, columns.item]
    whole.refuse_unnamed_header(block, ids_in, numbers)
  block, left_out = whole.where(block, conditions, every_value)
  kinds, notes = _judged(block, roles, id_type, forms, writing)
  parsers = {role: (roles[role], kind.parse) for role, kind in kinds.items()}
  drop = on_bad_rows == 'drop'
  remedy = None if drop else functools.partial(_remedy, kinds, block)
  rows = rows_lib.parse(block, parsers, remedy)
  rows = rows._replace(
    rows_read=rows.rows_read + sum(gone.rows for gone in left_out.values()),
    dropped={**left_out, **rows.dropped},
    notes={**rows.notes, **notes},
  )
  table = _table(path, rows, drop)
  return table if len(paths) == 1 else table._replace(lines=None)


def join(parts: dict[str, Table]) -> Table:
  """One table with a split column from the table of each split, train first.

  Where only some have times, these order their rows and the others come after
  them: the table has no `time` then, because not every event has one. Ids that
  are integers in one table and text in another are text.
  """
  columns = {}
  roles = ('user', 'item', 'time', 'rating', 'behavior', 'order', 'label')
  for role in roles:
    arrays = [getattr(part, role) for part in parts.values()]
    if role in ('user', 'item') and len(set(map(ids.is_text, arrays))) > 1:
      arrays = [ids.as_text(array) for array in arrays]
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
    notes={
      f'{what} ({name} table)': count
      for name, part in parts.items()
      for what, count in part.notes.items()
    },
  )


def gathered(
  paths: Sequence[pathlib.Path],
  wanted: dict[str, cells.Kind],
  delimiter: str | None = None,
  column_names: Sequence[str] | None = None,
) -> cells.Block:
  """All rows of the files of a table, whose headers are no rows."""
  read = functools.partial(
    _blocks, wanted=wanted, delimiter=delimiter, column_names=column_names
  )
  block = whole.joined([whole.gathered(read(path)) for path in paths])
  return whole.without_headers(block)


def _blocks(
  path: pathlib.Path,
  wanted: dict[str, cells.Kind],
  *,
  delimiter: str | None = None,
  column_names: Sequence[str] | None = None,
) -> Iterable[cells.Block]:
  """Columns by name of a file of any format of `read_table`, in blocks."""
  kind, delimiter = table_files.of(path, delimiter)
  if kind == table_files.PARQUET:
    return [columnar.read_parquet(path, wanted)]
  if kind in table_files.JSON_LINES:
    return columnar.read_json_lines(path, wanted)
  return delimited.read(
    path, list(wanted), delimiter=delimiter, column_names=column_names
  )


def is_delimited(path: str, delimiter: str | None = None) -> bool:
  """Whether a file is text with a delimiter, whose columns may be named."""
  kind, _ = table_files.of(table_files.named(path)[0], delimiter)
  return kind != table_files.PARQUET and kind not in table_files.JSON_LINES


def column_names(
  path: str | os.PathLike, delimiter: str | None = None
) -> list[str]:
  """Names of all columns of a table; of JSON lines those of the first line."""
  path = table_files.named(path)[0]
  kind, delimiter = table_files.of(path, delimiter)
  if kind == table_files.PARQUET:
    return columnar.parquet_names(path)
  if kind in table_files.JSON_LINES:
    return columnar.json_names(path)
  return delimited.header(path, delimiter)


def _judged(
  block: cells.Block,
  roles: dict[str, str],
  id_type: str,
  forms: Forms,
  writing: times.Writing,
) -> tuple[dict[str, cells.Kind], dict[str, int]]:
  """What the cells of every role are, and notes about its ids."""
  kinds, notes = {role: _KINDS[role] for role in roles}, {}
  parse_texts = functools.partial(cells.parse_texts, spared=forms.keep_ids)
  for role in ('user', 'item'):
    ids_of_role = block.columns[roles[role]]
    integers, count, example = id_type == 'int', 0, ''
    if id_type == 'auto':
      integers, count, example = whole.mixed(ids_of_role, forms.keep_ids)
    if not integers:
      kinds[role] = cells.TEXT_ID._replace(parse=parse_texts)
    if count:
      what = f'{roles[role]} ids are text for those that are no integers, '
      notes[f'{what}such as {example[:40]!r}'] = count
  for role in {'behavior', 'split', 'event'} & set(roles):
    kinds[role] = cells.TEXT._replace(parse=parse_texts)
  if 'time' in roles:
    parse = functools.partial(times.parse, writing=writing)
    kinds['time'] = times.KIND._replace(parse=parse)
    if forms.time_format:
      allowed = (
        f'dates of the form --time_format={forms.time_format} (as for strptime,'
        ' give that of yours)'
      )
      kinds['time'] = kinds['time']._replace(allowed=allowed)
  if forms.decimal == ',' and 'rating' in roles:
    parse = functools.partial(cells.parse_numbers, comma=True)
    kinds['rating'] = cells.NUMBER._replace(parse=parse)
  return kinds, notes


def _table(path: pathlib.Path, rows: rows_lib.Rows, drop: bool) -> Table:
  """A table of parsed rows; an error if there is none."""
  if not rows.rows_read:
    raise types.UserError(
      f'{path}: a header but no rows; the table needs at least one row'
    )
  if not len(rows.lines):
    way_out = 'change --where'
    if drop:
      way_out = 'leave out --bad_rows=drop to be told what such cells may be'
    raise types.UserError(
      f'{path}: no row is left, {rows.rows_read} of {rows.rows_read} were '
      f'dropped ({rows_lib.causes(rows.dropped)}); {way_out}'
    )
  arrays = {role: column(values) for role, values in rows.columns.items()}
  notes = dict(rows.notes)
  for role in ('user', 'item'):
    values = arrays[role]
    if isinstance(values, ids.Texts):
      count, (one, other) = whole.alike(polars.Series(values.names))
      if count:
        what = f'{role} ids are like another but for case, width or zeros'
        notes[f'{what}, such as {one[:40]!r} and {other[:40]!r}'] = count
  return make(str(path), rows.dropped, rows.rows_read, **arrays)._replace(
    lines=rows.lines, notes=notes
  )


def _conditions(where: Sequence[str]) -> dict[str, tuple[str, ...]]:
  """Column -> the values that its rows may have."""
  conditions = {}
  for condition in where:
    name, equal, values = condition.partition('=')
    allowed = tuple(value.strip() for value in values.split(','))
    if not name.strip() or not equal or not all(allowed):
      raise types.UserError(
        f'--where={condition} is no condition; write --where=column=value or '
        '--where=column=value,value'
      )
    if name.strip() in conditions:
      raise types.UserError(
        f'--where names {name.strip()!r} twice; give all its values at once, '
        f'as in --where={name.strip()}=value,value'
      )
    conditions[name.strip()] = allowed
  return conditions


def column(values: rows_lib.Values) -> ids.Column:
  """A column of a table from parsed values."""
  return ids.texts(values) if isinstance(values, polars.Series) else values


def _remedy(
  kinds: dict[str, cells.Kind], block: cells.Block, fault: rows_lib.Fault
) -> str:
  """The end of an error: what is allowed, and the ways out."""
  if not fault.name:
    return f'; correct it, or {_DROP}'
  if fault.code == cells.OTHER_SCALE:
    return (
      '; give all times of the column one unit (seconds and milliseconds are '
      f'1,000 apart), or {_DROP}, --time_unit=s takes all as seconds'
    )
  if fault.code == cells.MISSING and fault.name in _OF_TEXT:
    cell = cells.text_at(block.columns[fault.column], int(fault.rows[0]))
    return f'; {_DROP}, --keep_ids={cell.strip()} takes it as a name'
  if fault.code in (cells.EMPTY, cells.MISSING):
    return f'; correct it, or {_DROP}'
  allowed = f'allowed: {kinds[fault.name].allowed}'
  if fault.name == 'time' and 2 * len(fault.rows) > len(block.lines):
    forms = times.likely_forms(block.columns[fault.column])
    told = ' or '.join(f"--time_format='{form}'" for form in forms)
    if not told:
      return f'; {allowed}; or name another --time_column'
    return f'; most cells are of the form {told}; {_DROP}'
  return f'; {allowed}; {_DROP}'


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
