"""Counts the items above held-out items; offline and online ranking share it.

A part is a tile of held-out items (rows) scored against a tile of items. On the
device every pair becomes a number that says better, tied or neither; each
`rules.Rule` sums the numbers of the pairs that it does not leave out. The host
adds the sums up, one part behind the device.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
) -> Counts:
  """Adds up parts that are computed one ahead of what is read.

  Args:
    parts: every row in one or more of them.
    total: T.
    num_rules: K.
    step: of a `Fold`, taken with every part; None for no fold.
    state: the fold's first state.
    progress: called with (rows done, T).
  Raises:
    types.UserError: a score is not a number.
  """
  better, tied, number = np.zeros((3, num_rules, total), np.int64)
  score, done = np.zeros(total, np.float32), 0
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
      done += size
      if progress:
        progress(done, total)
  return Counts(better, tied, number, score, state)


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
