"""Text or typed cells become numbers and texts; bad ones are named.

A reader hands over a `Block` of rows whose columns are polars series: of text
where the file is text, else of the type in the file. Polars parses a column at
once; only the cells it refuses are looked at in Python, each distinct text
once, to accept what polars does not know or to say what is wrong. Blanks around
a cell are no part of it, and a name such as NA stands for a missing value.
"""

from collections.abc import Callable, Sequence
import difflib
import math
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import usual_names

MAX_ID_BYTES = 256  # a unicode array is as wide as its longest id

# What programs write for a missing value; an empty cell is one as well.
MISSING_NAMES = (
  *('NA', 'N/A', 'n/a', '#N/A', '<NA>', 'nan', 'NaN'),
  *('NULL', 'null', 'None', '\\N'),
)

# Faults of a cell; 0 is a good cell.
EMPTY, NOT_INTEGER, TOO_LARGE, TOO_LONG, NEGATIVE, NOT_TIME, NOT_NUMBER = range(
  1, 8
)
MISSING, OTHER_SCALE, NOT_LABEL = 8, 9, 10
PHRASES = {
  EMPTY: 'is empty',
  NOT_INTEGER: 'is not an integer',
  TOO_LARGE: 'does not fit a 64-bit integer',
  TOO_LONG: f'is longer than {MAX_ID_BYTES} bytes',
  NEGATIVE: 'is negative',
  NOT_TIME: 'is not a time',
  NOT_NUMBER: 'is not a finite number',
  MISSING: 'stands for a missing value',
  OTHER_SCALE: 'is of another scale than the other times',
  NOT_LABEL: 'is neither 0 nor 1',
}
# Numbers of fields that tell why a ragged line is no row.
BROKEN, HEADER_AGAIN = 0, -1

_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_INT64_DIGITS = 19
_INTEGER = re.compile(r'-?[0-9]+')
_DECIMAL = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')
_SHORT = 60  # characters of a cell in a message
_Value = tuple[int | float, int]  # a value and its fault


class Block(NamedTuple):
  """Consecutive rows of a table."""

  path: pathlib.Path
  # i64[R], line (or row) numbers of the well-formed rows, from 1.
  lines: np.ndarray
  # Column name -> series of R cells; a missing cell is null or ''.
  columns: dict[str, polars.Series]
  ragged_lines: np.ndarray  # i64[M], lines that are no row
  # i64[M], the wrong number of fields; BROKEN or HEADER_AGAIN for other causes.
  ragged_fields: np.ndarray
  num_fields: int  # the right number of fields
  # Of several files: the lines before each, and its path.
  files: tuple[tuple[int, pathlib.Path], ...] = ()
  unit: str = 'line'  # what `lines` count: 'line' or 'row'
  # What is wrong with ragged lines that have 0 fields.
  broken: str = 'broken quotes'


class Parsed(NamedTuple):
  """A typed column."""

  values: Any  # [R], an array of numbers, or a series of texts
  faults: np.ndarray  # u8[R], 0 for good cells
  notes: tuple[tuple[str, int], ...] = ()  # what was changed, and how often


class Kind(NamedTuple):
  """Cells of one meaning."""

  parse: Callable[[polars.Series], Parsed]  # reads a column of them
  allowed: str  # what a cell may be, for errors
  typed: str  # what a typed column may hold, for errors


def text_at(raw: polars.Series, row: int) -> str:
  """The cell of one row as text, for messages."""
  value = raw[row]
  return '' if value is None else str(value)


def quoted_at(raw: polars.Series, row: int) -> str:
  """The cell of one row as messages name it: in quotes, on one line, short."""
  text = text_at(raw, row)
  return repr(text if len(text) <= _SHORT else f'{text[:_SHORT]}...')


def texts(raw: polars.Series) -> list[str]:
  """All cells as text; '' where one is missing."""
  return raw.cast(polars.String).fill_null('').to_list()


def tidied(raw: polars.Series) -> polars.Series:
  """Text of a column without blanks around it, in Unicode's composed form.

  An accent written apart from its letter is joined to it, so that one name has
  one form; '' stands where a cell is missing.
  """
  text = raw.cast(polars.String).fill_null('')
  if raw.dtype != polars.String:
    return text
  text = text.str.strip_chars()
  if (text.str.len_bytes() != text.str.len_chars()).any():
    text = text.str.normalize('NFC')
  return text


