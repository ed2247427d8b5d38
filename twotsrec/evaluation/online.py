"""Ranks of held-out events that are scored one after the other (2TS sec. 4).

Every event has its own query, the state of its user just before it, so users
are independent and blocks of events may come in any order. One pass over the
products of queries and item vectors gives the counts for all candidate rules:
all other items, all but the items of the user's earlier events, and a fixed
list of sampled ones. The paper's candidates include the past; where nothing is
consumed twice a good model has the past on top, so both are told.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools
from typing import Any, NamedTuple

import chex
import numpy as np

from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import online_events
from twotsrec.evaluation import online_lists
from twotsrec.evaluation import online_tiles
from twotsrec.evaluation import tiles

# Rows put in order before they are cut: a tile then has few users.
_PIECE_ROWS = 1 << 15
# What `online_tiles` counts, and the end of its names here.
_COUNTED = (
  ('everything', ''),
  ('fresh', '_without_past'),
  ('sampled', '_sampled'),
)


class Block(NamedTuple):
  """Some held-out events.

  Attributes:
    event: i64[n], indices into the prepared events.
    query: f32[n, d], before the event is consumed.
    movement: f32[n], ||h^k - h^(k-1)|| of the state by consuming it.
    norm: f32[n], ||h^(k-1)||.
  """

  event: np.ndarray
  query: np.ndarray
  movement: np.ndarray
  norm: np.ndarray


def rank(
  blocks: Iterable[Block],
  item_vectors: Any,
  prepared: prepared_data.Prepared,
  split: int | Sequence[int],
  *,
  events: np.ndarray | None = None,
  lists: int = 499,
  seed: int = 0,
  item_tile: int = 4096,
  row_tile: int = 256,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
  """Counts for every held-out event of the split, in order of event.

  The event's own item is always a candidate, also where it is in the past.

  Args:
    blocks: with every event that is ranked exactly once, others are dropped;
      `Block` or anything with its fields.
    item_vectors: f32[I + 1, d]; row 0 is padding.
    prepared: the data.
    split: VALIDATION or TEST, or several.
    events: i64[T], a subset of the events of the split to rank.
    lists: sampled candidates beside the item, 0 for none.
    seed: of the lists.
    item_tile: items scored at once.
    row_tile: events scored at once.
    progress: called with (events done, events).
  Returns:
    Arrays [T]: those of `online_events.describe`; score, movement, norm;
    better, tied and num_negatives among all other items; the same ending in
    _without_past; and with lists better_sampled, tied_sampled, num_sampled and
    list, the fingerprint of the candidates.
  """
  wanted = online_events.held_out(prepared, split, events)
  chex.assert_shape(item_vectors, (prepared.num_items + 1, None))
  stock = online_tiles.catalog(item_vectors, wanted.size, row_tile, item_tile)
  past = online_tiles.find_past(prepared)
  source = online_lists.drawn_as_needed(prepared, lists, seed)
  result = online_events.describe(prepared, wanted) | _empty(wanted.size)
  report, done = progress or (lambda done, total: None), 0
  counted = _counted(blocks, wanted, result, stock, past, source, prepared)
  # Each tile is fetched while the next one is computed.
  for (place, listed, own, counts), _ in itertools.pairwise(
    itertools.chain(counted, [None])
  ):
    tiles.check_scores(any(bool(part.not_a_number) for part in counts))
    result['score'][place] = np.asarray(own)[: place.size]
    for name, ending in _COUNTED:
      better, tied = online_tiles.unpack(counts, name, place.size)
      result['better' + ending][place] = better
      result['tied' + ending][place] = tied
    result['list'][place] = online_lists.fingerprints(listed)
    result['num_sampled'][place] = listed.shape[1]
    done += place.size
    report(done, wanted.size)
  _check_complete(wanted, done)
  return _with_numbers(result, prepared, past)


def static_blocks(
  prepared: prepared_data.Prepared,
  split: int | Sequence[int],
  user_vectors: Any,
  rows: int = 8192,
) -> Iterator[Block]:
  """Queries f32[U, d] of users that nothing moves, as in CCF."""
  vectors = np.asarray(user_vectors, np.float32)
  chex.assert_shape(vectors, (prepared.num_users, None))
  norms = np.linalg.norm(vectors, axis=1)
  users = prepared_data.event_users(prepared)
  wanted = online_events.held_out(prepared, split)
  for first in range(0, wanted.size, rows):
    event = wanted[first : first + rows]
    still = np.zeros(event.size, np.float32)
    yield Block(event, vectors[users[event]], still, norms[users[event]])


def constant_blocks(
  prepared: prepared_data.Prepared,
  split: int | Sequence[int],
  query: Any,
  rows: int = 8192,
) -> Iterator[Block]:
  """One query f32[d] for everybody."""
  query = np.asarray(query, np.float32)
  everybody = np.broadcast_to(query, (prepared.num_users, query.size))
  return static_blocks(prepared, split, everybody, rows)


def popularity(
  prepared: prepared_data.Prepared, split: int | Sequence[int]
) -> tuple[Iterator[Block], np.ndarray]:
  """Blocks, and vectors f32[I + 1, 1] that count the training events."""
  in_train = np.asarray(prepared.split) == prepared_data.TRAIN
  items = np.asarray(prepared.items)[in_train]
  counts = np.bincount(items, minlength=prepared.num_items + 1)
  vectors = counts[:, None].astype(np.float32)
  return constant_blocks(prepared, split, np.ones(1)), vectors


def _counted(blocks, wanted, result, stock, past, source, prepared):
  """Tiles in flight: (places i64[b], their lists, own scores, counts)."""
  offsets = np.asarray(prepared.user_offsets)
  arrived = np.zeros(wanted.size, np.bool_)
  for place, piece in _pieces(blocks, wanted):
    if arrived[place].any() or not np.all(np.diff(place) > 0):
      raise ValueError('a held-out event came twice')
    arrived[place] = True
    result['movement'][place] = piece.movement
    result['norm'][place] = piece.norm
    for first in range(0, place.size, stock.rows):
      part = slice(first, first + stock.rows)
      event, rows = wanted[place[part]], place[part]
      listed = source(event)
      batch = online_tiles.Rows(
        query=piece.query[part],
        target=result['item'][rows],
        user_start=offsets[result['user'][rows]],
        event=event,
        lists=listed,
      )
      yield rows, listed, *online_tiles.count(stock, past, batch)


def _pieces(blocks, wanted) -> Iterator[tuple[np.ndarray, Block]]:
  """Larger blocks in order of event, with their places in `wanted`."""
  waiting, size = [], 0
  for block in itertools.chain(blocks, [None]):
    if block is not None:
      columns = [np.asarray(getattr(block, name)) for name in Block._fields]
      place = np.searchsorted(wanted, columns[0])
      place = np.minimum(place, wanted.size - 1)
      kept = wanted[place] == columns[0]
      waiting.append((place[kept], *(column[kept] for column in columns)))
      size += np.count_nonzero(kept)
    if waiting and (size >= _PIECE_ROWS or block is None):
      place, *columns = (np.concatenate(c) for c in zip(*waiting, strict=True))
      order = np.argsort(place, kind='stable')
      yield place[order], Block(*(column[order] for column in columns))
      waiting, size = [], 0


def _empty(total: int) -> dict[str, np.ndarray]:
  floats = ('score', 'movement', 'norm')
  counts = [
    what + ending for _, ending in _COUNTED for what in ('better', 'tied')
  ]
  return {
    **{name: np.zeros(total, np.float32) for name in floats},
    **{name: np.zeros(total, np.int64) for name in counts},
    'num_sampled': np.zeros(total, np.int64),
    'list': np.zeros(total, np.uint64),
  }


def _with_numbers(result, prepared, past) -> dict[str, np.ndarray]:
  """Adds how many candidates each rule has."""
  event, others = result['event'], prepared.num_items - 1
  start = np.asarray(prepared.user_offsets)[result['user']]
  left = past.before[event] - past.before[start]
  left = left - ~past.first[event]  # the item itself does not leave
  result['num_negatives'] = np.full(event.size, others)
  result['num_negatives_without_past'] = others - left
  if not result['num_sampled'].any():
    drop = ('better_sampled', 'tied_sampled', 'num_sampled', 'list')
    return {k: v for k, v in result.items() if k not in drop}
  return result


def _check_complete(wanted: np.ndarray, done: int) -> None:
  if done != wanted.size:
    raise ValueError(f'{done} of {wanted.size} held-out events came')
