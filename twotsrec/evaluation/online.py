"""Ranks of held-out events that are scored one after the other (2TS sec. 4).

Every event has its own query, the state of its user just before it, so users
are independent and blocks of events may come in any order. One pass over the
products of queries and item vectors counts under several rules at once. The
paper's candidates include the items of the user's past; where nothing is
consumed twice a good model has the past on top, so both are reported.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools
from typing import Any, NamedTuple

import chex
import numpy as np

from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import counting
from twotsrec.evaluation import online_events
from twotsrec.evaluation import products
from twotsrec.evaluation import rules

# Rows put in order before they are cut: a tile then has few users.
_PIECE_ROWS = 1 << 15
# Columns of a rule: ending of the counts, name of the number of candidates.
_COLUMNS = {
  rules.ALL: ('', 'num_negatives'),
  rules.PAST: ('_without_past', 'num_negatives_without_past'),
  rules.LISTED: ('_sampled', 'num_sampled'),
}


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


class _Source(NamedTuple):
  """Inputs of the tiles, and the columns that come with them."""

  prepared: prepared_data.Prepared
  wanted: np.ndarray
  stock: products.Catalog
  among: Sequence[rules.Rule]
  movement: np.ndarray
  norm: np.ndarray
  fingerprint: np.ndarray


def usual_rules(
  prepared: prepared_data.Prepared, lists: int = 499, seed: int = 0
) -> tuple[rules.Rule, ...]:
  """All items, all but the past, and `lists` sampled ones where not 0."""
  among = rules.everything(prepared.num_items), rules.past(prepared)
  sampled = rules.listed(prepared, lists, seed)
  return (*among, sampled) if lists else among


def rank(
  blocks: Iterable[Block],
  item_vectors: Any,
  prepared: prepared_data.Prepared,
  split: int | Sequence[int],
  among: Sequence[rules.Rule],
  *,
  events: np.ndarray | None = None,
  row_tile: int = 256,
  item_tile: int = 4096,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
  """Counts for every held-out event of the split, in order of event.

  Args:
    blocks: with every event that is ranked exactly once, others are dropped;
      `Block` or anything with its fields.
    item_vectors: f32[I + 1, d]; row 0 is padding.
    prepared: the data.
    split: VALIDATION or TEST, or several.
    among: rules of `rules.everything`, `rules.past` or `rules.listed`, such as
      `usual_rules`.
    events: i64[T], a subset of the events of the split to rank.
    row_tile: events scored at once.
    item_tile: items scored at once.
    progress: called with (events done, events).
  Returns:
    Arrays [T]: those of `online_events.describe`; score, movement, norm; and
    better, tied and num_negatives among all other items; the same ending in
    _without_past; and better_sampled, tied_sampled, num_sampled and list, the
    fingerprint of the candidates: those of the rules in `among`.
  """
  wanted = online_events.held_out(prepared, split, events)
  chex.assert_shape(item_vectors, (prepared.num_items + 1, None))
  source = _Source(
    prepared=prepared,
    wanted=wanted,
    stock=products.catalog(item_vectors, wanted.size, row_tile, item_tile),
    among=among,
    movement=np.zeros(wanted.size, np.float32),
    norm=np.zeros(wanted.size, np.float32),
    fingerprint=np.zeros(wanted.size, np.uint64),
  )
  facts = online_events.describe(prepared, wanted)
  counts = counting.add_up(
    _parts(blocks, source, facts['user']), wanted.size, len(among),
    progress=progress,
  )  # fmt: skip
  return facts | _columns(source, counts)


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


def _parts(blocks, source, users) -> Iterator[counting.Part]:
  """Tiles in order of arrival; writes the columns of `source`."""
  wanted, size = source.wanted, source.stock.rows
  items = np.asarray(source.prepared.items)
  arrived = np.zeros(wanted.size, np.bool_)
  for place, piece in _pieces(blocks, wanted):
    if arrived[place].any() or not np.all(np.diff(place) > 0):
      raise ValueError('a held-out event came twice')
    arrived[place] = True
    source.movement[place] = piece.movement
    source.norm[place] = piece.norm
    for first in range(0, place.size, size):
      rows, query = (x[first : first + size] for x in (place, piece.query))
      event = wanted[rows]
      targets = prepared_data.Targets(event, users[rows], items[event], event)
      excluded = [rule.excluded(targets) for rule in source.among]
      for rule in excluded:
        if rule.fingerprint is not None:
          source.fingerprint[rows] = rule.fingerprint
      yield products.part(source.stock, rows, query, targets, excluded)
  if not arrived.all():
    raise ValueError(f'{arrived.sum()} of {wanted.size} held-out events came')


def _pieces(blocks, wanted) -> Iterator[tuple[np.ndarray, Block]]:
  """Larger blocks in order of event, with their places in `wanted`."""
  waiting, size = [], 0
  for block in itertools.chain(blocks, [None]):
    if block is not None:
      columns = [np.asarray(getattr(block, name)) for name in Block._fields]
      place = np.searchsorted(wanted, columns[0])
      place = np.minimum(place, wanted.size - 1)
      asked = wanted[place] == columns[0]
      waiting.append((place[asked], *(column[asked] for column in columns)))
      size += np.count_nonzero(asked)
    if waiting and (size >= _PIECE_ROWS or block is None):
      place, *columns = (np.concatenate(c) for c in zip(*waiting, strict=True))
      order = np.argsort(place, kind='stable')
      yield place[order], Block(*(column[order] for column in columns))
      waiting, size = [], 0


def _columns(source, counts) -> dict[str, np.ndarray]:
  columns = {
    'score': counts.positive_score,
    'movement': source.movement,
    'norm': source.norm,
  }
  for i, rule in enumerate(source.among):
    ending, number = _COLUMNS[rule.name]
    columns |= {
      'better' + ending: counts.better[i],
      'tied' + ending: counts.tied[i],
      number: counts.num_negatives[i],
    }
    if rule.name == rules.LISTED:
      columns['list'] = source.fingerprint
  return columns
