"""Raw cells become typed columns; every faulty cell is found and named.

A reader hands over `Block`s of rows. A column of a block is either text
(`Cells`, slices of one UTF-8 buffer) or already typed (`Typed`, from Parquet).
"""

from collections.abc import Callable, Sequence
import datetime
import math
import os
import re
from typing import NamedTuple

import numpy as np

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

_MAX_INT64 = 2**63 - 1
_INT64_DIGITS = 19
_INTEGER = re.compile(rb'-?[0-9]+')
_DECIMAL = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')
_ISO_TIME = re.compile(
  r'\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?',
  re.ASCII,
)


class Cells(NamedTuple):
  """Text cells: row r is `data[starts[r]:ends[r]]`.

  Attributes:
    data: UTF-8 bytes.
    starts: i64[R].
    ends: i64[R].
  """

  data: bytes
  starts: np.ndarray
  ends: np.ndarray


class Typed(NamedTuple):
  """Cells that came with a numeric type.

  Attributes:
    values: i64[R], u64[R] or f64[R]; anything where missing.
    missing: bool[R].
  """

  values: np.ndarray
  missing: np.ndarray


class Block(NamedTuple):
  """Consecutive rows of a table.

  Attributes:
    lines: i64[R], line (or row) numbers of the well-formed rows, from 1.
    columns: column name -> Cells or Typed of R rows.
    ragged_lines: i64[M], lines with a wrong number of fields.
    ragged_fields: i64[M], the number found; 0 where quotes are broken.
    num_fields: the right number of fields.
  """

  lines: np.ndarray
  columns: dict[str, Cells | Typed]
  ragged_lines: np.ndarray
  ragged_fields: np.ndarray
  num_fields: int


class Parsed(NamedTuple):
  """A typed column: values[R], and faults u8[R] that are 0 for good cells."""

  values: np.ndarray
  faults: np.ndarray


class _Integers(NamedTuple):
  """What `_integers` finds; `plain` has no leading zero, as `str` writes it."""

  values: np.ndarray  # i64[R]
  valid: np.ndarray  # bool[R]
  plain: np.ndarray  # bool[R]
  too_large: np.ndarray  # bool[R]


def from_strings(strings: Sequence[str]) -> Cells:
  """Cells that hold `strings`."""
  encoded = [string.encode() for string in strings]
  lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
  ends = np.cumsum(lengths)
  return Cells(b''.join(encoded), ends - lengths, ends)


def take(raw: Cells | Typed, rows: np.ndarray) -> Cells | Typed:
  """The chosen rows of a column."""
  if isinstance(raw, Cells):
    return Cells(raw.data, raw.starts[rows], raw.ends[rows])
  return Typed(raw.values[rows], raw.missing[rows])


def text_at(raw: Cells | Typed, row: int) -> str:
  """The cell of one row as text, for messages."""
  if isinstance(raw, Cells):
    return raw.data[raw.starts[row] : raw.ends[row]].decode()
  return '' if raw.missing[row] else str(raw.values[row])


def texts(raw: Cells | Typed) -> list[str]:
  """All cells as text; '' where one is missing."""
  if isinstance(raw, Cells):
    return _strings(raw)
  strings = raw.values.astype(np.str_)
  return np.where(raw.missing, '', strings).tolist()


def starts_with_integer(raw: Cells | Typed) -> bool | None:
  """Whether the first cell that is not empty is a plain integer.

  None if every cell is empty. An integer too large for 64 bits counts: a
  column that begins with one is a column of integers with a fault.
  """
  if isinstance(raw, Typed):
    return None if raw.missing.all() else True
  filled = np.flatnonzero(raw.ends > raw.starts)
  if not filled.size:
    return None
  first = _integers(take(raw, filled[:1]))
  return bool(first.plain[0] or first.too_large[0])


def parse_integer_ids(raw: Cells | Typed) -> Parsed:
  """Ids i64[R]; '007' is a fault, as it would not be written back the same."""
  if isinstance(raw, Typed):
    return _typed_integers(raw)
  found = _integers(raw)
  faults = np.where(found.plain, 0, NOT_INTEGER).astype(np.uint8)
  faults[found.too_large] = TOO_LARGE
  faults[raw.ends == raw.starts] = EMPTY
  return Parsed(found.values, faults)


