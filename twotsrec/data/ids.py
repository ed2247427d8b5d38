"""External ids to internal numbers and back, and columns of text.

Users are 0..U-1 and items 1..I (0 is padding), both in ascending order of the
external id, so numbering does not depend on the order of the rows.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import polars

from twotsrec.data import cells


@dataclasses.dataclass(frozen=True, eq=False)
class Texts:
  """A column of text that holds every distinct text once.

  It is indexed and compared like an array of text, and `np.asarray` makes it
  one.
  """

  # Unicode [M], ascending and distinct; some may have no row.
  names: np.ndarray
  codes: np.ndarray  # i32[N]; row r is names[codes[r]]

  def __len__(self) -> int:
    return len(self.codes)

  def __getitem__(self, rows: Any) -> Any:
    """The text of one row, or the column of several rows."""
    codes = self.codes[rows]
    if np.ndim(codes) == 0:
      return self.names[codes]
    return Texts(self.names, codes)

  def __eq__(self, text: Any) -> Any:
    """Which rows hold a text, bool[N]."""
    return (self.names == text)[self.codes]

  def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
    return np.asarray(self.names[self.codes], dtype)

  def tolist(self) -> list[str]:
    """All rows, as texts."""
    return np.asarray(self).tolist()


Column = np.ndarray | Texts


def texts(series: polars.Series) -> Texts:
  """A column from polars strings or categories, none of them null."""
  if series.dtype == polars.Categorical:
    numbers = series.to_physical()
    first = numbers.arg_unique()
    distinct = texts(series.gather(first).cast(polars.String))
    codes = numbers.replace_strict(
      numbers.gather(first), distinct.codes, return_dtype=polars.Int32
    )
    return Texts(distinct.names, codes.to_numpy())
  distinct = series.unique().sort()
  codes = polars.Series(np.arange(len(distinct), dtype=np.int32))
  rows = series.replace_strict(distinct, codes, return_dtype=polars.Int32)
  names = np.array(distinct.to_list(), np.str_)
  # An array of text drops NUL characters at the end.
  if np.any(names[1:] <= names[:-1]):
    names, place = np.unique(names, return_inverse=True)
    return Texts(names, place.reshape(-1).astype(np.int32)[rows.to_numpy()])
  return Texts(names, rows.to_numpy())


def constant(text: str, count: int) -> Texts:
  """A column with one text in every row."""
  return Texts(np.array([text]), np.zeros(count, np.int32))


def concatenate(columns: Sequence[Column]) -> Column:
  """One column from several, all of numbers or all of text."""
  texts = [column for column in columns if isinstance(column, Texts)]
  if len(texts) < len(columns):
    return np.concatenate([np.asarray(column) for column in columns])
  names = np.unique(np.concatenate([column.names for column in texts]))
  codes = [
    np.searchsorted(names, column.names).astype(np.int32)[column.codes]
    for column in texts
  ]
  return Texts(names, np.concatenate(codes))


def as_text(column: Column) -> Column:
  """A column of text; integers as Python writes them."""
  if isinstance(column, Texts) or is_text(column):
    return column
  return texts(polars.Series(values=column).cast(polars.String))


def is_text(column: Column) -> bool:
  """Whether a column holds text, or else numbers."""
  return isinstance(column, Texts) or column.dtype.kind == 'U'


def integers(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Integers of texts [N] that Python writes so: i64[N], and which, bool[N]."""
  column = polars.Series(values=texts.tolist(), dtype=polars.String)
  good, values = cells.plain_integers(column)
  return values.fill_null(0).to_numpy(), good.to_numpy()


def number(values: Column) -> tuple[np.ndarray, np.ndarray]:
  """Distinct ids and the position of every value among them.

  Args:
    values: external ids, i64[N] or text [N].
  Returns:
    ids ascending [M], codes i32[N] with ids[codes] == values.
  """
  if isinstance(values, Texts):
    used, codes = number(values.codes)
    return values.names[used], codes
  if values.dtype.kind == 'i' and len(values):
    low, high = int(np.min(values)), int(np.max(values))
    if high - low < 4 * len(values) + 1024:
      # A mark for every possible value is much faster than sorting them.
      place = np.subtract(values, low, dtype=np.int64)
      used = np.zeros(high - low + 1, bool)
      used[place] = True
      codes = np.cumsum(used, dtype=np.int32) - np.int32(1)
      return (np.flatnonzero(used) + low).astype(values.dtype), codes[place]
  ids, codes = np.unique(values, return_inverse=True)
  return ids, codes.reshape(-1).astype(np.int32)


def encode(ids: np.ndarray, values: Column) -> np.ndarray:
  """Position of every value among ids, i32[N]; -1 where it is none of them.

  Args:
    ids: ascending external ids, i64[M] or unicode [M].
    values: external ids to look up [N]. Of integer ids, a text is the one that
      Python writes so (not '007'); of text ids, a number is what it is written.
  """
  if isinstance(values, Texts):
    used, codes = number(values)
    return encode(ids, used)[codes]
  values, able = np.asarray(values), True
  if len(ids) == 0 or values.size == 0:
    return np.full(values.shape, -1, np.int32)
  if ids.dtype.kind == 'U':
    values = values.astype(str)
  elif is_text(values):
    values, able = integers(values)
  codes = np.minimum(np.searchsorted(ids, values), len(ids) - 1)
  return np.where(able & (ids[codes] == values), codes, -1).astype(np.int32)


def foreign(ids: np.ndarray, values: Column) -> bool:
  """Whether ids are integers and no value is one."""
  if ids.dtype.kind == 'U' or not is_text(values):
    return False
  return not np.any(integers(number(values)[0])[1])


def encode_items(item_ids: np.ndarray, values: Column) -> np.ndarray:
  """Internal items 1..I, i32[N]; 0 (padding) for other values."""
  return encode(item_ids, values) + 1
