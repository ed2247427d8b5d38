"""Theorem 2.1 run in a world where every quantity in it is known.

Offline, every user's vector goes through SGD; online, it goes on from there or
from the mean taste. With a regularization c well above B_x^2 / (4 d) the
curvature is nearly c, SGD is nearly a running mean, and (T + 1) e(T), e its
squared error, is nearly constant: the form of `bounds.prop_a1_Q` is tight, its
constant is not. Hence three Q:

    worst    (B_x / c + B_phi)^2
    moment   max_j E ||G_j||^2 / c^2, of the gradients that occur
    tail     mean of (T + 1) e(T) over the last half of T

The measured optimum follows the tail: with spread 2 the worst case asks for a
threshold near 290 where 27 is best.

J(t), the mean excess risk at threshold t, is summed over activity with the
exact P(T = k). Drawing T instead would hide its minimum, since a power law
makes J nearly flat to the right of it.

The shrunk start (`shrunk`) is run beside the thresholds, with the weights that
the tail's Q gives. It asks for no threshold, and its J is below that of every
one.

The best step sizes are 1 to 2.6 times the formulas', whose B is a worst case,
and more so for inactive users; the active ones' is the smaller all the same.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import power_law
from twotsrec.theory import shrunk
from twotsrec.theory import worlds

_EXACT_SHRUNK = 8  # counts up to which the shrunk start is run for every one


class Simulation(NamedTuple):
  """What came out; index T or t runs from 0 to `offline_steps`.

  Attributes:
    J: f64[T + 1], mean excess risk if users with T >= t start at their own.
    R_act: f64[T + 1], mean excess risk from the vector of T events.
    R_in: mean excess risk from the mean taste, J if nobody starts at their own.
    e: f64[T + 1], mean squared distance of the vector of T events to the taste.
    J_shrunk: mean excess risk if all start at the shrunk start.
    R_shrunk: f64[T + 1], mean excess risk from the shrunk start of T events.
    e_shrunk: f64[T + 1], its mean squared distance to the taste.
    bias: f64[T + 1], mean of <phi_T - phi*, phi* - m>, C_T of `shrunk`.
    V: variance of the tastes.
    Q_worst: of prop. A.1.
    Q_moment: with the measured second moment of the gradients.
    Q_tail: of the measured errors.
    t_star: t_opt(Q_tail, V), the rule's threshold.
    gamma: step size of J, gamma_single at t_star with Q_tail.
    gammas: f64[K], the grid of step sizes.
    risk_in: f64[K], mean excess risk of inactive users by step size.
    risk_act: f64[K], of active users, T >= t_star.
    longest: largest ||phi*||, to be held against B_phi.
    config: what was run.
  """

  J: np.ndarray
  R_act: np.ndarray
  R_in: float
  e: np.ndarray
  J_shrunk: float
  R_shrunk: np.ndarray
  e_shrunk: np.ndarray
  bias: np.ndarray
  V: float
  Q_worst: float
  Q_moment: float
  Q_tail: float
  t_star: int
  gamma: float
  gammas: np.ndarray
  risk_in: np.ndarray
  risk_act: np.ndarray
  longest: float
  config: worlds.Config

  @property
  def best(self) -> int:
    """The threshold with the least J."""
    return int(np.argmin(self.J))

  @property
  def risk_crossing(self) -> int | None:
    """First T with R_act < R_in."""
    return _first(self.R_act < self.R_in)

  @property
  def error_crossing(self) -> int | None:
    """First T with e < V."""
    return _first(self.e < self.V)

  @property
  def gamma_in(self) -> float:
    """The best step size of inactive users."""
    return float(self.gammas[np.argmin(self.risk_in)])

  @property
  def gamma_act(self) -> float:
    """The best step size of active users."""
    return float(self.gammas[np.argmin(self.risk_act)])

  @property
  def B(self) -> float:
    """Bound of the gradients, B_x + c B_phi."""
    return _gradient_bound(self.config)

  def bound(self, Q: float) -> np.ndarray:
    """B sqrt(beta(t) / N) for every t of `J`, f64[T + 1].

    The step size of J is one for all t, so the theorem grants J itself no less
    than `bounds.bound` with `gamma`, which is larger.
    """
    alpha, N = self.config.alpha, self.config.online_steps
    return bounds.bound(np.arange(len(self.J)), alpha, Q, self.V, self.B, N)

  def shrunk_bound(self, Q: float) -> float:
    """The bound of the shrunk start, below `bound` of every threshold."""
    alpha, N = self.config.alpha, self.config.online_steps
    return float(shrunk.bound(alpha, Q, self.V, self.B, N))


def simulate(
  key: jax.Array | int, config: worlds.Config | None = None
) -> Simulation:
  """Runs the world: offline SGD, online descent from every start, step sizes.

  Every start sees the same online events, and so does every step size.

  Args:
    key: PRNG key, or a seed.
    config: of the world; None takes the defaults.
  """
  config = worlds.Config() if config is None else config
  worlds.check(config)
  key = key if isinstance(key, jax.Array) else jax.random.key(key)
  world_key, offline_key, online_key = jax.random.split(key, 3)
  world = worlds.make_world(world_key, config)
  vectors, errors, moments, variance = _offline(
    offline_key, world, steps=config.offline_steps
  )
  e, V = np.asarray(errors, float), float(variance)
  Q_tail = float(np.mean((np.arange(1.0, len(e) + 1.0) * e)[len(e) // 2 :]))
  t_star = bounds.t_opt(Q_tail, V)
  if t_star >= config.offline_steps:
    raise types.UserError(
      f'the best threshold, near {t_star}, is not below offline_steps = '
      f'{config.offline_steps}; raise it, or the spread of the users'
    )
  B, N, alpha = _gradient_bound(config), config.online_steps, config.alpha
  gamma = float(bounds.gamma_single(t_star, alpha, Q_tail, V, B, N))
  weights = shrunk.weight(np.arange(len(e)), Q_tail, V)
  vectors, e_shrunk, bias = _shrunk(world, vectors, jnp.float32(weights))

  last, common = len(e) - 1, [len(e)]  # the mean comes after the last vector
  gammas = np.geomspace(config.gamma_low, config.gamma_high, config.gammas)
  known = _grid(last, config.exact_until)
  between = _grid(last, _EXACT_SHRUNK, 0.1)  # nothing crosses, so few will do
  # Evenly spaced in log(T + 1); some may repeat.
  active = np.geomspace(t_star + 1, last + 1, config.active_counts) - 1.0
  active = np.rint(active).astype(int)
  own, mean, by_rate, mean_by_rate, of_shrunk = _run(
    functools.partial(_online, online_key, world, vectors, steps=N),
    [
      (known, [gamma]),
      (common, [gamma]),
      (active, gammas),
      (common, gammas),
      (common[0] + 1 + between, [gamma]),  # these come after the mean
    ],
  )
  counts = np.arange(last + 1)
  R_act = _interpolated(counts, known, own[0])
  R_shrunk = _interpolated(counts, between, of_shrunk[0])
  R_in = float(mean[0, 0])
  J = _by_threshold(R_act, R_in, alpha)
  risk_in, risk_act = mean_by_rate[:, 0], _over_active(active, by_rate, alpha)
  return Simulation(
    J=J,
    R_act=R_act,
    R_in=R_in,
    e=e,
    J_shrunk=float(_chances(counts, alpha) @ R_shrunk),
    R_shrunk=R_shrunk,
    e_shrunk=np.asarray(e_shrunk, float),
    bias=np.asarray(bias, float),
    V=V,
    Q_worst=bounds.prop_a1_Q(config.B_x, config.B_phi, config.c),
    Q_moment=float(np.max(np.asarray(moments)) / config.c**2),
    Q_tail=Q_tail,
    t_star=t_star,
    gamma=gamma,
    gammas=gammas,
    risk_in=risk_in,
    risk_act=risk_act,
    longest=float(np.max(np.linalg.norm(world.tastes, axis=1))),
    config=config,
  )


@functools.partial(jax.jit, static_argnames='steps')
def _offline(key, world, *, steps):
  """SGD with the steps 1 / (c j).

  Gives vectors after T events and then the mean taste f32[steps + 2, U, d],
  mean squared distances to the tastes f32[steps + 1], mean squared gradients
  f32[steps], variance of the tastes f32[].
  """

  def step(phi, inputs):
    j, event_key = inputs
    gradient = worlds.gradient(world, phi, *worlds.events(event_key, world))
    moved = worlds.project(world, phi - gradient / (world.c * j))
    return moved, (moved, jnp.mean(jnp.sum(gradient**2, axis=1)))

  distance = lambda a: jnp.mean(jnp.sum((a - world.tastes) ** 2, axis=-1), -1)
  start = jnp.zeros_like(world.tastes)
  numbers = jnp.arange(1, steps + 1, dtype=jnp.float32)
  keys = jax.random.split(key, steps)
  _, (vectors, moments) = jax.lax.scan(step, start, (numbers, keys))
  vectors = jnp.concatenate([start[None], vectors])
  mean = jnp.broadcast_to(jnp.mean(world.tastes, axis=0), start.shape)
  starts = jnp.concatenate([vectors, mean[None]])
  return starts, distance(vectors), moments, distance(mean)


@jax.jit
def _shrunk(world, starts, weights):
  """Adds shrunk starts of weights f32[T + 1] to those of `_offline`.

  Gives all starts f32[2 T + 3, U, d], mean squared distances of the shrunk ones
  to the tastes f32[T + 1], and the mean product of the own error with the
  distance of the taste from the mean f32[T + 1].
  """
  own, mean = starts[:-1], starts[-1]
  between = mean + weights[:, None, None] * (own - mean)
  distance = jnp.mean(jnp.sum((between - world.tastes) ** 2, axis=-1), axis=-1)
  product = jnp.sum((own - world.tastes) * (world.tastes - mean), axis=-1)
  return (
    jnp.concatenate([starts, between]),
    distance,
    jnp.mean(product, axis=-1),
  )


@functools.partial(jax.jit, static_argnames='steps')
def _online(key, world, starts, which, gammas, *, steps):
  """Mean over users of 1/N sum_t R(phi^t) - R(phi*) of each run, f32[M].

  All see the same N = `steps` events. Run m begins at starts f32[K, U, d],
  number which[m], and has the step size gammas[m].
  """
  events = jax.vmap(lambda k: worlds.events(k, world))(
    jax.random.split(key, steps)
  )

  def run(pair):
    start, gamma = pair

    def step(phi, event):
      excess = jnp.mean(worlds.risk(world, phi) - world.least)
      moved = phi - gamma * worlds.gradient(world, phi, *event)
      return worlds.project(world, moved), excess

    return jnp.mean(jax.lax.scan(step, starts[start], events)[1])

  return jax.lax.map(run, (which, gammas))


def _run(online, blocks):
  """Risks f64[G, K] of every block of (K starts, G step sizes), in one call."""
  pairs = [np.meshgrid(which, rates) for which, rates in blocks]
  flat = [np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1)]
  which, rates = jnp.asarray(flat[0], jnp.int32), jnp.float32(flat[1])
  risks = np.asarray(online(which, rates), float)
  ends = np.cumsum([p[0].size for p in pairs])
  parts = np.split(risks, ends[:-1])
  return [part.reshape(p[0].shape) for part, p in zip(parts, pairs)]


def _grid(last, exact_until, growth=0.03):
  """Counts from 0 to `last`, every one and then a share apart, i64[K]."""
  steps = [0]
  while steps[-1] < last:
    latest = steps[-1]
    apart = 1 if latest < exact_until else max(1, int(growth * latest))
    steps.append(min(latest + apart, last))
  return np.array(steps)


def _interpolated(counts, at, values):
  """`values` known at counts `at`, linear in log(T + 1) between them."""
  return np.interp(np.log1p(counts), np.log1p(at), values)


def _chances(counts, alpha):
  """P(T = k), the last count standing for all above."""
  chances = power_law.pmf(counts, alpha)
  chances[-1] = power_law.survival(counts[-1], alpha)
  return chances


def _by_threshold(R_act, R_in, alpha):
  """J of every threshold, f64[T + 1]."""
  counts = np.arange(len(R_act))
  own = np.cumsum((_chances(counts, alpha) * R_act)[::-1])[::-1]
  return own + (1.0 - power_law.survival(counts, alpha)) * R_in


def _over_active(at, risks, alpha):
  """Mean of risks f64[G, K] known at counts `at` over all T >= at[0]."""
  at, places = np.unique(at, return_index=True)
  counts = np.arange(at[0], at[-1] + 1)
  weights = _chances(counts, alpha)
  weights /= weights.sum()
  rows = risks[:, places]
  return np.array([weights @ _interpolated(counts, at, row) for row in rows])


def _gradient_bound(config):
  return bounds.gradient_bound(config.B_x, config.B_phi, config.c)


def _first(true):
  return int(np.argmax(true)) if np.any(true) else None
