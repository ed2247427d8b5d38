"""Exact uniform draws from the items a user has not touched."""

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
