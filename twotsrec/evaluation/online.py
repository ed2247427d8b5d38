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

from twotsrec import config
from twotsrec import contracts
from twotsrec import models
from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import counting
from twotsrec.evaluation import products
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

# Rows put in order before they are cut: a tile then has few users.
_PIECE_ROWS = 1 << 15
_COUNTED = ('better', 'tied', 'num_negatives')
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


class Queries(NamedTuple):
  """Queries of events, and the items that they rank.

  Attributes:
    blocks: with every event that is ranked exactly once, others are dropped.
    item_vectors: f32[I + 1, d]; row 0 is padding.
  """

  blocks: Iterable[Block]
  item_vectors: Any


def held_out(
  prepared: prepared_data.Prepared, split: int | Sequence[int]
) -> np.ndarray:
  """Events of VALIDATION or TEST, or several splits, i64[T] ascending.

  Raises:
    types.UserError: the data hold none out.
  """
  splits = np.atleast_1d(split)
  events = np.flatnonzero(np.isin(prepared.split, splits))
  if not events.size:
    names = ' and '.join(prepared_data.SPLITS[s] for s in splits)
    raise types.UserError(
      f'no events are held out for {names}; prepare the data with a split that '
      'has them'
    )
  return events


def describe(
  prepared: prepared_data.Prepared, event: np.ndarray
) -> dict[str, np.ndarray]:
  """Columns of events i64[T] that no model changes.

  Returns:
    Arrays [T]: event, user, item, split, position (k = 1 for the first event
    of the user in its split), train_count of the user, warm (whether the item
    occurs in training; a model may have left some of it out), known (whether
    the user had the item before).
  """
  users, split = prepared.event_users, np.asarray(prepared.split)
  starts = (np.diff(users, prepend=-1) > 0) | (np.diff(split, prepend=-1) > 0)
  starts = np.flatnonzero(starts)
  first = starts[np.searchsorted(starts, event, side='right') - 1]
  items = np.asarray(prepared.items)
  trained = np.zeros(prepared.num_items + 1, np.bool_)
  trained[items[split == prepared_data.TRAIN]] = True
  return {
    'event': event,
    'user': users[event],
    'item': items[event],
    'split': split[event],
    'position': event - first + 1,
    'train_count': prepared_data.train_counts(prepared)[users[event]],
    'warm': trained[items[event]],
    'known': prepared.known[event],
  }


def usual_rules(
  prepared: prepared_data.Prepared, lists: int = 499, seed: int = 0
) -> tuple[rules.Rule, ...]:
  """All items, all but the past, and `lists` sampled ones where not 0."""
  among = rules.everything(prepared.num_items), rules.past(prepared)
  sampled = rules.listed(prepared, lists, seed)
  return (*among, sampled) if lists else among


