"""Aggregators that are the gradient of one number of the losses.

The update is sum_j w_j g_j with w = dF / dL of a number F(L_1, ..., L_G), up to
a factor that makes the weights sum to one where the groups are alike. What F
has learned, or how losses developed, is the state.

Departure: DWA compares epochs; an aggregator sees updates, so a stretch of
`steps` of them stands for an epoch, and likewise the warm-up of STCH. What UW
and IMTL-L learn moves by an Adam of its own, not by that of the model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotsrec import trees
from twotsrec import types
from twotsrec.aggregators import gram
from twotsrec.aggregators import linear
from twotsrec.aggregators import loss_weighted
from twotsrec.aggregators import solvers

# (losses, shares of the groups, groups present), [G] each -> f32[]
Number = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
_TINY = 1e-12  # under roots, whose slope at 0 is infinite


def _slopes(number: Number, losses, shares, present):
  """dF / dL of the groups present, f32[G]; 0 of the others."""
  losses = jnp.where(present, losses, 1.0)
  slopes = jax.grad(number)(losses, shares, present)
  return jnp.where(present, slopes, 0.0)


def _scalarized(number: Number, tau=0.0, prior=()):
  """The aggregator of F without a state."""
  preference = linear.backdoor_weights(tau, prior)

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    losses = loss_weighted.losses_of(info)
    weights = _slopes(number, losses, preference(info), info.counts > 0)
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(lambda num_groups, params: (), update)


def _log(losses):
  return jnp.log(losses + loss_weighted.EPSILON)


def gls() -> types.GradientAggregator:
  """The geometric mean of the losses (Chennupati et al. 2019, GLS)."""
  return _scalarized(
    lambda losses, p, present: jnp.exp(jnp.dot(p, _log(losses)))
  )


def cosmos(
  penalty: float = 1.0, tau: float = 0.0, prior: Sequence[float] = ()
) -> types.GradientAggregator:
  """p'L - lambda cos(p, L) (Ruchte and Grabocka 2021, COSMOS).

  Departure: the network of the paper also reads the preference p; here it is
  one, as the prior of `linear.backdoor`.

  Args:
    penalty: lambda; 0 is the weighted mean.
    tau: of the preference.
    prior: of the preference.
  """

  def number(losses, shares, present):
    mean = jnp.dot(shares, losses)
    squares = jnp.sum(jnp.where(present, losses**2, 0.0))
    lengths = jnp.sqrt(squares + _TINY) * jnp.sqrt(jnp.sum(shares**2) + _TINY)
    return mean - penalty * mean / lengths

  return _scalarized(number, tau, prior)


def pbi(
  theta: float = 5.0,
  ideal: Sequence[float] = (),
  tau: float = 0.0,
  prior: Sequence[float] = (),
) -> types.GradientAggregator:
  """Along a direction and not beside it (Zhang and Li 2007, MOEA/D, PBI).

  |p| (d_1 + theta d_2): how far L - z is along p, and how far from it. A group
  far below the direction gets a negative weight, so that losses become
  proportional to p.

  Args:
    theta: of the distance from the direction; 0 is the weighted mean.
    ideal: z, a loss per group; () is 0.
    tau: of the preference p, as the prior of `linear.backdoor`.
    prior: the same.
  """

  def number(losses, shares, present):
    above = jnp.where(present, _above(losses, ideal), 0.0)
    length = jnp.sqrt(jnp.sum(shares**2) + _TINY)
    direction = shares / length
    first = jnp.dot(above, direction)
    aside = above - first * direction
    return length * (first + theta * jnp.sqrt(jnp.dot(aside, aside) + _TINY))

  return _scalarized(number, tau, prior)


def _above(losses, ideal):
  """Losses less the best ones that can be."""
  return losses - jnp.asarray(ideal, jnp.float32) if ideal else losses


class StchState(NamedTuple):
  """State of `stch`, whose warm-up is the first updates.

  Attributes:
    steps: f32[], updates made.
    sums: f32[G], losses of the warm-up.
    seen: f32[G], of how many updates.
  """

  steps: jax.Array
  sums: jax.Array
  seen: jax.Array


def stch(
  mu: float = 1.0,
  values: str = 'log',
  warmup: int = 100,
  ideal: Sequence[float] = (),
  tau: float = 0.0,
  prior: Sequence[float] = (),
) -> types.GradientAggregator:
  """A smooth maximum, mu log sum_j exp(y_j / mu) (Lin et al. 2024, STCH).

  Args:
    mu: smoothness; to 0 the largest y_j alone counts.
    values: 'log' as in the authors' multi-task code:
      y_j = G p_j log(L_j / n_j), n_j the mean loss of the warm-up, in which
      sum_j p_j log L_j is descended. 'raw' as in the paper:
      y_j = p_j (L_j - z_j), without a warm-up; F is G times this.
    warmup: updates.
    ideal: z of 'raw', a loss per group; () is 0.
    tau: of the preference p, as the prior of `linear.backdoor`.
    prior: the same.
  """
  preference = linear.backdoor_weights(tau, prior)

  def smooth(y, present):
    kept = jnp.where(present, y / mu, -jnp.inf)
    return mu * jax.nn.logsumexp(kept)

  def raw(losses, shares, present):
    y = shares * _above(losses, ideal)
    return jnp.sum(present) * smooth(y, present)

  if values == 'raw':
    return _scalarized(raw, tau, prior)

  def init(num_groups, params):
    del params
    zeros = lambda: jnp.zeros(num_groups)
    return StchState(jnp.zeros(()), zeros(), zeros())

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present, losses = info.counts > 0, loss_weighted.losses_of(info)
    shares, early = preference(info), state.steps < warmup
    known = state.seen > 0
    nadir = jnp.where(known, state.sums / jnp.maximum(state.seen, 1.0), losses)
    number = jnp.sum(present)

    def late(losses, shares, present):
      y = number * shares * (_log(losses) - _log(nadir))
      return smooth(y, present)

    first = lambda losses, shares, present: jnp.dot(shares, _log(losses))
    weights = jnp.where(
      early,
      _slopes(first, losses, shares, present),
      _slopes(late, losses, shares, present),
    )
    learns = early & present
    state = StchState(
      state.steps + 1,
      state.sums + jnp.where(learns, losses, 0.0),
      state.seen + learns,
    )
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(init, update)


class ScaleState(NamedTuple):
  """State of `uw`, `imtl_l` and `imtl`.

  Attributes:
    logits: f32[G], logarithms of the factors of the losses.
    opt_state: Adam on them.
  """

  logits: jax.Array
  opt_state: Any


def uw(rate: float = 1e-3) -> types.GradientAggregator:
  """Losses over their variances (Kendall et al. 2018, uncertainty weighting).

  Descends the mean of (exp(-s_j) L_j + s_j) / 2 in s, log variances, by Adam,
  and twice that in the parameters: with s = 0 it starts as the mean.

  Args:
    rate: of Adam on s.
  """
  return _learned(rate, 0.5, lambda factors, grads, present: factors)


def imtl_l(rate: float = 1e-3) -> types.GradientAggregator:
  """Losses scaled to be alike (Liu et al. 2021, IMTL-L).

  Descends the mean of exp(s_j) L_j - s_j. With -s for the log variances it is
  `uw`, up to a factor that Adam does not see.

  Args:
    rate: of Adam on s.
  """
  return _learned(rate, 1.0, lambda factors, grads, present: factors)


def imtl(rate: float = 1e-3) -> types.GradientAggregator:
  """IMTL-G of the losses that IMTL-L scales (Liu et al. 2021, IMTL).

  The direction is that of `gram.imtl_g`, which scales do not change; they
  decide how long the update is.

  Args:
    rate: as in `imtl_l`.
  """

  def weights_of(factors, group_grads, present):
    matrix = factors[:, None] * trees.gram(group_grads) * factors[None, :]
    return factors * gram.impartial(solvers.scale(matrix, present), present)

  return _learned(rate, 1.0, weights_of, mean=False)


def _learned(rate, strength, weights_of, mean=True):
  """Weights (factors, group_grads, present) -> f32[G] of learned factors.

  Their logarithms descend strength (exp(s_j) L_j - s_j).
  """
  optimizer = optax.adam(rate)

  def init(num_groups, params):
    del params
    logits = jnp.zeros(num_groups)
    return ScaleState(logits, optimizer.init(logits))

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present, losses = info.counts > 0, loss_weighted.losses_of(info)
    factors = jnp.exp(state.logits)
    weights = weights_of(factors, group_grads, present)
    weights = jnp.where(present, weights, 0.0)
    if mean:
      weights = solvers.uniform(present) * weights
    slope = jnp.where(present, strength * (factors * losses - 1.0), 0.0)
    moves, opt_state = optimizer.update(slope, state.opt_state)
    moved = jnp.asarray(optax.apply_updates(state.logits, moves))
    logits = jnp.where(present, moved, state.logits)
    grads = trees.combine(weights, group_grads)
    return grads, ScaleState(logits, opt_state), {'weights': weights}

  return types.GradientAggregator(init, update)


class DwaState(NamedTuple):
  """State of `dwa`.

  Attributes:
    steps: i32[], updates of this stretch.
    sums: f32[G], losses of this stretch.
    seen: f32[G], of how many updates.
    newer: f32[G], mean losses of the last stretch; 0 before.
    older: f32[G], of the one before.
  """

  steps: jax.Array
  sums: jax.Array
  seen: jax.Array
  newer: jax.Array
  older: jax.Array


def dwa(temperature: float = 2.0, steps: int = 100) -> types.GradientAggregator:
  """More weight where losses fall slowly (Liu et al. 2019, DWA).

  w = softmax(L(t - 1) / (T L(t - 2))) of the mean losses of two stretches of
  training; equal weights in the first two.

  Args:
    temperature: T; large ones make weights alike.
    steps: updates of a stretch, the paper's epoch.
  """

  def init(num_groups, params):
    del params
    zeros = [jnp.zeros(num_groups) for _ in range(4)]
    return DwaState(jnp.zeros((), jnp.int32), *zeros)

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present, losses = info.counts > 0, loss_weighted.losses_of(info)
    both = (state.older > 0) & (state.newer > 0)
    ratios = jnp.where(
      both, state.newer / jnp.where(both, state.older, 1.0), 1.0
    )
    weights = solvers.softmax(ratios / temperature, present)
    sums = state.sums + jnp.where(present, losses, 0.0)
    seen, ends = state.seen + present, state.steps + 1 >= steps
    mean = jnp.where(seen > 0, sums / jnp.maximum(seen, 1.0), state.newer)
    state = DwaState(
      jnp.where(ends, 0, state.steps + 1),
      jnp.where(ends, 0.0, sums),
      jnp.where(ends, 0.0, seen),
      jnp.where(ends, mean, state.newer),
      jnp.where(ends, state.newer, state.older),
    )
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(init, update)


def rlw() -> types.GradientAggregator:
  """Random weights, softmax of normal draws (Lin et al. 2022, RLW)."""

  def update(group_grads, info, state, *, key):
    draws = jax.random.normal(key, info.counts.shape)
    weights = solvers.softmax(draws, info.counts > 0)
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(lambda num_groups, params: (), update)