def parse_order(raw: Cells | Typed) -> Parsed:
  """An order key, i64[R]: any integers, leading zeros allowed."""
  if isinstance(raw, Typed):
    return _typed_integers(raw)
  found = _integers(raw)
  faults = np.where(found.valid, 0, NOT_INTEGER).astype(np.uint8)
  faults[found.too_large] = TOO_LARGE
  faults[raw.ends == raw.starts] = EMPTY
  return Parsed(found.values, faults)


def parse_texts(raw: Cells | Typed) -> Parsed:
  """Text cells, unicode[R]; empty or overlong ones are faults."""
  if isinstance(raw, Typed):
    faults = np.where(raw.missing, EMPTY, 0).astype(np.uint8)
    # Through a list: the array is then as wide as its longest text.
    strings = raw.values.astype(np.str_).tolist()
    return Parsed(np.array(strings, np.str_), faults)
  lengths = raw.ends - raw.starts
  too_long = lengths > MAX_ID_BYTES
  faults = np.where(lengths == 0, EMPTY, 0).astype(np.uint8)
  faults[too_long] = TOO_LONG
  # A faulty long cell must not widen the array for all rows.
  ends = np.where(too_long, raw.starts, raw.ends)
  strings = _strings(raw._replace(ends=ends))
  return Parsed(np.array(strings, np.str_), faults)


def parse_times(raw: Cells | Typed) -> Parsed:
  """Unix seconds, i64[R] or f64[R], from numbers or ISO-8601 dates (UTC).

  Anything but non-negative finite times is a fault.
  """
  if isinstance(raw, Typed):
    parsed, empty = _typed_times(raw), raw.missing
  else:
    parsed, empty = _text_times(raw), raw.ends == raw.starts
  values, faults = parsed
  faults[(faults == 0) & (values < 0)] = NEGATIVE
  faults[empty] = EMPTY
  return Parsed(values, faults)


def parse_numbers(raw: Cells | Typed) -> Parsed:
  """Finite numbers, f64[R]."""
  if isinstance(raw, Typed):
    values = raw.values.astype(np.float64)
    faults = np.where(np.isfinite(values), 0, NOT_NUMBER).astype(np.uint8)
    faults[raw.missing] = EMPTY
    return Parsed(values, faults)
  found = _integers(raw)
  empty = raw.ends == raw.starts
  values = found.values.astype(np.float64)
  faults = np.where(empty, EMPTY, 0).astype(np.uint8)
  rest = np.flatnonzero(~found.valid & ~empty)
  _parse_distinct(raw, rest, _number, values, faults)
  return Parsed(values, faults)


def unreadable(path: os.PathLike, error: OSError) -> types.UserError:
  """The user error for a file that the system does not let us read."""
  return types.UserError(
    f'{path}: cannot be read ({error.strerror or error}); check the path and '
    'its permissions'
  )


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
    shown = ', '.join(name[:40] for name in names[:30])
    shown += ', ...' if len(names) > 30 else ''
    raise types.UserError(
      f'{path}: no column {missing[0]!r}; the columns are: {shown}. Name '
      f'yours with --user_column, --item_column, --time_column, ...{hint}'
    )


def _integers(cells: Cells) -> _Integers:
  """Decimal integers of all rows at once, a digit place at a time."""
  data = np.frombuffer(cells.data or b'\0', np.uint8)
  lengths = cells.ends - cells.starts
  lead = np.minimum(cells.starts, data.size - 1)
  negative = (data[lead] == ord('-')) & (lengths > 1)
  digits = lengths - negative
  valid = digits > 0
  total = np.zeros(lengths.size, np.uint64)
  places = min(int(digits.max(initial=0)), _INT64_DIGITS)
  for place in range(places):
    position = np.maximum(cells.ends - 1 - place, lead)
    digit = data[position] - np.uint8(ord('0'))  # other bytes wrap above 9
    digit[place >= digits] = 0
    valid &= digit <= 9
    total += digit * np.uint64(10**place)
  limit = np.where(negative, np.uint64(_MAX_INT64 + 1), np.uint64(_MAX_INT64))
  too_large = valid & (total > limit)
  for row in np.flatnonzero(valid & (digits > _INT64_DIGITS)):
    cell = cells.data[cells.starts[row] : cells.ends[row]]
    too_large[row] = _INTEGER.fullmatch(cell) is not None
    valid[row] = False
  valid &= ~too_large
  values = total.astype(np.int64)
  values = np.where(negative, -values, values)
  zero = data[np.minimum(lead + negative, data.size - 1)] == ord('0')
  plain = valid & ~(zero & ((digits > 1) | negative))
  return _Integers(values, valid, plain, too_large)


