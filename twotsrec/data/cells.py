"""Text or typed cells become numbers, times and texts; bad ones are named.

A reader hands over a `Block` of rows whose columns are polars series: of text
where the file is text, else of the type in the file. Polars parses a column at
once; only the cells it refuses are looked at in Python, each distinct text
once, to accept what polars does not know or to say what is wrong.
"""

from collections.abc import Callable, Sequence
import datetime
import math
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types

MAX_ID_BYTES = 256  # a unicode array is as wide as its longest id

# Faults of a cell; 0 is a good cell.
EMPTY, NOT_INTEGER, TOO_LARGE, TOO_LONG, NEGATIVE, NOT_TIME, NOT_NUMBER = range(
  1, 8
)
PHRASES = {
  EMPTY: 'is empty',
  NOT_INTEGER: 'is not an integer',
  TOO_LARGE: 'does not fit a 64-bit integer',
  TOO_LONG: f'is longer than {MAX_ID_BYTES} bytes',
  NEGATIVE: 'is negative',
  NOT_TIME: 'is not a time',
  NOT_NUMBER: 'is not a finite number',
}

_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_INT64_DIGITS = 19
_INTEGER = re.compile(r'-?[0-9]+')
_DECIMAL = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')
_ISO_TIME = re.compile(
  r'\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?',
  re.ASCII,
)
# The forms that polars parses, in UTC; it takes the 61st second for a 60th.
_PLAIN_TIME = (
  r'^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-5][0-9]Z?)?$'
)
_Value = tuple[int | float, int]  # a value and its fault


class Block(NamedTuple):
  """Consecutive rows of a table."""

  path: pathlib.Path
  # i64[R], line (or row) numbers of the well-formed rows, from 1.
  lines: np.ndarray
  # Column name -> series of R cells; a missing cell is null or ''.
  columns: dict[str, polars.Series]
  ragged_lines: np.ndarray  # i64[M], lines that are no row
  # i64[M], the wrong number of fields; 0 for `broken`.
  ragged_fields: np.ndarray
  num_fields: int  # the right number of fields
  unit: str = 'line'  # what `lines` count: 'line' or 'row'
  # What is wrong with ragged lines that have 0 fields.
  broken: str = 'broken quotes'


class Parsed(NamedTuple):
  """A typed column."""

  values: Any  # [R], an array of numbers, or a series of texts
  faults: np.ndarray  # u8[R], 0 for good cells


class Kind(NamedTuple):
  """Cells of one meaning."""

  parse: Callable[[polars.Series], Parsed]  # reads a column of them
  allowed: str  # what a cell may be, for errors
  typed: str  # what a typed column may hold, for errors


def text_at(raw: polars.Series, row: int) -> str:
  """The cell of one row as text, for messages."""
  value = raw[row]
  return '' if value is None else str(value)


def texts(raw: polars.Series) -> list[str]:
  """All cells as text; '' where one is missing."""
  return raw.cast(polars.String).fill_null('').to_list()


def starts_with_integer(raw: polars.Series) -> bool | None:
  """Whether the first cell that is not empty is a plain integer.

  None if every cell is empty. An integer too large for 64 bits counts: a
  column that begins with one is a column of integers with a fault.
  """
  if raw.dtype.is_integer():
    return None if raw.null_count() == len(raw) else True
  present = raw.filter(raw.is_not_null() & (raw != ''))
  return _integer_id(present[0])[1] in (0, TOO_LARGE) if len(present) else None


def parse_integer_ids(raw: polars.Series) -> Parsed:
  """Ids i64[R]; '007' is a fault, as it would not be written back the same."""
  if raw.dtype.is_integer():
    return _typed_integers(raw)
  integers = raw.cast(polars.Int64, strict=False)
  good = (integers.cast(polars.String) == raw).fill_null(False)
  return _completed(raw, integers, good, _integer_id)


def parse_order(raw: polars.Series) -> Parsed:
  """An order key, i64[R]: any integers, leading zeros allowed."""
  if raw.dtype.is_integer():
    return _typed_integers(raw)
  integers = raw.cast(polars.Int64, strict=False)
  return _completed(raw, integers, _is_integer(raw, integers), _integer)


