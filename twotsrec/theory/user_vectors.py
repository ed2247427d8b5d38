"""User vectors fitted to halves of the events, with the items frozen.

The loss is that of Theorem 2.1: an event is a click (y = 1) on its item, with
`negatives` items drawn uniformly that were not clicked (y = 0),

    mean over samples of [-y x.phi + log(1 + exp(x.phi))] + (c / 2) ||phi||^2.

It has width D, so Newton's method ends in a few steps; users of similar length
go through it side by side in tiles of bounded memory.
"""

from collections.abc import Iterator
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types

_FLOATS_AT_ONCE = 1 << 21  # of a tile's item vectors
_SHRINKS = (1.0, 0.5, 0.25, 0.125, 0.0)  # of a Newton step


class Halves(NamedTuple):
  """Three vectors of each user, fitted alike.

  Attributes:
    users: i64[U], which users these are.
    first: f32[U, D], from T // 2 of the events.
    second: f32[U, D], from the others.
    whole: f32[U, D], from all T.
    counts: i64[U], T.
  """

  users: np.ndarray
  first: np.ndarray
  second: np.ndarray
  whole: np.ndarray
  counts: np.ndarray


class Fit(NamedTuple):
  """How users are fitted, and how much of them.

  Attributes:
    c: regularization per sample, relative to the mean square length of an item
      vector, so that the scale of the vectors does not matter.
    negatives: per event.
    max_users: of more, this many are drawn; the estimates need no more.
    max_events: users with more give this many, spread evenly over their time.
    newton_steps: with step halving; six end near rounding for usual c.
  """

  c: float = 0.1
  negatives: int = 4
  max_users: int = 2048
  max_events: int = 256
  newton_steps: int = 6


def ridge_halves(
  item_vectors: np.ndarray,
  offsets: np.ndarray,
  items: np.ndarray,
  *,
  seed: int = 0,
  users: np.ndarray | None = None,
  how: Fit | None = None,
) -> Halves:
  """Fits every user on two random halves of its events, and on all.

  Args:
    item_vectors: f32[I + 1, D], row 0 is padding.
    offsets: i64[U + 1], where each user's events begin.
    items: i32[N], item ids 1..I of the events.
    seed: of the halves and the negatives.
    users: i64[M], the users to fit; None takes all with two events or more.
    how: None takes the defaults.
  Returns:
    Halves, by ascending user if none were given. A user's vectors do not depend
    on which others are fitted.
  """
  how = Fit() if how is None else how
  offsets, items = np.asarray(offsets, np.int64), np.asarray(items)
  chex.assert_rank([item_vectors, offsets, items], [2, 1, 1])
  lengths = np.diff(offsets)
  rng = np.random.Generator(np.random.Philox(seed))
  shift = rng.random(len(lengths))
  users = np.flatnonzero(lengths >= 2) if users is None else np.asarray(users)
  if len(users) > how.max_users:
    users = np.sort(rng.choice(users, how.max_users, replace=False))
  _check(lengths[users], how)
  counts = np.minimum(lengths[users], how.max_events)
  vectors = jnp.asarray(item_vectors, jnp.float32)
  scale = jnp.mean(jnp.sum(vectors[1:] ** 2, axis=1))
  key = jax.random.key(seed)
  fitted = np.zeros((3, len(users), vectors.shape[1]), np.float32)
  for places, length in _tiles(counts, vectors.shape[1] * (1 + how.negatives)):
    rows = np.where(places < 0, -1, users[places])
    events = _events(offsets, items, shift, rows, length)
    rows = jnp.asarray(rows, jnp.int32)
    tile = _fit_tile(key, vectors, how.c * scale, rows, events, how=how)
    real = places >= 0
    fitted[:, places[real]] = np.asarray(tile)[:, real]
  first, second, whole = fitted
  return Halves(users, first, second, whole, counts)


def _check(lengths, how):
  if not len(lengths) or lengths.min() < 2:
    raise types.UserError(
      'halves need users with two events or more; leave the others out'
    )
  if not how.c > 0.0 or how.negatives < 1 or how.max_events < 2:
    raise types.UserError(
      f'c = {how.c}, negatives = {how.negatives}, max_events ='
      f' {how.max_events}; they must be positive, at least 1 and at least 2'
    )


