"""Tables of item features on disk, one row per item."""

from collections.abc import Mapping, Sequence
import os
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import choices
from twotsrec.data import rows as rows_lib
from twotsrec.data import table_files
from twotsrec.data import tables

KINDS = choices.FEATURE_KINDS
CATEGORICAL, MULTIVALUED, DENSE = KINDS


class Rows(NamedTuple):
  """Features of some items, as read."""

  items: np.ndarray  # external ids, i64[R] or unicode [R]
  path: str = ''  # where they are from, for errors
  # Name -> values [R], text or integers; '' is no value.
  categorical: Mapping[str, np.ndarray] = {}
  # Name -> (row i64[P], value unicode [P]), a pair for each value of a row.
  multivalued: Mapping[str, tuple[np.ndarray, np.ndarray]] = {}
  dense: Mapping[str, np.ndarray] = {}  # name -> f64[R]


def _parse_columns(columns: Sequence[str]) -> dict[str, str]:
  kinds = {}
  for column in columns:
    name, _, kind = column.rpartition(':')
    if not name or kind not in KINDS:
      raise types.UserError(
        f'feature column {column!r} is not a name and a kind; write NAME:KIND, '
        f'where KIND is one of {", ".join(KINDS)}'
      )
    if name in kinds:
      raise types.UserError(
        f'feature column {name!r} is given twice; name it once'
      )
    kinds[name] = kind
  if not kinds:
    raise types.UserError(
      'no feature columns are named; write NAME:KIND, where KIND is one of '
      + ', '.join(KINDS)
    )
  return kinds


def read(
  path: str | os.PathLike,
  columns: Sequence[str],
  *,
  item_column: str = 'item_id',
  separator: str = '|',
  delimiter: str | None = None,
  text_ids: bool = False,
) -> Rows:
  """Reads a table of item features.

  Args:
    path: any format of `tables.read_table`, also several files.
    columns: 'name:kind' of the columns to read, see KINDS. An empty cell of a
      categorical or multivalued column is no value; a dense one has a number
      in every row.
    item_column: name of the column of item ids.
    separator: between the values of a multivalued cell.
    delimiter: between cells; by default told by the file.
    text_ids: whether item ids are text, or else integers.
  """
  kinds = _parse_columns(columns)
  paths = table_files.named(path)
  path = paths[0]
  if not separator:
    raise types.UserError("the separator is ''; give one or more characters")
  names = tables.column_names(path, delimiter)
  unknown = [name for name in (item_column, *kinds) if name not in names]
  if unknown:
    listed = ', '.join(types.printable(name[:40]) for name in names[:30])
    raise types.UserError(
      f'{path}: no column {unknown[0]!r}; the columns are: {listed}. Name '
      'yours with --feature_columns and --feature_item_column'
    )
  if item_column in kinds:
    raise types.UserError(
      f'{path}: {item_column!r} is the column of item ids and a feature; leave '
      'it out of the features'
    )
  wanted = {item_column: cells.TEXT_ID if text_ids else cells.ID} | {
    name: cells.NUMBER if kind == DENSE else cells.ANY_TEXT
    for name, kind in kinds.items()
  }
  parsers = {name: (name, kind.parse) for name, kind in wanted.items()}
  as_text = f', or read it as {{}}:{CATEGORICAL}'.format
  remedy = lambda fault: (
    '; correct it'
    + (as_text(fault.name) if kinds.get(fault.name) == DENSE else '')
  )
  block = tables.gathered(paths, wanted, delimiter)
  read_rows = rows_lib.parse(block, parsers, remedy)
  if not len(read_rows.lines):
    raise types.UserError(f'{path}: a header but no rows; give a row per item')
  of_kind = lambda wanted: {
    name: read_rows.columns[name]
    for name, kind in kinds.items()
    if kind == wanted
  }
  return Rows(
    items=np.asarray(tables.column(read_rows.columns[item_column])),
    path=str(path),
    categorical={
      n: np.array(c.to_list()) for n, c in of_kind(CATEGORICAL).items()
    },
    multivalued={
      n: divide(c.to_list(), separator) for n, c in of_kind(MULTIVALUED).items()
    },
    dense=of_kind(DENSE),
  )


def divide(
  texts: Sequence[str], separator: str
) -> tuple[np.ndarray, np.ndarray]:
  """The values in each text: (row i64[P], value unicode [P])."""
  rows, values = [], []
  for row, text in enumerate(texts):
    parts = [part.strip() for part in text.split(separator)]
    parts = list(dict.fromkeys(part for part in parts if part))
    rows += [row] * len(parts)
    values += parts
  return np.array(rows, np.int64), np.array(values, np.str_)
