"""Users by their number of training events (2TS fig. 3 and 5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from twotsrec import types

EDGES = (50, 100, 200, 300)  # fig. 3: <51, 51-100, 101-200, 201-300, >300
NEW = 'new'


def names(edges: Sequence[int] = EDGES) -> list[str]:
  """Names of the buckets of `assign`: new users, then the ranges."""
  check(edges)
  lows = [1, *(edge + 1 for edge in edges)]
  ranges = [_span(low, high) for low, high in zip(lows, edges)]
  return [NEW, *ranges, f'>{edges[-1]}']


def pooled_name(edges: Sequence[int] = EDGES) -> str:
  """Name of the first range with the new users."""
  return _span(0, edges[0])


def assign(train_count: Any, edges: Sequence[int] = EDGES) -> np.ndarray:
  """Bucket of each user, 0 for no training event, an edge in the lower one.

  Args:
    train_count: i64[...], training events.
    edges: last count of each range, ascending; the last range has no end.
  Returns:
    i32[...], 0..len(edges) + 1.
  """
  check(edges)
  train_count = np.asarray(train_count)
  ranged = 1 + np.searchsorted(np.asarray(edges), train_count, side='left')
  return np.where(train_count > 0, ranged, 0).astype(np.int32)


def histogram(train_count: Any) -> dict[str, list[int]]:
  """Numbers of users by their training events, for the activity figure.

  Args:
    train_count: i64[U].
  Returns:
    {'values': ascending, only those that occur, 'users': their counts}.
  """
  values, users = np.unique(np.asarray(train_count), return_counts=True)
  return {'values': values.tolist(), 'users': users.tolist()}


def check(edges: Sequence[int]) -> None:
  """Raises a UserError unless the edges are positive and ascending."""
  if not len(edges) or min(edges) < 1 or np.any(np.diff(edges) <= 0):
    raise types.UserError(
      f'bucket edges are {tuple(edges)}; they must be at least 1 and ascending,'
      f' such as {EDGES}'
    )


def _span(low: int, high: int) -> str:
  return f'{low}-{high}' if low < high else str(low)