def parse_texts(raw: polars.Series) -> Parsed:
  """Texts, a series of R strings; empty or overlong ones are faults."""
  text = raw.cast(polars.String).fill_null('')
  lengths = text.str.len_bytes().to_numpy()
  faults = np.where(lengths == 0, EMPTY, 0).astype(np.uint8)
  faults[lengths > MAX_ID_BYTES] = TOO_LONG
  return Parsed(text, faults)


def parse_any(raw: polars.Series) -> Parsed:
  """Texts of any length, also none."""
  text = raw.cast(polars.String).fill_null('')
  return Parsed(text, np.zeros(len(text), np.uint8))


def parse_times(raw: polars.Series) -> Parsed:
  """Unix seconds, i64[R] or f64[R], from numbers or ISO-8601 dates (UTC).

  Anything but non-negative finite times is a fault.
  """
  of_text = raw.dtype == polars.String
  values, faults = _text_times(raw) if of_text else _typed_times(raw)
  faults[(faults == 0) & (values < 0)] = NEGATIVE
  return Parsed(values, faults)


def parse_numbers(raw: polars.Series) -> Parsed:
  """Finite numbers, f64[R]."""
  numbers = raw.cast(polars.Float64, strict=False)
  good = numbers.is_finite().fill_null(False)
  if raw.dtype == polars.String:
    return _completed(raw, numbers, good, _number)
  return _typed(raw, numbers, good, NOT_NUMBER)


_ID_TYPES = 'integers or strings'
INTEGER = Kind(parse_order, 'integers of 64 bits', 'integers')
NUMBER = Kind(parse_numbers, 'finite numbers', 'integers, floats or strings')
TIME = Kind(
  parse_times,
  'Unix seconds from 0 on, or dates like 2021-07-01 and 2021-07-01 12:30:00',
  'integers, floats, dates, datetimes or strings',
)
TEXT = Kind(parse_texts, 'any text that is not empty', 'strings or integers')
ANY_TEXT = Kind(parse_any, 'any text', 'strings or integers')
ID = Kind(
  parse_integer_ids,
  'integers of 64 bits, or any text with --id_type=string',
  _ID_TYPES,
)
TEXT_ID = Kind(parse_texts, ID.allowed, _ID_TYPES)


def empty_file(path: os.PathLike, needs: str) -> types.UserError:
  """The user error for a file with nothing in it."""
  return types.UserError(f'{path}: the file is empty; {needs}')


def require_columns(
  path: os.PathLike,
  names: Sequence[str],
  wanted: Sequence[str],
  hint: str = '',
) -> None:
  """Raises UserError unless `names` are unique and hold all `wanted` ones."""
  duplicates = sorted({name for name in names if names.count(name) > 1})
  if duplicates:
    raise types.UserError(
      f'{path}: column {duplicates[0]!r} occurs {names.count(duplicates[0])} '
      f'times; give every column its own name{hint}'
    )
  missing = [name for name in wanted if name not in names]
  if missing:
    listed = ', '.join(name[:40] for name in names[:30])
    listed += ', ...' if len(names) > 30 else ''
    raise types.UserError(
      f'{path}: no column {missing[0]!r}; the columns are: {listed}. Name '
      f'yours with --user_column, --item_column, --time_column, ...{hint}'
    )


def _is_integer(raw: polars.Series, integers: polars.Series) -> polars.Series:
  # Polars takes a plus as well.
  return integers.is_not_null() & ~raw.str.starts_with('+').fill_null(True)


def _completed(
  raw: polars.Series,
  parsed: polars.Series,
  good: polars.Series,
  parse: Callable[[str], _Value],
) -> Parsed:
  """Values that polars parsed, completed by the cells that are not `good`.

  The values are floats if any of them is.
  """
  values = parsed.fill_null(0).to_numpy()
  faults = np.zeros(len(raw), np.uint8)
  rows = np.flatnonzero(~good.to_numpy())
  if not rows.size:
    return Parsed(values, faults)
  rest = texts(raw.gather(rows))
  table = {text: parse(text) for text in set(rest)}
  if any(isinstance(value, float) for value, _ in table.values()):
    values = values.astype(np.float64)
  values = np.array(values)  # polars may lend its memory for reading only
  values[rows] = [table[text][0] for text in rest]
  faults[rows] = [table[text][1] for text in rest]
  return Parsed(values, faults)


