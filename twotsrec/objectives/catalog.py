"""Cross-entropy over all items, in memory that does not grow with them."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from twotsrec.ops import rows as rows_ops

# Positions and items whose scores are there at once: 16 MB.
_POSITIONS, _ITEMS = 1024, 4096


def cross_entropy(
  score: Callable[..., jax.Array],
  encoded: Any,
  items: dict[str, jax.Array],
  positive: jax.Array,
  counts: jax.Array,
) -> jax.Array:
  """log(sum_i exp(s_i)) - s_positive over items 1..I, f32[N].

  Scores are made tile by tile, once for the loss and again for its gradient;
  f32[N, I] is never there. Positions that do not count are put last, and tiles
  of such positions are left out.

  Args:
    score: (encoded leaves [n, ...], item rows [C, ...] or [n, C, ...]) ->
      f32[n, C].
    encoded: leaves [N, ...].
    items: table leaves [I + 1, ...], row 0 is padding.
    positive: i32[N], the observed item; any number where it does not count.
    counts: bool[N], positions that count; others get 0.
  """
  chex.assert_equal_shape([positive, counts])
  number, size = positive.shape[0], min(positive.shape[0], _POSITIONS)
  order = jnp.argsort(~counts, stable=True)
  place = jnp.pad(order, (0, -number % size))
  inside = jnp.arange(place.shape[0]) < jnp.sum(counts)
  tiles = jax.tree.map(
    lambda leaf: leaf[place].reshape(-1, size, *leaf.shape[1:]),
    (encoded, positive),
  )
  whole = _log_total(score, items)

  def loss(encoded, positive):
    own = rows_ops.gather(items, positive[:, None])
    return whole(encoded) - score(encoded, own)[:, 0]

  def step(_, tile):
    inside, arguments = tile
    nothing = lambda *_: jnp.zeros(size, jnp.float32)
    return None, jax.lax.cond(jnp.any(inside), loss, nothing, *arguments)

  _, values = jax.lax.scan(step, None, (inside.reshape(-1, size), tiles))
  values = jnp.where(inside, jnp.ravel(values), 0.0)
  return jnp.zeros(number, values.dtype).at[place].add(values)


def _log_total(score, items):
  """encoded -> log sum_i exp(s_i), f32[n], over tiles of items."""
  num_items = jax.tree.leaves(items)[0].shape[0] - 1
  if num_items <= _ITEMS:
    real = jax.tree.map(lambda leaf: leaf[1:], items)

    @jax.checkpoint
    def total(encoded, real):
      return jax.nn.logsumexp(score(encoded, real), axis=-1)

    return lambda encoded: total(encoded, real)
  padding = -num_items % _ITEMS
  tiles = jax.tree.map(
    lambda leaf: jnp.pad(
      leaf[1:], ((0, padding), *((0, 0),) * (leaf.ndim - 1))
    ).reshape(-1, _ITEMS, *leaf.shape[1:]),
    items,
  )
  inside = jnp.arange(num_items + padding).reshape(-1, _ITEMS) < num_items

  @jax.checkpoint
  def add(encoded, total, tile):
    inside, real = tile
    scores = jnp.where(inside, score(encoded, real), -jnp.inf)
    return jnp.logaddexp(total, jax.nn.logsumexp(scores, axis=-1))

  def of(encoded):
    body = lambda total, tile: (add(encoded, total, tile), None)
    start = jnp.full(jax.tree.leaves(encoded)[0].shape[0], -jnp.inf)
    return jax.lax.scan(body, start, (inside, tiles))[0]

  return of
