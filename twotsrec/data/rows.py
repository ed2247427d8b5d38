"""Good rows of a file, block by block, with the bad ones counted by cause."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells

FIRST_LINES = 5  # kept for every cause
_WAYS_OUT = {'broken quotes': '; double the quotes inside a quoted field'}
_HEADER_AGAIN = 'the header again'
Values = np.ndarray | polars.Series  # numbers, or texts
# Name of the values -> their column and one of the parsers of `cells`.
Parsers = dict[str, tuple[str, Callable[[polars.Series], cells.Parsed]]]


class Dropped(NamedTuple):
  """Rows dropped for one cause, and the first lines (rows if Parquet) of it."""

  rows: int
  first_lines: tuple[int, ...]  # up to five, from 1


class Rows(NamedTuple):
  """Good rows of a part of a file."""

  columns: dict[str, Any]  # name -> values [R], numbers or polars strings
  lines: np.ndarray  # i64[R]
  rows_read: int  # R and the dropped rows
  dropped: dict[str, Dropped]  # cause -> rows
  notes: dict[str, int] = {}  # what was changed in cells -> how often


class Fault(NamedTuple):
  """Rows of a block that share a cause; each row has one cause, its first."""

  cause: str  # in words
  name: str  # of the values, see `Parsers`; '' if the line is no row
  column: str  # of the file
  code: int  # of `cells`; 0 if the line is no row
  # i64[M], into the block's well-formed rows, or its ragged lines.
  rows: np.ndarray
  lines: np.ndarray  # i64[M], ascending


def parse(
  block: cells.Block,
  parsers: Parsers,
  remedy: Callable[[Fault], str] | None = None,
) -> Rows:
  """Parses a block; a row with a bad cell is dropped for the first of them.

  With a `remedy`, the first bad row is an error that ends with its words.
  """
  parsed = {
    name: parse(block.columns[column].alias(column))  # for its notes
    for name, (column, parse) in parsers.items()
  }
  faults = _faults(block, parsers, parsed)
  if faults and remedy:
    fault = min(faults, key=lambda fault: fault.lines[0])
    raise types.UserError(f'{_described(block, fault)}{remedy(fault)}')
  rows = Rows(
    {name: column.values for name, column in parsed.items()},
    block.lines,
    len(block.lines) + len(block.ragged_lines),
    {},
    _summed([note for column in parsed.values() for note in column.notes]),
  )
  good, dropped = np.ones(len(block.lines), bool), {}
  for fault in faults:
    dropped = _add(dropped, {fault.cause: counted(fault.lines)})
    if fault.name:
      good[fault.rows] = False
  rows = rows._replace(dropped=dropped)
  return rows if good.all() else _taken(rows, good)


def join(parts: Sequence[Rows]) -> Rows:
  """The rows of the parts of a file, one after another; at least one part."""
  total: dict[str, Dropped] = {}
  for part in parts:
    total = _add(total, part.dropped)
  columns = {
    name: _concatenated([part.columns[name] for part in parts])
    for name in parts[0].columns
  }
  return Rows(
    columns,
    np.concatenate([part.lines for part in parts]),
    sum(part.rows_read for part in parts),
    total,
    _summed([note for part in parts for note in part.notes.items()]),
  )


def drop(rows: Rows, gone: np.ndarray, cause: str) -> Rows:
  """The rows but some, bool[R], which are counted."""
  if not np.any(gone):
    return rows
  dropped = _add(rows.dropped, {cause: counted(rows.lines[gone])})
  return _taken(rows, ~gone)._replace(dropped=dropped)


def counted(lines: np.ndarray) -> Dropped:
  """Dropped rows by their ascending lines."""
  return Dropped(len(lines), tuple(lines[:FIRST_LINES].tolist()))


def causes(dropped: dict[str, Dropped]) -> str:
  """Causes and counts, for messages."""
  return ', '.join(f'{cause}: {gone.rows}' for cause, gone in dropped.items())


def _add(
  before: dict[str, Dropped], after: dict[str, Dropped]
) -> dict[str, Dropped]:
  """Adds the counts of two parts of a file, one after the other."""
  total = dict(before)
  for cause, (rows, lines) in after.items():
    old = total.get(cause, Dropped(0, ()))
    total[cause] = Dropped(
      old.rows + rows, (*old.first_lines, *lines)[:FIRST_LINES]
    )
  return total


def _summed(counts: Sequence[tuple[str, int]]) -> dict[str, int]:
  """Counts by what was counted."""
  total: dict[str, int] = {}
  for what, count in counts:
    total[what] = total.get(what, 0) + count
  return total


def _faults(
  block: cells.Block, parsers: Parsers, parsed: dict[str, cells.Parsed]
) -> list[Fault]:
  faults = []
  fields = block.ragged_fields
  for cause, which in (
    (block.broken, fields == cells.BROKEN),
    (_HEADER_AGAIN, fields == cells.HEADER_AGAIN),
    ('wrong number of fields', fields > 0),
  ):
    if which.any():
      rows = np.flatnonzero(which)
      faults.append(Fault(cause, '', '', 0, rows, block.ragged_lines[rows]))
  taken = np.zeros(len(block.lines), bool)
  for name, column in parsed.items():
    bad = (column.faults > 0) & ~taken
    for code in np.unique(column.faults[bad]).tolist():
      rows = np.flatnonzero((column.faults == code) & bad)
      field = parsers[name][0]
      cause = f'{field} {cells.PHRASES[code]}'
      faults.append(Fault(cause, name, field, code, rows, block.lines[rows]))
    taken |= bad
  return faults


def _taken(rows: Rows, good: np.ndarray) -> Rows:
  take = lambda column: (
    column.filter(good) if isinstance(column, polars.Series) else column[good]
  )
  return rows._replace(
    columns={name: take(column) for name, column in rows.columns.items()},
    lines=rows.lines[good],
  )


def _concatenated(columns: list[Any]) -> Values:
  of_text = isinstance(columns[0], polars.Series)
  return polars.concat(columns) if of_text else np.concatenate(columns)


def _described(block: cells.Block, fault: Fault) -> str:
  """A sentence with the place of the first row of a fault, and its cause."""
  line, path, row = int(fault.lines[0]), block.path, int(fault.rows[0])
  for before, one in block.files:
    if before < fault.lines[0]:
      line, path = int(fault.lines[0]) - before, one
  where = f'{path}, {block.unit} {line}'
  if fault.name:
    value = cells.quoted_at(block.columns[fault.column], row)
    return f'{where}: {fault.column} {value} {cells.PHRASES[fault.code]}'
  if fault.cause in (block.broken, _HEADER_AGAIN):
    return f'{where}: {fault.cause}{_WAYS_OUT.get(fault.cause, "")}'
  return (
    f'{where}: {fault.cause}, {block.ragged_fields[row]} instead of '
    f'{block.num_fields}'
  )
