"""Ragged rows on the host: histories and the items a user has seen."""

from typing import Any, NamedTuple

import numpy as np


class Ragged(NamedTuple):
  """Slices of different lengths, one after the other, columns [M]."""

  row: np.ndarray  # slice that a value is of
  values: np.ndarray
  place: np.ndarray  # of the value in its slice


class Exclusions(NamedTuple):
  """Distinct items that each row may not be compared with.

  Attributes:
    offsets: i64[B + 1].
    items: i64[M], ascending inside a row.
  """

  offsets: np.ndarray
  items: np.ndarray

  @property
  def counts(self) -> np.ndarray:
    """Items of each row, i64[B]."""
    return np.diff(self.offsets)


def histories(
  items: np.ndarray, start: np.ndarray, end: np.ndarray, length: int
) -> np.ndarray:
  """The last `length` of items[start:end] for every row.

  Args:
    items: i32[N], all events.
    start: i64[B], the first event of the row's user.
    end: i64[B], one past the last event that may be seen.
    length: L.
  Returns:
    i32[B, L], oldest first, right-padded with 0.
  """
  start, end = np.asarray(start, np.int64), np.asarray(end, np.int64)
  lengths = np.minimum(end - start, length)
  steps = np.arange(length)
  index = (end - lengths)[:, None] + steps
  inside = steps < lengths[:, None]
  history = np.zeros(index.shape, np.int32)
  history[inside] = items[index[inside]]
  return history


def slices(values: np.ndarray, first: np.ndarray, counts: np.ndarray) -> Ragged:
  """values[first[r] : first[r] + counts[r]] of every row r, i64[B] both."""
  row = np.repeat(np.arange(first.size), counts)
  place = np.arange(row.size) - np.repeat(np.cumsum(counts) - counts, counts)
  return Ragged(row, values[np.repeat(first, counts) + place], place)


def exclusions(
  seen: Any, users: np.ndarray, also: np.ndarray | None = None
) -> Exclusions:
  """Seen items of some users, with one item more per row if given.

  Args:
    seen: `offsets` i64[U + 1] and `items` i32[M], as `prepared.SeenItems`.
    users: i[B], users may repeat.
    also: i32[B], such as the held-out item itself.
  """
  users, offsets = np.asarray(users, np.int64), np.asarray(seen.offsets)
  first = offsets[users].astype(np.int64)
  counts = offsets[users + 1] - first
  rows, items, _ = slices(seen.items, first, counts)
  items = np.asarray(items, np.int64)
  if also is not None:
    rows = np.concatenate([rows, np.arange(users.size)])
    items = np.concatenate([items, np.asarray(also, np.int64)])
  if not items.size:
    return Exclusions(np.zeros(users.size + 1, np.int64), items)
  span = items.max() + 1
  # Sorting and comparing neighbors is faster than np.unique.
  pairs = np.sort(rows * span + items)
  pairs = pairs[np.diff(pairs, prepend=-1) > 0]
  counts = np.bincount(pairs // span, minlength=users.size)
  return Exclusions(np.concatenate([[0], np.cumsum(counts)]), pairs % span)


def pad_rows(values: np.ndarray, num_rows: int) -> np.ndarray:
  """`values` with zero rows added up to `num_rows`."""
  padding = [(0, num_rows - values.shape[0])] + [(0, 0)] * (values.ndim - 1)
  return np.pad(values, padding)


def pad_users(users: np.ndarray, num_rows: int) -> np.ndarray:
  """Users i32[b] with -1, which is nobody, added up to `num_rows`."""
  return np.append(users, np.full(num_rows - len(users), -1)).astype(np.int32)
