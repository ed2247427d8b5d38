"""Columns of Parquet files and of JSON lines, in their types."""

from collections.abc import Iterator
import contextlib
import itertools
import json
import pathlib

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import text_files

# A library that panics over a damaged file raises what is no Exception.
_OF_POLARS = (polars.exceptions.PolarsError, polars.exceptions.PanicException)
_BLOCK_BYTES = 1 << 25


def read_parquet(
  path: pathlib.Path, wanted: dict[str, cells.Kind]
) -> cells.Block:
  """Columns of a Parquet file by name; `lines` are row numbers from 1."""
  cells.require_columns(path, parquet_names(path), list(wanted))
  with _readable(path):
    scan = polars.scan_parquet(path, glob=False)
    frame = scan.select(list(wanted)).collect()
  columns = {
    name: _column(path, frame[name], kind) for name, kind in wanted.items()
  }
  rows = np.arange(1, frame.height + 1)
  return _block(path, columns, rows, np.zeros(0, np.int64), unit='row')


def parquet_names(path: pathlib.Path) -> list[str]:
  """Names of the columns of a Parquet file."""
  with _readable(path):
    return polars.scan_parquet(path, glob=False).collect_schema().names()


@contextlib.contextmanager
def _readable(path) -> Iterator[None]:
  """Says in a line why a Parquet file cannot be read."""
  try:
    yield
  except _OF_POLARS as error:
    raise types.UserError(
      f'{path}: not a Parquet file, or a damaged one ({_reason(error)}); write '
      'it again'
    ) from error
  except OSError as error:
    raise text_files.unreadable(path, error) from error


def read_json_lines(
  path: pathlib.Path,
  wanted: dict[str, cells.Kind],
  block_bytes: int = _BLOCK_BYTES,
) -> Iterator[cells.Block]:
  """Reads keys of a file with a JSON object on every line, in blocks.

  Values of any type are read as text, so that 7 and "7" are one id. A key that
  a line lacks is an empty cell, but some line has each of them. A line that is
  no JSON object is ragged, with 0 fields.
  """
  chunks = text_files.read(path, block_bytes)
  first = next(chunks, None)
  if first is None:
    raise cells.empty_file(path, 'it needs a JSON object on every line')
  keys = _keys(path, first)
  absent = set(wanted) - set(keys)
  for chunk in itertools.chain([first], chunks):
    absent -= {n for n in absent if json.dumps(n).encode() in chunk.data}
    yield _json_block(path, chunk, list(wanted))
  if absent:
    cells.require_columns(path, keys, sorted(absent))


def json_names(path: pathlib.Path) -> list[str]:
  """Keys of the first line of a file of JSON lines that can be read."""
  chunk = next(text_files.read(path, 1 << 16), None)
  return [] if chunk is None else _keys(path, chunk)


def _keys(path: pathlib.Path, chunk: text_files.Lines) -> list[str]:
  first = _object(chunk.data.splitlines()[0])
  if first is None:
    raise types.UserError(
      f'{path}, line {chunk.first}: not a JSON object; every line is one, such '
      'as {"user_id": 1, "item_id": 2}'
    )
  return list(first)


def _object(line: bytes) -> dict | None:
  """The object of a line; None if it is none, or has what JSON has not."""
  try:
    value = json.loads(line, parse_constant=_refuse)
  except (ValueError, RecursionError):
    return None
  return value if isinstance(value, dict) else None


def _refuse(constant: str):
  raise ValueError(constant)  # NaN and Infinity


def _json_block(
  path: pathlib.Path, chunk: text_files.Lines, wanted: list[str]
) -> cells.Block:
  lines = chunk.data.splitlines()
  numbers = chunk.first + np.arange(len(lines))
  filled = np.array([bool(line.strip()) for line in lines])
  broken = np.zeros(len(lines), bool)
  schema = dict.fromkeys(wanted, polars.String)
  try:
    frame = polars.read_ndjson(chunk.data, schema=schema)
  except polars.exceptions.PolarsError:
    frame = None
  if frame is None or frame.height != np.sum(filled):
    broken = filled & [_object(line) is None for line in lines]
    whole = b'\n'.join(itertools.compress(lines, filled & ~broken))
    try:
      frame = polars.DataFrame(schema=schema)
      frame = polars.read_ndjson(whole, schema=schema) if whole else frame
    except polars.exceptions.PolarsError as error:
      number = _first_unread(lines, filled & ~broken, schema)
      raise types.UserError(
        f'{path}, line {chunk.first + number}: cannot be read as JSON '
        f'({_reason(error)}); correct it'
      ) from error
  columns = {name: frame[name] for name in wanted}
  good = numbers[filled & ~broken]
  what = 'not a JSON object'
  return _block(path, columns, good, numbers[broken], broken=what)


def _first_unread(lines, asked, schema) -> int:
  """Place of the first line among some that polars does not take."""
  for number in np.flatnonzero(asked):
    try:
      polars.read_ndjson(lines[number], schema=schema)
    except polars.exceptions.PolarsError:
      return int(number)
  return 0  # each is taken by itself


def _block(
  path: pathlib.Path,
  columns: dict[str, polars.Series],
  lines: np.ndarray,
  ragged: np.ndarray,
  unit: str = 'line',
  broken: str = 'broken quotes',
) -> cells.Block:
  none = np.zeros(len(ragged), np.int64)
  return cells.Block(
    path, lines, columns, ragged, none, len(columns), unit=unit, broken=broken
  )


def _reason(error: Exception) -> str:
  return str(error).splitlines()[0][:200]


def _column(
  path: pathlib.Path, series: polars.Series, kind: cells.Kind
) -> polars.Series:
  """The series, if cells of the kind can be made of its type."""
  dtype = series.dtype
  sort = {
    'integers': dtype.is_integer(),
    'floats': dtype.is_float(),
    'dates': dtype in (polars.Date, polars.Datetime),
    'strings': dtype in (polars.String, polars.Categorical, polars.Enum),
    'booleans': dtype == polars.Boolean,
  }
  if sort['floats'] and 'whole floats' in kind.typed:
    # What pandas writes for integers of which some are missing.
    numbers = series.fill_nan(None)
    whole = (numbers.abs() <= 2.0**53) & (numbers % 1 == 0)
    if whole.fill_null(True).all():
      return numbers.cast(polars.Int64)
    sort['floats'] = False
  if not any(sort[word] and word in kind.typed for word in sort):
    raise types.UserError(
      f'{path}: column {series.name!r} has type {dtype}; allowed: {kind.typed};'
      ' cast it before writing the file'
    )
  return series.cast(polars.String) if sort['strings'] else series
