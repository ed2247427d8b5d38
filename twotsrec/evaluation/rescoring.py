"""Scores of a faster program that are too near to a held-out item's.

Two programs of one model round differently. By how much is measured on the
held-out items, which both score. A score that is farther from the held-out
item's than some times that is above or below it by either program. Slices with
a nearer one are scored again by the first program: the ranks are its ranks.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Times the largest difference of a held-out item's two scores.
_MARGIN = 4.0
# Slices that are scored again at once: XLA unrolls a loop of one, which may
# round differently.
_AT_ONCE = 2


def reach(own: np.ndarray, faster: np.ndarray) -> np.float32:
  """How near is too near, from the two scores f32[T] of every held-out item."""
  return np.float32(_MARGIN * np.max(np.abs(own - faster), initial=0.0))


def settled(
  scores: jax.Array,
  own: np.ndarray,
  target: np.ndarray,
  tile: tuple[np.ndarray, int, int],
  near: np.float32,
  score: Callable[[np.ndarray], jax.Array],
) -> jax.Array:
  """Scores f32[R, C] in which every slice with a near one is that of `score`.

  Args:
    scores: of the faster program.
    own: f32[R], the held-out items' by `score`.
    target: i32[R], ids of the held-out items, which are not compared.
    tile: ids i32[C], items of a slice, and number of real rows.
    near: of `reach`.
    score: (ids of `_AT_ONCE` slices) -> their scores by the first program.
  """
  ids, width, size = tile
  slices = ids.reshape(-1, width)
  close = _close(scores, own, target, ids, size, near, width)
  places = np.flatnonzero(np.asarray(close))
  for first in range(0, places.size, _AT_ONCE):
    # The last may come twice.
    chosen = np.resize(places[first : first + _AT_ONCE], _AT_ONCE)
    scores = _put(scores, chosen, score(slices[chosen].ravel()))
  return scores


@functools.partial(jax.jit, static_argnums=6)
def _close(scores, own, target, ids, size, near, width):
  """Slices with a pair that has to be compared again, bool[C / width]."""
  rows = jnp.arange(scores.shape[0]) < size
  counts = rows[:, None] & (ids > 0) & (ids != target[:, None])
  close = (jnp.abs(scores - own[:, None]) <= near) & counts
  return jnp.any(close.reshape(close.shape[0], -1, width), axis=(0, 2))


@functools.partial(jax.jit, donate_argnums=0)
def _put(scores: Any, places: Any, values: Any) -> jax.Array:
  """Slices at `places` i32[n] become `values` f32[R, n * width]."""
  size, width = scores.shape[0], values.shape[1] // places.shape[0]
  columns = places[:, None] * width + jnp.arange(width)
  return scores.at[:, columns.reshape(-1)].set(values.reshape(size, -1))
