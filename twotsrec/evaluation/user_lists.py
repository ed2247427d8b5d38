"""Precision, average precision and NDCG: held-out items of a user in one list.

Where a held-out item is ranked without the other ones of its user (APART), it
stands lower in one list with them by as many as are above it: with b rivals
above, the i-th of them is at place b + i. Where they are among its rivals
(TOGETHER), its place is that of the list. Items that are ranked after histories
of their own, or in lists of their own, have no list in common (NO_LIST).

Of rivals and held-out items that all tie any order counts the same, as in
`metrics`. Its `ties` = 0 puts the held-out items of a tie before its rivals, 1
behind them, and between these a list is the one end with probability
|2 ties - 1| and in any order otherwise.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import metrics

APART, TOGETHER, NO_LIST = range(3)


class Places(NamedTuple):
  """Where held-out items stand in the lists of their users; arrays [T].

  Attributes:
    above: rivals and held-out items that score higher.
    found: the held-out items among these.
    together: held-out items that share the tie, the item itself among them.
    size: places of the tie.
    held: held-out items of the user.
  """

  above: np.ndarray
  found: np.ndarray
  together: np.ndarray
  size: np.ndarray
  held: np.ndarray


def places(
  user: np.ndarray, better: np.ndarray, tied: np.ndarray, kind: int = APART
) -> Places:
  """Joins the ranks i64[T] of the distinct held-out items of users i64[T]."""
  order = np.lexsort((tied, better, user))
  columns = np.stack([np.asarray(c)[order] for c in (user, better, tied)])
  change = np.diff(columns, axis=1, prepend=-1) != 0
  # Without rivals between them it is the same in any order.
  runs = [np.flatnonzero(change[:1].any(axis=0))]
  runs.append(np.flatnonzero(change.any(axis=0)))
  starts, counts = zip(*(_of_runs(first, order.size) for first in runs))
  found, together = starts[1] - starts[0], counts[1]
  made = Places(
    above=columns[1] + (found if kind == APART else 0),
    found=found,
    together=together,
    size=columns[2] + (together if kind == APART else 1),
    held=counts[0],
  )
  back = np.argsort(order)
  return Places(*(column[back] for column in made))


def precision(at: Places, k: int, ties: float = metrics.MEAN) -> np.ndarray:
  """Share of held-out items among a user's first k places, f64[T].

  The value is the mean over the held-out items of a user.
  """
  found = metrics.hit(at.above, at.size - 1, k)
  ends = np.clip(k - _before(at, ties), 0, at.together) / at.together
  return _mixed(found, ends, ties) * at.held / k


def average_precision(
  at: Places, k: int, ties: float = metrics.MEAN
) -> np.ndarray:
  """Precision at the places of held-out items among the first k, f64[T].

  Their sum over min(k, held-out items); the value is the mean over the held-out
  items of a user.
  """
  places = np.clip(k - at.above, 0, at.size)
  inverse = metrics.harmonic(at.above + places) - metrics.harmonic(at.above)
  # At the q-th place of a tie (q - 1) (m - 1) / (size - 1) of its other
  # held-out items are found already; sum over q / (above + q).
  more = (at.together - 1) / np.maximum(at.size - 1, 1)
  summed = (at.found + 1) * inverse
  summed = summed + more * (places - (at.above + 1) * inverse)
  # Next to each other behind b places the q-th has (found + q) / (b + q).
  before = _before(at, ties)
  number = np.clip(k - before, 0, at.together)
  inverse = metrics.harmonic(before + number) - metrics.harmonic(before)
  end = number - (before - at.found) * inverse
  value = _mixed(summed / at.size, end / at.together, ties)
  return value * at.held / np.minimum(at.held, k)


def ndcg(at: Places, k: int, ties: float = metrics.MEAN) -> np.ndarray:
  """Discounts of a user's held-out items over those of the best list, f64[T].

  The best list has them at its first min(k, held-out items) places. The value
  is the mean over the held-out items of a user.
  """
  gains = metrics.discounts(k)
  mean = metrics.gain(gains, at.above, at.size - 1)
  end = metrics.gain(gains, _before(at, ties), at.together - 1)
  ideal = np.cumsum(gains)[np.minimum(at.held, k) - 1]
  return _mixed(mean, end, ties) * at.held / ideal


def _before(at, ties) -> np.ndarray:
  """Places before the held-out items of a tie, at the end that `ties` is of."""
  return at.above + (0 if ties < metrics.MEAN else at.size - at.together)


def _mixed(mean, end, ties) -> np.ndarray:
  share = abs(2.0 * ties - 1.0)
  return share * end + (1.0 - share) * mean


def _of_runs(first: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
  """Start and length of the run of each of all elements, i64[total] both."""
  counts = np.diff(first, append=total)
  return np.repeat(first, counts), np.repeat(counts, counts)
