"""Top-k recommendations in chunks of users, over any number of items.

The best k stay while item tiles go by, so memory is bounded by the tile
sizes. Equal scores are ordered by item id, lower first, whatever the tiles.
Lists are no longer than the catalog, whatever k is.
"""

from collections.abc import Iterable, Iterator
import functools

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.evaluation import tiles
from twotsrec.ops import rows as rows_lib
from twotsrec.serving import requests as requests_lib

_SIZES = tiles.Sizes(256, tiles.MOST_ITEMS)
# Numbers that a product of queries and items holds for a pair, at most: then
# one slice is fastest. The tiles of others stay in slices.
_FEW = 2
_PROBE = 256  # users and items of a program that is only looked at
# Neighboring items of which the largest score is looked at first.
_BLOCK = 32


# What it takes and gives.
Request = requests_lib.Request
Chunk = requests_lib.Chunk


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
  requests_lib.check_length(k)
  k = min(k, num_items)
  sizes = sizes._replace(
    users=min(sizes.users, requests_lib.chunk_size(k, num_items))
  )
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
      tiling = _few_shapes(longest, num_items, sizes)
      (tile, *_) = tiles.row_tiles(ranker.params, route, runs[:1], _PROBE)
      width = slice_width(ranker, tile, request.history.shape[1], tiling.width)
      tiling = tiling._replace(width=width or tiling.items)
    ids = np.zeros((num_rows, k), np.int32)
    scores = np.zeros((num_rows, k), np.float32)
    for part in tiles.row_tiles(ranker.params, route, runs, tiling.users):
      part = part._replace(rows=order[part.rows])
      ids[part.rows], scores[part.rows] = _recommend_tile(
        ranker, request, part, num_items, k, tiling, allowed, fast
      )
    yield Chunk(ids, scores)


def scores(
  ranker: contracts.Ranker, request: Request, items: np.ndarray
) -> np.ndarray:
  """Scores of given items for every user of a request, f32[n, C].

  Args:
    ranker: the model and its parameters.
    request: n users.
    items: i32[n, C], 1..I; whatever its user has, or 0 for no item.
  Raises:
    types.UserError: scores that are not numbers.
  """
  score = lambda params, encoded, history, ids, width: tiles.score(
    ranker.model, params, encoded, ids, width
  )
  made = _of_pairs(ranker, request, items, score)
  tiles.check_scores(np.any(np.isnan(made)))
  return made


def terms(
  ranker: contracts.Ranker, request: Request, items: np.ndarray
) -> np.ndarray:
  """What items of histories count for given items, f32[n, C, L].

  Args:
    ranker: a model with reasons, and its parameters.
    request: n users.
    items: as in `scores`.
  """
  reasons = functools.partial(_terms, ranker.model)
  return _of_pairs(ranker, request, items, reasons)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _terms(model, params, encoded, history, ids, width):
  """Reasons for items i32[B, C], slice by slice, f32[B, C, L]."""

  def of_slice(some):
    item_rows = rows_lib.gather(params.tables['item'], some)
    return model.reasons(params.net, encoded, history, item_rows)

  slices = ids.reshape(len(ids), -1, width)
  found = jax.lax.map(of_slice, jnp.moveaxis(slices, 1, 0))
  return jnp.moveaxis(found, 0, 1).reshape(*ids.shape, -1)


def _of_pairs(ranker, request, items, compute) -> np.ndarray:
  """`compute`(params, encoded, history, ids, width) for given items."""
  num_rows, count = items.shape
  order, route = _by_route(request, by_length=False)
  runs = tiles.row_runs(num_rows, route)
  size = min(_power(max(run.size for run in runs)), _SIZES.users)
  width = max(8, _power(count))
  items = np.pad(items.astype(np.int32), ((0, 0), (0, width - count)))
  rows, made = [], []
  for part in tiles.row_tiles(ranker.params, route, runs, size):
    part = part._replace(rows=order[part.rows])
    history = request.history[part.rows]
    encoded = _encoded(ranker, request, part, history, size)
    history, padded = (
      gathers.pad_rows(leaf, size) for leaf in (history, items[part.rows])
    )
    step = min(width, max(8, tiles.SLICE_PAIRS // size))
    found = compute(part.params, encoded, history, padded, step)
    rows.append(part.rows)
    made.append(np.asarray(found)[: part.rows.size, :count])
  return np.concatenate(made)[np.argsort(np.concatenate(rows))]


def _few_shapes(num_rows, num_items, sizes) -> tiles.Tiling:
  """Users in powers of two, so that requests of all sizes share programs.

  One user alone is answered at the cost of one.
  """
  tiling = tiles.plan(num_rows, num_items, sizes)
  users = _power(min(num_rows, tiling.users))
  return tiling._replace(users=users) if users <= sizes.users else tiling


def _power(count: int) -> int:
  """The next power of two."""
  return 1 << max(count - 1, 0).bit_length()


def _encoded(ranker, request, part, history, size):
  user = np.full(part.rows.size, -1)
  if request.user is not None:
    user = request.user[part.rows]
  return tiles.encode(ranker, part, history, user, size)


def _recommend_tile(ranker, request, part, num_items, k, tiling, allowed, fast):
  num_rows = part.rows.size
  history = request.history[part.rows]
  reader, score = ranker, tiles.score
  if fast:
    reader, score = tiles.of_shared(ranker), tiles.score_shared
    history = tiles.cut(reader.model, history)
  encoded = _encoded(reader, request, part, history, tiling.users)
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


def slice_width(
  ranker: contracts.Ranker, tile: tiles.RowTile, length: int, width: int
) -> int | None:
  """Items of a slice, or None where it is fastest not to slice.

  Args:
    ranker: the model and its context.
    tile: of users, with their parameters.
    length: L, items of a history.
    width: items of a slice where a pair holds many numbers at once.
  """
  inputs = {
    'history': np.zeros((_PROBE, length), np.int32),
    'route': tile.route,
    'user': np.zeros(_PROBE, np.int32),
  }
  leaves, tree = jax.tree.flatten((tile.params, ranker.context, inputs))
  numbers = _numbers(ranker.model, tree, tuple(map(jax.typeof, leaves)))
  return None if numbers <= _FEW else width


@functools.lru_cache(maxsize=64)  # looking takes longer than one user's list
def _numbers(model, tree, shapes) -> int:
  """The most numbers that scoring holds at once, for a user and an item."""

  def encode(params, context, inputs):
    table = params.tables['item']
    history_rows = rows_lib.gather(table, inputs['history'])
    return model.encode(params.net, history_rows, context, inputs), params

  def score(encoded, params):
    ids = jnp.zeros(_PROBE, jnp.int32)
    rows = rows_lib.gather(params.tables['item'], ids)
    return model.score(params.net, encoded, rows)

  made = jax.eval_shape(encode, *jax.tree.unflatten(tree, shapes))
  traced = jax.make_jaxpr(score)(*made)
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
