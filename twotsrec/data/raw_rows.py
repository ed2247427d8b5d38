"""Rows of large raw files, block by block, with the bad ones counted."""

from collections.abc import Callable, Iterable, Iterator
import os
import pathlib
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import feature_files
from twotsrec.data import tables

Dropped = dict[str, tables.Dropped]
Parser = Callable[[cells.Cells | cells.Typed], cells.Parsed]


class Raw(NamedTuple):
  """A public log as its owner publishes it, cleaned.

  Attributes:
    table: the events; ids are external, or numbers of `user_names` and
      `item_names` where there are such.
    features: features of items by external id, or None.
    user_names: external ids [U], ascending; user u is user_names[u]; or None.
    item_names: the same for items.
    notes: what was decided about the data -> how often, for the report.
  """

  table: tables.Table
  features: feature_files.Rows | None = None
  user_names: np.ndarray | None = None
  item_names: np.ndarray | None = None
  notes: dict[str, int] | None = None


class Rows(NamedTuple):
  """Good rows of a block.

  Attributes:
    columns: name -> values [R].
    lines: i64[R].
    rows_read: R and the dropped rows.
    dropped: cause -> rows of this block.
  """

  columns: dict[str, np.ndarray]
  lines: np.ndarray
  rows_read: int
  dropped: Dropped


def parse(
  blocks: Iterable[cells.Block], parsers: dict[str, Parser]
) -> Iterator[Rows]:
  """Parses blocks; a row with a bad cell is dropped for the first of them.

  Args:
    blocks: from `delimited.read`.
    parsers: column -> one of the parsers of `cells`.
  """
  for block in blocks:
    parsed = {name: p(block.columns[name]) for name, p in parsers.items()}
    causes = np.full(len(block.lines), '', object)
    for name, column in reversed(parsed.items()):
      for fault in np.unique(column.faults[column.faults > 0]).tolist():
        causes[column.faults == fault] = f'{name} {cells.PHRASES[fault]}'
    columns = {name: column.values for name, column in parsed.items()}
    rows = Rows(columns, block.lines, len(block.lines), {})
    for cause in sorted(set(causes[causes != ''])):
      rows = drop(rows, causes == cause, cause)
      causes = causes[causes != cause]
    ragged = count('wrong number of fields', block.ragged_lines)
    yield rows._replace(
      rows_read=rows.rows_read + block.ragged_lines.size,
      dropped=add(rows.dropped, ragged),
    )


def drop(rows: Rows, gone: np.ndarray, cause: str) -> Rows:
  """The rows but some, bool[R], which are counted."""
  if not np.any(gone):
    return rows
  return rows._replace(
    columns={name: column[~gone] for name, column in rows.columns.items()},
    lines=rows.lines[~gone],
    dropped=add(rows.dropped, count(cause, rows.lines[gone])),
  )


def count(cause: str, lines: np.ndarray) -> Dropped:
  """Rows dropped for a cause, {} if there are none."""
  first = tuple(lines[: tables.FIRST_LINES].tolist())
  return {cause: tables.Dropped(len(lines), first)} if len(lines) else {}


def add(before: Dropped, after: Dropped) -> Dropped:
  """What was dropped in two parts of a file, one after the other."""
  total = dict(before)
  for cause, rows in after.items():
    old = total.get(cause, tables.Dropped(0, ()))
    lines = (*old.first_lines, *rows.first_lines)[: tables.FIRST_LINES]
    total[cause] = tables.Dropped(old.count + rows.count, lines)
  return total


def table(
  path: pathlib.Path, rows_read: int, dropped: Dropped, **columns: np.ndarray
) -> tables.Table:
  """A table of whole columns; an error if nothing is left."""
  if not len(columns['user']):
    causes = ', '.join(
      f'{cause}: {rows.count}' for cause, rows in dropped.items()
    )
    raise types.UserError(
      f'{path}: no row is left of {rows_read} ({causes}); is it the file that '
      'its owner publishes?'
    )
  absent = dict.fromkeys(tables.Columns._fields)
  return tables.Table(
    **{**absent, **columns},
    rows_read=rows_read,
    dropped=dropped,
    path=str(path),
  )


def find(data_root: str | os.PathLike, folder: str, file: str) -> pathlib.Path:
  """A published file in a root or in its usual folder there, also with .gz."""
  if not os.fspath(data_root):
    raise types.UserError(
      f'the files are read from a folder; pass --data_root=DIR, where {file} '
      f'is in DIR or in DIR/{folder}'
    )
  root = pathlib.Path(data_root)
  for place in (root / folder / file, root / file):
    for path in (place, place.with_name(place.name + '.gz')):
      if path.is_file():
        return path
  raise types.UserError(
    f'no file {root / folder / file}, nor {root / file}; pass --data_root=DIR, '
    f'where {file} is in DIR or in DIR/{folder}'
  )
