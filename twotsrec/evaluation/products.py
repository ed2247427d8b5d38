"""Scores of queries against all items, as inner products in tiles.

Both kinds of tiles have one fixed shape, and a held-out item's own score comes
out of the same compiled product as the others, so that an item with the same
vector ties.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import counting
from twotsrec.evaluation import gathers
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

_MULTIPLE = 16  # of the sizes of tiles, for the vectors of the processor


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


def catalog(item_vectors: Any, num_queries: int, sizes: tiles.Sizes) -> Catalog:
  """Cuts item vectors f32[I + 1, d] into even tiles of about these sizes."""
  vectors = np.asarray(item_vectors, np.float32)
  num_items = len(vectors) - 1
  number = max(1, -(-num_items // min(sizes.items, tiles.MOST_ITEMS)))
  columns = tiles.round_up(-(-num_items // number), _MULTIPLE)
  rows = tiles.round_up(min(sizes.users, max(num_queries, 1)), _MULTIPLE)
  # The scores of the held-out items fit into one tile of scores, see `part`.
  rows = rows if number == 1 else min(rows, columns)
  parts = [
    jnp.asarray(gathers.pad_rows(vectors[first : first + columns], columns))
    for first in range(1, num_items + 1, columns)
  ]
  return Catalog(parts, vectors, rows)


def part(
  stock: Catalog,
  rows: np.ndarray,
  query: np.ndarray,
  targets: prepared_data.Targets,
  excluded: Sequence[rules.Excluded],
) -> counting.Part:
  """Counts queries against all items; answers before it has computed.

  Args:
    stock: the items.
    rows: i64[b], positions of the held-out items.
    query: f32[b, d].
    targets: the held-out items.
    excluded: what each rule leaves out for them.
  """
  size, columns = stock.rows, stock.tiles[0].shape[0]
  queries = jnp.asarray(gathers.pad_rows(query, size))
  target = gathers.pad_rows(targets.item, size)
  masks = zip(*(rule.masks(size, columns) for rule in excluded))
  scores, tallies = _product(queries, stock.tiles[0]), []
  if len(stock.tiles) > 1:
    ids = gathers.pad_rows(targets.item, columns)
    own = jnp.diagonal(_product(queries, stock.vectors[ids]))
  else:
    own = _own_scores(scores, np.maximum(target - 1, 0))
  for i, (tile, masks_of_tile) in enumerate(zip(stock.tiles, masks)):
    if i:
      scores = _product(queries, tile)
    bounds = i * columns + 1, len(stock.vectors) - 1, rows.size
    tallies.append(counting.tally(scores, own, target, bounds, masks_of_tile))
  number = [rule.number for rule in excluded]
  return counting.Part(rows=rows, own=own, number=number, tallies=tallies)


@jax.jit
def _product(query: jax.Array, vectors: jax.Array) -> jax.Array:
  """f32[R, C]; a program of its own, so that all uses round alike."""
  return jnp.matmul(query, vectors.T, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _own_scores(scores: jax.Array, column: jax.Array) -> jax.Array:
  return jnp.take_along_axis(scores, column[:, None], axis=1)[:, 0]
