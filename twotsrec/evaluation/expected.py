"""Metrics of a held-out item expected over all lists of sampled candidates.

A list holds the item and n of the N other items, drawn without replacement. If
G of the N score higher, k of a list do so with the hypergeometric probability

  P(k) = C(G, k) C(N - G, n - k) / C(N, n),

so G alone gives the mean over an infinite number of lists, without the noise of
any one list. Where N < n all others are candidates.

Of t items that tie with the held-out one any number may be above it, as in
`metrics`. The mean over G = b, ..., b + t telescopes: S(j) being the summed
gains of the first j places, and M(x) how many of x given items are among n + 1
drawn from N + 1, it is

  (N + 1) / ((n + 1) (t + 1)) E[S(M(b + t + 1)) - S(M(b))].

Everything is a product of ratios, or a sum of their logarithms: it needs no
factorials and holds for catalogues of millions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from twotsrec import metrics

_PAIRS = 4096  # at once: hundreds of products over arrays in the cache


class _Metric(NamedTuple):
  """A metric in its three forms.

  Attributes:
    whole: (better, tied) -> value, where all others are candidates.
    sampled: (G, N > n, n) -> value, expected over lists, without ties.
    summed: (x, N + 1, n + 1) -> E[S(M(x))].
  """

  whole: Callable[..., np.ndarray]
  sampled: Callable[..., np.ndarray]
  summed: Callable[..., np.ndarray]


def reciprocal_rank(better: Any, tied: Any, others: Any, n: int) -> np.ndarray:
  """E[1 / rank] among the item and n sampled others; without ties

    (N + 1) / ((n + 1) (G + 1)) [1 - C(N - G, n + 1) / C(N + 1, n + 1)].

  Args:
    better: items that score higher, i64[...].
    tied: items that score the same, i64[...].
    others: N >= better + tied, i64[...].
    n: sampled others.
  Returns:
    f64[...]; NaN without others.
  """
  metric = _Metric(
    metrics.reciprocal_rank, _reciprocal_rank, _harmonic_of_draws
  )
  return _over_ties(metric, better, tied, others, n)


def hit(better: Any, tied: Any, others: Any, n: int, k: int) -> np.ndarray:
  """P(rank <= k), f64[...]; the arguments are those of `reciprocal_rank`."""
  return _gain(np.ones(k), better, tied, others, n)


def ndcg(better: Any, tied: Any, others: Any, n: int, k: int) -> np.ndarray:
  """E[1 / log2(1 + rank), 0 beyond rank k], f64[...]; arguments as there."""
  return _gain(metrics.discounts(k), better, tied, others, n)


def _gain(gains, better, tied, others, n) -> np.ndarray:
  """Expectation of the gains f64[k] that the first k ranks earn."""
  whole = lambda better, tied: metrics.gain(gains, better, tied)
  short = np.append(np.cumsum(gains[::-1])[::-1], 0.0)  # of all gains, at j

  def sampled(above, others, n):
    chances = _chances(above, others, n, min(gains.size, n + 1))
    return sum((g * p for g, p in zip(gains, chances)), np.zeros(above.shape))

  def summed(first, items, draws):
    chances = _chances(first, items, draws, min(gains.size, draws + 1))
    return short[0] - sum(s * p for s, p in zip(short, chances))

  return _over_ties(_Metric(whole, sampled, summed), better, tied, others, n)


def _over_ties(metric: _Metric, better, tied, others, n) -> np.ndarray:
  """Mean of the metric over the places of a tie."""
  better, tied, others = np.broadcast_arrays(
    *(np.asarray(x, np.int64) for x in (better, tied, others))
  )
  (g, t, total), index = _distinct(better, tied, others)
  values = metric.whole(g, t)
  sizes = total.astype(np.float64)
  for rows in _pieces(np.flatnonzero((total > n) & (t == 0))):
    values[rows] = metric.sampled(g[rows], sizes[rows], n)
  for rows in _pieces(np.flatnonzero((total > n) & (t > 0))):
    items, low, high = sizes[rows] + 1.0, g[rows], (g + t)[rows] + 1
    earned = metric.summed(high, items, n + 1)
    earned = earned - metric.summed(low, items, n + 1)
    values[rows] = earned * items / ((n + 1.0) * (t[rows] + 1.0))
  values = metrics.among_rivals(values, total)
  return values[index].reshape(better.shape)


def _distinct(better, tied, others):
  """The three counts where they differ, and the place of each in them.

  They are few, as N is the same for all events or all of a user.
  """
  place = np.zeros(better.size, np.int64)
  columns = [column.ravel() for column in (better, tied, others)]
  for column in columns:
    pairs = place * (column.max(initial=0) + 1) + column
    _, first, place = np.unique(pairs, return_index=True, return_inverse=True)
  return [column[first] for column in columns], place


def _pieces(rows):
  return (rows[i : i + _PAIRS] for i in range(0, rows.size, _PAIRS))


def _reciprocal_rank(above, others, n):
  # The chance that n + 1 draws from the others and the item miss the item and
  # all that are better, C(N - G, n + 1) / C(N + 1, n + 1).
  missed = np.ones(above.shape)
  for i in range(n + 1):
    missed *= np.maximum(others - above - i, 0.0) / (others + 1.0 - i)
  return (others + 1.0) / ((n + 1.0) * (above + 1.0)) * (1.0 - missed)


def _harmonic_of_draws(first, items, draws):
  """E[1 + 1/2 + ... + 1/M], M of `first` among the draws from `items`."""
  m = np.arange(draws)
  first, rest = first[:, None], (items - first)[:, None]
  # P(m + 1) / P(m); below the fewest that must be drawn there is nothing.
  upper = np.maximum(first - m, 0.0) * (draws - m)
  lower = (m + 1.0) * (rest - draws + m + 1.0)
  possible = lower > 0
  with np.errstate(divide='ignore'):
    steps = np.log(np.where(possible, upper / np.where(possible, lower, 1), 1))
  weight = np.cumsum(np.append(np.zeros(first.shape), steps, axis=1), axis=1)
  weight = np.exp(weight - np.max(weight, axis=1, keepdims=True))
  weight[:, :-1] *= possible
  summed = weight @ metrics.harmonic(np.arange(draws + 1))
  return summed / np.sum(weight, axis=1)


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
