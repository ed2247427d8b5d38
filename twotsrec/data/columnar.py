"""Parquet, and CSV of integers in parallel, through polars (extra `data`)."""

from collections.abc import Sequence
import pathlib

import numpy as np

from twotsrec import types
from twotsrec.data import cells

INTEGER, NUMBER, TIME, TEXT, ID = 'integer', 'number', 'time', 'text', 'id'
_ALLOWED = {
  INTEGER: 'integers',
  NUMBER: 'integers, floats or strings',
  TIME: 'integers, floats, dates, datetimes or strings',
  TEXT: 'strings or integers',
  ID: 'integers or strings',
}


def import_polars():
  """The polars module, or one line that says how to get it."""
  try:
    import polars
  except ImportError as error:
    raise types.UserError(
      'polars is not installed, and Parquet and fast CSV need it; run: '
      "pip install -e '.[data]'"
    ) from error
  return polars


def read_parquet(path: pathlib.Path, wanted: dict[str, str]) -> cells.Block:
  """Reads columns of a Parquet file.

  Args:
    path: the file.
    wanted: column name -> kind of cells (INTEGER, NUMBER, TIME, TEXT, ID).
  Returns:
    One block; its `lines` are row numbers from 1.
  """
  polars = import_polars()
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
    raise cells.unreadable(path, error) from error
  columns = {
    name: _column(polars, path, frame[name], kind)
    for name, kind in wanted.items()
  }
  return _block(columns, frame.height)


def parquet_names(path: pathlib.Path) -> list[str]:
  """Names of the columns of a Parquet file that can be read."""
  return import_polars().scan_parquet(path, glob=False).collect_schema().names()


def read_csv(
  path: pathlib.Path,
  wanted: Sequence[str],
  *,
  delimiter: str,
  column_names: Sequence[str] | None = None,
) -> cells.Block | None:
  """Reads a clean delimited file in parallel, all at once.

  Returns:
    One block, or None if anything about the file is unusual: a quote in a
    wanted cell, a line end in any cell, an empty cell, a short line, text that
    is not UTF-8. Then `delimited.read` must look, which names what is wrong and
    where. Other bytes of columns that are not wanted go unchecked.
  """
  polars = import_polars()
  if len(delimiter.encode()) > 1:
    return None
  try:
    frame = polars.read_csv(
      path,
      separator=delimiter,
      has_header=column_names is None,
      new_columns=None if column_names is None else list(column_names),
      infer_schema=False,
      glob=False,
    )
  except (polars.exceptions.PolarsError, OSError, ValueError):
    return None
  names = frame.columns
  if not frame.height or not set(wanted) <= set(names):
    return None
  if column_names is None:
    # Polars renames the second column of a name.
    unusual = any('_duplicated_' in name for name in names)
  else:
    # Or the first line is a header after all.
    header = list(frame.row(0)) == list(column_names)
    unusual = header or names != list(column_names)
  if unusual:
    return None
  # Else row numbers would not tell the lines.
  if any('\n' in name or '\r' in name for name in names) or any(
    frame[name].str.contains(r'[\r\n]').any() for name in names
  ):
    return None
  # A short line leaves its last cell missing.
  if any(frame[name].null_count() for name in {*wanted, names[-1]}):
    return None
  columns = {}
  for name in wanted:
    series = frame[name]
    integers = series.cast(polars.Int64, strict=False)
    plain = integers.cast(polars.String).eq_missing(series).all()
    if plain:
      columns[name] = _typed(integers)
    elif series.str.contains(r'["\x00]').any():
      return None
    else:
      columns[name] = cells.from_strings(series.to_list())
  return _block(columns, frame.height, 2 if column_names is None else 1)


def _block(
  columns: dict[str, cells.Cells | cells.Typed],
  num_rows: int,
  first_line: int = 1,
) -> cells.Block:
  lines = np.arange(first_line, first_line + num_rows)
  none = np.zeros(0, np.int64)
  return cells.Block(lines, columns, none, none, len(columns))


def _column(polars, path: pathlib.Path, series, kind: str):
  """A polars series as `cells.Typed`, or as `cells.Cells` if it is text."""
  dtype = series.dtype
  if dtype.is_integer():
    wide = polars.UInt64 if dtype == polars.UInt64 else polars.Int64
    return _typed(series.cast(wide))
  is_text = dtype in (polars.String, polars.Categorical, polars.Enum)
  if is_text and kind != INTEGER:
    strings = series.cast(polars.String).fill_null('')
    return cells.from_strings(strings.to_list())
  if dtype.is_float() and kind in (NUMBER, TIME):
    return _typed(series.cast(polars.Float64))
  if dtype in (polars.Date, polars.Datetime) and kind == TIME:
    # Whole seconds stay integers.
    micros = series.cast(polars.Datetime('us')).dt.epoch('us')
    whole = not (micros % 1_000_000).max()
    return _typed(micros // 1_000_000 if whole else micros / 1e6)
  raise types.UserError(
    f'{path}: column {series.name!r} has type {dtype}; allowed: '
    f'{_ALLOWED[kind]}; cast it before writing the file'
  )


def _typed(series) -> cells.Typed:
  missing = series.is_null().to_numpy()
  return cells.Typed(series.fill_null(0).to_numpy(), missing)
