"""Top-k recommendations in chunks of users, over any number of items.

The best k stay while item tiles go by, so memory is bounded by the tile
sizes. Equal scores are ordered by item id, lower first, whatever the tiles.
Lists are no longer than the catalog, whatever k is.
"""

from collections.abc import Iterable, Iterator
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import gathers
from twotsrec.evaluation import tiles
from twotsrec.ops import rows as rows_lib

# Users are few enough for lists as long as the catalog.
_LIST_ITEMS = 1 << 23
_SIZES = tiles.Sizes(256, tiles.MOST_ITEMS)
CHUNK = 8192  # users of a request
# Numbers that a product of queries and items holds for a pair, at most: then
# one slice is fastest. The tiles of others stay in slices.
_FEW = 2
_PROBE = 256  # users and items of a program that is only looked at
# Neighboring items of which the largest score is looked at first.
_BLOCK = 32


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

  Lists are cut at the catalog: K = min(k, I).

  Attributes:
    ids: i32[n, K], best first.
    scores: f32[n, K].
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
  chunk: int = CHUNK,
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
  chunk: int = CHUNK,
  seen: Any = None,
  users: np.ndarray | None = None,
) -> Iterator[Request]:
  """Requests for anybody, from the histories.

  Args:
    items: i32[N], item ids 1..I, oldest first for each row.
    offsets: i64[n + 1], items of each row.
    history_length: L.
    routes: of the rows, leaves [n, K].
    chunk: rows per request.
    seen: items of each row, as `prepared.SeenItems`; None are those of `items`.
    users: i32[n], of the data, -1 for nobody; None is nobody for all.
  """
  rows = np.arange(len(offsets) - 1)
  own = gathers.Exclusions(np.asarray(offsets), np.asarray(items))
  seen = own if seen is None else seen
  for request in _requests(own, seen, rows, history_length, routes, chunk):
    mine = None if users is None else users[request.user]
    yield request._replace(user=mine)


