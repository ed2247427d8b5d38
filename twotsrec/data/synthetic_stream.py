"""A seeded log of any size, of which any part can be drawn on its own.

    activity    P(T = k) ~ (k + 1)^-alpha, k = 0..max_activity; a user has T + 1
                events, so that everybody is in the log
    taste       phi_u = (mean, 0, ..., 0) + spread * N(0, I_10): what all share,
                and an offset
    items       v_i = (center of a category + .5 N(0, I_10)), both on the sphere
    popularity  of the item of rank r falls like r^(1 / skew - 1), for skew 5
                like Zipf's law with exponent .8
    click       softmax(phi_u . v_j) over a pool drawn by popularity
    time        u arrives at arrival * U(0, 1) of the year, its events are
                spread over the rest of it

It is the world of 2TS's theory (a shared mean, users around it, T independent
of taste) with clicks instead of labels. Tastes do not change and order means
nothing. All draws are functions of (seed, user, event), so a log does not
depend on how much of it is drawn at once.

The log is written to disk while it is drawn, in fixed parts.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import feature_files
from twotsrec.data import features
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import prepared_stream
from twotsrec.data import splits
from twotsrec.data import tables

_CHUNK = 1 << 13  # events drawn at once: a fixed part of the log
_TILE = 1 << 20  # events handed over at once, by default
_BY_TIME = splits.Rule('global_time')
_WIDTH = 10
_USERS = 1 << 16  # users drawn at once
_START, _SECONDS = 1_600_000_000, 365 * 86_400
_CATEGORY_SPREAD = 0.5
# Streams of random numbers.
_ACTIVITY, _ARRIVAL, _TASTE, _MOMENT, _POOL, _CLICK = range(6)
# SplitMix64 (Steele et al. 2014), read at any place.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1


class World(NamedTuple):
  """Parameters of the world; see the module.

  With `num_events` above 0 there are as many users as give this many events
  instead, and the events of the last one are cut off there.
  """

  num_users: int = 3000  # ids 1..num_users
  num_events: int = 0
  num_items: int = 10_000  # ids 1..num_items, in no order of popularity
  num_categories: int = 50  # 1..num_categories
  alpha: float = 1.5  # of the activity, above 0
  max_activity: int = 5000  # largest T
  mean: float = 4.0  # length of the shared taste
  spread: float = 2.0  # of the offsets
  pool: int = 20  # candidates of a click
  skew: int = 5  # of the popularity, 1 for equally popular items
  arrival: float = 0.9  # share of the year over which users arrive
  seed: int = 0


class Items(NamedTuple):
  """Items by rank of popularity."""

  vectors: np.ndarray  # f32[I, 10]
  category: np.ndarray  # i64[I], from 0
  number: np.ndarray  # i32[I], 1..I


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
  split: splits.Rule = _BY_TIME,
  *,
  tile: int = _TILE,
  options: dict[str, Any] | None = None,
  overwrite: bool = False,
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
    source='synthetic-stream',
    options=options or {**world._asdict(), 'split': list(split[:2])},
  )
  rows = item_features(world)
  features.save(features.build(rows, data.item_ids, extra='drop'), data)
  return data


def stream(world: World, tile: int = _TILE) -> prepared_stream.Log:
  """The log in pieces of about `tile` events."""
  check(world)
  offsets = activity_offsets(world)
  items = draw_items(world)
  return prepared_stream.Log(
    user_offsets=offsets,
    pieces=lambda: _pieces(world, items, offsets, tile),
    user_ids=np.arange(1, len(offsets), dtype=np.int64),
    item_ids=np.arange(1, world.num_items + 1, dtype=np.int64),
  )


def item_features(world: World) -> feature_files.Rows:
  """The category of every item."""
  items = draw_items(world)
  category = np.empty(world.num_items, np.int64)
  category[items.number - 1] = items.category + 1
  return feature_files.Rows(
    items=np.arange(1, world.num_items + 1, dtype=np.int64),
    categorical={'category': category},
    path='synthetic-stream',
  )


def check(world: World) -> None:
  """Raises UserError for a world that cannot be."""
  allowed = {
    'num_users': (1, np.inf),
    'num_events': (0, np.inf),
    'num_items': (1, 2**31 - 2),
    'num_categories': (1, np.inf),
    'max_activity': (0, np.inf),
    'alpha': (1e-9, np.inf),
    'pool': (1, np.inf),
    'skew': (1, np.inf),
    'spread': (0, np.inf),
    'arrival': (0, 1),
  }
  for name, (low, high) in allowed.items():
    value = getattr(world, name)
    if not low <= value <= high:
      raise types.UserError(
        f'{name} of the built-in log is {value}; allowed are {low:g} to '
        f'{high:g}'
      )


def activity_offsets(world: World) -> np.ndarray:
  """First event of every user, i64[U + 1]."""
  weights = np.arange(1, world.max_activity + 2, dtype=float) ** -world.alpha
  law = np.cumsum(weights) / np.sum(weights)
  counts, total, start = [], 0, 0
  while total < world.num_events or (
    not world.num_events and start < world.num_users
  ):
    stop = start + _USERS
    stop = stop if world.num_events else min(stop, world.num_users)
    chance = _uniform(world.seed, _ACTIVITY, np.arange(start, stop))
    drawn = np.searchsorted(law[:-1], chance, side='right') + 1
    counts.append(drawn)
    total, start = total + int(np.sum(drawn)), stop
  offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
  if world.num_events:
    users = int(np.searchsorted(offsets, world.num_events))
    offsets = np.minimum(offsets[: users + 1], world.num_events)
  return offsets


def draw_items(world: World) -> Items:
  """Vectors, categories and numbers of all items."""
  rng = np.random.default_rng([world.seed, world.num_items])
  on_sphere = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
  normal = lambda rows: rng.standard_normal((rows, _WIDTH), np.float32)
  centers = on_sphere(normal(world.num_categories))
  category = rng.integers(0, world.num_categories, world.num_items)
  offset = np.float32(_CATEGORY_SPREAD) * normal(world.num_items)
  return Items(
    vectors=on_sphere(centers[category] + offset),
    category=category,
    number=(rng.permutation(world.num_items) + 1).astype(np.int32),
  )


def taste(world: World, user: np.ndarray) -> np.ndarray:
  """phi_u of users, f32[n, 10]."""
  index = np.asarray(user)[:, None] * _WIDTH + np.arange(_WIDTH)
  # Box and Muller 1958.
  radius = np.sqrt(-2 * np.log(_uniform(world.seed, _TASTE, 2 * index)))
  angle = 2 * np.pi * _uniform(world.seed, _TASTE, 2 * index + 1)
  phi = world.spread * radius * np.cos(angle)
  phi[:, 0] += world.mean
  return phi.astype(np.float32)


def draw(
  world: World, items: Items, offsets: np.ndarray, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
  """Items i32[n], 1..I, and times i64[n] of events start..stop - 1 of the log.

  Items and offsets are those of `draw_items` and `activity_offsets`.
  """
  user = prepared_stream.users_of(offsets, start, stop)
  event = np.arange(start, stop)
  arrival = world.arrival * _uniform(world.seed, _ARRIVAL, user)
  rank, count = event - offsets[user], np.diff(offsets)[user]
  moment = (rank + _uniform(world.seed, _MOMENT, event)) / count
  time = _START + (_SECONDS * (arrival + (1 - arrival) * moment)).astype(int)
  pool = _pool(world, event)
  phi = taste(world, np.arange(user[0], user[-1] + 1))[user - user[0]]
  logits = np.einsum('npd,nd->np', items.vectors[pool], phi)
  weights = np.exp(logits - np.max(logits, axis=1, keepdims=True))
  below = np.cumsum(weights, axis=1)
  aim = _uniform(world.seed, _CLICK, event) * below[:, -1]
  chosen = np.sum(below <= aim[:, None], axis=1)
  chosen = np.minimum(chosen, world.pool - 1)
  return items.number[pool[np.arange(len(pool)), chosen]], time


def _pieces(
  world: World, items: Items, offsets: np.ndarray, tile: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  per_piece = max(tile // _CHUNK, 1) * _CHUNK
  count = int(offsets[-1])
  for start in range(0, count, per_piece):
    chunks = [
      draw(world, items, offsets, first, min(first + _CHUNK, count))
      for first in range(start, min(start + per_piece, count), _CHUNK)
    ]
    drawn, times = zip(*chunks)
    yield np.concatenate(drawn), np.concatenate(times)


def _pool(world: World, event: np.ndarray) -> np.ndarray:
  """Candidates of every event as ranks of popularity, i64[n, pool]."""
  words = -(-world.pool // 2)
  index = event[:, None] * words + np.arange(words)
  halves = _words(world.seed, _POOL, index).view(np.uint32)
  chance = (halves[:, : world.pool] + 0.5) * 2.0**-32
  share = chance.copy()
  for _ in range(world.skew - 1):
    share *= chance  # exact on every machine, unlike a power
  return np.minimum((share * world.num_items).astype(int), world.num_items - 1)


def _uniform(seed: int, series: int, index: np.ndarray) -> np.ndarray:
  """Uniform numbers in (0, 1) at places of a series, f64[...]."""
  words = _words(seed, series, index)
  return ((words >> np.uint64(11)) + 0.5) * 2.0**-53


def _words(seed: int, series: int, index: np.ndarray) -> np.ndarray:
  """u64[...] at places of a series."""
  # The start of a series is itself a random word.
  start = _mixed(np.array([(seed * 64 + series) & _WORD], np.uint64))[0]
  return _mixed(np.asarray(index).astype(np.uint64) + np.asarray(start)[None])


def _mixed(place: np.ndarray) -> np.ndarray:
  word = (place + np.uint64(1)) * np.uint64(_GOLDEN)
  word = (word ^ (word >> np.uint64(30))) * np.uint64(_MIX_1)
  word = (word ^ (word >> np.uint64(27))) * np.uint64(_MIX_2)
  return word ^ (word >> np.uint64(31))
