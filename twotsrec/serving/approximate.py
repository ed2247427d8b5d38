"""Approximate search: long lists of items by an index, where a score is q . v.

faiss keeps the vectors of all items in lists of neighbors (an inverted file,
IndexIVFFlat) and compares a query with those of a few lists. What it finds has
the score of the model, up to rounding; what stands in another list is not
found. `measured` says how much that is.

Rules of lists hold: what may not be recommended is no part of a search, more
places are asked for than a list has, as many as its user has items at most,
and a user for whom fewer than k items are left is ranked exactly.
"""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import os
from typing import Any, NamedTuple

import numpy as np

from twotsrec import extras
from twotsrec.serving import requests as requests_lib

Request = requests_lib.Request
Chunk = requests_lib.Chunk
# (requests, k, exclude_seen, allowed bool[I + 1]) -> chunks, as `answers` has.
Top = Callable[..., Iterator[Chunk]]
# A request of n users -> f32[n, Q].
Queries = Callable[[Request], np.ndarray]
_ROUNDS, _POINTS = 5, 39  # of k-means, and items of a list that it looks at
_SEED = 1234
_MORE = 64  # places that a search has beside twice those of a list


class Index(NamedTuple):
  """Items 1..I in lists of neighbors.

  Attributes:
    lists: faiss.IndexIVFFlat of I vectors.
    probes: lists that a search looks at.
  """

  lists: Any
  probes: int


def package() -> Any:
  """The module faiss.

  Raises:
    types.UserError: it is not installed.
  """
  return extras.load('faiss', 'ann', 'search exactly')


def build(vectors: np.ndarray) -> Index:
  """An index of f32[I + 1, Q], row 0 being padding; it looks at one list.

  One thread and one seed: the same vectors give the same bytes.
  """
  faiss, items = package(), np.ascontiguousarray(vectors[1:], np.float32)
  number = max(1, min(int(2 * len(items) ** 0.5), len(items) // _POINTS))
  width = items.shape[1]
  centers = faiss.IndexFlatIP(width)
  made = faiss.IndexIVFFlat(centers, width, number, faiss.METRIC_INNER_PRODUCT)
  how = made.cp
  how.seed, how.niter, how.max_points_per_centroid = _SEED, _ROUNDS, _POINTS
  how.min_points_per_centroid = 1
  with _one_thread(faiss):
    made.train(items)
    made.add(items)
  return Index(made, 1)


def write(path: str | os.PathLike, index: Index) -> None:
  """Writes the lists; `probes` stands elsewhere."""
  package().write_index(index.lists, os.fspath(path))


def read(path: str | os.PathLike, probes: int) -> Index:
  """What `write` has written."""
  return Index(package().read_index(os.fspath(path)), probes)


def around(top: Top, queries: Queries, index: Index) -> Top:
  """A `top` that searches, and asks the exact one where that is not enough.

  Args:
    top: exact.
    queries: of the users of a request.
    index: of the items.
  """
  num_items = index.lists.ntotal

  def search(
    requests: Iterable[Request], k: int, exclude_seen: bool, allowed: np.ndarray
  ) -> Iterator[Chunk]:
    k = min(k, num_items)
    for request in requests:
      if not len(request.history):
        continue
      depth = k
      if exclude_seen:
        depth += min(int(np.max(request.seen.counts)), k + _MORE)
      if depth >= num_items:
        yield from top([request], k, exclude_seen, allowed)
        continue
      found = _nearest(index, queries(request), depth, allowed)
      seen = request.seen if exclude_seen else None
      chunk, lacking = _best(found, seen, k, num_items)
      if np.any(lacking):
        rows = np.flatnonzero(lacking)
        few = [requests_lib.some(request, rows)]
        (exact,) = top(few, k, exclude_seen, allowed)
        for leaf, better in zip(chunk, exact, strict=True):
          leaf[rows] = better
      yield chunk

  return search


def measured(found: Iterable[Chunk], exact: Iterable[Chunk]) -> float:
  """Recall: of the items of exact lists, the share that was found as well."""
  there = whole = 0
  for one, other in zip(found, exact, strict=True):
    same = one.ids[:, :, None] == other.ids[:, None]
    there += int(np.sum(np.any(same, axis=1) & (other.ids > 0)))
    whole += int(np.sum(other.ids > 0))
  return there / max(whole, 1)


def _nearest(index, queries, depth, allowed) -> Chunk:
  """The nearest of each query, [n, depth], among what may be recommended."""
  faiss, may = package(), allowed[1:]
  options: dict[str, Any] = {'nprobe': index.probes}
  bits = np.packbits(may, bitorder='little')  # faiss keeps no copy
  if not np.all(may):
    options['sel'] = faiss.IDSelectorBitmap(bits)
  with _one_thread(faiss):
    scores, places = index.lists.search(
      np.ascontiguousarray(queries, np.float32),
      depth,
      params=faiss.SearchParametersIVF(**options),
    )
  return Chunk((places + 1).astype(np.int32), scores)


def _best(found, seen, k, num_items) -> tuple[Chunk, np.ndarray]:
  """Lists [n, k] of what users do not have, and whose are too short, bool[n].

  Of equal scores the lower item stands first.
  """
  ids, scores = found
  free = ids > 0
  if seen is not None:
    row = np.arange(len(ids))
    own = np.repeat(row, seen.counts) * (num_items + 1) + seen.items
    free &= ~np.isin(row[:, None] * (num_items + 1) + ids, own)
  scores = np.where(free, scores, -np.inf)
  order = np.lexsort((ids, -scores), axis=1)[:, :k]
  taken = (np.take_along_axis(leaf, order, axis=1) for leaf in (ids, scores))
  return Chunk(*taken), np.sum(free, axis=1) < k


@contextlib.contextmanager
def _one_thread(faiss) -> Iterator[None]:
  """Threads of faiss wait for each other where other work has the cores."""
  before = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(1)
  try:
    yield
  finally:
    faiss.omp_set_num_threads(before)
