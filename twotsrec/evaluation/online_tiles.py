"""Counts of better items for tiles of queries against tiles of items.

A score is the inner product of a query and an item's vector. Both kinds of
tiles have one fixed shape, and the target's own score comes out of the same
compiled product as the others, so that an item with the same vector ties.

A user's past at an event is a prefix of the user's distinct items in the order
of their first event. So one number per user and item, its place in that order,
compared with one number per event tells what is past.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_data

_MULTIPLE = 16  # of the sizes of tiles, for the vectors of the processor
_SHIFT = 16  # of the ties when two counts share an int32
_MOST_ITEMS = 1 << 14  # of a tile, so that they do not overflow
_NEVER = np.int32(2**31 - 1)


class Past(NamedTuple):
  """Distinct items of all users in the order of their first events.

  Attributes:
    first: bool[N], whether no earlier event of the user has the item.
    before: i64[N + 1], first events among the events before.
    items: i32[M], items of the first events.
  """

  first: np.ndarray
  before: np.ndarray
  items: np.ndarray


class Catalog(NamedTuple):
  """Item vectors on the device.

  Attributes:
    tiles: of f32[C, d]; items 1..C, C + 1..2 C and so on, 0 beyond the end.
    vectors: f32[I + 1, d] on the host.
    rows: queries of a tile, R.
  """

  tiles: list[jax.Array]
  vectors: np.ndarray
  rows: int


class Rows(NamedTuple):
  """Events of a tile, ascending.

  Attributes:
    query: f32[b, d].
    target: i32[b].
    user_start: i64[b], first event of the user.
    event: i64[b].
    lists: i32[b, n], sampled candidates.
  """

  query: np.ndarray
  target: np.ndarray
  user_start: np.ndarray
  event: np.ndarray
  lists: np.ndarray


class Counts(NamedTuple):
  """What one tile of items adds; leaves [R].

  Attributes:
    everything: i32, better + 2^16 tied of all other items.
    fresh: i32, the same of those that are not past.
    sampled: i32, the same of the list.
    not_a_number: bool[], whether any score is NaN.
  """

  everything: jax.Array
  fresh: jax.Array
  sampled: jax.Array
  not_a_number: jax.Array


def find_past(prepared: prepared_data.Prepared) -> Past:
  """Finds first events; sorts all events once."""
  offsets = np.asarray(prepared.user_offsets)
  items = np.asarray(prepared.items)
  user = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
  pairs = user * (prepared.num_items + 1) + items
  order = np.argsort(pairs, kind='stable')
  first = np.zeros(items.size, np.bool_)
  first[order] = np.diff(pairs[order], prepend=-1) > 0
  before = np.concatenate([[0], np.cumsum(first)])
  return Past(first, before, items[first])


def catalog(
  item_vectors: Any, num_queries: int, row_tile: int, item_tile: int
) -> Catalog:
  """Cuts item vectors f32[I + 1, d] into even tiles."""
  for name, size in (('row_tile', row_tile), ('item_tile', item_tile)):
    if size < 1:
      raise types.UserError(f'{name} is {size}; it must be at least 1')
  vectors = np.asarray(item_vectors, np.float32)
  num_items = len(vectors) - 1
  number = max(1, -(-num_items // min(item_tile, _MOST_ITEMS)))
  columns = _rounded(-(-num_items // number))
  rows = _rounded(min(row_tile, max(num_queries, 1)))
  # The scores of the targets fit into one tile of scores, see `_own_scores`.
  rows = rows if number == 1 else min(rows, columns)
  tiles = [
    jnp.asarray(_padded(vectors[first : first + columns], columns))
    for first in range(1, num_items + 1, columns)
  ]
  return Catalog(tiles, vectors, rows)


def count(
  stock: Catalog, past: Past, rows: Rows
) -> tuple[jax.Array, list[Counts]]:
  """Scores of the targets f32[R] and what every tile of items counts.

  Answers before it has computed; R - b rows at the end are filling.
  """
  size, columns = stock.rows, stock.tiles[0].shape[0]
  query = jnp.asarray(_padded(rows.query, size))
  target, lists = _padded(rows.target, size), _padded(rows.lists, size)
  num_past = past.before[rows.event] - past.before[rows.user_start]
  num_past = _padded(num_past.astype(np.int32), size)
  user_row, touched = _touches(past, rows, len(stock.vectors), size, columns)
  user_row = _padded(user_row, size)
  own, counts = None, []
  if len(stock.tiles) > 1:
    ids = _padded(rows.target, columns)
    own = jnp.diagonal(_product(query, stock.vectors[ids]))
  for i, (tile, places) in enumerate(zip(stock.tiles, touched, strict=True)):
    scores, first = _product(query, tile), np.int32(i * columns + 1)
    if own is None:
      own = _own_scores(scores, np.maximum(target - first, 0))
    last = np.int32(len(stock.vectors) - 1)
    counts.append(
      _count(
        scores, own, target, lists, places, user_row, num_past, first, last
      )
    )
  return own, counts


def unpack(counts: list[Counts], name: str, size: int) -> np.ndarray:
  """(better, tied) of the first `size` rows over all tiles, i64[2, size]."""
  total = np.zeros((2, size), np.int64)
  for part in counts:
    packed = np.asarray(getattr(part, name))[:size]
    total += np.stack([packed & ((1 << _SHIFT) - 1), packed >> _SHIFT])
  return total


@jax.jit
def _product(query: jax.Array, vectors: jax.Array) -> jax.Array:
  """f32[R, C]; a program of its own, so that all uses round alike."""
  return jnp.matmul(query, vectors.T, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _own_scores(scores: jax.Array, column: jax.Array) -> jax.Array:
  return jnp.take_along_axis(scores, column[:, None], axis=1)[:, 0]


@jax.jit
def _count(
  scores, own, target, lists, touched, user_row, num_past, first, last
) -> Counts:
  own = own[: scores.shape[0], None]
  ids = first + jnp.arange(scores.shape[1], dtype=jnp.int32)
  packed = _packed(scores, own)
  packed = jnp.where((ids <= last) & (ids != target[:, None]), packed, 0)
  fresh = touched[user_row] >= num_past[:, None]
  column = lists - first
  inside = (column >= 0) & (column < scores.shape[1])
  column = jnp.clip(column, 0, scores.shape[1] - 1)
  listed = _packed(jnp.take_along_axis(scores, column, axis=1), own)
  return Counts(
    everything=jnp.sum(packed, axis=1),
    fresh=jnp.sum(jnp.where(fresh, packed, 0), axis=1),
    sampled=jnp.sum(jnp.where(inside, listed, 0), axis=1),
    not_a_number=jnp.any(jnp.isnan(scores)),
  )


def _packed(scores: jax.Array, own: jax.Array) -> jax.Array:
  """1 for a better score, 2^16 for the same; one sum is faster than two."""
  return jnp.where(scores > own, 1, jnp.where(scores == own, 1 << _SHIFT, 0))


def _touches(past: Past, rows: Rows, num_ids: int, size: int, columns: int):
  """Users of the rows i32[b], and the places of their items tile by tile.

  The places are i32[R, C], a row per user; items that the user does not touch
  before the last event of the tile have the place `_NEVER`.
  """
  change = np.diff(rows.user_start) > 0
  user_row = np.concatenate([[0], np.cumsum(change)]).astype(np.int32)
  start = past.before[rows.user_start[np.append(True, change)]]
  counts = past.before[rows.event[np.append(change, True)]] - start
  user = np.repeat(np.arange(start.size), counts)
  place = np.arange(user.size) - np.repeat(np.cumsum(counts) - counts, counts)
  items = past.items[start[user] + place]
  return user_row, _by_tile(user, items, place, num_ids, size, columns)


def _by_tile(user, items, place, num_ids, size, columns) -> Iterator[Any]:
  if num_ids - 1 > columns:
    order = np.argsort(items, kind='stable')
    user, items, place = user[order], items[order], place[order]
  for first in range(1, num_ids, columns):
    part = slice(None)
    if num_ids - 1 > columns:
      part = slice(*np.searchsorted(items, [first, first + columns]))
    touched = np.full((size, columns), _NEVER, np.int32)
    touched[user[part], items[part] - first] = place[part]
    yield touched


def _padded(values: np.ndarray, size: int) -> np.ndarray:
  padding = [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1)
  return np.pad(values, padding)


def _rounded(value: int) -> int:
  return -(-value // _MULTIPLE) * _MULTIPLE
