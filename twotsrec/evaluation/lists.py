"""What lists of recommendations are like, beyond whether they are right.

Values of the lists of some users, top K each:
  coverage  distinct items in them, as a share of all items
  novelty   mean self-information of an item, -log2 of the share of training
            users who have it; of an item that nobody has, as if one had it
  popular   share of items that are among the most popular fifth by their
            training users
  gini      how unequally often the items are in the lists, among all items: 0
            where all are there equally often, near 1 where few take all places
  distance  mean distance of two items of a list, 1 - the cosine of their
            training users (|A and B| / sqrt(|A| |B|)); it looks at the log
            alone, so every model has it
Novelty, popular and distance are means over lists of each list's mean. Coverage
and gini depend on the number of lists, so compare them between equally many.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse

from twotsrec import metrics as metrics_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import samples

NAMES = ('coverage', 'novelty', 'popular', 'gini', 'distance')
POPULAR = 0.2  # of the items
_USERS = 10_000  # whose items cosines rest on, at most
_TILE = 512  # items whose cosines with others are dense at once


def make_values(
  prepared: prepared_lib.Prepared, seed: int = 0
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """lists i32[n, K] -> {novelty, popular, distance: f64[n]}.

  0 fills a list where items ran out; a list without items, or without a pair,
  has NaN.

  Args:
    prepared: the log.
    seed: of the `_USERS` training users whose items give the cosines, where
      there are more.
  """
  items = prepared_lib.seen_items(prepared, 'train')
  counts = np.bincount(items.items, minlength=prepared.num_items + 1)
  of_user = np.diff(items.offsets)
  users = max(np.count_nonzero(of_user), 1)
  information = -np.log2(np.maximum(counts, 1) / users)
  number = max(1, int(POPULAR * prepared.num_items))
  popular = np.zeros(counts.size)
  popular[1 + np.argsort(-counts[1:], kind='stable')[:number]] = 1.0
  pairs = _pairs(items, of_user, prepared.num_items, seed)

  def values(lists):
    real = lists > 0
    mean = lambda of_item: _mean(np.where(real, of_item[lists], 0.0), real)
    return {
      'novelty': mean(information),
      'popular': mean(popular),
      'distance': _distance(pairs, lists, real),
    }

  return values


def build(
  lists: np.ndarray,
  group: np.ndarray,
  values: Mapping[str, np.ndarray],
  num_groups: int,
  num_items: int,
) -> dict[str, Any]:
  """The values of everybody and of every activeness group, for JSON.

  Args:
    lists: i32[n, K], 0 where items ran out.
    group: i32[n], 0..G-1.
    values: of `make_values`.
    num_groups: G.
    num_items: I.
  Returns:
    {'overall': cells, 'groups': [cells]}; cells are {'users', name of `NAMES`:
    {'value'}}, None where there is no list.
  """

  def cells(chosen):
    covered = np.unique(lists[chosen])
    share = np.count_nonzero(covered) / num_items
    found = {
      'coverage': float(share) if np.any(chosen) else np.nan,
      'gini': gini(
        np.bincount(lists[chosen].ravel(), minlength=num_items + 1)[1:]
      ),
    }
    for name, column in values.items():
      finite = column[chosen & np.isfinite(column)]
      found[name] = float(np.mean(finite)) if finite.size else np.nan
    shown = {
      name: {'value': metrics_lib.or_none(v)} for name, v in found.items()
    }
    return {'users': int(np.sum(chosen)), **shown}

  return {
    'overall': cells(np.ones(group.size, bool)),
    'groups': [cells(group == g) for g in range(num_groups)],
  }


def gini(counts: np.ndarray) -> float:
  """Gini coefficient of counts, i64[n]; NaN where all are 0.

  sum_i (2 i - n - 1) x_i / (n sum_i x_i), x ascending, i from 1.
  """
  ordered = np.sort(counts)
  if not ordered.sum():
    return float('nan')
  place = 2 * np.arange(1, ordered.size + 1) - ordered.size - 1
  return float(place @ ordered / (ordered.size * ordered.sum()))


def _mean(values, real):
  number = np.count_nonzero(real, axis=1)
  total = np.full(number.size, np.nan)
  return np.divide(values.sum(axis=1), number, out=total, where=number > 0)


def _pairs(items, of_user, num_items, seed) -> scipy.sparse.csc_matrix:
  """Training users times items 0..I, 1 where a user has an item."""
  chosen = np.flatnonzero(of_user)
  chosen = chosen[samples.at_most(_USERS, chosen.size, seed)]
  ones = np.ones(items.items.size, np.float32)
  shape = (of_user.size, num_items + 1)
  every = scipy.sparse.csr_matrix((ones, items.items, items.offsets), shape)
  return scipy.sparse.csc_matrix(every[chosen])


def _distance(pairs, lists, real) -> np.ndarray:
  """Mean 1 - cosine of the pairs of items of every list, f64[n]."""
  length = lists.shape[1]
  first, second = np.triu_indices(length, 1)
  there = (real[:, first] & real[:, second]).ravel()
  # Every pair of items once, by the places of both in `distinct`.
  distinct, place = np.unique(lists, return_inverse=True)
  place = place.reshape(lists.shape)
  a, b = place[:, first].ravel()[there], place[:, second].ravel()[there]
  columns = scipy.sparse.csc_matrix(pairs[:, distinct])
  norms = np.sqrt(np.asarray(columns.sum(axis=0)).ravel())
  cosine = np.zeros(a.size)
  order = np.argsort(a, kind='stable')
  for begin in range(0, distinct.size, _TILE):
    tile = slice(*np.searchsorted(a[order], [begin, begin + _TILE]))
    rows = order[tile]
    if rows.size:
      both = (columns[:, begin : begin + _TILE].T @ columns).toarray()
      cosine[rows] = both[a[rows] - begin, b[rows]]
  scale = norms[a] * norms[b]
  cosine = np.divide(cosine, scale, out=np.zeros(a.size), where=scale > 0)
  distance = np.zeros(there.size)
  distance[there] = 1.0 - cosine
  shape = (len(lists), first.size)
  return _mean(distance.reshape(shape), there.reshape(shape))
