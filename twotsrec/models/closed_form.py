"""Item-item models in closed form: EASE and nearest neighbors.

Both score an item by a weighted sum over the items a user has,
score(u, j) = sum_i x_ui W_ij, and differ in W. Nothing is trained by steps.
"""

from collections.abc import Callable
import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import layers

# Numbers of the dense item-item matrix of EASE that a machine is asked for.
LARGEST = 30_000
_TILE = 1024  # items whose products with all others are made at once


def make(
  name: str,
  pairs: scipy.sparse.csr_matrix,
  options: config_lib.ClosedFormConfig,
) -> types.Params:
  """Parameters of a model of `NAMES`, from who has what.

  Args:
    name: 'ease' or 'item_knn'.
    pairs: X, users times items 1..I, 1 where a user has an item.
    options: penalty; neighbors and shrinkage.
  """
  return _FITS[name](pairs, options)


def make_model(
  name: str, num_items: int, options: config_lib.ClosedFormConfig
) -> types.Model:
  """The scorer of a model of `NAMES`."""
  return _MODELS[name](num_items, options)


def _per_item(neighbors, num_items):
  """Items that speak for an item: k, as far as there are others."""
  return max(1, min(neighbors, num_items - 1))


def _num_items(pairs):
  # The type stubs of SciPy know nothing of a shape.
  return cast(tuple[int, int], pairs.shape)[1]


def ease(pairs: scipy.sparse.csr_matrix, l2: float) -> types.Params:
  """The weights of EASE (Steck 2019, eq. 8): B = I - P diag(P)^-1.

  P = (X'X + l2 I)^-1. The diagonal of B is 0: no item speaks for itself.

  Args:
    pairs: X, as in `make`.
    l2: penalty, positive.
  Returns:
    Parameters of `dense`.
  Raises:
    types.UserError: more items than a dense matrix of them fits for.
  """
  count = _num_items(pairs)
  if count > LARGEST:
    raise types.UserError(
      f'model.name ease inverts a matrix of {count:,} x {count:,} items, which'
      f' takes {count**2 * 8 / 1e9:,.0f} GB; use item_knn for more than'
      f' {LARGEST:,} items'
    )
  gram = (pairs.T @ pairs).toarray().astype(np.float64)
  gram[np.diag_indices(count)] += l2
  inverse = np.linalg.inv(gram)
  weights = -inverse / np.diag(inverse)
  weights[np.diag_indices(count)] = 0.0
  padded = np.pad(weights, ((1, 0), (1, 0)))
  # A row of the table is what speaks for its item: column j of B.
  table = {'weights': jnp.asarray(padded.T, jnp.float32)}
  return types.Params({'item': table}, {})


def item_knn(
  pairs: scipy.sparse.csr_matrix, neighbors: int, shrinkage: float
) -> types.Params:
  """Cosines of items over users, the largest of every item, exact.

  s_ij = x_i'x_j / (|x_i| |x_j| + shrinkage), so that a cosine of few users
  counts less.

  Args:
    pairs: X, as in `make`.
    neighbors: k, similar items that speak for an item.
    shrinkage: 0 is the plain cosine.
  Returns:
    Parameters of `sparse`.
  """
  ids, weights = nearest(pairs, pairs, neighbors, shrinkage)
  table = {'ids': jnp.asarray(ids), 'weights': jnp.asarray(weights)}
  return types.Params({'item': table}, {})