def rank(
  queries: Queries,
  prepared: prepared_data.Prepared,
  events: np.ndarray,
  among: Sequence[rules.Rule],
  *,
  sizes: tiles.Sizes = tiles.SIZES,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
  """Counts for every event.

  Args:
    queries: of the events, in any order.
    prepared: the data.
    events: i64[T] ascending, of `held_out` or some of them.
    among: rules of `rules.everything`, `rules.past` or `rules.listed`, such as
      `usual_rules`.
    sizes: events and items scored at once.
    progress: called with (events done, events).
  Returns:
    Arrays [T]: those of `describe`; score, movement, norm; and better, tied and
    num_negatives among all other items; the same ending in _without_past; and
    better_sampled, tied_sampled, num_sampled and list, the fingerprint of the
    candidates: those of the rules in `among`.
  """
  chex.assert_shape(queries.item_vectors, (prepared.num_items + 1, None))
  stock = products.catalog(queries.item_vectors, events.size, sizes)
  facts = describe(prepared, events)
  columns = still(events.size)
  parts = _parts(queries.blocks, stock, facts, among, columns)
  total = events.size
  counts = counting.add_up(parts, total, len(among), progress=progress)
  return together(facts, columns, among, counts)


def rank_rule(
  ranker: contracts.Ranker,
  prepared: prepared_data.Prepared,
  events: np.ndarray,
  among: Sequence[rules.Rule],
  evaluation: config.EvaluationConfig,
  progress: Callable[[int, int], None] | None = None,
  routes: types.Route | None = None,
) -> dict[str, np.ndarray]:
  """As `rank`, by a rule that stands beside a model, or a model of histories.

  `routes` are as in `rank_histories`.
  """
  if _is_popularity(ranker):
    # A product, whatever the history.
    splits = np.unique(np.asarray(prepared.split)[events]).tolist()
    counts = popularity(prepared, splits)
    return rank(counts, prepared, events, among, progress=progress)
  sizes = tiles.sizes_of(evaluation)
  return rank_histories(
    ranker,
    prepared,
    events,
    among,
    sizes=sizes,
    progress=progress,
    routes=routes,
  )


def _is_popularity(ranker: contracts.Ranker) -> bool:
  one_for_all = isinstance(ranker.params, types.Params)
  return one_for_all and models.is_popularity(ranker.params)


def rank_histories(
  ranker: contracts.Ranker,
  prepared: prepared_data.Prepared,
  events: np.ndarray,
  among: Sequence[rules.Rule],
  *,
  sizes: tiles.Sizes = tiles.SIZES,
  progress: Callable[[int, int], None] | None = None,
  routes: types.Route | None = None,
) -> dict[str, np.ndarray]:
  """The same by a ranker of histories, each as it is just before the event.

  No state moves. Goes over all items once, whatever the number of rules.
  `routes`, leaves [T, K], say which plugins serve an event, as in
  `ranking.Task`.
  """
  facts, columns = describe(prepared, events), still(events.size)
  targets = prepared_data.Targets(events, facts['user'], facts['item'], events)
  order, routes = tiles.by_route(routes, events.size)
  ordered = prepared_data.Targets(*(column[order] for column in targets))
  counts = ranking.rank_rules(
    ranking.Task(ranker, prepared, ordered, routes),
    among,
    sizes=sizes,
    progress=progress,
  )
  back = np.argsort(order)
  counts = counts._replace(
    **{name: getattr(counts, name)[:, back] for name in _COUNTED},
    positive_score=counts.positive_score[back],
  )
  for rule in among:
    for first in range(0, events.size, _PIECE_ROWS):
      rows = slice(first, first + _PIECE_ROWS)
      part = prepared_data.Targets(*(column[rows] for column in targets))
      if (drawn := rule.excluded(part).fingerprint) is not None:
        columns['list'][rows] = drawn
  return together(facts, columns, among, counts)


def still(number: int) -> dict[str, np.ndarray]:
  """Columns of events that move nothing and have no lists."""
  return {
    'movement': np.zeros(number, np.float32),
    'norm': np.zeros(number, np.float32),
    'list': np.zeros(number, np.uint64),
  }


def together(
  facts: dict[str, np.ndarray],
  columns: dict[str, np.ndarray],
  among: Sequence[rules.Rule],
  counts: counting.Counts,
) -> dict[str, np.ndarray]:
  """All columns of events, with the counts of each of K rules, [K, T]."""
  lists = columns.pop('list')
  ranked = {**facts, 'score': counts.positive_score, **columns}
  for index, rule in enumerate(among):
    ending, number = _COLUMNS[rule.name]
    ranked['better' + ending] = counts.better[index]
    ranked['tied' + ending] = counts.tied[index]
    ranked[number] = counts.num_negatives[index]
    if rule.name == rules.LISTED:
      ranked['list'] = lists
  return ranked


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
  users = prepared.event_users
  events = held_out(prepared, split)
  for first in range(0, events.size, rows):
    event = events[first : first + rows]
    still = np.zeros(event.size, np.float32)
    yield Block(event, vectors[users[event]], still, norms[users[event]])


def popularity(
  prepared: prepared_data.Prepared, split: int | Sequence[int]
) -> Queries:
  """Ranks by vectors f32[I + 1, 1] that count the training events."""
  in_train = np.asarray(prepared.split) == prepared_data.TRAIN
  items = np.asarray(prepared.items)[in_train]
  counts = np.bincount(items, minlength=prepared.num_items + 1)
  vectors = counts[:, None].astype(np.float32)
  alike = np.ones((prepared.num_users, 1))
  return Queries(static_blocks(prepared, split, alike), vectors)


def _parts(blocks, stock, facts, among, columns) -> Iterator[counting.Part]:
  """Tiles in order of arrival; writes what comes with them into `columns`."""
  events, users, items = (facts[name] for name in ('event', 'user', 'item'))
  arrived = np.zeros(events.size, np.bool_)
  for place, piece in _pieces(blocks, events):
    if arrived[place].any() or not np.all(np.diff(place) > 0):
      raise ValueError('a held-out event came twice')
    arrived[place] = True
    columns['movement'][place] = piece.movement
    columns['norm'][place] = piece.norm
    for first in range(0, place.size, stock.rows):
      tile = slice(first, first + stock.rows)
      rows, event = place[tile], events[place[tile]]
      targets = prepared_data.Targets(event, users[rows], items[rows], event)
      excluded = [rule.excluded(targets) for rule in among]
      for rule in excluded:
        if rule.fingerprint is not None:
          columns['list'][rows] = rule.fingerprint
      yield products.part(stock, rows, piece.query[tile], targets, excluded)
  if not arrived.all():
    raise ValueError(f'{arrived.sum()} of {events.size} held-out events came')


def _pieces(blocks, events) -> Iterator[tuple[np.ndarray, Block]]:
  """Larger blocks in order of event, with their places in `events`."""
  waiting, size = [], 0
  for block in itertools.chain(blocks, [None]):
    if block is not None:
      columns = [np.asarray(getattr(block, name)) for name in Block._fields]
      place = np.searchsorted(events, columns[0])
      place = np.minimum(place, events.size - 1)
      asked = events[place] == columns[0]
      waiting.append((place[asked], *(column[asked] for column in columns)))
      size += np.count_nonzero(asked)
    if waiting and (size >= _PIECE_ROWS or block is None):
      place, *columns = (np.concatenate(c) for c in zip(*waiting, strict=True))
      order = np.argsort(place, kind='stable')
      yield place[order], Block(*(column[order] for column in columns))
      waiting, size = [], 0
