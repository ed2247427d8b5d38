"""Exact pooled AUC per group and over everybody, in bounded memory.

The AUC of a group pools all its pairs: a positive of one user is compared with
the negatives of every user of the group (PIN sec. 4.1.3, "computed in the
group level"). All positives are scored first; then tiles of negatives stream
by, and every positive counts the negatives below it and equal to it. That takes
[T] numbers, whatever the number of negatives.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import metrics
from twotsrec.evaluation import counting


class PooledCounts(NamedTuple):
  """Counts for the positives, in ascending order of score.

  Attributes:
    order: i64[T], the target at each place.
    score: f32[T], ascending.
    group: i32[T], at each place.
    below: i64[2, T], negatives below: those of the own group, and all.
    tied: i64[2, T], negatives equal.
    num_negatives: i64[G], streamed so far.
  """

  order: np.ndarray
  score: np.ndarray
  group: np.ndarray
  below: np.ndarray
  tied: np.ndarray
  num_negatives: np.ndarray


def pooled_counts(group: np.ndarray, num_groups: int) -> counting.Fold:
  """A fold over negative scores that ends in `PooledCounts`.

  Args:
    group: i32[T], group of each target and of its negatives, 0..G-1.
    num_groups: G.
  """

  def init(positive: np.ndarray) -> PooledCounts:
    order = np.argsort(positive, kind='stable')
    return PooledCounts(
      order=order,
      score=positive[order],
      group=group[order],
      below=np.zeros((2, positive.size), np.int64),
      tied=np.zeros((2, positive.size), np.int64),
      num_negatives=np.zeros(num_groups, np.int64),
    )

  def step(counts, rows, scores, negative):
    row_group = group[rows]
    for group_id in np.unique(row_group):
      chosen = row_group == group_id
      # Targets come sorted by group: mostly the whole tile is one group.
      mine = slice(None) if chosen.all() else chosen
      # Sorting what is left out to the end is faster than leaving it out.
      ordered = np.where(negative[mine], scores[mine], np.inf).ravel()
      ordered.sort()
      negatives = ordered[: np.count_nonzero(negative[mine])]
      own = counts.group == group_id
      pair = metrics.count_below(counts.score, negatives)
      below, tied = (np.stack([np.where(own, n, 0), n]) for n in pair)
      in_group = np.arange(num_groups) == group_id
      counts = counts._replace(
        below=counts.below + below,
        tied=counts.tied + tied,
        num_negatives=counts.num_negatives + in_group * negatives.size,
      )
    return counts

  return counting.Fold(init, step)


def placements(
  counts: PooledCounts, ties: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
  """Share of the pooled negatives below each positive.

  The pooled AUC is the mean of these: of the first over the targets of a
  group, of the second over all targets.

  Args:
    counts: after all negatives.
    ties: credit for an equal score; 0 is the strict inequality of PIN eq. 14.
  Returns:
    (f64[T] against the own group, f64[T] against all), in the order of the
    targets; NaN where there are no negatives.
  """
  everybody = np.full(counts.group.size, counts.num_negatives.sum())
  totals = np.stack([counts.num_negatives[counts.group], everybody])
  share = (counts.below + ties * counts.tied) / np.maximum(totals, 1)
  placed = np.empty_like(share)
  placed[:, counts.order] = np.where(totals > 0, share, np.nan)
  return placed[0], placed[1]
