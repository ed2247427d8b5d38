"""Scores in tiles: fixed shapes, bounded memory, never [users, items].

A tile of users is encoded once and scored against tiles of items. Inside a
tile the candidates are scored in slices, because a model that compares every
history position with every candidate holds [users, slice, L, width] at once.

Rows with a hard route (K = 1) are put into tiles that share it, so a model
attaches one plugin per tile and costs what it costs without. A soft route
(K = 2) is given row by row.
"""

from collections.abc import Iterator, Sequence
import functools
import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config
from twotsrec import contracts
from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.ops import rows

# Pairs scored at once. On a CPU DIN is fastest where a slice's hidden layer
# stays near the cache: 2^13 takes 0.75 of the time of 2^15, a fourth of 2^17.
SLICE_PAIRS = 1 << 13
# Most users of a block where a model shares what candidates cost: products of
# small matrices of each user are faster with more candidates in a slice.
_BLOCK = 64
# Pairs from which programs of shapes of their own are worth compiling.
_WORTH = 1 << 22
# Of a tile, so that `counting` can put two counts into an int32.
MOST_ITEMS = 1 << 14
# Where nobody is routed: a model without plugins does not look at it.
_EVERYBODY = types.Route(np.zeros(1, np.int32), np.ones(1, np.float32))

# Of one trunk, or one for each group.
AnyParams = types.Params | Sequence[types.Params]


class Sizes(NamedTuple):
  """Most rows and items that are scored at once."""

  users: int = 256
  items: int = 4096


SIZES = Sizes()


def sizes_of(evaluation: config.EvaluationConfig) -> Sizes:
  """Those of the settings."""
  return Sizes(evaluation.user_tile, evaluation.item_tile)


class Tiling(NamedTuple):
  """Static shapes.

  Attributes:
    users: rows of a tile.
    items: candidates of a tile, a multiple of `width`.
    width: candidates of a slice.
  """

  users: int
  items: int
  width: int


class RowTile(NamedTuple):
  """Users scored together.

  Attributes:
    rows: i64[b], positions of the users.
    route: leaves [1] if they share a hard one; else [B, K], where filling has
      weight 0.
    params: the parameters they are scored with.
  """

  rows: np.ndarray
  route: types.Route
  params: types.Params


