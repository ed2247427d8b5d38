"""Top-k recommendations in chunks of users, over any number of items.

The best k are kept while item tiles go by, so memory is bounded by the tile
sizes. Equal scores are ordered by item id, lower first, whatever the tiles.
"""

from collections.abc import Iterable, Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.evaluation import tiles


class Request(NamedTuple):
  """Some users to recommend to.

  Attributes:
    history: i32[n, L], item ids, oldest first, right-padded with 0.
    seen: distinct items of each row, ascending; what may be left out.
  """

  history: np.ndarray
  seen: gathers.Exclusions


class Chunk(NamedTuple):
  """Recommendations of one request; id 0 and -inf where items ran out.

  Attributes:
    ids: i32[n, k], best first.
    scores: f32[n, k].
  """

  ids: np.ndarray
  scores: np.ndarray


def known_users(
  items: np.ndarray,
  user_offsets: np.ndarray,
  seen: Any,
  users: np.ndarray,
  *,
  history_length: int,
  chunk: int = 8192,
) -> Iterator[Request]:
  """Requests for users of the prepared data, with all their events.

  Args:
    items: i32[N], items of all events.
    user_offsets: i64[U + 1].
    seen: `offsets` i64[U + 1] and `items` i32[M], as `prepared.SeenItems`.
    users: i64[n], in the order wanted.
    history_length: L.
    chunk: users per request.
  """
  users = np.asarray(users, np.int64)
  for first in range(0, users.size, chunk):
    part = users[first : first + chunk]
    history = gathers.histories(
      items, user_offsets[part], user_offsets[part + 1], history_length
    )
    yield Request(history, gathers.exclusions(seen, part))


def raw_histories(
  items: np.ndarray,
  offsets: np.ndarray,
  *,
  history_length: int,
  chunk: int = 8192,
) -> Iterator[Request]:
  """Requests for anybody, from the histories alone.

  Args:
    items: i32[N], item ids 1..I, oldest first for each row.
    offsets: i64[n + 1], items of each row.
    history_length: L.
    chunk: rows per request.
  """
  rows = np.arange(len(offsets) - 1)
  own = gathers.Exclusions(np.asarray(offsets), np.asarray(items))
  yield from known_users(
    own.items,
    own.offsets,
    own,
    rows,
    history_length=history_length,
    chunk=chunk,
  )


def recommend(
  model: types.Model,
  params: types.Params,
  context: Any,
  requests: Iterable[Request],
  *,
  num_items: int,
  k: int,
  user_tile: int = 256,
  item_tile: int = 4096,
  exclude_seen: bool = True,
) -> Iterator[Chunk]:
  """The k best items of every user, one chunk per request with users.

  Args:
    model: scorer.
    params: of the model.
    context: of the model.
    requests: users, in pieces; nothing is held longer than its piece.
    num_items: I.
    k: items per user.
    user_tile: users scored at once.
    item_tile: items scored at once.
    exclude_seen: leave out the items of `Request.seen`.
  """
  if k < 1:
    raise types.UserError(f'k is {k}; it must be at least 1')
  largest = 0
  for request in requests:
    num_rows = request.history.shape[0]
    if not num_rows:
      continue
    # The last request is mostly smaller; it runs in the compiled shape.
    if num_rows > largest:
      largest = num_rows
      tiling = tiles.plan(num_rows, num_items, user_tile, item_tile)
    best = [
      _recommend_tile(
        model,
        params,
        context,
        _rows(request, first, first + tiling.users, exclude_seen),
        num_items,
        k,
        tiling,
      )
      for first in range(0, num_rows, tiling.users)
    ]
    ids, scores = (np.concatenate(parts) for parts in zip(*best, strict=True))
    yield Chunk(ids, scores)


def _recommend_tile(model, params, context, request, num_items, k, tiling):
  num_rows = request.history.shape[0]
  history = gathers.pad_rows(request.history, tiling.users)
  encoded = tiles.encode(model, params, context, history)
  ids = np.zeros((tiling.users, k), np.int32)
  scores = np.full((tiling.users, k), -np.inf, np.float32)
  for tile in tiles.item_tiles(request.seen, num_items, tiling):
    tile_scores = tiles.score(model, params, encoded, tile.ids, tiling.width)
    ids, scores, has_nan = _merge(
      ids, scores, tile.ids, tile_scores, tile.excluded, k
    )
    tiles.check_scores(has_nan)
  return np.asarray(ids)[:num_rows], np.asarray(scores)[:num_rows]


@functools.partial(jax.jit, static_argnums=5)
def _merge(best_ids, best_scores, ids, scores, excluded, k):
  """The best k of the best so far and a tile.

  Ids ascend with the tiles and top_k keeps the first of equal values, so a tie
  goes to the lower id.
  """
  has_nan = jnp.any(jnp.isnan(scores) & ~excluded)
  # top_k orders -0 below 0; here they are a tie.
  scores = jnp.where(scores == 0, 0.0, scores)
  scores = jnp.where(excluded, -jnp.inf, scores)
  all_ids = jnp.concatenate(
    [best_ids, jnp.broadcast_to(ids, scores.shape)], axis=1
  )
  scores, place = jax.lax.top_k(
    jnp.concatenate([best_scores, scores], axis=1), k
  )
  ids = jnp.take_along_axis(all_ids, place, axis=1)
  return jnp.where(scores == -jnp.inf, 0, ids), scores, has_nan


def _rows(
  request: Request, first: int, end: int, exclude_seen: bool
) -> Request:
  history = request.history[first:end]
  if not exclude_seen:
    nothing = np.zeros(history.shape[0] + 1, np.int64)
    return Request(history, gathers.Exclusions(nothing, np.zeros(0, np.int64)))
  offsets = request.seen.offsets[first : end + 1]
  items = request.seen.items[offsets[0] : offsets[-1]]
  return Request(history, gathers.Exclusions(offsets - offsets[0], items))
