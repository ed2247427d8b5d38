"""What tells an event of a user from the user's others, as one number.

An event is the same as another one of its user if both have the same id, or, of
tables without a column of ids, the same item and the same time. Numbers are the
same on every machine and in every version, since they are kept beside states.
"""

import numpy as np

from twotsrec.data import ids as ids_lib

NONE = 0  # of an event that nothing tells from another one
# Of SplitMix64 (Steele et al. 2014).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (
  (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
  (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST = np.uint64(31)


def of_ids(ids: ids_lib.Column) -> np.ndarray:
  """Identities i64[N] of events with ids."""
  return _settled(_of_values(ids))


def of_times(item: np.ndarray, time: np.ndarray) -> np.ndarray:
  """Identities i64[N] of items, as `of_items` gives them, at times f64[N].

  An event whose time is not a number has none.
  """
  # Zero is one time with two signs.
  bits = (np.asarray(time, np.float64) + 0.0).view(np.uint64)
  mixed = _mixed(np.asarray(item).view(np.uint64) ^ _mixed(bits))
  return np.where(np.isnan(time), NONE, _settled(mixed))


def of_items(item: np.ndarray, external: ids_lib.Column | None) -> np.ndarray:
  """Numbers i64[N] of items: inner ones i32[N], and external ids where it is 0.

  `external` is None where all items are of the catalog.
  """
  numbers = np.array(item, np.int64)
  unknown = numbers == 0
  if external is None or not np.any(unknown):
    return numbers
  values = _of_values(external[unknown]).view(np.int64)
  numbers[unknown] = -np.abs(values >> 1) - 1
  return numbers


def _of_values(values: ids_lib.Column) -> np.ndarray:
  """u64[N] of external ids."""
  if isinstance(values, ids_lib.Texts):
    return _of_values(values.names)[values.codes]
  if values.dtype.kind != 'U':
    return _mixed(values.astype(np.int64).view(np.uint64))
  characters = np.ascontiguousarray(values).view(np.uint32)
  characters = characters.reshape(len(values), -1)
  state = np.zeros(len(values), np.uint64)
  for column in characters.T:
    # What fills up a short text changes nothing.
    after = _mixed(state ^ column.astype(np.uint64))
    state = np.where(column > 0, after, state)
  return state


def _mixed(values):
  """Spreads the bits of u64[N]; a bijection."""
  values = values + _STEP
  for shift, factor in _MIX:
    values = (values ^ (values >> shift)) * factor
  return values ^ (values >> _LAST)


def _settled(values):
  """i64[N], none of them `NONE`."""
  return np.where(values == NONE, 1, values.view(np.int64))