def plain_integers(text: polars.Series) -> tuple[polars.Series, polars.Series]:
  """Which texts are integers of 64 bits as Python writes them; all integers."""
  integers = text.cast(polars.Int64, strict=False)
  some = integers.is_not_null()
  if some.any():
    some &= (integers.cast(polars.String) == text).fill_null(False)
  return some, integers


def parse_integer_ids(raw: polars.Series) -> Parsed:
  """Ids i64[R]; '007' is a fault, as it would not be written back the same."""
  if raw.dtype.is_integer():
    return _typed_integers(raw)
  text = tidied(raw)
  good, integers = plain_integers(text)
  return completed(text, integers, good, _integer_id)


def parse_order(raw: polars.Series) -> Parsed:
  """An order key, i64[R]: any integers, leading zeros allowed."""
  if raw.dtype.is_integer():
    return _typed_integers(raw)
  text = tidied(raw)
  integers = text.cast(polars.Int64, strict=False)
  return completed(text, integers, is_integer(text, integers), integer)


def parse_texts(raw: polars.Series, spared: Sequence[str] = ()) -> Parsed:
  """Texts, a series of R strings.

  Empty and overlong ones are faults, and so are MISSING_NAMES but `spared`.
  """
  text = tidied(raw)
  faults = np.zeros(len(text), np.uint8)
  lengths = text.str.len_bytes().to_numpy()
  faults[lengths == 0] = EMPTY
  faults[lengths > MAX_ID_BYTES] = TOO_LONG
  names = [name for name in MISSING_NAMES if name not in spared]
  faults[text.is_in(names).to_numpy()] = MISSING
  return Parsed(text, faults, _changes(raw, text))


def parse_any(raw: polars.Series) -> Parsed:
  """Texts of any length, also none, as they are."""
  text = raw.cast(polars.String).fill_null('')
  return Parsed(text, np.zeros(len(text), np.uint8))


def parse_numbers(raw: polars.Series, comma: bool = False) -> Parsed:
  """Finite numbers, f64[R]; with `comma`, 3,5 is three and a half."""
  if raw.dtype != polars.String:
    numbers = raw.cast(polars.Float64, strict=False)
    good = numbers.is_finite().fill_null(False)
    return typed(raw, numbers, good, NOT_NUMBER)
  text = tidied(raw)
  text = text.str.replace(',', '.', literal=True) if comma else text
  numbers = text.cast(polars.Float64, strict=False)
  good = numbers.is_finite().fill_null(False)
  return completed(text, numbers, good, number)


def parse_labels(raw: polars.Series) -> Parsed:
  """Labels, i8[R]: 1 for a click, 0 for what was shown and not clicked."""
  values, faults, notes = parse_numbers(raw)
  strange = (faults == 0) & (values != 0) & (values != 1)
  faults = np.where(strange, NOT_LABEL, faults).astype(np.uint8)
  return Parsed((values == 1).astype(np.int8), faults, notes)


_ID_TYPES = 'integers, whole floats or strings'
INTEGER = Kind(parse_order, 'integers of 64 bits', 'integers')
NUMBER = Kind(parse_numbers, 'finite numbers', 'integers, floats or strings')
LABEL = Kind(
  parse_labels,
  '1 for a click and 0 for what was shown and not clicked',
  'integers, floats, strings or booleans',
)
TEXT = Kind(parse_texts, 'any text that is not empty', 'strings or integers')
ANY_TEXT = Kind(parse_any, 'any text', 'strings or integers')
ID = Kind(
  parse_integer_ids,
  'integers of 64 bits, or any text with --id_type=string',
  _ID_TYPES,
)
TEXT_ID = Kind(parse_texts, f'text of at most {MAX_ID_BYTES} bytes', _ID_TYPES)


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
    listed = ', '.join(types.printable(name[:40]) for name in names[:30])
    listed += ', ...' if len(names) > 30 else ''
    perhaps = usual_names.flags(names)
    if near := difflib.get_close_matches(missing[0], names, 1, 0.75):
      perhaps = repr(near[0])
    perhaps = f' (perhaps {perhaps})' if perhaps else ''
    raise types.UserError(
      f'{path}: no column {missing[0]!r}; the columns are: {listed}. Name '
      'yours with --user_column, --item_column, --time_column, ...'
      f'{perhaps}{hint}'
    )


