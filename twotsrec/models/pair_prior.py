"""A learned term for what a user already showed toward an item.

Ours, not COPF's: a pair whose item the user viewed or carted is far likelier
to be bought than any new one, and how likely depends on the item's conversion
rate. For a pair with pattern p (a bit per upstream behavior) and item i

    logit P(bought | p, i) = bias_p + slope_p * log(rate_i)
    rate_i = (buyers_i + 1) / (users_i + s)

with users_i those who showed any upstream behavior toward the item and buyers_i
those who bought it; the pair's own user is left out of both counts, or every
bought pair would vote for itself. It is fitted on the training pairs, on the
host, by Newton's method: a logistic regression for each pattern. The graphs
that a model reads hold the training purchases, so its own scores of these pairs
say little about held-out ones; a fit that had to share the purchases with them
would find nothing left to explain.

A pair gains its logit less that of a pair without any, which gains 0. Where
the log has times, `recency` adds how lately the item was touched.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import recency

# A fit for each of 2^(K-1) patterns.
MAX_BEHAVIORS = 16
# Of the squared coefficients, per pattern: a pattern without purchases must
# not run off to minus infinity.
_RIDGE = 1e-3
_MAX_STEPS = 50


class Prior(NamedTuple):
  """Gains of the pairs with an upstream behavior.

  Attributes:
    starts: i32[U], where a user's items begin.
    counts: i32[U], how many there are.
    items: i32[M + 1], 1..I, ascending inside a user; the last is filling.
    gains: f32[M + 1].
    places: f32[largest count], whose length bounds a user's items.
  """

  starts: jax.Array
  counts: jax.Array
  items: jax.Array
  gains: jax.Array
  places: jax.Array


class Touched(NamedTuple):
  """Pairs with an upstream behavior, by user and item.

  Attributes:
    user: i64[M].
    item: i64[M], 1..I.
    pattern: i64[M], 1..2^(K-1) - 1, bit k for behavior k.
    bought: bool[M].
    rate: f64[M], log rate of the item for this user.
  """

  user: np.ndarray
  item: np.ndarray
  pattern: np.ndarray
  bought: np.ndarray
  rate: np.ndarray


def check(
  num_behaviors: int,
  what: str = "behavior.prior 'pattern'",
  instead: str = 'behavior.prior=none',
) -> None:
  """Refuses more behaviors than `MAX_BEHAVIORS`.

  Raises:
    types.UserError: `what` takes no more; the way out, and what `instead`.
  """
  if num_behaviors > MAX_BEHAVIORS:
    raise types.UserError(
      f'{what} fits each of the 2^(K-1) patterns of upstream behaviors, and'
      f' these data have K = {num_behaviors}; at most {MAX_BEHAVIORS}: prepare'
      f' them with fewer, or use {instead}'
    )


def make(
  edges: Sequence[tuple[np.ndarray, np.ndarray]],
  num_users: int,
  num_items: int,
  smoothing: float,
  scale: float,
  touches: behaviors_lib.Touches | None = None,
) -> Prior:
  """Fits the prior and lays it out on the device.

  Args:
    edges: (users i64[E], items i64[E], 1..I) of each behavior, the target
      last; pairs distinct in a behavior.
    num_users: U.
    num_items: I.
    smoothing: s.
    scale: of the gains, in units of the model's scores.
    touches: the events of the edges, in a log with times.
  """
  pairs = touched(edges, num_items, smoothing)
  fitted = fit(pairs, len(edges))
  untouched = num_users * num_items - len(pairs.user)
  new = len(edges[-1][0]) - np.sum(pairs.bought)
  base = np.log(new + 1.0) - np.log(max(untouched - new, 0) + 1.0)
  logits = fitted[pairs.pattern, 0] + fitted[pairs.pattern, 1] * pairs.rate
  if touches is not None:
    slope = recency.fit(touches, pairs.user, pairs.item, logits)
    logits += slope * recency.of_pairs(touches, pairs.user, pairs.item)
  counts = np.bincount(pairs.user, minlength=num_users)
  starts = np.cumsum(counts) - counts
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  return Prior(
    as_i32(starts),
    as_i32(counts),
    as_i32(np.append(pairs.item, 0)),
    jnp.asarray(np.append(scale * (logits - base), 0.0), jnp.float32),
    jnp.zeros(max(int(counts.max(initial=0)), 1)),
  )


def touched(
  edges: Sequence[tuple[np.ndarray, np.ndarray]],
  num_items: int,
  smoothing: float,
) -> Touched:
  """All pairs with an upstream behavior, ordered by user and item."""
  width = num_items + 1
  codes = [prepared_lib.pairs(u, i, num_items) for u, i in edges]
  flat = np.concatenate(codes[:-1])
  pair, where = np.unique(flat, return_inverse=True)
  bits = np.repeat(1 << np.arange(len(codes) - 1), [len(c) for c in codes[:-1]])
  pattern = np.bincount(where, bits, len(pair)).astype(np.int64)
  bought = np.isin(pair, codes[-1])
  user, item = np.divmod(pair, width)
  users = np.bincount(item, minlength=width)[item] - 1
  buyers = np.bincount(codes[-1] % width, minlength=width)[item] - bought
  rate = np.log((buyers + 1.0) / (users + smoothing))
  return Touched(user, item, pattern, bought, rate)


def fit(
  pairs: Touched, num_behaviors: int, more: Sequence[np.ndarray] = ()
) -> np.ndarray:
  """Bias and slopes of each pattern, 0 where it has no pair.

  Args:
    pairs: M of them.
    num_behaviors: K.
    more: F features beside the rate, f64[M] each.
  Returns:
    f64[2^(K-1), 2 + F].
  """
  columns = [pairs.rate, *more]
  fitted = np.zeros((1 << (num_behaviors - 1), 1 + len(columns)))
  for pattern in np.unique(pairs.pattern):
    own = pairs.pattern == pattern
    fitted[pattern] = logistic([c[own] for c in columns], pairs.bought[own])
  return fitted


def logistic(
  columns: Sequence[np.ndarray],
  bought: np.ndarray,
  number: np.ndarray | None = None,
) -> np.ndarray:
  """A logistic regression: bias and a slope of each column, f64[1 + F].

  Newton steps, halved where they overshoot.

  Args:
    columns: f64[M] each.
    bought: bool[M].
    number: f64[M], how many pairs a row stands for; None is 1 each.
  """
  features = np.stack([np.ones(len(bought)), *columns], axis=1)
  number = np.ones(len(bought)) if number is None else number

  def cost(weights):
    logits = features @ weights
    loss = np.sum(number * np.logaddexp(0.0, logits))
    loss -= np.sum((number * logits)[bought])
    return loss + 0.5 * _RIDGE * np.sum(weights**2)

  size = features.shape[1]
  weights = np.zeros(size)
  now = cost(weights)
  for _ in range(_MAX_STEPS):
    chance = 1.0 / (1.0 + np.exp(-features @ weights))
    gradient = features.T @ (number * (chance - bought)) + _RIDGE * weights
    curvature = (features.T * (number * chance * (1.0 - chance))) @ features
    step = np.linalg.solve(curvature + _RIDGE * np.eye(size), gradient)
    while cost(weights - step) > now and np.max(np.abs(step)) > 1e-9:
      step = step / 2.0
    weights = weights - step
    now = cost(weights)
    if np.max(np.abs(step)) < 1e-8:
      break
  return weights


def bonus(prior: Prior, users: jax.Array, num_items: int) -> jax.Array:
  """Gains of all items for users i32[B], f32[B, I + 1]."""
  offset = jnp.arange(prior.places.shape[0])
  at = jnp.minimum(
    prior.starts[users][:, None] + offset, prior.items.shape[0] - 1
  )
  inside = offset < prior.counts[users][:, None]
  items = jnp.where(inside, prior.items[at], 0)
  empty = jnp.zeros((users.shape[0], num_items + 1))
  row = jnp.arange(users.shape[0])[:, None]
  return empty.at[row, items].add(jnp.where(inside, prior.gains[at], 0.0))
