"""Metrics of a held-out item expected over all lists of sampled candidates.

A list holds the item and n of the N other items, drawn without replacement. If
G of the N score higher, k of a list do so with the hypergeometric probability

  P(k) = C(G, k) C(N - G, n - k) / C(N, n),

so G alone gives the mean over an infinite number of lists, without the noise of
any one list. Where N < n all others are candidates. Of the items
that tie with the held-out one half count as better; if their number is odd, the
value is the mean of the two ways to round.

Everything is a product of ratios between 0 and 1: it needs no factorials and
holds for catalogues of millions.
"""

from typing import Any

import numpy as np

_PAIRS = 4096  # at once: hundreds of products over arrays in the cache


def reciprocal_rank(better: Any, tied: Any, others: Any, n: int) -> np.ndarray:
  """E[1 / rank] among the item and n sampled others.

    (N + 1) / ((n + 1) (G + 1)) [1 - C(N - G, n + 1) / C(N + 1, n + 1)]

  Args:
    better: G, items that score higher, i64[...].
    tied: items that score the same, i64[...].
    others: N >= G + tied, i64[...].
    n: sampled others.
  Returns:
    f64[...].
  """
  whole = lambda above: 1.0 / (1.0 + above)
  return _over_ties(_reciprocal_rank, whole, better, tied, others, n)


def hit(better: Any, tied: Any, others: Any, n: int, k: int) -> np.ndarray:
  """P(rank <= k), f64[...]; the arguments are those of `reciprocal_rank`."""
  return _gain(np.ones(k), better, tied, others, n)


def ndcg(better: Any, tied: Any, others: Any, n: int, k: int) -> np.ndarray:
  """E[1 / log2(1 + rank), 0 beyond rank k], f64[...]; arguments as there."""
  return _gain(1.0 / np.log2(np.arange(2, k + 2)), better, tied, others, n)


def _gain(gains, better, tied, others, n) -> np.ndarray:
  """Expectation of the gains f64[k] that the first k ranks earn."""

  def sampled(above, others, n):
    chances = _chances(above, others, n, min(gains.size, n + 1))
    return sum(g * p for g, p in zip(gains, chances))

  beyond = np.append(gains, 0.0)
  whole = lambda above: beyond[np.minimum(above, gains.size)]
  return _over_ties(sampled, whole, better, tied, others, n)


def _over_ties(sampled, whole, better, tied, others, n) -> np.ndarray:
  """Mean of the value with half the ties above, rounded down and up.

  `sampled` is (G, N > n, n) -> value, expected over lists, and `whole` is
  (G) -> value, where all others are candidates.
  """
  better, tied, others = np.broadcast_arrays(
    *(np.asarray(x, np.int64) for x in (better, tied, others))
  )
  above = np.stack([better + tied // 2, better + (tied + 1) // 2])
  # Few pairs differ, as N is the same for all events or all of a user.
  span = above.max(initial=0) + 1
  pairs, index = np.unique(others * span + above, return_inverse=True)
  others, above = pairs // span, pairs % span
  values = whole(above)
  long = np.flatnonzero(others > n)
  for first in range(0, long.size, _PAIRS):
    part = long[first : first + _PAIRS]
    values[part] = sampled(above[part], others[part].astype(np.float64), n)
  return values[index.reshape(2, *better.shape)].mean(axis=0)


def _reciprocal_rank(above, others, n):
  # The chance that n + 1 draws from the others and the item miss the item and
  # all that are better, C(N - G, n + 1) / C(N + 1, n + 1).
  missed = np.ones(above.shape)
  for i in range(n + 1):
    missed *= np.maximum(others - above - i, 0.0) / (others + 1.0 - i)
  return (others + 1.0) / ((n + 1.0) * (above + 1.0)) * (1.0 - missed)


def _chances(above, others, n, number):
  """P(0), ..., P(number - 1), each f64[...]; number <= n + 1.

  With a_k = prod over i < n - k of (N - G - i) / (N - i),
  P(k) = a_k prod over t = 1..k of (n - k + t) (G - t + 1) / (t (N - n + t)).
  """
  below = others - above
  product = np.ones(above.shape)
  for i in range(n - number + 1):
    product *= np.maximum(below - i, 0.0) / (others - i)
  chances = []
  for k in range(number - 1, -1, -1):
    chance = product.copy()
    for t in range(1, k + 1):
      chance *= (n - k + t) * np.maximum(above - t + 1.0, 0.0)
      chance /= t * (others - n + t)
    chances.append(chance)
    # From a_k to a_(k-1).
    product *= np.maximum(below - n + k, 0.0) / (others - n + k)
  return chances[::-1]
