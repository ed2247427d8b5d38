"""The nearest items of items, by the vectors of a model or by their users."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from twotsrec.serving import requests

_QUERIES = 256  # scored against all items at once

# Items i64[q] -> similarities f32[q, I + 1], that of padding first.
Similarity = Callable[[np.ndarray], np.ndarray]


def of_vectors(vectors: np.ndarray) -> Similarity:
  """Cosines of vectors f32[I + 1, D]; one of length 0 is like nothing."""
  lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
  unit = vectors / np.where(lengths > 0, lengths, 1.0)
  return lambda items: unit[items] @ unit.T


def of_users(user: np.ndarray, item: np.ndarray, num_items: int) -> Similarity:
  """Cosines of the sets of users that items have, of events [N].

  Items without a common user are not similar at all.
  Reference: Sarwar et al. 2001, binary events; `models.closed_form.item_knn`.
  """
  shape = (int(np.max(user, initial=0)) + 1, num_items + 1)
  numbers = np.asarray(user, np.int64) * (num_items + 1) + np.asarray(item)
  pairs = np.unique(numbers)
  user, item = np.divmod(pairs, num_items + 1)
  ones = np.ones(len(user), np.float32)
  users = scipy.sparse.csc_matrix((ones, (user, item)), shape)
  lengths = np.sqrt(np.bincount(item, minlength=num_items + 1))
  lengths = np.where(lengths > 0, lengths, 1.0).astype(np.float32)

  def similarity(items):
    common = (users[:, items].T @ users).toarray()
    cosines = common / lengths[items][:, None] / lengths
    return np.where(common > 0, cosines, -np.inf)

  return similarity


def nearest(
  similarity: Similarity, items: np.ndarray, allowed: np.ndarray, k: int
) -> Iterator[requests.Chunk]:
  """The k nearest items of each, never itself; equal ones by id, lower first.

  Args:
    similarity: of the items.
    items: i64[n], 1..I.
    allowed: bool[I + 1], items that may stand in a list.
    k: items of a list, at most I.
  """
  for first in range(0, len(items), _QUERIES):
    part = items[first : first + _QUERIES]
    scores = np.where(allowed, similarity(part), -np.inf)
    scores[np.arange(len(part)), part] = -np.inf
    scores, ids = map(np.array, jax.lax.top_k(jnp.asarray(scores), k))
    yield requests.Chunk(np.where(scores == -np.inf, 0, ids), scores)
