"""Tables of item features on disk: CSV, TSV or Parquet, one row per item."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import choices
from twotsrec.data import columnar
from twotsrec.data import delimited
from twotsrec.data import tables

KINDS = choices.FEATURE_KINDS
CATEGORICAL, MULTIVALUED, DENSE = KINDS


class Rows(NamedTuple):
  """Features of some items, as read.

  Attributes:
    items: external ids, i64[R] or unicode [R].
    categorical: name -> values [R], text or integers; '' is no value.
    multivalued: name -> (row i64[P], value unicode [P]), a pair for each value
      of a row.
    dense: name -> f64[R].
    path: where they are from, for errors.
  """

  items: np.ndarray
  categorical: dict[str, np.ndarray]
  multivalued: dict[str, tuple[np.ndarray, np.ndarray]]
  dense: dict[str, np.ndarray]
  path: str = ''


def parse_columns(columns: Sequence[str]) -> dict[str, str]:
  """Reads 'name:kind' as name -> kind."""
  kinds = {}
  for column in columns:
    name, _, kind = column.rpartition(':')
    if not name or kind not in KINDS:
      raise types.UserError(
        f'feature column {column!r} is not a name and a kind; write NAME:KIND, '
        f'where KIND is one of {", ".join(KINDS)}'
      )
    if name in kinds:
      raise types.UserError(f'feature column {name!r} is given twice')
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
    path: .csv, .tsv or .txt, also with .gz; or .parquet (needs polars).
    columns: 'name:kind' of the columns to read, see KINDS. An empty cell of a
      categorical or multivalued column is no value; a dense one has a number
      in every row.
    item_column: name of the column of item ids.
    separator: between the values of a multivalued cell.
    delimiter: between cells; by default told by the file.
    text_ids: whether item ids are text, or else integers.
  """
  kinds = parse_columns(columns)
  path = pathlib.Path(path)
  if not separator:
    raise types.UserError("the separator is ''; give one or more characters")
  _check_names(path, [item_column, *kinds], delimiter)
  parse_id = cells.parse_texts if text_ids else cells.parse_integer_ids
  items, texts, dense = [], {}, {}
  for block in _blocks(path, item_column, kinds, delimiter):
    if block.ragged_lines.size:
      raise types.UserError(
        f'{path}, line {block.ragged_lines[0]}: {block.ragged_fields[0]} '
        f'fields instead of {block.num_fields}; correct it'
      )
    parsed = parse_id(block.columns[item_column])
    _check_cells(path, block, item_column, parsed)
    items.append(parsed.values)
    for name, kind in kinds.items():
      raw = block.columns[name]
      if kind == DENSE:
        parsed = cells.parse_numbers(raw)
        hint = f', or read it as {name}:{CATEGORICAL}'
        _check_cells(path, block, name, parsed, hint)
        dense.setdefault(name, []).append(parsed.values)
      else:
        texts.setdefault(name, []).extend(cells.texts(raw))
  if not items or not sum(map(len, items)):
    raise types.UserError(f'{path}: a header but no rows; give a row per item')
  of_kind = lambda kind: [name for name, of in kinds.items() if of == kind]
  return Rows(
    items=np.concatenate(items),
    categorical={name: np.array(texts[name]) for name in of_kind(CATEGORICAL)},
    multivalued={
      name: divide(texts[name], separator) for name in of_kind(MULTIVALUED)
    },
    dense={name: np.concatenate(parts) for name, parts in dense.items()},
    path=str(path),
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


def _blocks(
  path: pathlib.Path,
  item_column: str,
  kinds: dict[str, str],
  delimiter: str | None,
):
  cell_kinds = {CATEGORICAL: columnar.TEXT, MULTIVALUED: columnar.TEXT}
  wanted = {item_column: columnar.ID} | {
    name: cell_kinds.get(kind, columnar.NUMBER) for name, kind in kinds.items()
  }
  if path.suffix.lower() == '.parquet':
    return [columnar.read_parquet(path, wanted)]
  delimiter = tables.delimiter_of(path, delimiter)
  return delimited.read(path, list(wanted), delimiter=delimiter)


def _check_names(
  path: pathlib.Path, wanted: list[str], delimiter: str | None
) -> None:
  names = tables.column_names(path, delimiter)
  unknown = [name for name in wanted if name not in names]
  if unknown:
    shown = ', '.join(name[:40] for name in names[:30]) or 'none'
    raise types.UserError(
      f'{path}: no column {unknown[0]!r}; the columns are: {shown}'
    )
  if len(set(wanted)) < len(wanted):
    raise types.UserError(
      f'{path}: {wanted[0]!r} is the column of item ids and a feature; leave '
      'it out of the features'
    )


def _check_cells(
  path: pathlib.Path,
  block: cells.Block,
  name: str,
  parsed: cells.Parsed,
  hint: str = '',
) -> None:
  """Raises UserError for the first cell of a column that cannot be used."""
  bad = np.flatnonzero(parsed.faults)
  if bad.size:
    row = int(bad[0])
    value = cells.text_at(block.columns[name], row)[:60]
    raise types.UserError(
      f'{path}, line {block.lines[row]}: {name} {value!r} '
      f'{cells.PHRASES[int(parsed.faults[row])]}; correct it{hint}'
    )
