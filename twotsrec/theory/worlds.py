"""Worlds in which every quantity of Theorem 2.1 can be computed exactly.

Items are a finite pool, so that means over items are sums and no risk is
estimated. A user has logits w ~ (base, 0, ..., 0) + spread N(0, I) and clicks
item x with probability sigmoid(x.w). Its taste phi* minimizes the exact risk
R(phi). Vectors of all users go side by side, f32[U, d].
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.theory import power_law


class Config(NamedTuple):
  """The world and how long it is run.

  Attributes:
    spread: s, of the users' logits around `base`.
    base: logit all users share, along the first axis.
    num_items: on the sphere of radius B_x.
    width: d.
    num_users: each with one offline and one online stream of events.
    alpha: of the activity.
    c: regularization.
    B_x: length of the items.
    B_phi: of the ball that vectors are projected to. Near the longest taste it
      shrinks early iterates, (T + 1) e(T) rises with T, and Q must be taken
      near the crossing.
    offline_steps: largest T; who has more counts as if at it.
    online_steps: N.
    exact_until: the online risk is run for every T up to here, above at counts
      that grow by 3 %, with interpolation in log(T + 1).
    gammas: how many online step sizes are compared, geometrically spaced.
    gamma_low: the least.
    gamma_high: the largest.
    active_counts: how many T stand for the active users there.
    newton_steps: to the tastes.
  """

  spread: float = 2.0
  base: float = 4.0
  num_items: int = 64
  width: int = 10
  num_users: int = 1200
  alpha: float = 1.5
  c: float = 0.5
  B_x: float = 1.0
  B_phi: float = 1.0
  offline_steps: int = 400
  online_steps: int = 20
  exact_until: int = 60
  gammas: int = 16
  gamma_low: float = 0.004
  gamma_high: float = 0.3
  active_counts: int = 12
  newton_steps: int = 50


class World(NamedTuple):
  """Items and users, with the tastes that follow.

  Attributes:
    items: f32[P, d].
    chances: f32[U, P], probability of a click.
    tastes: f32[U, d], phi*.
    least: f32[U], R(phi*).
    c: regularization.
    B_phi: radius of the ball.
  """

  items: jax.Array
  chances: jax.Array
  tastes: jax.Array
  least: jax.Array
  c: jax.Array
  B_phi: jax.Array


def make_world(key: jax.Array, config: Config) -> World:
  """Draws items and users, and finds the tastes.

  Raises:
    types.UserError: c is too small to find a taste in `newton_steps`, or a
      taste lies outside of the ball.
  """
  world, slope = _draw_world(
    key,
    (config.spread, config.base, config.c, config.B_x, config.B_phi),
    shape=(config.num_items, config.num_users, config.width),
    steps=config.newton_steps,
  )
  if not float(slope) < 1e-5 * config.B_x:
    raise types.UserError(
      f'the tastes were not found with c = {config.c} in {config.newton_steps} '
      'steps; raise either'
    )
  longest = float(np.max(np.linalg.norm(world.tastes, axis=1)))
  if longest > config.B_phi:
    raise types.UserError(
      f'B_phi = {config.B_phi} is below the longest taste, {longest:.4g}; '
      'raise it'
    )
  return world


@functools.partial(jax.jit, static_argnames=('shape', 'steps'))
def _draw_world(key, numbers, *, shape, steps):
  """A world, and the largest gradient at what should be its tastes."""
  spread, base, c, B_x, B_phi = numbers
  num_items, num_users, width = shape
  drawn = jax.random.normal(key, (num_items + num_users, width))
  items, users = drawn[:num_items], spread * drawn[num_items:]
  items *= B_x / jnp.linalg.norm(items, axis=1, keepdims=True)
  chances = jax.nn.sigmoid(users.at[:, 0].add(base) @ items.T)
  tastes, slope = _tastes(items, chances, c, steps)
  world = World(items, chances, tastes, jnp.zeros(num_users), c, B_phi)
  return world._replace(least=risk(world, tastes)), slope


def _tastes(items, chances, c, steps):
  """Minimizers of the exact risks, f32[U, d], and their largest gradient.

  Newton's method with the largest curvature a logistic loss has, 1/4, in place
  of the true one (Boehning 1992): it never overshoots, and all users share it.
  """
  num_items, width = items.shape
  highest = items.T @ items / (4.0 * num_items) + c * jnp.eye(width)
  inverse = jnp.linalg.inv(highest)

  def slope(phi):
    slack = jax.nn.sigmoid(phi @ items.T) - chances
    return slack @ items / num_items + c * phi

  step = lambda phi, _: (phi - slope(phi) @ inverse, None)
  start = jnp.zeros((chances.shape[0], width))
  phi = jax.lax.scan(step, start, None, length=steps)[0]
  return phi, jnp.max(jnp.linalg.norm(slope(phi), axis=1))


def risk(world: World, phi: jax.Array) -> jax.Array:
  """Exact risk R of every user, f32[U]."""
  logits = phi @ world.items.T
  errors = jax.nn.softplus(logits) - world.chances * logits
  square = jnp.sum(phi**2, axis=1)
  return jnp.mean(errors, axis=1) + world.c / 2.0 * square


def events(key: jax.Array, world: World) -> tuple[jax.Array, jax.Array]:
  """One event of every user, (x f32[U, d], y f32[U])."""
  num_users, num_items = world.chances.shape
  for_item, for_click = jax.random.uniform(key, (2, num_users))
  item = jnp.floor(for_item * num_items).astype(jnp.int32)
  chance = jnp.take_along_axis(world.chances, item[:, None], axis=1)[:, 0]
  clicked = for_click < chance
  return world.items[item], clicked.astype(jnp.float32)


def gradient(
  world: World, phi: jax.Array, x: jax.Array, y: jax.Array
) -> jax.Array:
  """Of the loss of one event of every user, f32[U, d]."""
  slack = jax.nn.sigmoid(jnp.sum(x * phi, axis=1)) - y
  return slack[:, None] * x + world.c * phi


def project(world: World, phi: jax.Array) -> jax.Array:
  """To the ball of radius B_phi."""
  length = jnp.linalg.norm(phi, axis=1, keepdims=True)
  return phi * jnp.minimum(1.0, world.B_phi / jnp.maximum(length, 1e-12))


def check(config: Config) -> None:
  """Raises a UserError if a number in `config` is too small."""
  positive = ('B_x', 'B_phi', 'c', 'spread', 'gamma_low', 'gamma_high')
  wrong = [name for name in positive if not getattr(config, name) > 0.0]
  ones = ('num_items', 'width', 'online_steps', 'gammas', 'newton_steps')
  least = dict.fromkeys(ones, 1)
  least |= dict.fromkeys(('num_users', 'offline_steps', 'active_counts'), 2)
  wrong += [name for name in least if getattr(config, name) < least[name]]
  if wrong:
    shown = ', '.join(f'{name} = {getattr(config, name)}' for name in wrong)
    raise types.UserError(f'{shown}: too small for a simulation; raise it')
  power_law.check_exponent(config.alpha)