def _tiles(counts: np.ndarray, floats: int) -> Iterator[tuple[np.ndarray, int]]:
  """Places of users of similar length, (i64[B], L); -1 fills the last tile.

  L is a power of two, or the largest count, so that few shapes are compiled.
  """
  rounded = 2 ** np.ceil(np.log2(counts)).astype(np.int64)
  rounded = np.minimum(rounded, counts.max())
  for length in np.unique(rounded):
    places = np.flatnonzero(rounded == length)
    size = max(1, _FLOATS_AT_ONCE // (int(length) * floats))
    size = min(size, 2 ** int(np.ceil(np.log2(len(places)))))
    places = np.append(places, np.full(-len(places) % size, -1))
    for tile in places.reshape(-1, size):
      yield tile, int(length)


def _events(offsets, items, shift, users, length):
  """Items of a tile's events, i32[B, L], 0 where there are none."""
  real = users >= 0
  start, total = offsets[users], np.diff(offsets)[users]
  # Of longer histories every (total / L)-th, from a random start.
  apart = np.maximum(total / length, 1.0)[:, None]
  moved = np.where(total > length, shift[users], 0.0)[:, None]
  within = np.floor((np.arange(length) + moved) * apart).astype(np.int64)
  known = real[:, None] & (within < total[:, None])
  index = np.where(known, start[:, None] + within, 0)
  return jnp.asarray(np.where(known, items[index], 0), jnp.int32)


@functools.partial(jax.jit, static_argnames='how')
def _fit_tile(key, vectors, c, users, events, *, how):
  """Vectors of (first, second, all) of a tile, f32[3, B, D]."""
  keys = jax.vmap(lambda user: jax.random.fold_in(key, user))(users)
  fit = functools.partial(_fit_user, vectors, c, how=how)
  return jnp.moveaxis(jax.vmap(fit)(keys, events), 1, 0)


def _fit_user(vectors, c, key, events, *, how):
  """Vectors of (first, second, all) of one user, f32[3, D]."""
  num_items = vectors.shape[0] - 1
  bits = jax.random.bits(key, (events.shape[0], 1 + how.negatives))
  # One in 2^32 / I is drawn too often, far below what matters here.
  drawn = (bits[:, 1:] % num_items).astype(events.dtype) + 1
  ids = jnp.concatenate([events[:, None], drawn], axis=1)
  clicked = jnp.zeros(ids.shape).at[:, 0].set(1.0)
  real = events > 0
  # Drawing the clicked item itself says nothing against it.
  against = drawn != events[:, None]
  usable = real[:, None] & jnp.ones(ids.shape, bool).at[:, 1:].set(against)
  order = jnp.where(real, bits[:, 0] >> 1, jnp.uint32(2**31))
  rank = jnp.argsort(jnp.argsort(order))
  first = rank < jnp.sum(real) // 2
  parts = jnp.stack([first, ~first, jnp.ones_like(first)])
  weights = jnp.where(parts[:, :, None] & usable, 1.0, 0.0)
  rows = vectors[ids].reshape(-1, vectors.shape[1])
  flat = lambda x: x.reshape(*x.shape[:-2], -1)
  newton = functools.partial(
    logistic_ridge, rows, flat(clicked), c=c, newton_steps=how.newton_steps
  )
  return jax.vmap(newton)(flat(weights))


def logistic_ridge(
  rows: jax.Array,
  clicked: jax.Array,
  weights: jax.Array,
  *,
  c: jax.Array | float,
  newton_steps: int,
) -> jax.Array:
  """Minimizer of the regularized logistic loss, by damped Newton steps.

  Args:
    rows: f32[S, D], item vectors of the samples.
    clicked: f32[S], y.
    weights: f32[S], of the samples; they are divided by their sum.
    c: regularization.
    newton_steps: each is halved until the loss does not rise.
  Returns:
    f32[D].
  """
  weights = weights / jnp.maximum(jnp.sum(weights), 1.0)
  shrinks = jnp.asarray(_SHRINKS)

  def loss(logits, phi):
    errors = jax.nn.softplus(logits) - clicked * logits
    return jnp.sum(weights * errors) + c / 2.0 * jnp.sum(phi**2)

  def step(phi, _):
    logits = rows @ phi
    chance = jax.nn.sigmoid(logits)
    gradient = (weights * (chance - clicked)) @ rows + c * phi
    curvature = (weights * chance * (1.0 - chance))[:, None] * rows
    hessian = curvature.T @ rows + c * jnp.eye(rows.shape[1])
    factor = jax.scipy.linalg.cho_factor(hessian)
    move = -jax.scipy.linalg.cho_solve(factor, gradient)
    along = rows @ move
    losses = jax.vmap(lambda r: loss(logits + r * along, phi + r * move))
    best = shrinks[jnp.argmin(losses(shrinks))]
    return phi + best * move, None

  start = jnp.zeros(rows.shape[1])
  return jax.lax.scan(step, start, None, length=newton_steps)[0]
