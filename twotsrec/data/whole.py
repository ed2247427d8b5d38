"""The blocks of a table become one, whose columns are judged as a whole."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import rows as rows_lib


def gathered(blocks: Iterable[cells.Block]) -> cells.Block:
  """One block of all rows; a column of plain integers is kept as integers."""
  parts = [
    block._replace(columns={n: _small(c) for n, c in block.columns.items()})
    for block in blocks
  ]
  first = parts[0]
  return first._replace(
    lines=np.concatenate([part.lines for part in parts]),
    columns={
      name: _concatenated([part.columns[name] for part in parts])
      for name in first.columns
    },
    ragged_lines=np.concatenate([part.ragged_lines for part in parts]),
    ragged_fields=np.concatenate([part.ragged_fields for part in parts]),
  )


def joined(blocks: Sequence[cells.Block]) -> cells.Block:
  """One block of the rows of several files; their lines are counted on."""
  if len(blocks) == 1:
    return blocks[0]
  files, parts, before = [], [], 0
  for block in blocks:
    files.append((before, block.path))
    lines, ragged = block.lines + before, block.ragged_lines + before
    parts.append(block._replace(lines=lines, ragged_lines=ragged))
    last = max((int(n[-1]) for n in (lines, ragged) if len(n)), default=before)
    before = last
  return gathered(parts)._replace(files=tuple(files))


def without_headers(block: cells.Block) -> cells.Block:
  """Rows that repeat the names of all columns become lines that are no rows.

  Files that were laid one after another have such rows.
  """
  again = np.ones(len(block.lines), bool)
  for name, column in block.columns.items():
    if column.dtype != polars.String:
      return block
    again &= (cells.tidied(column) == name).to_numpy()
  if not np.any(again):
    return block
  lines = np.concatenate([block.ragged_lines, block.lines[again]])
  causes = np.full(int(np.sum(again)), cells.HEADER_AGAIN)
  order = np.argsort(lines, kind='stable')
  return taken(block, ~again)._replace(
    ragged_lines=lines[order],
    ragged_fields=np.concatenate([block.ragged_fields, causes])[order],
  )


def refuse_unnamed_header(
  block: cells.Block, columns: Sequence[str], others: Sequence[str]
) -> None:
  """Refuses a first row of text over columns that hold integers alone.

  For a file whose columns were named because it has no header line. A row with
  a number in one of these columns, or of `others`, is no header line.

  Raises:
    types.UserError: such a row.
  """
  if len(block.lines) < 2:
    return
  first = [block.columns[name][:1] for name in (*columns, *others)]
  below = [block.columns[name][1:] for name in columns]
  if any(map(_is_number, first)) or not all(mixed(one)[0] for one in below):
    return
  texts = ', '.join(cells.quoted_at(block.columns[name], 0) for name in columns)
  raise types.UserError(
    f'{block.path}, {block.unit} {block.lines[0]}: {texts} over columns of'
    ' integers looks like a header line; leave out --column_names and name the'
    ' columns as it does, or delete the line'
  )


def _is_number(cell: polars.Series) -> bool:
  """Whether a column of one row holds a number, as polars reads it."""
  if cell.dtype != polars.String:
    return True
  number = cells.tidied(cell).cast(polars.Float64, strict=False)
  return not number.has_nulls()


def where(
  block: cells.Block,
  conditions: dict[str, tuple[str, ...]],
  every_value: bool = True,
) -> tuple[cells.Block, dict[str, rows_lib.Dropped]]:
  """Rows whose columns have one of some values; the others counted by cause.

  Raises:
    types.UserError: with `every_value`, a value that the column does not have.
  """
  dropped = {}
  for name, values in conditions.items():
    column = cells.tidied(block.columns[name])
    for value in values if every_value else ():
      if not (column == value).any():
        held = sorted(filter(None, column.unique().to_list()))
        held = [*held[:10], *(['...'] if len(held) > 10 else [])]
        raise types.UserError(
          f'--where={name}={",".join(values)}: no row has {value!r}; the column'
          f' has {", ".join(held)}'
        )
    right = column.is_in(list(values)).to_numpy()
    if not right.all():
      cause = f'{name} is not {" or ".join(values)} (--where)'
      dropped[cause] = rows_lib.counted(block.lines[~right])
      block = taken(block, right)
  return block, dropped


def taken(block: cells.Block, rows: np.ndarray) -> cells.Block:
  """The block with some of its well-formed rows, bool[R]."""
  return block._replace(
    lines=block.lines[rows],
    columns={name: col.filter(rows) for name, col in block.columns.items()},
  )


def mixed(
  column: polars.Series, spared: Sequence[str] = ()
) -> tuple[bool, int, str]:
  """Whether all ids that are not missing are integers as Python writes them.

  Missing are empty cells and MISSING_NAMES but `spared`; a column without any
  id counts as one of integers. Also, where only some are integers, how many are
  none, and one of these.
  """
  if column.dtype.is_integer():
    return True, 0, ''
  text = cells.tidied(column)
  integers, _ = cells.plain_integers(text)
  others = text if not integers.any() else text.filter(~integers)
  missing = ['', *(n for n in cells.MISSING_NAMES if n not in spared)]
  others = others.filter(~others.is_in(missing))
  if not len(others) or not integers.any():
    return not len(others), 0, ''
  return False, len(others), str(others.min())


def alike(names: polars.Series) -> tuple[int, tuple[str, str]]:
  """Ids that differ in case, width, zeros or invisible signs alone.

  Returns:
    How many distinct ids are like another, and two of them.
  """
  form = names.str.normalize('NFKC').str.to_lowercase()
  form = form.str.replace_all('[\u200b-\u200d\u2060\ufeff]', '')
  form = form.str.replace(r'^(-?)0+([0-9])', '${1}${2}')
  form = form.str.replace(r'^(-?[0-9]+)\.0+$', '${1}')
  if form.n_unique() == len(form):
    return 0, ('', '')
  frame = polars.DataFrame({'name': names, 'form': form})
  frame = frame.filter(polars.col('form').is_duplicated()).sort('form', 'name')
  return frame.height, (frame['name'][0], frame['name'][1])


def _small(column: polars.Series) -> polars.Series:
  """The column as integers if all of its cells are plain ones."""
  if column.dtype != polars.String or not len(column):
    return column
  good, integers = cells.plain_integers(column)
  return integers if good.all() else column


def _concatenated(columns: list[polars.Series]) -> polars.Series:
  columns = [column for column in columns if len(column)] or columns[:1]
  if len({column.dtype for column in columns}) > 1:
    columns = [column.cast(polars.String) for column in columns]
  return polars.concat(columns)