def is_integer(text: polars.Series, integers: polars.Series) -> polars.Series:
  """Which texts are integers; polars takes a plus as well."""
  return integers.is_not_null() & ~text.str.starts_with('+')


def completed(
  text: polars.Series,
  parsed: polars.Series,
  good: polars.Series,
  parse: Callable[[str], _Value],
) -> Parsed:
  """Values that polars parsed, completed by the cells that are not `good`.

  The values are floats if any of them is.
  """
  values = parsed.fill_null(0).to_numpy()
  faults = np.zeros(len(text), np.uint8)
  rows = np.flatnonzero(~good.to_numpy())
  if not rows.size:
    return Parsed(values, faults)
  rest = text.gather(rows)
  distinct = rest.unique()
  table = [
    (0, MISSING) if cell in MISSING_NAMES else parse(cell)
    for cell in distinct.to_list()
  ]
  place = rest.replace_strict(
    distinct, polars.Series(range(len(distinct)), dtype=polars.Int64)
  ).to_numpy()
  if any(isinstance(value, float) for value, _ in table):
    values = values.astype(np.float64)
  values = np.array(values)  # polars may lend its memory for reading only
  values[rows] = np.array([value for value, _ in table], values.dtype)[place]
  faults[rows] = np.array([fault for _, fault in table], np.uint8)[place]
  return Parsed(values, faults)


def typed(
  raw: polars.Series, values: polars.Series, good: polars.Series, fault: int
) -> Parsed:
  """Values of a typed column, all but the `good` ones with a fault."""
  faults = np.where(good.to_numpy(), 0, fault).astype(np.uint8)
  faults[raw.is_null().to_numpy()] = EMPTY
  return Parsed(values.fill_null(0).to_numpy(), faults)


def _typed_integers(raw: polars.Series) -> Parsed:
  # Integers of 64 bits without a sign may not fit.
  integers = raw.cast(polars.Int64, strict=False)
  return typed(raw, integers, integers.is_not_null(), TOO_LARGE)


def _changes(
  raw: polars.Series, text: polars.Series
) -> tuple[tuple[str, int], ...]:
  """What `tidied` has changed, and in how many cells."""
  if raw.dtype != polars.String:
    return ()
  changed = raw.fill_null('') != text
  if not changed.any():
    return ()
  before = raw.filter(changed)
  bare = before.str.strip_chars()
  blanks = int((before != bare).sum())
  joined = int((bare != text.filter(changed)).sum())
  counts = (
    (f'{raw.name} cells with blanks around them, which are cut', blanks),
    (f'{raw.name} cells with accents apart, which are joined (NFC)', joined),
  )
  return tuple((what, count) for what, count in counts if count)


def integer(text: str) -> _Value:
  """An integer, leading zeros allowed, and its fault."""
  if not _INTEGER.fullmatch(text):
    return 0, NOT_INTEGER if text else EMPTY
  if len(text.lstrip('-0')) > _INT64_DIGITS:
    return 0, TOO_LARGE  # `int` refuses thousands of digits
  value = int(text)
  return (value, 0) if _MIN_INT64 <= value <= _MAX_INT64 else (0, TOO_LARGE)


def _integer_id(text: str) -> _Value:
  """An integer as Python writes it, and its fault."""
  value, fault = integer(text)
  if not fault and str(value) != text:
    return 0, NOT_INTEGER
  return value, fault


def number(text: str) -> tuple[float, int]:
  """A finite decimal number and its fault."""
  if not text:
    return 0.0, EMPTY
  # The pattern keeps out what `float` takes besides: 1_000, nan, spaces.
  value = float(text) if _DECIMAL.fullmatch(text) else math.nan
  return (value, 0) if math.isfinite(value) else (0.0, NOT_NUMBER)
