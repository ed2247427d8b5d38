"""Top-k recommendations in chunks of users, over any number of items.

The best k stay while item tiles go by, so memory is bounded by the tile
sizes. Equal scores are ordered by item id, lower first, whatever the tiles.
"""

from collections.abc import Iterable, Iterator
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import gathers
from twotsrec.evaluation import tiles


class Request(NamedTuple):
  """Some users to recommend to.

  Attributes:
    history: i32[n, L], item ids, oldest first, right-padded with 0.
    seen: distinct items of each row, ascending; what may be left out.
    route: leaves [n, K], for a model with plugins; None is group 0 for all.
    user: i32[n], for a model that knows its users; None, like -1, is nobody.
  """

  history: np.ndarray
  seen: gathers.Exclusions
  route: types.Route | None = None
  user: np.ndarray | None = None


class Chunk(NamedTuple):
  """Recommendations of one request; id 0 and -inf where items ran out.

  Attributes:
    ids: i32[n, k], best first.
    scores: f32[n, k].
  """

  ids: np.ndarray
  scores: np.ndarray


def known_users(
  prepared: prepared_lib.Prepared,
  seen: prepared_lib.SeenItems,
  users: np.ndarray,
  *,
  history_length: int,
  routes: types.Route | None = None,
  chunk: int = 8192,
) -> Iterator[Request]:
  """Requests for users i64[n] of the prepared data, with all their events.

  Args:
    prepared: the data.
    seen: items of every user.
    users: in the order wanted.
    history_length: L.
    routes: of the users, leaves [n, K].
    chunk: users per request.
  """
  users = np.asarray(users, np.int64)
  events = gathers.Exclusions(prepared.user_offsets, prepared.items)
  return _requests(events, seen, users, history_length, routes, chunk)


def raw_histories(
  items: np.ndarray,
  offsets: np.ndarray,
  *,
  history_length: int,
  routes: types.Route | None = None,
  chunk: int = 8192,
) -> Iterator[Request]:
  """Requests for anybody, from the histories alone.

  Args:
    items: i32[N], item ids 1..I, oldest first for each row.
    offsets: i64[n + 1], items of each row.
    history_length: L.
    routes: of the rows, leaves [n, K].
    chunk: rows per request.
  """
  rows = np.arange(len(offsets) - 1)
  own = gathers.Exclusions(np.asarray(offsets), np.asarray(items))
  for request in _requests(own, own, rows, history_length, routes, chunk):
    yield request._replace(user=None)


def _requests(events, seen, users, length, routes, chunk) -> Iterator[Request]:
  for first in range(0, users.size, chunk):
    part = users[first : first + chunk]
    history = gathers.histories(
      events.items, events.offsets[part], events.offsets[part + 1], length
    )
    route = None
    if routes is not None:
      route = types.Route(*(leaf[first : first + chunk] for leaf in routes))
    yield Request(history, gathers.exclusions(seen, part), route, part)


def recommend(
  ranker: contracts.Ranker,
  requests: Iterable[Request],
  *,
  num_items: int,
  k: int,
  sizes: tiles.Sizes = tiles.SIZES,
  exclude_seen: bool = True,
) -> Iterator[Chunk]:
  """The k best items of every user, one chunk per request with users.

  Args:
    ranker: the model and its parameters; requests bring the routes.
    requests: users, in pieces; nothing is held longer than its piece.
    num_items: I.
    k: items per user.
    sizes: users and items scored at once.
    exclude_seen: leave out the items of `Request.seen`.
  """
  if k < 1:
    raise types.UserError(f'k is {k}; it must be at least 1')
  largest, tiling = 0, None
  for request in requests:
    num_rows = request.history.shape[0]
    if not num_rows:
      continue
    if not exclude_seen:
      request = request._replace(seen=_nothing(num_rows))
    order, route = _by_route(request)
    runs = tiles.row_runs(num_rows, route)
    # The last request is mostly smaller; it runs in the compiled shape.
    if tiling is None or num_rows > largest:
      largest = num_rows
      longest = max(run.size for run in runs)
      tiling = tiles.plan(longest, num_items, sizes)
    ids = np.zeros((num_rows, k), np.int32)
    scores = np.zeros((num_rows, k), np.float32)
    for part in tiles.row_tiles(ranker.params, route, runs, tiling.users):
      part = part._replace(rows=order[part.rows])
      ids[part.rows], scores[part.rows] = _recommend_tile(
        ranker, request, part, num_items, k, tiling
      )
    yield Chunk(ids, scores)


def _recommend_tile(ranker, request, part, num_items, k, tiling):
  num_rows = part.rows.size
  user = np.full(num_rows, -1)
  if request.user is not None:
    user = request.user[part.rows]
  history = request.history[part.rows]
  encoded = tiles.encode(ranker, part, history, user, tiling.users)
  ids = np.zeros((tiling.users, k), np.int32)
  scores = np.full((tiling.users, k), -np.inf, np.float32)
  excluded = gathers.exclusions(request.seen, part.rows)
  pairs = tiles.excluded_pairs(excluded, num_items, tiling.users, tiling.items)
  for tile, left_out in zip(tiles.item_ids(num_items, tiling.items), pairs):
    tile_scores = tiles.score(
      ranker.model, part.params, encoded, tile, tiling.width
    )
    ids, scores, has_nan = _merge(ids, scores, tile, tile_scores, left_out, k)
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


def _by_route(request: Request) -> tuple[np.ndarray, types.Route | None]:
  """An order in which equal routes stand together, and the routes in it."""
  keys = tiles.route_keys(request.route)
  if request.route is None or not keys:
    return np.arange(len(request.history)), request.route
  order = np.lexsort(keys)
  return order, types.Route(*(leaf[order] for leaf in request.route))


def _nothing(num_rows: int) -> gathers.Exclusions:
  return gathers.Exclusions(np.zeros(num_rows + 1, np.int64), np.zeros(0, int))
