"""Pairs of observed and unobserved items, drawn on the device.

A batch is a set of users. Every user gives min(40, degree) pairs of each
behavior, drawn with replacement (COPF sec. 5.1.4 after the authors' code), so
a batch holds a varying number of pairs. They are laid out flat, one user after
the other, in a fixed number of places that the host has checked.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.ops import sampling

_ROUND = 64  # places are a multiple of this
_DEVIATIONS = 6.0
_DEALS = 1000


class PairSet(NamedTuple):
  """Training pairs of one behavior.

  Attributes:
    drawn: i32[U], how many pairs a user gives to a batch.
    items: i32[M + 1], 1..I, ascending inside a user; the last is filling.
    complements: where a user's items begin, and how many there are; negatives
      stay out of them.
  """

  drawn: jax.Array
  items: jax.Array
  complements: sampling.Complements


class Pairs(NamedTuple):
  """Flat pairs of one behavior; filling stands last and has weight 0.

  Attributes:
    slot: i32[P], position of the user in the batch.
    positive: i32[P], 1..I.
    negative: i32[P, C], 1..I, not among the user's items of this behavior.
    weight: f32[P], 1 or 0.
  """

  slot: jax.Array
  positive: jax.Array
  negative: jax.Array
  weight: jax.Array


def make_set(
  offsets: np.ndarray, items: np.ndarray, drawn: np.ndarray
) -> PairSet:
  """Moves the pairs of a behavior to the device.

  Args:
    offsets: i64[U + 1], where each user's items begin.
    items: i32[M], 1..I, ascending and distinct inside a user.
    drawn: i64[U], pairs of each user in a batch; 0 where there are no items.
  """
  return PairSet(
    drawn=jnp.asarray(drawn, jnp.int32),
    items=jnp.asarray(np.append(items, 0), jnp.int32),
    complements=sampling.make_complements(offsets, items),
  )


def candidates(pairs: Pairs) -> jax.Array:
  """Items of every pair, the positive first, i32[P, 1 + C]."""
  return jnp.concatenate([pairs.positive[:, None], pairs.negative], axis=1)


def draw(
  key: jax.Array,
  pairs: PairSet,
  users: jax.Array,
  num_items: int,
  places: int,
  count: int = 1,
) -> Pairs:
  """Draws the pairs of a batch of users.

  Args:
    key: PRNG key.
    pairs: the behavior's.
    users: i32[B], -1 for filling.
    num_items: I.
    places: P, at least the sum of what its users give.
    count: C, negatives of a positive, with replacement.
  """
  chex.assert_rank(users, 1)
  positive_key, negative_key = jax.random.split(key)
  sets, known = pairs.complements, jnp.maximum(users, 0)
  ends = jnp.cumsum(jnp.where(users >= 0, pairs.drawn[known], 0))
  place = jnp.arange(places)
  slot = jnp.searchsorted(ends, place, side='right')
  slot = jnp.minimum(slot, users.shape[0] - 1)
  user = known[slot]
  limit = jnp.maximum(sets.counts[user], 1)
  nth = jax.random.randint(positive_key, (places,), 0, limit)
  at = jnp.minimum(sets.starts[user] + nth, pairs.items.shape[0] - 1)
  negative = sampling.draw(negative_key, sets, user, num_items, count)
  weight = (place < ends[-1]).astype(jnp.float32)
  # Filling points at an item that exists, whatever it is.
  positive = jnp.maximum(pairs.items[at], 1)
  negative = jnp.minimum(negative, num_items)  # of a user of every item
  return Pairs(slot, positive, negative, weight)


def places_for(drawn: np.ndarray, batch_size: int, again: bool = False) -> int:
  """Places that hardly any random batch of users needs more than.

  Args:
    drawn: i64[U], pairs of each user in a batch.
    batch_size: users of a batch.
    again: whether a user may be in a batch more than once.
  """
  drawn = np.asarray(drawn, np.float64)
  users = batch_size if again else min(batch_size, len(drawn))
  # Of a sample without replacement the sum spreads less.
  left = max(len(drawn) - users, 0) / max(len(drawn) - 1, 1)
  spread = np.sqrt(users * drawn.var() * (1.0 if again else left))
  wanted = users * drawn.mean() + _DEVIATIONS * spread
  most = np.sort(drawn)[::-1][:users].sum()
  if again:
    most = users * drawn.max()
  # A few heavy users among idle ones are far from normal: room for each.
  wanted = min(max(wanted, drawn.max()), most)
  return -(-int(np.ceil(wanted)) // _ROUND) * _ROUND


def deal_users(
  drawn: np.ndarray, places: np.ndarray, batch_size: int, seed: tuple[int, ...]
) -> np.ndarray:
  """Every user once, in random order, in batches; i32[S, B], -1 fills.

  Batches that need more than their places are dealt again, together with as
  many others.

  Args:
    drawn: i64[K, U], pairs of each user in a batch, of each kind.
    places: i64[K], as `places_for`.
    batch_size: B.
    seed: of the order.
  Raises:
    types.UserError: no such order was found.
  """
  num_users, generator = drawn.shape[1], _generator(seed)
  steps = -(-num_users // batch_size)
  plan = np.full(steps * batch_size, -1, np.int32)
  plan[:num_users] = generator.permutation(num_users)
  batches = plan.reshape(steps, batch_size)
  for _ in range(_DEALS):
    again = _too_full(batches, drawn, places)
    if not again.any():
      return batches
    again[generator.integers(steps, size=again.sum())] = True
    at = np.flatnonzero(np.repeat(again, batch_size)[:num_users])
    plan[at] = generator.permutation(plan[at])
  raise _uneven(batch_size)


def draw_users(
  users: np.ndarray,
  drawn: np.ndarray,
  places: np.ndarray,
  batch_size: int,
  count: int,
  seed: tuple[int, ...],
) -> np.ndarray:
  """So many users, uniformly with replacement, in batches; i32[S, B], -1 fills.

  Batches that need more than their places are drawn again.

  Args:
    users: i32[n], those to draw from.
    drawn: i64[K, U], pairs of each user in a batch, of each kind.
    places: i64[K], as `places_for` with `again`.
    batch_size: B.
    count: users of all batches together.
    seed: of the draws.
  Raises:
    types.UserError: no such draw was found.
  Reference: LightGCN's code (He et al. 2020).
  """
  generator = _generator(seed)
  steps = -(-count // batch_size)
  plan = np.full(steps * batch_size, -1, np.int32)
  plan[:count] = generator.choice(users, count)
  batches = plan.reshape(steps, batch_size)
  for _ in range(_DEALS):
    again = _too_full(batches, drawn, places)
    if not again.any():
      return batches
    at = np.flatnonzero(np.repeat(again, batch_size)[:count])
    plan[at] = generator.choice(users, len(at))
  raise _uneven(batch_size)


def _generator(seed):
  return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def _too_full(batches, drawn, places):
  """Which batches have more pairs than places, bool[S]."""
  needed = np.where(batches >= 0, drawn[:, batches], 0).sum(axis=2)
  return np.any(needed > places[:, None], axis=0)


def _uneven(batch_size):
  return types.UserError(
    f'{batch_size} users at a time have too uneven numbers of pairs for one'
    ' compiled size; raise train.batch_size or lower behavior.samples'
  )