def _typed_integers(raw: Typed) -> Parsed:
  faults = np.where(raw.missing, EMPTY, 0).astype(np.uint8)
  if raw.values.dtype == np.uint64:
    faults[~raw.missing & (raw.values > np.uint64(_MAX_INT64))] = TOO_LARGE
  return Parsed(raw.values.astype(np.int64), faults)


def _typed_times(raw: Typed) -> Parsed:
  if raw.values.dtype != np.float64:
    return _typed_integers(raw)
  faults = np.where(np.isfinite(raw.values), 0, NOT_TIME).astype(np.uint8)
  return Parsed(raw.values, faults)


def _text_times(cells: Cells) -> Parsed:
  found = _integers(cells)
  faults = np.where(found.too_large, TOO_LARGE, 0).astype(np.uint8)
  rest = ~found.valid & ~found.too_large & (cells.ends > cells.starts)
  rows = np.flatnonzero(rest)
  seconds = _plain_dates(take(cells, rows))
  if seconds is not None:
    found.values[rows] = seconds
    return Parsed(found.values, faults)
  values = _parse_distinct(cells, rows, _unix_seconds, found.values, faults)
  return Parsed(values, faults)


def _plain_dates(cells: Cells) -> np.ndarray | None:
  """Unix seconds i64[R] if all cells are like one of three ISO-8601 forms.

  The forms are 2021-07-01 and 2021-07-01 00:00:00, also with a Z. It gives
  what `_unix_seconds` gives for each cell, sooner; None if any cell differs.
  """
  width = int(cells.ends[0] - cells.starts[0]) if cells.ends.size else 0
  if width not in (10, 19, 20) or np.any(cells.ends - cells.starts != width):
    return None
  data = np.frombuffer(cells.data, np.uint8)
  letters = data[cells.starts[:, None] + np.arange(width)]
  is_digit = letters - np.uint8(ord('0')) <= 9
  form = np.frombuffer(b'0000-00-00 00:00:00Z'[:width], np.uint8)
  like = np.where(form == ord('0'), is_digit, letters == form)
  if width > 10:
    like[:, 10] |= letters[:, 10] == ord('T')
  if not like.all():
    return None
  try:
    width = min(width, 19)  # in UTC, with or without the Z
    letters = np.ascontiguousarray(letters[:, :width])
    moments = letters.view(f'S{width}')[:, 0].astype('datetime64[s]')
  except ValueError:  # a 13th month, a 30th of February
    return None
  return moments.astype(np.int64)


def _parse_distinct(
  cells: Cells,
  rows: np.ndarray,
  parse: Callable[[str], tuple[int | float, int]],
  values: np.ndarray,
  faults: np.ndarray,
) -> np.ndarray:
  """Parses the cells of `rows` in Python, each distinct text once.

  Writes into `values` and `faults`; `values` is copied to f64 first if a
  float turns up. Returns the values.
  """
  strings = _strings(take(cells, rows))
  table = {string: parse(string) for string in set(strings)}
  if any(isinstance(value, float) for value, _ in table.values()):
    values = values.astype(np.float64, copy=False)
  if rows.size:
    values[rows] = [table[string][0] for string in strings]
    faults[rows] = [table[string][1] for string in strings]
  return values


def _strings(cells: Cells) -> list[str]:
  slices = zip(cells.starts.tolist(), cells.ends.tolist(), strict=True)
  if cells.data.isascii():
    text = cells.data.decode('ascii')
    return [text[start:end] for start, end in slices]
  return [cells.data[start:end].decode() for start, end in slices]


def _number(text: str) -> tuple[float, int]:
  """A finite decimal number and its fault."""
  # The pattern keeps out what `float` takes besides: 1_000, nan, spaces.
  value = float(text) if _DECIMAL.fullmatch(text) else math.nan
  return (value, 0) if math.isfinite(value) else (0.0, NOT_NUMBER)


def _unix_seconds(text: str) -> tuple[int | float, int]:
  """A decimal number or an ISO-8601 date as Unix seconds, and its fault.

  Whole seconds are int. A date without an offset is UTC.
  """
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