def plan(num_rows: int, num_candidates: int, sizes: Sizes) -> Tiling:
  """Even tiles of about the given sizes, so that padding stays small."""
  for name, size in (('user_tile', sizes.users), ('item_tile', sizes.items)):
    if size < 1:
      raise types.UserError(f'{name} is {size}; it must be at least 1')
  users = _even_share(num_rows, sizes.users)
  items = _even_share(num_candidates, min(sizes.items, MOST_ITEMS))
  width = min(items, max(8, SLICE_PAIRS // users))
  return Tiling(users, round_up(items, width), width)


def encode(
  ranker: contracts.Ranker,
  tile: RowTile,
  history: np.ndarray,
  user: np.ndarray,
  size: int,
) -> types.PyTree:
  """Encodes the histories of a tile of rows, leaves [B, ...].

  Args:
    ranker: the model and its context.
    tile: of b rows.
    history: i32[b, L].
    user: i32[b], -1 for a row without a user of the data.
    size: B, rows of the compiled shape; filling has no history and no user.
  """
  inputs = {
    'history': gathers.pad_rows(history, size),
    'route': tile.route,
    'user': gathers.pad_users(user, size),
  }
  return _encode(ranker.model, tile.params, ranker.context, inputs)


@functools.partial(jax.jit, static_argnums=0)
def _encode(model, params, context, inputs):
  history_rows = rows.gather(params.tables['item'], inputs['history'])
  return model.encode(params.net, history_rows, context, inputs)


@functools.partial(jax.jit, static_argnums=(0, 4))
def score(
  model: types.Model,
  params: types.Params,
  encoded: types.PyTree,
  ids: jax.Array,
  width: int,
) -> jax.Array:
  """Scores a tile of users against candidates, slice by slice, f32[B, C].

  Args:
    model: scores one slice at a time.
    params: of the model.
    encoded: leaves [B, ...].
    ids: i32[C] shared by all rows, or i32[B, C]; C a multiple of `width`.
    width: candidates of a slice.
  """
  chex.assert_is_divisible(ids.shape[-1], width)
  slices = ids.reshape(*ids.shape[:-1], -1, width)

  def score_slice(slice_ids):
    candidate_rows = rows.gather(params.tables['item'], slice_ids)
    return model.score(params.net, encoded, candidate_rows)

  scores = jax.lax.map(score_slice, jnp.moveaxis(slices, -2, 0))
  chex.assert_rank(scores, 3)
  scores = jnp.moveaxis(scores, 0, 1).astype(jnp.float32)
  return scores.reshape(scores.shape[0], ids.shape[-1])


@functools.partial(jax.jit, static_argnums=(0, 4))
def score_shared(
  model: types.Model,
  params: types.Params,
  encoded: types.PyTree,
  ids: jax.Array,
  width: int,
) -> jax.Array:
  """`score` with less work, the same up to rounding, for ids i32[C].

  Args:
    model: whose `shared` scores, where it has one.
    params: of the model.
    encoded: by `of_shared(model)`.
    ids: shared by all rows.
    width: as in `score`.
  """
  if model.shared is None:
    return score(model, params, encoded, ids, width)
  size = jax.tree.leaves(encoded)[0].shape[0]
  users = max(n for n in range(1, min(size, _BLOCK) + 1) if size % n == 0)
  width = math.ceil(ids.size / math.ceil(ids.size * users / SLICE_PAIRS))
  blocks = jax.tree.map(
    lambda leaf: leaf.reshape(-1, users, *leaf.shape[1:]), encoded
  )
  padded = jnp.pad(ids, (0, -ids.size % width))
  inner = model.shared
  by_block = lambda block: score(inner, params, block, padded, width)
  scores = jax.lax.map(by_block, blocks)
  return scores.reshape(size, -1)[:, : ids.size]


def of_shared(ranker: contracts.Ranker) -> contracts.Ranker:
  """The ranker that encodes for `score_shared`."""
  return ranker._replace(model=ranker.model.shared or ranker.model)


def is_worth(model: types.Model, num_rows: int, num_items: int) -> bool:
  """Whether so many users and items are ranked faster by `score_shared`."""
  is_faster = model.shared is not None or model.any_length
  return is_faster and num_rows * num_items >= _WORTH


def cut(model: types.Model, history: np.ndarray) -> np.ndarray:
  """Histories i32[b, L] without columns that are padding, if a model allows it.

  What is left is one of eight lengths, each a program.
  """
  most = history.shape[1]
  if not model.any_length or not history.size:
    return history
  step = max(8, -(-most // 8))
  longest = int(np.count_nonzero(history, axis=1).max())
  return history[:, : min(most, round_up(max(longest, 1), step))]


def route_keys(routes: types.Route | None) -> tuple[np.ndarray, ...]:
  """Keys for np.lexsort that rows of one tile must agree in."""
  if routes is None or routes.groups.shape[1] > 1:
    return ()
  return routes.weights[:, 0], routes.groups[:, 0]


def by_route(
  routes: types.Route | None,
  size: int,
  inside: Sequence[np.ndarray] = (),
  outside: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, types.Route | None]:
  """An order i64[size] in which equal routes stand together; routes in it.

  Args:
    routes: of `size` rows, or None.
    size: rows.
    inside: keys for np.lexsort of rows with one route.
    outside: keys that go before the route.
  """
  keys = (*inside, *route_keys(routes), *outside)
  order = np.lexsort(keys) if keys else np.arange(size)
  if routes is not None:
    routes = types.Route(*(leaf[order] for leaf in routes))
  return order, routes


def row_runs(num_rows: int, routes: types.Route | None) -> list[np.ndarray]:
  """Neighboring rows that may share a tile, i64[b] each."""
  if routes is not None:
    chex.assert_tree_shape_prefix(routes, (num_rows,))
  changes = np.zeros(max(num_rows - 1, 0), np.bool_)
  for key in route_keys(routes):
    changes |= np.diff(key) != 0
  return np.split(np.arange(num_rows), 1 + np.flatnonzero(changes))


def row_tiles(
  params: AnyParams,
  routes: types.Route | None,
  runs: Sequence[np.ndarray],
  size: int,
) -> list[RowTile]:
  """Tiles of at most `size` rows, each with its route and parameters.

  Args:
    params: one, or one for each group.
    routes: leaves [n, K]; None is group 0 for everybody.
    runs: of the rows, as `row_runs`.
    size: rows of a tile.
  Raises:
    types.UserError: a soft route between groups that share no trunk.
  """
  cut = []
  for run in runs:
    for first in range(0, run.size, size):
      part = run[first : first + size]
      route = _tile_route(routes, part, size)
      cut.append(RowTile(part, route, _tile_params(params, route)))
  return cut


def _tile_route(routes, part, size):
  if routes is None:
    return _EVERYBODY
  if routes.groups.shape[1] == 1:
    return types.Route(*(leaf[part[0]] for leaf in routes))
  return types.Route(*(gathers.pad_rows(leaf[part], size) for leaf in routes))


def _tile_params(params, route):
  if isinstance(params, types.Params):
    return params
  if route.groups.ndim > 1:
    raise types.UserError(
      'routing.mode soft blends plugins of one trunk, but here every group has'
      ' its own; use frozen or dynamic, or train with plugin.select=global'
    )
  # The bare trunk is nobody's own; the cold go with the first group.
  return params[int(route.groups[0]) if route.weights[0] else 0]


def item_ids(num_items: int, columns: int) -> Iterator[np.ndarray]:
  """All items in tiles of i32[C], 0 beyond the catalog."""
  for first in range(1, num_items + 1, columns):
    ids = np.arange(first, first + columns, dtype=np.int32)
    yield np.where(ids <= num_items, ids, 0)


def excluded_pairs(
  excluded: gathers.Exclusions, num_items: int, num_rows: int, columns: int
) -> Iterator[np.ndarray]:
  """Pairs to leave out, bool[R, C] for every tile of `item_ids`.

  Rows beyond those of `excluded` and ids beyond the catalog are filling: all
  their pairs are left out.
  """
  ragged = gathers.slices(
    excluded.items, excluded.offsets[:-1], excluded.counts
  )
  order = np.argsort(ragged.values, kind='stable')
  pair_rows, pair_items = ragged.row[order], ragged.values[order]
  for first in range(1, num_items + 1, columns):
    left, right = np.searchsorted(pair_items, [first, first + columns])
    mask = np.zeros((num_rows, columns), np.bool_)
    mask[pair_rows[left:right], pair_items[left:right] - first] = True
    mask[excluded.offsets.size - 1 :] = True
    mask[:, num_items + 1 - first :] = True
    yield mask


def check_scores(has_nan: Any) -> None:
  """A user error that names the cause where a score is not a number."""
  if bool(has_nan):
    raise types.UserError(
      'the model gives NaN scores, so nothing can be ranked; the parameters '
      'are not finite: use an earlier checkpoint or a lower learning_rate'
    )


def round_up(value: int, multiple: int) -> int:
  """The next multiple, or the value if it is one."""
  return -(-value // multiple) * multiple


def _even_share(total: int, limit: int) -> int:
  """Size of equal parts of at most about `limit`, a multiple of 8."""
  parts = max(1, -(-total // limit))
  return round_up(max(1, -(-total // parts)), 8)