def nearest(
  left: scipy.sparse.csr_matrix,
  right: scipy.sparse.csr_matrix,
  neighbors: int,
  shrinkage: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Other items by the cosine x_i'y_j / (|x_i| |y_j| + shrinkage), best first.

  Args:
    left: X, a column for every item 1..I.
    right: Y, the same rows and items.
    neighbors: k, items kept for every item.
    shrinkage: as in `item_knn`.
  Returns:
    (ids i32[I + 1, k], weights f32[I + 1, k]); 0 and 0 where there is none.
  """
  columns, others_of = (
    scipy.sparse.csc_matrix(pairs, dtype=np.float32) for pairs in (left, right)
  )
  norms, other_norms = _norms(columns), _norms(others_of)
  count = _num_items(left)
  k = _per_item(neighbors, count)
  ids = np.zeros((count + 1, k), np.int32)
  weights = np.zeros((count + 1, k), np.float32)
  for first in range(0, count, _TILE):
    tile = slice(first, min(first + _TILE, count))
    products = (columns[:, tile].T @ others_of).tocsr()
    for row, item in enumerate(range(tile.start, tile.stop)):
      inner = slice(products.indptr[row], products.indptr[row + 1])
      others, values = products.indices[inner], products.data[inner]
      values = values / (norms[item] * other_norms[others] + shrinkage + 1e-12)
      values, others = values[others != item], others[others != item]
      # The most similar first; of equal ones the lower item.
      best = np.lexsort((others, -values))[:k]
      ids[item + 1, : len(best)] = others[best] + 1
      weights[item + 1, : len(best)] = values[best]
  return ids, weights


def _norms(columns):
  return np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())


@functools.cache  # one model, one set of programs
def dense(num_items: int) -> types.Model:
  """Scores by a row of I + 1 weights for every item, f32[I + 1, I + 1]."""

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return layers.products(encoded, candidate_rows['weights'])

  def init(key, context, sizes):
    del key, context
    shape = (sizes.num_items + 1, sizes.num_items + 1)
    return types.Params({'item': {'weights': jnp.zeros(shape)}}, {})

  def reasons(net, encoded, history, candidate_rows):
    del net, encoded
    spoken = _spoken(history)
    if candidate_rows['weights'].ndim == 2:
      terms = jnp.moveaxis(candidate_rows['weights'][:, history], 1, 0)
    else:
      pick = lambda weights, own: weights[:, own]
      terms = jax.vmap(pick)(candidate_rows['weights'], history)
    return jnp.where(spoken[:, None], terms, 0.0)

  return types.Model(
    init=init,
    encode=_make_encode(num_items),
    score=score,
    reasons=reasons,
  )


@functools.cache
def sparse(num_items: int, neighbors: int) -> types.Model:
  """Scores by k items and their weights for every item, [I + 1, k] each.

  An encoding has a row for every item and a column for every user, f32[I + 1,
  B]: users are then neighbors in memory, which is several times as fast.
  """
  mark = _make_encode(num_items)

  def encode(net, rows, context, inputs, *, key=None):
    return mark(net, rows, context, inputs, key=key).T

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    ids, weights = candidate_rows['ids'], candidate_rows['weights']
    shared, users = ids.ndim == 2, jnp.arange(encoded.shape[1])

    def add(total, place):
      own, weight = place  # [C], or [B, C]
      if shared:
        return total + weight[:, None] * encoded[own], None
      return total + (weight * encoded[own, users[:, None]]).T, None

    shape = (ids.shape[-2], encoded.shape[1])
    last_first = lambda leaf: jnp.moveaxis(leaf, -1, 0)
    places = (last_first(ids), last_first(weights))
    return jax.lax.scan(add, jnp.zeros(shape), places)[0].T

  def init(key, context, sizes):
    del key, context
    shape = (sizes.num_items + 1, neighbors)
    table = {'ids': jnp.zeros(shape, jnp.int32), 'weights': jnp.zeros(shape)}
    return types.Params({'item': table}, {})

  def reasons(net, encoded, history, candidate_rows):
    del net, encoded

    def add(terms, place):
      own, weight = (leaf[..., None] for leaf in place)  # [C, 1], [B, C, 1]
      return terms + weight * (own == history[:, None]), None

    ids, weights = candidate_rows['ids'], candidate_rows['weights']
    shape = (history.shape[0], ids.shape[-2], history.shape[1])
    last_first = lambda leaf: jnp.moveaxis(leaf, -1, 0)
    places = (last_first(ids), last_first(weights))
    terms, _ = jax.lax.scan(add, jnp.zeros(shape), places)
    return jnp.where(_spoken(history)[:, None], terms, 0.0)

  return types.Model(init=init, encode=encode, score=score, reasons=reasons)


def _spoken(history) -> jax.Array:
  """Where an item stands for the first time, bool[B, L]: it counts once."""
  order = jnp.argsort(history, axis=1, stable=True)
  ordered = jnp.take_along_axis(history, order, axis=1)
  before = jnp.pad(ordered[:, :-1], ((0, 0), (1, 0)))
  row = jnp.arange(history.shape[0])[:, None]
  return jnp.zeros(history.shape, bool).at[row, order].set(ordered != before)


def _make_encode(num_items: int) -> Callable[..., jax.Array]:
  """The items of a history as a row of 0 and 1, f32[B, I + 1]."""

  def encode(net, rows, context, inputs, *, key=None):
    del net, rows, context, key
    history = inputs['history']
    mark = lambda ids: jnp.zeros(num_items + 1).at[ids].set(1.0).at[0].set(0.0)
    return jax.vmap(mark)(history)

  return encode


_FITS = {
  'ease': lambda pairs, o: ease(pairs, o.l2),
  'item_knn': lambda pairs, o: item_knn(pairs, o.neighbors, o.shrinkage),
}
_MODELS = {
  'ease': lambda count, o: dense(count),
  'item_knn': lambda count, o: sparse(count, _per_item(o.neighbors, count)),
}
NAMES = tuple(_FITS)
