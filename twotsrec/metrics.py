"""Ranking metrics of one held-out item, as functions of its rank.

A rank is 1 for the best item. Among scores that are equal the rank lies
`ties` of the way down: 0.5 is the mid rank, 0 optimistic, 1 pessimistic. The
rank functions take NumPy arrays, JAX arrays and Python numbers, keep one value
per held-out item and leave means to the caller.

Reference: PIN sec. 4.1.3 and eq. 14.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any  # np.ndarray or jax.Array


def rank_from_counts(better: Array, tied: Array, ties: float = 0.5) -> Array:
  """Rank of an item, 1 + better + ties * tied, float[...].

  Args:
    better: negatives that score higher, int[...].
    tied: negatives that score the same, int[...].
    ties: share of the tied negatives that count as better.
  """
  return 1.0 + better + ties * tied


def hit(rank: Array, k: int) -> Array:
  """1 where the item is among the first k, float[...]."""
  return _numpy_for(rank).where(rank <= k, 1.0, 0.0)


def ndcg(rank: Array, k: int) -> Array:
  """1 / log2(1 + rank) among the first k, else 0, float[...].

  One item is relevant, so the ideal gain is 1.
  """
  numpy = _numpy_for(rank)
  return numpy.where(rank <= k, 1.0 / numpy.log2(1.0 + rank), 0.0)


def reciprocal_rank(rank: Array) -> Array:
  """1 / rank, float[...]."""
  return 1.0 / rank


def user_auc(rank: Array, num_negatives: Array) -> Array:
  """Share of the negatives below the item, float[...]; NaN without any.

  With the mid rank this is the AUC of one positive among its negatives with
  half credit for ties; it is linear in rank, hence unbiased under uniform
  sampling of negatives.
  """
  numpy = _numpy_for(rank)
  share = (rank - 1.0) / numpy.maximum(num_negatives, 1)
  return numpy.where(num_negatives > 0, 1.0 - share, numpy.nan)


def pooled_auc(
  positive: np.ndarray, negative: np.ndarray, ties: float = 0.5
) -> float:
  """Exact share of (positive, negative) pairs in the right order.

  Args:
    positive: scores of observed items, f32[P].
    negative: scores of unobserved items, f32[N].
    ties: credit for a pair of equal scores; 0 is the strict inequality of
      PIN eq. 14.
  Returns:
    The AUC; NaN if either side is empty. On the host: counts are int64.
  """
  positive, negative = np.asarray(positive), np.asarray(negative)
  if not positive.size or not negative.size:
    return float('nan')
  below, tied = count_below(positive, np.sort(negative))
  credit = below.sum() + ties * tied.sum()
  return float(credit / (positive.size * negative.size))


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


def _numpy_for(values: Array) -> Any:
  """Float64 on the host, and traceable on the device."""
  return jnp if isinstance(values, jax.Array) else np


def or_none(value: float) -> float | None:
  """The value; None where it is NaN or infinite, which JSON has not."""
  return float(value) if np.isfinite(value) else None
