"""Ranking metrics of one held-out item, by its place among its rivals.

Where rivals score the same as the item, any of the places that the tie spans
may be the item's: a metric is its mean over these places, as over all orders of
the tie. `ties` = 0.5 says so; 0 is the first place alone (optimistic), 1 the
last (pessimistic), and between them the item takes that end with probability
|2 ties - 1| and any place otherwise. A scorer that gives everything the same
score hits with chance k / (rivals + 1), whatever the number of rivals.

An item without rivals is first by force, so `among_rivals` leaves it out. The
functions take NumPy arrays and Python numbers, keep one value per held-out item
and leave means to the caller.

Reference: PIN sec. 4.1.3 and eq. 14.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

Array = Any  # np.ndarray or a number
MEAN = 0.5  # ties: all places count the same


def rank_from_counts(better: Array, tied: Array, ties: float = MEAN) -> Array:
  """Mean place of an item, 1 + better + ties * tied, float[...].

  Args:
    better: rivals that score higher, int[...].
    tied: rivals that score the same, int[...].
    ties: how far down the tie the item lies in the mean.
  """
  return 1.0 + better + ties * tied


def hit(better: Array, tied: Array, k: int, ties: float = MEAN) -> np.ndarray:
  """Chance to be among the first k, f64[...]; counts as `rank_from_counts`."""
  return gain(np.ones(k), better, tied, ties)


def ndcg(better: Array, tied: Array, k: int, ties: float = MEAN) -> np.ndarray:
  """1 / log2(1 + place) among the first k, else 0, f64[...].

  One item is relevant, so the ideal gain is 1.
  """
  return gain(discounts(k), better, tied, ties)


def discounts(k: int) -> np.ndarray:
  """What the first k places are worth, 1 / log2(1 + place), f64[k]."""
  return 1.0 / np.log2(np.arange(2, k + 2))


def gain(
  gains: np.ndarray, better: Array, tied: Array, ties: float = MEAN
) -> np.ndarray:
  """Gains f64[k] of the first k places, 0 beyond them, f64[...]."""
  at = np.append(gains, 0.0)
  summed = np.append(0.0, np.cumsum(gains))
  last = len(gains)
  return _over_places(
    lambda place: at[np.minimum(place - 1, last)],
    lambda places: summed[np.minimum(places, last)],
    better,
    tied,
    ties,
  )


def reciprocal_rank(
  better: Array, tied: Array, ties: float = MEAN
) -> np.ndarray:
  """1 / place, f64[...]; counts as `rank_from_counts`."""
  return _over_places(lambda place: 1.0 / place, harmonic, better, tied, ties)


def harmonic(number: Array) -> np.ndarray:
  """1 + 1/2 + ... + 1/number, f64[...]; 0 of 0."""
  return special.digamma(np.asarray(number) + 1.0) + np.euler_gamma


def _over_places(
  value: Callable[[np.ndarray], np.ndarray],
  summed: Callable[[np.ndarray], np.ndarray],
  better: Array,
  tied: Array,
  ties: float,
) -> np.ndarray:
  """The mean of value(place); summed(n) is its sum over the first n places."""
  better, tied = np.asarray(better, np.int64), np.asarray(tied, np.int64)
  first, last = better + 1, better + tied + 1
  mean = (summed(last) - summed(better)) / (tied + 1)
  end = value(first if ties < MEAN else last)
  share = abs(2.0 * ties - 1.0)
  # Without a tie the value itself, whose bits no difference of sums has.
  return np.where(tied == 0, value(first), share * end + (1.0 - share) * mean)


def among_rivals(values: Array, rivals: Array) -> np.ndarray:
  """The values; NaN, which takes no part in a mean, where there is no rival.

  Args:
    values: of a metric, float[...].
    rivals: candidates beside the held-out item, int[...].
  """
  return np.where(np.asarray(rivals) > 0, values, np.nan)


def user_auc(rank: Array, num_negatives: Array) -> np.ndarray:
  """Share of the negatives below the item, float[...]; NaN without any.

  At the mean place of a tie this is the AUC of one positive among its negatives
  with half credit for ties; it is linear in rank, hence unbiased under uniform
  sampling of negatives.
  """
  share = (rank - 1.0) / np.maximum(num_negatives, 1)
  return among_rivals(1.0 - share, num_negatives)


def count_below(
  scores: np.ndarray, ascending: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """How many values, ascending f32[N], are below and equal to scores f32[P].

  Returns:
    (below i64[P], equal i64[P]).
  """
  below = np.searchsorted(ascending, scores, side='left').astype(np.int64)
  up_to = np.searchsorted(ascending, scores, side='right').astype(np.int64)
  return below, up_to - below


def or_none(value: float) -> float | None:
  """The value; None where it is NaN or infinite, which JSON has not."""
  return float(value) if np.isfinite(value) else None
