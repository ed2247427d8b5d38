"""Aggregators that remember gradients of earlier batches.

A mini-batch's Gram matrix is biased: the noise of a gradient meets itself. MoCo
tracks averages instead; MoDo and SDMGrad multiply gradients of independent
batches. All keep an array like the parameters for every group, and groups that
are absent keep theirs.

Departure: MoDo and SDMGrad draw three independent batches for a step. Here the
products are those of the last two batches, and the weights that follow apply to
the next one: three independent batches as well, at one gradient per group and
step, but at parameters up to two steps old.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import trees
from twotsrec import types
from twotsrec.aggregators import linear
from twotsrec.aggregators import loss_weighted
from twotsrec.aggregators import solvers


class MocoState(NamedTuple):
  """State of `moco`.

  Attributes:
    average: y, tracked gradients, leaves [G, ...].
    weights: f32[G], lambda.
    steps: f32[], updates made.
  """

  average: Any
  weights: jax.Array
  steps: jax.Array


def moco(
  beta: float = 0.5,
  beta_decay: float = 0.5,
  gamma: float = 0.1,
  gamma_decay: float = 0.5,
  rho: float = 0.0,
  form: str = 'published',
) -> types.GradientAggregator:
  """The shortest combination of tracked gradients (Fernando et al. 2023, MoCo).

  y_j <- y_j - beta_k (y_j - g_j) from 0, then a step gamma_k down |Y'w|^2 / 2 +
  rho |w|^2 / 2 on the simplex; the update is Y'w. After k steps the rates have
  fallen by k^-decay.

  Args:
    beta: rate of y.
    beta_decay: its power.
    gamma: rate of w.
    gamma_decay: its power.
    rho: pull towards equal weights.
    form: 'published', or 'code' as the authors gave it to LibMTL: y tracks
      L_j g_j / |g_j|, and a softmax of the step replaces the projection.
  """

  def init(num_groups, params):
    weights = jnp.full(num_groups, 1.0 / num_groups)
    return MocoState(_zeros(num_groups, params), weights, jnp.zeros(()))

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present, steps = info.counts > 0, state.steps + 1
    scale = jnp.ones(present.shape)
    if form == 'code':
      norms = jnp.sqrt(jnp.diagonal(trees.gram(group_grads)))
      scale = loss_weighted.losses_of(info) / (norms + loss_weighted.EPSILON)
    rate = jnp.where(present, beta / steps**beta_decay, 0.0)
    average = _blend(1.0 - rate, state.average, rate * scale, group_grads)
    slope = trees.gram(average) @ state.weights + rho * state.weights
    moved = state.weights - gamma / steps**gamma_decay * slope
    every = jnp.ones_like(present)
    project = jax.nn.softmax
    if form == 'published':
      project = lambda moved: solvers.project_simplex(moved, every)
    state = MocoState(average, project(moved), steps)
    # As in LibMTL, the weights that have just moved.
    weights = _of_present(state.weights, present)
    return trees.combine(weights, average), state, {'weights': weights}

  return types.GradientAggregator(init, update)


class PairState(NamedTuple):
  """State of `modo` and `sdmgrad`.

  Attributes:
    previous: gradients of the last batch of each group, leaves [G, ...].
    seen: bool[G], whether there was one.
    weights: f32[G], for the next batch.
  """

  previous: Any
  seen: jax.Array
  weights: jax.Array


def modo(gamma: float = 1e-3, rho: float = 0.1) -> types.GradientAggregator:
  """Short combinations by double sampling (Chen et al. 2023, MoDo).

  w <- the simplex point nearest to w - gamma (J_1 J_2' + rho) w.

  Args:
    gamma: rate of the weights.
    rho: pull towards equal weights.
  """

  def solve(products, weights, info):
    del info
    every = jnp.ones_like(weights, bool)
    slope = products @ weights + rho * weights
    return solvers.project_simplex(weights - gamma * slope, every)

  return _of_pairs(solve, lambda weights, info: weights)


def sdmgrad(
  penalty: float = 0.3,
  steps: int = 20,
  rate: float = 10.0,
  momentum: float = 0.5,
  tau: float = 0.0,
  prior: Sequence[float] = (),
) -> types.GradientAggregator:
  """Short combinations near a preferred direction (Xiao et al. 2023, SDMGrad).

  (g_w + lambda g_0) / (1 + lambda), where w descends <J_1'w, J_2'(w + lambda
  w_0)> on the simplex, with products over the square of the mean length. The
  preference w_0 is as the prior of `linear.backdoor`.

  Args:
    penalty: lambda; to infinity it is the preferred direction.
    steps: of the weights at every update.
    rate: of these steps.
    momentum: the same.
    tau: of the preference.
    prior: the same.
  """
  preference = linear.backdoor_weights(tau, prior)

  def solve(products, weights, info):
    every = jnp.ones_like(weights, bool)
    lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(products), 0.0))
    there = jnp.sum(jnp.any(products != 0, axis=1))
    scale = jnp.sum(lengths) / jnp.maximum(there, 1)
    scaled = products / jnp.where(scale == 0, 1.0, scale) ** 2
    aim = penalty * preference(info)

    def body(_, carry):
      weights, speed = carry
      speed = momentum * speed + scaled @ (weights + aim)
      moved = solvers.project_simplex(weights - rate * speed, every)
      return moved, speed

    return jax.lax.fori_loop(
      0, steps, body, (weights, jnp.zeros_like(weights))
    )[0]

  def mix(weights, info):
    return (weights + penalty * preference(info)) / (1.0 + penalty)

  return _of_pairs(solve, mix)


def _of_pairs(
  solve: Callable[..., jax.Array], mix: Callable[..., jax.Array]
) -> types.GradientAggregator:
  """Weights from products of a batch's gradients with those of the last one.

  `solve` is (products f32[G, G], weights, info) -> weights for the next batch,
  `mix` (weights of the groups present, info) -> those of the update.
  """

  def init(num_groups, params):
    return PairState(
      _zeros(num_groups, params),
      jnp.zeros(num_groups, bool),
      jnp.full(num_groups, 1.0 / num_groups),
    )

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present = info.counts > 0
    weights = mix(_of_present(state.weights, present), info)
    grads = trees.combine(weights, group_grads)
    both = present[:, None] & state.seen[None, :]
    products = trees.products(group_grads, state.previous)
    moved = solve(jnp.where(both, products, 0.0), state.weights, info)
    keep = jnp.where(present, 0.0, 1.0)
    previous = _blend(keep, state.previous, 1.0 - keep, group_grads)
    state = PairState(previous, state.seen | present, moved)
    return grads, state, {'weights': weights}

  return types.GradientAggregator(init, update)


class ExcessState(NamedTuple):
  """State of `excess_mtl`.

  Attributes:
    squares: sums of squared gradients, leaves [G, ...].
    log_weights: f32[G].
    sums: f32[G], excess risks of the warm-up.
    seen: f32[G], updates that a group was in.
  """

  squares: Any
  log_weights: jax.Array
  sums: jax.Array
  seen: jax.Array


def excess_mtl(rate: float = 0.01, warmup: int = 1) -> types.GradientAggregator:
  """Weights that follow excess risks (He et al. 2024, ExcessMTL eq. 6-9).

  How far a loss is above its least is about E_j = sum g_j^2 / sqrt(S_j), S_j
  the sum of all g_j^2 so far. A weight is multiplied by exp(rate E_j / E_j0),
  E_j0 the mean of the warm-up, in which weights are equal; then they are scaled
  to sum to one.

  Args:
    rate: of the weights.
    warmup: updates of a group; 3 epochs in the paper, 1 in the authors' code.
  """

  def init(num_groups, params):
    even = jnp.full(num_groups, -jnp.log(num_groups))
    zeros = lambda: jnp.zeros(num_groups)
    return ExcessState(_zeros(num_groups, params), even, zeros(), zeros())

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present = info.counts > 0
    squared = jax.tree.map(jnp.square, group_grads)
    heard = jnp.where(present, 1.0, 0.0)
    squares = _blend(jnp.ones_like(heard), state.squares, heard, squared)
    risks = sum(
      jnp.sum((g / jnp.sqrt(s + 1e-7)).reshape(g.shape[0], -1), axis=1)
      for g, s in zip(jax.tree.leaves(squared), jax.tree.leaves(squares))
    )
    early = state.seen < warmup
    usual = state.sums / jnp.maximum(state.seen, 1.0)
    # The authors' constant: a group may have had no gradient at first.
    gain = jnp.where(early, 0.0, rate * risks / (usual + 1e-7))
    log_weights = jax.nn.log_softmax(
      state.log_weights + jnp.where(present, gain, 0.0)
    )
    weights = solvers.softmax(log_weights, present)
    learns = present & early
    sums = state.sums + jnp.where(learns, risks, 0.0)
    state = ExcessState(squares, log_weights, sums, state.seen + learns)
    return trees.combine(weights, group_grads), state, {'weights': weights}

  return types.GradientAggregator(init, update)


def _zeros(num_groups, params):
  zeros = lambda p: jnp.zeros((num_groups, *p.shape), p.dtype)
  return jax.tree.map(zeros, params)


def _blend(keep, old, share, new):
  """keep_j old_j + share_j new_j; what an absent group holds is not read."""

  def of_leaf(old, new):
    there = trees.along(share, new)
    added = jnp.where(there == 0, 0.0, there * new)
    return trees.along(keep, old) * old + added

  return jax.tree.map(of_leaf, old, new)


def _of_present(weights, present):
  """Weights of the groups present, scaled to sum to one."""
  kept = jnp.where(present, weights, 0.0)
  total = jnp.sum(kept)
  shared = kept / jnp.where(total == 0, 1.0, total)
  return jnp.where(total == 0, solvers.uniform(present), shared)
