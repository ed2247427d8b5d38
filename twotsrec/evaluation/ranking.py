"""Ranks of held-out items among all negatives or among fixed candidates.

A negative of a target is an item its user never interacted with. Ranks come as
two counts, negatives that score higher and negatives that score the same, so
that any treatment of ties can be applied afterwards.

With all items there are two passes. The first scores the targets alone, the
second counts negatives tile by tile; both run slices of the same shape, so that
an item with the same row as the target's gets the same score and ties. Nothing
depends on the tile sizes but the rounding of the model's own arithmetic.
"""

from collections.abc import Callable, Iterable, Iterator
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import gathers
from twotsrec.evaluation import tiles

# Encodings of the first pass that are kept for the second.
_KEPT_BYTES = 1 << 28


class RankResult(NamedTuple):
  """Counts for every target, in the order given.

  Attributes:
    better: i64[T], negatives that score higher than the target.
    tied: i64[T], negatives that score the same.
    num_negatives: i64[T].
    positive_score: f32[T].
    folded: what `Fold` made of the negative scores, or None.
  """

  better: np.ndarray
  tied: np.ndarray
  num_negatives: np.ndarray
  positive_score: np.ndarray
  folded: Any = None


class Fold(NamedTuple):
  """A reduction over negative scores that runs along with the ranking.

  Attributes:
    init: (positive_score f32[T]) -> state.
    step: (state, rows i64[b], scores f32[b, C], kept bool[b, C]) -> state;
      `rows` are positions in the targets, `kept` marks negatives.
  """

  init: Callable[[np.ndarray], Any]
  step: Callable[[Any, np.ndarray, np.ndarray, np.ndarray], Any]


class _Task(NamedTuple):
  """What both passes need."""

  model: types.Model
  context: Any
  items: np.ndarray
  starts: np.ndarray
  targets: prepared_data.Targets
  history_length: int
  tiling: tiles.Tiling
  parts: list[tiles.RowTile]


