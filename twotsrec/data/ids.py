"""External ids to internal numbers and back.

Users are 0..U-1 and items 1..I (0 is padding), both in ascending order of the
external id, so numbering does not depend on the order of the rows.
"""

import numpy as np

from twotsrec import types


def number(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Distinct ids and the position of every value among them.

  Args:
    values: external ids, i64[N] or unicode [N].
  Returns:
    ids ascending [M], codes i32[N] with ids[codes] == values.
  """
  ids, codes = np.unique(values, return_inverse=True)
  return ids, codes.reshape(-1).astype(np.int32)


def encode(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Position of every value among known ids, i32[N]; -1 if unknown.

  Args:
    ids: ascending external ids, i64[M] or unicode [M].
    values: external ids to look up [N]; text for integer ids is read as
      numbers, numbers for text ids as text.
  """
  values = _as_kind(ids, np.asarray(values))
  if len(ids) == 0:
    return np.full(values.shape, -1, np.int32)
  codes = np.minimum(np.searchsorted(ids, values), len(ids) - 1)
  return np.where(ids[codes] == values, codes, -1).astype(np.int32)


def encode_items(item_ids: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Internal items 1..I, i32[N]; 0 (padding) if unknown."""
  return encode(item_ids, values) + 1


def _as_kind(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
  if ids.dtype.kind == values.dtype.kind or values.size == 0:
    return values.astype(ids.dtype) if values.size == 0 else values
  if ids.dtype.kind == 'U':
    return values.astype(str)
  try:
    return values.astype(np.int64)
  except (ValueError, OverflowError) as error:
    raise types.UserError(
      f'the data have integer ids, but here is {_first_text(values)!r}; use '
      'the ids of the training table'
    ) from error


def _first_text(values: np.ndarray) -> str:
  digits = np.char.isdecimal(np.char.lstrip(values.astype(str), '-'))
  return str(values[np.argmin(digits)])
