"""Draws of items a user has not touched: uniform, or by popularity."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class Complements(NamedTuple):
  """Per-user sets to stay out of, laid out for one binary search per draw.

  Attributes:
    ranks: i32[M + 1], for the j-th smallest item p of a user, p - 1 - j: how
      many allowed items lie below it; one filling value at the end.
    starts: i32[U], where a user's ranks begin.
    counts: i32[U], how many there are.
    depth: i32[], steps of the binary search, enough for the longest set.
  """

  ranks: jax.Array
  starts: jax.Array
  counts: jax.Array
  depth: jax.Array


def make_complements(offsets: np.ndarray, items: np.ndarray) -> Complements:
  """Lays out sets of items for `draw`, on the host.

  Args:
    offsets: i64[U + 1], where each user's items begin.
    items: i32[M], ids 1..I, ascending and distinct inside a user.
  """
  offsets = np.asarray(offsets, np.int64)
  counts = np.diff(offsets)
  within = np.arange(len(items)) - np.repeat(offsets[:-1], counts)
  ranks = np.append(np.asarray(items, np.int64) - 1 - within, 0)
  depth = int(counts.max(initial=0)).bit_length()
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  return Complements(
    as_i32(ranks), as_i32(offsets[:-1]), as_i32(counts), as_i32(depth)
  )


def draw(
  key: jax.Array,
  complements: Complements,
  user: jax.Array,
  num_items: int,
  count: int,
) -> jax.Array:
  """Items per user, uniform over 1..I without the user's set, i32[B, count].

  A rank r among the allowed items is drawn and turned into the item, so there
  is no rejection and the cost is one binary search per draw. Users without an
  allowed item must be refused before, on the host.

  Args:
    key: PRNG key, or one key per user, [B].
    complements: the sets.
    user: i32[B].
    num_items: I.
    count: draws per user, with replacement.
  """
  chex.assert_rank(user, 1)
  allowed = num_items - complements.counts[user]
  if key.ndim > 0:
    uniform = jax.vmap(lambda k, n: jax.random.randint(k, (count,), 0, n))
    rank = uniform(key, allowed)
  else:
    shape = (user.shape[0], count)
    rank = jax.random.randint(key, shape, 0, allowed[:, None])
  return _item_of_rank(complements, user, rank)


def make_popularity(counts: np.ndarray, power: float) -> jax.Array:
  """What `draw_popular` draws by: sums of weights ~ count^power, i32[I].

  Weights are whole numbers that add up to about 2^30, and at least 1; an item
  without an event is weighted like one with one. On the host.

  Args:
    counts: i64[I], events of each item.
    power: 0 is uniform.
  """
  weights = np.maximum(np.asarray(counts, np.float64), 1.0) ** power
  whole = np.maximum(np.rint(weights * (2.0**30 / weights.sum())), 1.0)
  return jnp.asarray(np.cumsum(whole), jnp.int32)


def draw_popular(
  keys: jax.Array,
  popularity: jax.Array,
  complements: Complements,
  user: jax.Array,
  count: int,
) -> tuple[jax.Array, jax.Array]:
  """Items by popularity; one that its user has touched is 0, not drawn anew.

  So what is left keeps its probability, and a sum over draws can be weighted to
  that over all items.

  Args:
    keys: a key per user, [B].
    popularity: from `make_popularity`.
    complements: the sets to stay out of.
    user: i32[B].
    count: draws per user, with replacement.
  Returns:
    (i32[B, count] items, f32[B, count] logarithm of how probable each draw is).
  """
  total = popularity[-1]
  draw = lambda key: jax.random.randint(key, (count,), 0, total)
  place = jnp.searchsorted(popularity, jax.vmap(draw)(keys), side='right')
  before = jnp.where(place > 0, popularity[jnp.maximum(place - 1, 0)], 0)
  weight = (popularity[place] - before).astype(jnp.float32)
  item = place.astype(jnp.int32) + 1
  chance = jnp.log(weight) - jnp.log(total.astype(jnp.float32))
  return jnp.where(_contains(complements, user, item), 0, item), chance


def _contains(complements, user, item):
  """Whether items i32[B, C] are in the set of their user, bool[B, C]."""
  start = complements.starts[user][:, None]
  count = complements.counts[user][:, None]
  last = complements.ranks.shape[0] - 1
  low, high = jnp.zeros_like(item), jnp.broadcast_to(count, item.shape)
  # The j-th smallest item of a user is its rank + 1 + j.
  at = lambda j: complements.ranks[jnp.minimum(start + j, last)] + 1 + j

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    right = (at(middle) < item) & (low < high)
    return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

  low, _ = jax.lax.fori_loop(0, complements.depth, halve, (low, high))
  return (low < count) & (at(low) == item)


def _item_of_rank(complements, user, rank):
  """The allowed item with `rank` allowed items below it, i32[B, count]."""
  start = complements.starts[user][:, None]
  low = jnp.zeros_like(rank)
  high = jnp.broadcast_to(complements.counts[user][:, None], rank.shape)
  last = complements.ranks.shape[0] - 1

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    value = complements.ranks[jnp.minimum(start + middle, last)]
    right = (value <= rank) & (low < high)
    return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

  low, _ = jax.lax.fori_loop(0, complements.depth, halve, (low, high))
  return rank + low + 1
