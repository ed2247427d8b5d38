"""Counts the items above held-out items; offline and online ranking share it.

A part is a tile of held-out items (rows) scored against a tile of items. On the
device every pair becomes a number that says better, tied or neither; each
`rules.Rule` sums the numbers of the pairs that it does not leave out. The host
adds the sums up, one part behind the device.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

_SHIFT = 16  # of the ties: two counts share an int32, see `tiles.MOST_ITEMS`


class Counts(NamedTuple):
  """Counts of every held-out item, in the order given, for each of K rules.

  Attributes:
    better: i64[K, T], candidates that score higher than the held-out item.
    tied: i64[K, T], candidates that score the same.
    num_negatives: i64[K, T], candidates beside the item.
    positive_score: f32[T], of the held-out item.
    folded: what a `Fold` made of the candidates' scores, or None.
  """

  better: np.ndarray
  tied: np.ndarray
  num_negatives: np.ndarray
  positive_score: np.ndarray
  folded: Any = None


class Fold(NamedTuple):
  """A reduction over candidates' scores that runs along with the ranking.

  Attributes:
    init: (positive_score f32[T]) -> state.
    step: (state, rows i64[b], scores f32[b, C], counts bool[b, C]) -> state;
      `rows` are positions in the targets, `counts` marks the candidates.
  """

  init: Callable[[np.ndarray], Any]
  step: Callable[[Any, np.ndarray, np.ndarray, np.ndarray | None], Any]


class Kept(NamedTuple):
  """Progress of a ranking that can stop between two tiles and go on later.

  Called with (targets done, T), like any other progress.

  Attributes:
    show: the progress.
    load: () -> what was last kept, {name: array}, or None; called once by every
      ranking that can go on, before it begins.
    pause: (make) -> None, asked after every tile of items; `make` gives what
      has to be kept, and is None where a ranking cannot go on later. It raises
      where the work has to stop.
  """

  show: Callable[[int, int], None]
  load: Callable[[], dict[str, np.ndarray] | None]
  pause: Callable[[Callable[[], dict[str, np.ndarray]] | None], None]

  def __call__(self, done: int, total: int) -> None:
    self.show(done, total)


class Sums(NamedTuple):
  """What `add_up` has so far.

  Attributes:
    done: bool[T], rows that are counted to the end.
    better, tied, number: i64[K, T], as in `Counts`.
    score: f32[T].
    state: of the fold, without rows that are not done.
  """

  done: np.ndarray
  better: np.ndarray
  tied: np.ndarray
  number: np.ndarray
  score: np.ndarray
  state: Any


class Tally(NamedTuple):
  """Sums of a tile, on the device."""

  packed: jax.Array  # i32[K, R], better + 2^16 tied
  has_nan: jax.Array  # bool[], whether a score that counts is not a number


class Part(NamedTuple):
  """Rows with what some tiles of items give.

  Attributes:
    rows: i64[b], positions in the targets.
    own: f32[R], scores of the held-out items.
    number: K times i64[b], candidates of each rule beside the held-out item.
    tallies: of the tiles.
    last: whether no other part has these rows.
    scores: f32[R, C], for a fold.
    counts: bool[b, C], for a fold.
  """

  rows: np.ndarray
  own: jax.Array | np.ndarray
  number: Sequence[np.ndarray]
  tallies: Sequence[Tally]
  last: bool = True
  scores: jax.Array | None = None
  counts: np.ndarray | None = None


@jax.jit
def tally(
  scores: jax.Array,
  own: jax.Array,
  target: jax.Array,
  bounds: tuple[Any, Any, Any],
  masks: tuple[rules.Mask, ...],
) -> Tally:
  """Counts a tile under several rules; answers before it has computed.

  Args:
    scores: f32[R, C].
    own: f32[R], scores of the held-out items.
    target: i32[R], ids of the held-out items, which never count.
    bounds: id of the first column, last id there is, number of real rows; what
      lies beyond is filling and never counts.
    masks: what each of the K rules leaves out besides.
  """
  first, last, size = bounds
  ids = first + jnp.arange(scores.shape[1], dtype=jnp.int32)
  real = jnp.arange(scores.shape[0]) < size
  counts = (ids <= last) & (ids != target[:, None])
  counts &= real[:, None]
  above, equal = scores > own[:, None], scores == own[:, None]
  # One sum of both is faster than two.
  values = jnp.where(above, 1, jnp.where(equal, 1 << _SHIFT, 0))
  values = jnp.where(counts, values, 0)
  bad = jnp.isnan(scores) & counts
  has_nan = jnp.any(jnp.isnan(own) & real)
  for mask in (None,) if None in masks else masks:
    has_nan |= jnp.any(rules.left(mask, bad, first))
  sums = [jnp.sum(rules.left(mask, values, first), axis=1) for mask in masks]
  return Tally(jnp.stack(sums), has_nan)


def add_up(
  parts: Iterable[Part],
  total: int,
  num_rules: int,
  step: Callable[..., Any] | None = None,
  state: Any = None,
  progress: Callable[[int, int], None] | None = None,
  start: Sums | None = None,
) -> Counts:
  """Adds up parts that are computed one ahead of what is read.

  Args:
    parts: every row in one or more of them, but for those done in `start`.
    total: T.
    num_rules: K.
    step: of a `Fold`, taken with every part; None for no fold.
    state: the fold's first state.
    progress: called with (rows done, T), at first with those done in `start`; a
      `Kept` may stop in between.
    start: sums to go on from, of `begin`; they change in place. Without them
      nothing is kept.
  Raises:
    types.UserError: a score is not a number.
  """
  sums = start or begin(total, num_rules, state)
  done, better, tied, number, score, state = sums
  whole = state
  if progress:
    progress(int(done.sum()), total)
  for part in one_ahead(parts):
    rows, size = part.rows, part.rows.size
    for counted in part.tallies:
      tiles.check_scores(counted.has_nan)
      packed = np.asarray(counted.packed)[:, :size]
      better[:, rows] += packed & ((1 << _SHIFT) - 1)
      tied[:, rows] += packed >> _SHIFT
    if step:
      state = step(state, rows, np.asarray(part.scores)[:size], part.counts)
    if part.last:
      number[:, rows] = part.number
      score[rows] = np.asarray(part.own)[:size]
      done[rows], whole = True, state
    if isinstance(progress, Kept):
      make = functools.partial(_to_keep, sums, whole)
      progress.pause(make if start else None)
    if progress and part.last:
      progress(int(done.sum()), total)
  return Counts(better, tied, number, score, state)


def begin(
  total: int,
  num_rules: int,
  state: Any,
  kept: dict[str, np.ndarray] | None = None,
) -> Sums:
  """Sums of nothing; or those that were kept, where they are of `state`.

  `state` is the fold's first one, made of the same scores.
  """
  better, tied, number = np.zeros((3, num_rules, total), np.int64)
  done, score = np.zeros(total, np.bool_), np.zeros(total, np.float32)
  sums = Sums(done, better, tied, number, score, state)
  if kept is None:
    return sums
  leaves, tree = jax.tree.flatten(state)
  folded = [kept[f'fold{i}'] for i in range(len(leaves))]
  sums = sums._replace(
    **{name: kept[name].copy() for name in Sums._fields[:-1]},
    state=jax.tree.unflatten(tree, folded),
  )
  # Rows under way when it was kept begin again.
  for counts in (sums.better, sums.tied):
    counts[:, ~sums.done] = 0
  return sums


def _to_keep(sums, whole):
  """Arrays for `begin`; `whole` is the fold of the rows that are done."""
  folded = jax.tree.leaves(whole)
  named = {f'fold{i}': leaf for i, leaf in enumerate(folded)}
  return {name: getattr(sums, name) for name in Sums._fields[:-1]} | named


def of_rule(counts: Counts, rule: int) -> Counts:
  """Counts of one rule, leaves [T]."""
  return counts._replace(
    better=counts.better[rule],
    tied=counts.tied[rule],
    num_negatives=counts.num_negatives[rule],
  )


def one_ahead(values: Iterable[Any]) -> Iterator[Any]:
  """The same values, each asked for before the one before it is used.

  JAX answers before it has computed, so the device goes on beside the host.
  """
  values = iter(values)
  waiting = list(itertools.islice(values, 1))
  for value in values:
    waiting.append(value)
    yield waiting.pop(0)
  yield from waiting