def _typed(
  raw: polars.Series, values: polars.Series, good: polars.Series, fault: int
) -> Parsed:
  """Values of a typed column, all but the `good` ones with a fault."""
  faults = np.where(good.to_numpy(), 0, fault).astype(np.uint8)
  faults[raw.is_null().to_numpy()] = EMPTY
  return Parsed(values.fill_null(0).to_numpy(), faults)


def _typed_integers(raw: polars.Series) -> Parsed:
  # Integers of 64 bits without a sign may not fit.
  integers = raw.cast(polars.Int64, strict=False)
  return _typed(raw, integers, integers.is_not_null(), TOO_LARGE)


def _typed_times(raw: polars.Series) -> Parsed:
  if raw.dtype.is_integer():
    return _typed_integers(raw)
  if raw.dtype.is_temporal():
    micros = raw.cast(polars.Datetime('us')).dt.epoch('us')
    # Whole seconds stay integers.
    if not (micros % 1_000_000).max():
      return _typed_integers(micros // 1_000_000)
    raw = micros / 1e6
  seconds = raw.cast(polars.Float64)
  return _typed(raw, seconds, seconds.is_finite().fill_null(False), NOT_TIME)


def _text_times(raw: polars.Series) -> Parsed:
  seconds = raw.cast(polars.Int64, strict=False)
  good = _is_integer(raw, seconds)
  if not good.all():
    dates = raw.set(~raw.str.contains(_PLAIN_TIME).fill_null(False), None)
    # A day begins at midnight, and 19 characters are a moment without its Z.
    moments = (
      dates.str.replace('T', ' ', literal=True) + ' 00:00:00'
    ).str.head(19)
    moments = moments.str.to_datetime('%Y-%m-%d %H:%M:%S', strict=False)
    is_date = moments.is_not_null()
    seconds = seconds.zip_with(~is_date, moments.dt.epoch('s'))
    good = good | is_date
  return _completed(raw, seconds, good, _unix_seconds)


def _integer(text: str) -> _Value:
  """An integer, leading zeros allowed, and its fault."""
  if not _INTEGER.fullmatch(text):
    return 0, NOT_INTEGER if text else EMPTY
  if len(text.lstrip('-0')) > _INT64_DIGITS:
    return 0, TOO_LARGE  # `int` refuses thousands of digits
  value = int(text)
  return (value, 0) if _MIN_INT64 <= value <= _MAX_INT64 else (0, TOO_LARGE)


def _integer_id(text: str) -> _Value:
  """An integer as Python writes it, and its fault."""
  value, fault = _integer(text)
  if not fault and str(value) != text:
    return 0, NOT_INTEGER
  return value, fault


def _number(text: str) -> tuple[float, int]:
  """A finite decimal number and its fault."""
  if not text:
    return 0.0, EMPTY
  # The pattern keeps out what `float` takes besides: 1_000, nan, spaces.
  value = float(text) if _DECIMAL.fullmatch(text) else math.nan
  return (value, 0) if math.isfinite(value) else (0.0, NOT_NUMBER)


def _unix_seconds(text: str) -> _Value:
  """A decimal number or an ISO-8601 date as Unix seconds, and its fault.

  Whole seconds are int. A date without an offset is UTC.
  """
  if _INTEGER.fullmatch(text) or not text:
    return _integer(text)
  value, fault = _number(text)
  if not fault:
    return (value, 0) if abs(value) <= _MAX_INT64 else (0, TOO_LARGE)
  if not _ISO_TIME.fullmatch(text):
    return 0, NOT_TIME
  try:
    moment = datetime.datetime.fromisoformat(text)
  except ValueError:  # a 13th month, a 30th of February
    return 0, NOT_TIME
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  seconds = moment.timestamp()
  return (seconds, 0) if moment.microsecond else (int(seconds), 0)
