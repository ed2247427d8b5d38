"""Columns of Parquet files and of JSON lines, in their types."""

from collections.abc import Iterator
import itertools
import json
import pathlib

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import text_files

INTEGER, NUMBER, TIME, TEXT, ID = 'integer', 'number', 'time', 'text', 'id'
_ALLOWED = {
  INTEGER: 'integers',
  NUMBER: 'integers, floats or strings',
  TIME: 'integers, floats, dates, datetimes or strings',
  TEXT: 'strings or integers',
  ID: 'integers or strings',
}
_BLOCK_BYTES = 1 << 25
_NONE = np.zeros(0, np.int64)


def read_parquet(path: pathlib.Path, wanted: dict[str, str]) -> cells.Block:
  """Reads columns of a Parquet file.

  Args:
    path: the file.
    wanted: column name -> kind of cells (INTEGER, NUMBER, TIME, TEXT, ID).
  Returns:
    One block; its `lines` are row numbers from 1.
  """
  try:
    scan = polars.scan_parquet(path, glob=False)
    names = scan.collect_schema().names()
    cells.require_columns(path, names, list(wanted))
    frame = scan.select(list(wanted)).collect()
  except polars.exceptions.PolarsError as error:
    reason = str(error).splitlines()[0][:200]
    raise types.UserError(
      f'{path}: not a Parquet file, or a damaged one ({reason}); write it again'
    ) from error
  except OSError as error:
    raise text_files.unreadable(path, error) from error
  columns = {name: _column(path, frame[name], wanted[name]) for name in wanted}
  return _block(columns, np.arange(1, frame.height + 1), _NONE)._replace(
    unit='row'
  )


def parquet_names(path: pathlib.Path) -> list[str]:
  """Names of the columns of a Parquet file that can be read."""
  return polars.scan_parquet(path, glob=False).collect_schema().names()


def read_json_lines(
  path: pathlib.Path, wanted: dict[str, str], block_bytes: int = _BLOCK_BYTES
) -> Iterator[cells.Block]:
  """Reads keys of a file with a JSON object on every line.

  Values of any type are read as text, so that 7 and "7" are one id. A key that
  a line lacks is an empty cell, but the first line has all of them.

  Args:
    path: the file; see `text_files.read` for compression.
    wanted: key -> kind of cells; the kinds do not matter.
    block_bytes: bytes (uncompressed) per block, the bound on memory.
  Yields:
    Blocks of text columns, in file order; a line that is no JSON object is
    ragged, with 0 fields.
  """
  start = True
  for chunk in text_files.read(path, block_bytes):
    if start:
      cells.require_columns(path, _keys(path, chunk), list(wanted))
      start = False
    yield _json_block(path, chunk, list(wanted))
  if start:
    raise cells.empty_file(path, 'it needs a JSON object on every line')


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
    frame = _frame_of(path, chunk.first, lines, filled & ~broken, schema)
  good = filled & ~broken
  columns = {name: frame[name] for name in wanted}
  return _block(columns, numbers[good], numbers[broken])._replace(
    broken='not a JSON object'
  )


def _frame_of(path, first, lines, good, schema) -> polars.DataFrame:
  """The objects of the good lines."""
  if not good.any():
    return polars.DataFrame(schema=schema)
  content = b'\n'.join(itertools.compress(lines, good))
  try:
    return polars.read_ndjson(content, schema=schema)
  except polars.exceptions.PolarsError as error:
    reason = str(error).splitlines()[0][:200]
    raise types.UserError(
      f'{path}: a line from {first} on cannot be read as JSON ({reason}); '
      'correct it'
    ) from error


def _block(
  columns: dict[str, polars.Series], lines: np.ndarray, ragged: np.ndarray
) -> cells.Block:
  none = np.zeros(len(ragged), np.int64)
  return cells.Block(lines, columns, ragged, none, len(columns))


def _column(path: pathlib.Path, series: polars.Series, kind: str):
  """The series, if cells of the kind can be made of its type."""
  dtype = series.dtype
  if dtype.is_integer():
    return series
  if dtype in (polars.String, polars.Categorical, polars.Enum):
    if kind != INTEGER:
      return series.cast(polars.String)
  elif dtype.is_float() and kind in (NUMBER, TIME):
    return series
  elif dtype in (polars.Date, polars.Datetime) and kind == TIME:
    return series
  raise types.UserError(
    f'{path}: column {series.name!r} has type {dtype}; allowed: '
    f'{_ALLOWED[kind]}; cast it before writing the file'
  )