def chunk_size(k: int, num_items: int) -> int:
  """Users of a request whose lists are of a bounded size together."""
  return min(CHUNK, max(8, _LIST_ITEMS // max(1, min(k, num_items))))


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
  sizes: tiles.Sizes = _SIZES,
  exclude_seen: bool = True,
  allowed: np.ndarray | None = None,
) -> Iterator[Chunk]:
  """The k best items of every user, one chunk per request with users.

  Args:
    ranker: the model and its parameters; requests bring the routes.
    requests: users, in pieces; nothing is held longer than its piece.
    num_items: I.
    k: items per user; more than I is I.
    sizes: users and items scored at once, at most.
    exclude_seen: leave out the items of `Request.seen`.
    allowed: bool[I + 1], items that may be recommended at all; None is all.
  """
  if k < 1:
    raise types.UserError(f'k is {k}; it must be at least 1')
  k = min(k, num_items)
  sizes = sizes._replace(users=min(sizes.users, chunk_size(k, num_items)))
  largest, tiling = 0, None
  for request in requests:
    num_rows = request.history.shape[0]
    if not num_rows:
      continue
    if not exclude_seen:
      request = request._replace(seen=_nothing(num_rows))
    fast = tiles.is_worth(ranker.model, num_rows, num_items)
    order, route = _by_route(request, fast)
    runs = tiles.row_runs(num_rows, route)
    # The last request is mostly smaller; it runs in the compiled shape.
    if tiling is None or num_rows > largest:
      largest = num_rows
      longest = max(run.size for run in runs)
      tiling = tiles.plan(longest, num_items, sizes)
      if _numbers_of_a_pair(ranker, request, route) <= _FEW:
        tiling = tiling._replace(width=tiling.items)
    ids = np.zeros((num_rows, k), np.int32)
    scores = np.zeros((num_rows, k), np.float32)
    for part in tiles.row_tiles(ranker.params, route, runs, tiling.users):
      part = part._replace(rows=order[part.rows])
      ids[part.rows], scores[part.rows] = _recommend_tile(
        ranker, request, part, num_items, k, tiling, allowed, fast
      )
    yield Chunk(ids, scores)


def _recommend_tile(ranker, request, part, num_items, k, tiling, allowed, fast):
  num_rows = part.rows.size
  user = np.full(num_rows, -1)
  if request.user is not None:
    user = request.user[part.rows]
  history = request.history[part.rows]
  reader, score = ranker, tiles.score
  if fast:
    reader, score = tiles.of_shared(ranker), tiles.score_shared
    history = tiles.cut(reader.model, history)
  encoded = tiles.encode(reader, part, history, user, tiling.users)
  ids = np.zeros((tiling.users, k), np.int32)
  scores, has_nan = np.full((tiling.users, k), -np.inf, np.float32), False
  excluded = gathers.exclusions(request.seen, part.rows)
  pairs = tiles.excluded_pairs(excluded, num_items, tiling.users, tiling.items)
  for tile, left_out in zip(tiles.item_ids(num_items, tiling.items), pairs):
    if allowed is not None:
      left_out |= ~allowed[tile]
    tile_scores = score(ranker.model, part.params, encoded, tile, tiling.width)
    ids, scores, has_nan = _merge(
      ids, scores, has_nan, tile, tile_scores, left_out, k
    )
  tiles.check_scores(has_nan)
  return np.asarray(ids)[:num_rows], np.asarray(scores)[:num_rows]


@functools.partial(jax.jit, static_argnums=6)
def _merge(best_ids, best_scores, had_nan, ids, scores, excluded, k):
  """The best k of the best so far and a tile, and whether a score was NaN.

  Ids ascend with the tiles and top_k keeps the first of equal values, so a tie
  goes to the lower id.
  """
  # top_k orders -0 below 0; here they are a tie.
  scores = jnp.where(scores == 0, 0.0, scores)
  scores = jnp.where(excluded, -jnp.inf, scores)
  if 2 * k * _BLOCK <= scores.shape[1]:
    scores, ids, largest = _of_best_blocks(scores, ids, k)
  else:
    largest = scores
  has_nan = had_nan | jnp.any(jnp.isnan(largest))
  all_ids = jnp.concatenate(
    [best_ids, jnp.broadcast_to(ids, scores.shape)], axis=1
  )
  scores, place = jax.lax.top_k(
    jnp.concatenate([best_scores, scores], axis=1), k
  )
  ids = jnp.take_along_axis(all_ids, place, axis=1)
  return jnp.where(scores == -jnp.inf, 0, ids), scores, has_nan


def _of_best_blocks(scores, ids, k):
  """Items among which the k best are, f32 and i32[B, k * _BLOCK], ascending.

  Of a block that is not among the k with the largest maxima no item is among
  the k best: each of those has an item that stands before it, also in a tie.
  The maxima come third, NaN where a score is.
  """
  blocks = jnp.pad(
    scores, ((0, 0), (0, -scores.shape[1] % _BLOCK)), constant_values=-jnp.inf
  ).reshape(scores.shape[0], -1, _BLOCK)
  largest = jnp.max(blocks, axis=2)
  _, chosen = jax.lax.top_k(largest, k)
  chosen = jnp.sort(chosen, axis=1)[..., None]
  values = jnp.take_along_axis(blocks, chosen, axis=1)
  place = chosen * _BLOCK + jnp.arange(_BLOCK)
  place = place.reshape(scores.shape[0], -1)
  # What is beyond the tile has -inf, and hence no id.
  ids = ids[jnp.minimum(place, ids.size - 1)]
  return values.reshape(place.shape), ids, largest


def _numbers_of_a_pair(ranker, request, route) -> int:
  """The most numbers that scoring holds at once, for a user and an item."""
  (tile, *_) = tiles.row_tiles(
    ranker.params, route, [np.zeros(1, np.int64)], _PROBE
  )
  user = np.full(1, -1)
  encoded = jax.eval_shape(
    lambda: tiles.encode(ranker, tile, request.history[:1], user, _PROBE)
  )

  def score(net, encoded, table):
    ids = jnp.zeros(_PROBE, jnp.int32)
    return ranker.model.score(net, encoded, rows_lib.gather(table, ids))

  params = tile.params
  traced = jax.make_jaxpr(score)(params.net, encoded, params.tables['item'])
  return max(_sizes(traced.jaxpr), default=0) // _PROBE**2


def _sizes(jaxpr) -> Iterator[int]:
  """Elements of every value that a program makes."""
  for equation in jaxpr.eqns:
    yield from (made.aval.size for made in equation.outvars)
    for inner in jax.tree.leaves(list(equation.params.values())):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        yield from _sizes(inner)


def _by_route(
  request: Request, by_length: bool
) -> tuple[np.ndarray, types.Route | None]:
  """An order in which equal routes stand together, and the routes in it.

  Those of a route are in order of the lengths of their histories, if wanted.
  """
  history = request.history
  lengths = [np.count_nonzero(history, axis=1)] if by_length else []
  return tiles.by_route(request.route, len(history), lengths)


def _nothing(num_rows: int) -> gathers.Exclusions:
  return gathers.Exclusions(np.zeros(num_rows + 1, np.int64), np.zeros(0, int))
