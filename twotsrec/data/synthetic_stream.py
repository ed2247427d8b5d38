"""A seeded log of any size that is written to disk while it is drawn.

What is drawn is in `synthetic_world`. Events are drawn in fixed parts of the
log, so that nothing depends on how many are held at once.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from twotsrec.data import feature_files
from twotsrec.data import features
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import prepared_stream
from twotsrec.data import synthetic_world
from twotsrec.data import tables

_CHUNK = 1 << 13  # events drawn at once: a fixed part of the log
_TILE = 1 << 20  # events handed over at once, by default
_BY_TIME = prepared_stream.Split()
World = synthetic_world.World


def generate(world: World) -> tables.Table:
  """The log in memory, by user and time."""
  log = stream(world)
  columns = [np.concatenate(parts) for parts in zip(*log.pieces())]
  counts = np.diff(log.user_offsets)
  return tables.make(
    'synthetic-stream',
    user=np.repeat(log.user_ids, counts),
    item=log.item_ids[columns[0] - 1],
    time=columns[1],
  )


def write(
  world: World,
  out_dir: str,
  split: prepared_stream.Split = _BY_TIME,
  *,
  overwrite: bool = False,
  tile: int = _TILE,
  source: str = 'synthetic-stream',
  options: dict[str, Any] | None = None,
) -> prepared_lib.Prepared:
  """Writes the log as prepared data, with the categories as item feature.

  Memory is bounded by users, items and `tile`, events drawn before they are
  written, not by all events. The log does not depend on the tile. `options`
  are recorded in the manifest, the world by default; see
  `prepared_stream.write` for the rest.
  """
  data = prepared_stream.write(
    stream(world, tile),
    split,
    out_dir,
    overwrite=overwrite,
    source=source,
    options=options or {**world._asdict(), 'split': list(split)},
  )
  rows = item_features(world)
  features.save(features.build(rows, data.item_ids, extra='drop'), data)
  return data


def stream(world: World, tile: int = _TILE) -> prepared_stream.Log:
  """The log in pieces of about `tile` events."""
  synthetic_world.check(world)
  offsets = synthetic_world.activity_offsets(world)
  items = synthetic_world.draw_items(world)
  return prepared_stream.Log(
    user_offsets=offsets,
    pieces=lambda: _pieces(world, items, offsets, tile),
    user_ids=np.arange(1, len(offsets), dtype=np.int64),
    item_ids=np.arange(1, world.num_items + 1, dtype=np.int64),
  )


def item_features(world: World) -> feature_files.Rows:
  """The category of every item."""
  items = synthetic_world.draw_items(world)
  category = np.empty(world.num_items, np.int64)
  category[items.number - 1] = items.category + 1
  return feature_files.Rows(
    items=np.arange(1, world.num_items + 1, dtype=np.int64),
    categorical={'category': category},
    path='synthetic-stream',
  )


def _pieces(
  world: World, items: synthetic_world.Items, offsets: np.ndarray, tile: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  per_piece = max(tile // _CHUNK, 1) * _CHUNK
  count = int(offsets[-1])
  for start in range(0, count, per_piece):
    chunks = [
      synthetic_world.draw(
        world, items, offsets, first, min(first + _CHUNK, count)
      )
      for first in range(start, min(start + per_piece, count), _CHUNK)
    ]
    drawn, times = zip(*chunks)
    yield np.concatenate(drawn), np.concatenate(times)
