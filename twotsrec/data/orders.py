"""Stable sorting of many rows by two columns."""

import numpy as np

_MAX_INT64 = 2**63 - 1


def stable(major: np.ndarray, minor: np.ndarray) -> np.ndarray:
  """Positions that sort rows by major, then minor, then position, i64[N].

  It equals `np.lexsort((minor, major))`; integers whose ranges fit one number
  together are sorted several times faster.

  Args:
    major: [N].
    minor: [N].
  """
  key = _combined(major, minor)
  if key is None:
    return np.lexsort((minor, major))
  order = np.argsort(key)  # much faster than the stable kind
  ordered = key[order]
  runs = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0) * len(key)
  return np.sort(runs + order) - runs


def _combined(major: np.ndarray, minor: np.ndarray) -> np.ndarray | None:
  """One number that orders as both, i64[N]; None if there is none."""
  if not len(major) or major.dtype.kind != 'i' or minor.dtype.kind != 'i':
    return None
  low, least = int(np.min(major)), int(np.min(minor))
  width = int(np.max(minor)) - least + 1
  largest = (int(np.max(major)) - low + 1) * width
  if max(largest, len(major) ** 2) > _MAX_INT64:
    return None
  key = np.subtract(major, low, dtype=np.int64) * width
  return key + np.subtract(minor, least, dtype=np.int64)