def rank_targets(
  model: types.Model,
  params: tiles.AnyParams,
  context: Any,
  items: np.ndarray,
  user_offsets: np.ndarray,
  targets: prepared_data.Targets,
  seen: prepared_data.SeenItems,
  *,
  num_items: int,
  history_length: int,
  routes: types.Route | None = None,
  candidates: np.ndarray | None = None,
  user_tile: int = 256,
  item_tile: int = 4096,
  fold: Fold | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> RankResult:
  """Ranks every target; several targets of one user are ranked one by one.

  Args:
    model: scorer.
    params: of the model; or a sequence with those of every group.
    context: of the model.
    items: i32[N], items of all events.
    user_offsets: i64[U + 1], events of each user.
    targets: `user` i32[T], `item` i32[T], `history_end` i64[T], as
      `prepared.Targets`.
    seen: items that are no negatives, as `prepared.SeenItems`; the target
      itself is left out in any case. Not used with `candidates`.
    num_items: I.
    history_length: L.
    routes: leaves [T, K], for a model with plugins. A tile holds one hard
      route, so order the targets by it; None is group 0 for everybody.
    candidates: i32[T, 1 + n], the target first, then its negatives; None
      ranks among all items.
    user_tile: rows scored at once.
    item_tile: items scored at once.
    fold: a reduction over the negative scores.
    progress: called with (targets done, T).
  Returns:
    RankResult.
  """
  num_candidates = num_items if candidates is None else candidates.shape[1]
  runs = tiles.row_runs(targets.user.size, routes)
  longest = max(run.size for run in runs)
  tiling = tiles.plan(longest, num_candidates, user_tile, item_tile)
  parts = tiles.row_tiles(params, routes, runs, tiling.users)
  starts = np.asarray(user_offsets)[targets.user]
  task = _Task(
    model, context, items, starts, targets, history_length, tiling, parts
  )
  report = progress or (lambda done, total: None)
  if candidates is not None:
    return _rank_candidates(task, candidates, fold, report)
  positive, encodings = _score_targets(task)
  return _rank_all(task, seen, num_items, positive, encodings, fold, report)


def _rank_all(
  task, seen, num_items, positive, encodings, fold, progress
) -> RankResult:
  """Second pass: negatives counted tile by tile."""
  total = positive.size
  better, tied, num_negatives = np.zeros((3, total), np.int64)
  state = fold.init(positive) if fold else None
  scored = _scored_tiles(task, seen, num_items, positive, encodings)
  for rows, excluded, scores, counts, last in _one_ahead(scored):
    size = rows.size
    tiles.check_scores(counts[2])
    better[rows] += np.asarray(counts[0])[:size]
    tied[rows] += np.asarray(counts[1])[:size]
    kept = ~excluded[:size]
    num_negatives[rows] += np.count_nonzero(kept, axis=1)
    if fold:
      state = fold.step(state, rows, np.asarray(scores)[:size], kept)
    if last:
      progress(int(rows[-1]) + 1, total)
  return RankResult(better, tied, num_negatives, positive, state)


def _scored_tiles(task, seen, num_items, positive, encodings):
  """Tiles of users in order, each with all its tiles of items.

  Yields:
    (rows, excluded, scores, what `_compare` counts, whether it is the last
    tile of these rows).
  """
  for part in task.parts:
    rows = part.rows
    users, targets = task.targets.user[rows], task.targets.item[rows]
    excluded = gathers.exclusions(seen, users, targets)
    encoded = encodings.pop(int(rows[0]), None)
    if encoded is None:
      encoded = _encode(task, part)
    part_positive = gathers.pad_rows(positive[rows], task.tiling.users)
    for tile in tiles.item_tiles(excluded, num_items, task.tiling):
      scores = tiles.score(
        task.model, part.params, encoded, tile.ids, task.tiling.width
      )
      counts = _compare(scores, part_positive, tile.excluded)
      yield rows, tile.excluded, scores, counts, np.max(tile.ids) == num_items


def _one_ahead(values: Iterable[Any]) -> Iterator[Any]:
  """The same values, each asked for before the one before it is used.

  JAX answers before it has computed, so that goes on beside the host's work.
  """
  values = iter(values)
  waiting = list(itertools.islice(values, 1))
  for value in values:
    waiting.append(value)
    yield waiting.pop(0)
  yield from waiting


def _score_targets(task: _Task) -> tuple[np.ndarray, dict[int, Any]]:
  """First pass: each target against its own user only.

  The targets of a tile of users are their shared candidates; the diagonal is
  read, so that shapes are those of the second pass.

  Returns:
    (f32[T], {first row of a tile: its encoding} as far as memory allows).
  """
  users, _, width = task.tiling
  positive = np.zeros(task.targets.item.size, np.float32)
  encodings, room = {}, _KEPT_BYTES
  # Two slices at least: XLA unrolls a loop of one and may round differently.
  num_ids = max(2, -(-users // width)) * width
  for part in task.parts:
    rows = part.rows
    ids = np.asarray(task.targets.item[rows], np.int32)
    ids = gathers.pad_rows(ids, num_ids)
    encoded = _encode(task, part)
    scores = tiles.score(task.model, part.params, encoded, ids, width)
    positive[rows] = np.asarray(jnp.diagonal(scores))[: rows.size]
    room -= sum(leaf.nbytes for leaf in jax.tree.leaves(encoded))
    if room >= 0:
      encodings[int(rows[0])] = encoded
  tiles.check_scores(np.isnan(positive).any())
  return positive, encodings


def _rank_candidates(task, candidates, fold, progress) -> RankResult:
  """Every row has its own short list, so its scores are simply kept."""
  num_rows, num_columns = candidates.shape
  users, columns, width = task.tiling
  columns *= -(-num_columns // columns)
  scores = np.zeros((num_rows, num_columns), np.float32)
  for part in task.parts:
    rows = part.rows
    ids = np.zeros((users, columns), np.int32)
    ids[: rows.size, :num_columns] = candidates[rows]
    encoded = _encode(task, part)
    tile = tiles.score(task.model, part.params, encoded, ids, width)
    scores[rows] = np.asarray(tile)[: rows.size, :num_columns]
    progress(int(rows[-1]) + 1, num_rows)
  tiles.check_scores(np.isnan(scores).any())
  positive, negative = scores[:, 0], scores[:, 1:]
  state = None
  if fold:
    state = fold.init(positive)
    kept = np.ones(negative.shape, np.bool_)
    state = fold.step(state, np.arange(num_rows), negative, kept)
  return RankResult(
    better=np.sum(negative > positive[:, None], axis=1),
    tied=np.sum(negative == positive[:, None], axis=1),
    num_negatives=np.full(num_rows, num_columns - 1, np.int64),
    positive_score=positive,
    folded=state,
  )


@jax.jit
def _compare(
  scores: jax.Array, positive: jax.Array, excluded: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Better i32[B], tied i32[B], and whether a kept score is NaN."""
  kept, positive = ~excluded, positive[:, None]
  better = jnp.sum(kept & (scores > positive), axis=1)
  tied = jnp.sum(kept & (scores == positive), axis=1)
  return better, tied, jnp.any(kept & jnp.isnan(scores))


def _encode(task: _Task, part: tiles.RowTile) -> types.PyTree:
  history = gathers.histories(
    task.items,
    task.starts[part.rows],
    task.targets.history_end[part.rows],
    task.history_length,
  )
  size = task.tiling.users
  inputs = {
    'history': gathers.pad_rows(history, size),
    'route': part.route,
    'user': gathers.pad_users(task.targets.user[part.rows], size),
  }
  return tiles.encode(task.model, part.params, task.context, inputs)
