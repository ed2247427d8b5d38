"""Ranks of held-out items by a model that scores candidates.

Ranks come as two counts, candidates that score higher and candidates that score
the same, so that any treatment of ties can be applied afterwards.

With all items there are two passes. The first scores the held-out items alone,
the second counts candidates tile by tile; both run slices of the same shape, so
that an item with the same row as the held-out one gets the same score and ties.
Nothing depends on the tile sizes but the rounding of the model's arithmetic.

A model that scores shared candidates with less work (`types.Model.shared`, or
`any_length`) does so in the second pass. Its rounding is another one, so what
comes too near to a held-out item is scored again (`rescoring`): ranks stay.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import counting
from twotsrec.evaluation import gathers
from twotsrec.evaluation import rescoring
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

# Encodings of the first pass that stay for the second.
_ENCODING_BYTES = 1 << 28

Progress = Callable[[int, int], None]  # (targets done, T)


class Task(NamedTuple):
  """Held-out items and what ranks them.

  Attributes:
    ranker: the model, its parameters and the length of histories.
    data: events and items.
    targets: events to rank; several of one user are ranked one by one.
    routes: of the targets, leaves [T, K], for a model with plugins; None is
      group 0 for everybody. A tile holds one hard route, so order the targets
      by it.
  """

  ranker: contracts.Ranker
  data: prepared_data.Prepared
  targets: prepared_data.Targets
  routes: types.Route | None = None


class _Tiles(NamedTuple):
  """A task in tiles of users, their shapes, and a faster ranker if any."""

  task: Task
  tiling: tiles.Tiling
  parts: list[tiles.RowTile]
  fast: contracts.Ranker | None


class _Scored(NamedTuple):
  """What the first pass gives.

  Attributes:
    own: f32[T], scores of the held-out items.
    encodings: {first row of a tile: its encoding} as far as memory allows.
    near: how far a faster score may be off; 0 where there is none.
  """

  own: np.ndarray
  encodings: dict[int, Any]
  near: np.float32


def rank_targets(
  task: Task,
  among: rules.Rule | np.ndarray,
  *,
  sizes: tiles.Sizes = tiles.SIZES,
  fold: counting.Fold | None = None,
  progress: Progress | None = None,
) -> counting.Counts:
  """Ranks every target.

  Args:
    task: what is ranked by what.
    among: the rule for the candidates; or lists i32[T, 1 + n], the target
      first, then its negatives, or 0 in the place of one.
    sizes: of the tiles.
    fold: a reduction over the candidates' scores; it needs lists or a rule of
      `rules.without`.
    progress: called with (targets done, T). With a `counting.Kept` the tiles
      that were ranked before, from the same scores, are not ranked again.
  Returns:
    Counts with leaves [T], of the one rule.
  """
  one = (among,) if isinstance(among, rules.Rule) else among
  return counting.of_rule(_rank(task, one, sizes, fold, progress), 0)


def rank_rules(
  task: Task,
  among: Sequence[rules.Rule],
  *,
  sizes: tiles.Sizes = tiles.SIZES,
  progress: Progress | None = None,
) -> counting.Counts:
  """Ranks every target under K rules, in one pass over the items.

  Arguments are those of `rank_targets`. With a rule of `rules.past` the targets
  of a user come in order of event wherever their routes are the same.

  Returns:
    Counts with leaves [K, T].
  """
  return _rank(task, tuple(among), sizes, None, progress)


def _rank(task, among, sizes, fold, progress) -> counting.Counts:
  """Counts [K, T] of a tuple of K rules, or [1, T] of lists."""
  by_rule = isinstance(among, tuple)
  num_candidates = task.data.num_items if by_rule else among.shape[1]
  runs = tiles.row_runs(task.targets.user.size, task.routes)
  tiling = tiles.plan(max(run.size for run in runs), num_candidates, sizes)
  cut = _Tiles(
    task,
    tiling,
    tiles.row_tiles(task.ranker.params, task.routes, runs, tiling.users),
    fast=None,
  )
  if by_rule and is_fast(task):
    fast = tiles.of_shared(task.ranker)
    cut = cut._replace(parts=_spread(cut.parts), fast=fast)
  rank = _rank_by_rules if by_rule else _rank_lists
  return rank(cut, among, fold, progress)


def is_fast(task: Task) -> bool:
  """Whether all items are ranked by a faster program, of the same ranks.

  Tiles are then the faster, the more alike `history_lengths` of neighbors are.
  """
  num_rows = task.targets.user.size
  return tiles.is_worth(task.ranker.model, num_rows, task.data.num_items)


def history_lengths(task: Task) -> np.ndarray:
  """Items of a history that the model reads for each target, i64[T]."""
  start = np.asarray(task.data.user_offsets)[task.targets.user]
  lengths = np.asarray(task.targets.history_end) - start
  return np.minimum(lengths, task.ranker.history_length)


def _spread(parts: list[Any]) -> list[Any]:
  """The parts in an order of which every beginning is like the whole.

  Histories grow from tile to tile; so progress and estimates are even.
  """
  steps = 0.6180339887 * np.arange(1, len(parts) + 1) % 1.0  # golden section
  place = np.empty(len(parts), np.int64)
  place[np.argsort(steps)] = np.arange(len(parts))
  return [parts[i] for i in place]


def _rank_by_rules(cut, among, fold, progress) -> counting.Counts:
  first = _score_targets(cut)
  positive = first.own
  step, state = (fold.step, fold.init(positive)) if fold else (None, None)
  number = len(among)
  kept = _resumed(cut, progress, positive, number)
  start = counting.begin(positive.size, number, state, kept)
  left = [part for part in cut.parts if not start.done[part.rows[0]]]
  cut = cut._replace(parts=left)
  parts = _tiles_of_items(cut, among, first)
  total = positive.size
  return counting.add_up(parts, total, number, step, state, progress, start)


def _resumed(cut, progress, positive, number) -> dict[str, np.ndarray] | None:
  """What was kept, if of whole tiles with the same scores and as many rules."""
  kept = progress.load() if isinstance(progress, counting.Kept) else None
  if kept is None or kept['better'].shape != (number, *positive.shape):
    return None
  done = kept['done']
  if not np.array_equal(kept['score'][done], positive[done]):
    return None
  if any(done[p.rows].any() != done[p.rows].all() for p in cut.parts):
    return None  # tiles of another size
  return kept


def _tiles_of_items(cut, among, scored) -> Iterator[counting.Part]:
  """Second pass: tiles of users in order, each with all its tiles of items."""
  users, columns, width = cut.tiling
  num_items = cut.task.data.num_items
  for part in cut.parts:
    targets = prepared_data.Targets(*(x[part.rows] for x in cut.task.targets))
    excluded = [rule.excluded(targets) for rule in among]
    encoded = scored.encodings.pop(int(part.rows[0]), None)
    if encoded is None:
      encoded = _encode(cut, part, cut.fast)
    own = gathers.pad_rows(scored.own[part.rows], users)
    target = gathers.pad_rows(targets.item, users)
    size, ids = part.rows.size, tiles.item_ids(num_items, columns)
    every = zip(*(one.masks(users, columns) for one in excluded))
    for tile, masks in zip(ids, every):
      scores = _score(cut, part, encoded, tile, cut.fast)
      if cut.fast:
        again = functools.partial(_score_again, cut, part)
        real = tile, width, size
        scores = rescoring.settled(
          scores, own, target, real, scored.near, again
        )
      first = int(tile[0])
      bounds = first, num_items, size
      yield counting.Part(
        rows=part.rows,
        own=own,
        number=[one.number for one in excluded],
        tallies=[counting.tally(scores, own, target, bounds, masks)],
        last=first + columns > num_items,
        scores=scores,
        counts=_counted(masks[0], size),
      )


def _counted(mask, size) -> np.ndarray | None:
  """The candidates of a fold, bool[size, C], which goes with one rule."""
  return ~mask.excluded[:size] if isinstance(mask, rules.Pairs) else None


def _score_again(cut, part, ids):
  return _score(cut, part, _encode(cut, part), ids)


def _score_targets(cut: _Tiles) -> _Scored:
  """First pass: each target against its own user only.

  The targets of a tile of users are their shared candidates; the diagonal is
  read, so that shapes are those of the second pass.
  """
  users, _, width = cut.tiling
  items = cut.task.targets.item
  own, faster = np.zeros((2, items.size), np.float32)
  encodings, room = {}, _ENCODING_BYTES
  # Two slices at least: XLA unrolls a loop of one and may round differently.
  num_ids = max(2, -(-users // width)) * width
  for part in cut.parts:
    rows = part.rows
    ids = gathers.pad_rows(np.asarray(items[rows], np.int32), num_ids)
    encoded = _encode(cut, part)
    own[rows] = _diagonal(_score(cut, part, encoded, ids), rows)
    if cut.fast:
      encoded = _encode(cut, part, cut.fast)
      scores = _score(cut, part, encoded, ids, cut.fast)
      faster[rows] = _diagonal(scores, rows)
    room -= sum(leaf.nbytes for leaf in jax.tree.leaves(encoded))
    if room >= 0:
      encodings[int(rows[0])] = encoded
  tiles.check_scores(np.isnan(own).any())
  near = rescoring.reach(own, faster) if cut.fast else np.float32(0.0)
  return _Scored(own, encodings, near)


def _diagonal(scores, rows):
  return np.asarray(jnp.diagonal(scores))[: rows.size]


def _rank_lists(cut, lists, fold, progress) -> counting.Counts:
  """Ranks short lists of the rows; a fold gets all their scores at once."""
  num_rows, num_columns = lists.shape
  scores = np.zeros((num_rows, num_columns if fold else 0), np.float32)

  def write(written, rows, tile_scores, _):
    written[rows] = tile_scores[:, :num_columns]
    return written

  parts = _tiles_of_lists(cut, lists)
  step = write if fold else None
  counts = counting.add_up(parts, num_rows, 1, step, scores, progress)
  if fold:
    state = fold.init(counts.positive_score)
    there = lists[:, 1:] > 0
    state = fold.step(state, np.arange(num_rows), scores[:, 1:], there)
    counts = counts._replace(folded=state)
  return counts


def _tiles_of_lists(cut, lists) -> Iterator[counting.Part]:
  """Tiles of users with their lists; ids are places in a list, 0 the target."""
  num_columns = lists.shape[1]
  users, columns, _ = cut.tiling
  starts = range(0, num_columns, columns)
  target, whole = np.zeros(users, np.int32), bool(np.all(lists))
  for part in cut.parts:
    size = part.rows.size
    ids = np.zeros((users, columns * len(starts)), np.int32)
    ids[:size, :num_columns] = lists[part.rows]
    scores = _score(cut, part, _encode(cut, part), ids)
    own, last = scores[:, 0], num_columns - 1
    pieces, lacking = [scores], [ids == 0]
    if len(starts) > 1:
      pieces = jnp.split(scores, len(starts), axis=1)
      lacking = np.split(ids == 0, len(starts), axis=1)
    masks = [None if whole else rules.Pairs(mask) for mask in lacking]
    tallies = [
      counting.tally(piece, own, target, (first, last, size), (mask,))
      for first, piece, mask in zip(starts, pieces, masks)
    ]
    number = [np.count_nonzero(lists[part.rows], axis=1) - 1]
    yield counting.Part(part.rows, own, number, tallies, scores=scores)


def _encode(
  cut: _Tiles, part: tiles.RowTile, fast: contracts.Ranker | None = None
) -> types.PyTree:
  ranker, data, targets, _ = cut.task
  user = targets.user[part.rows]
  history = gathers.histories(
    data.items,
    np.asarray(data.user_offsets)[user],
    targets.history_end[part.rows],
    ranker.history_length,
  )
  if fast:
    ranker, history = fast, tiles.cut(fast.model, history)
  return tiles.encode(ranker, part, history, user, cut.tiling.users)


def _score(cut, part, encoded, ids, fast=None) -> jax.Array:
  model = cut.task.ranker.model
  score = tiles.score_shared if fast else tiles.score
  return score(model, part.params, encoded, ids, cut.tiling.width)
