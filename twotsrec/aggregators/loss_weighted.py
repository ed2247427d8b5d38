"""Aggregators that weigh groups by how their losses develop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotsrec import trees
from twotsrec import types
from twotsrec.aggregators import blocks
from twotsrec.aggregators import solvers

EPSILON = 1e-8  # under logarithms of losses (FAMO, DB-MTL, GLS)


def losses_of(info: types.GroupInfo) -> jax.Array:
  """Losses of the groups, checked; f32[G]."""
  if info.losses is None:
    raise ValueError('this aggregator needs info.losses')
  return info.losses


def group_dro(
  eta: float = 0.01, adjustment: float = 0.0
) -> types.GradientAggregator:
  """Weights that follow the worst group (Sagawa et al. 2020, algorithm 1).

  q_j is multiplied by exp(eta (L_j + C / sqrt(n_j))); the update is
  sum_j q_j g_j. The state is log q; an absent group keeps its own, and the
  others share its part of the update.

  Args:
    eta: step of the weights.
    adjustment: C of the paper's sec. 3.3, for small groups.
  """

  def init(num_groups, params):
    del params
    return jnp.full(num_groups, -jnp.log(num_groups))

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present = info.counts > 0
    gain = eta * (losses_of(info) + adjustment / jnp.sqrt(info.sizes))
    state = jax.nn.log_softmax(state + jnp.where(present, gain, 0.0))
    weights = solvers.softmax(state, present)
    grads = trees.combine(weights, group_grads)
    return grads, state, {'weights': weights}

  return types.GradientAggregator(init, update)


class FamoState(NamedTuple):
  """State of `famo`.

  Attributes:
    logits: f32[G], xi.
    opt_state: Adam on the logits.
    log_losses: f32[G], before the update of this step.
  """

  logits: jax.Array
  opt_state: Any
  log_losses: jax.Array


def famo(rate: float = 0.025, decay: float = 1e-3) -> types.GradientAggregator:
  """All losses improve at the same rate (Liu et al. 2023, FAMO).

  The update is the gradient of sum_j c z_j log L_j, z = softmax(xi), where c
  makes the weights of the g_j sum to one. After the parameters have moved,
  `post` compares the losses on the same batch and moves xi by Adam, away from
  the groups that improved most.

  Args:
    rate: learning rate of xi.
    decay: of xi, added to its gradient.
  """
  optimizer = optax.adam(rate)

  def init(num_groups, params):
    del params
    logits = jnp.zeros(num_groups)
    return FamoState(logits, optimizer.init(logits), jnp.zeros(num_groups))

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present = info.counts > 0
    log_losses = jnp.log(losses_of(info) + EPSILON)
    # z_j / L_j over its sum, in logarithms.
    logits = jax.nn.log_softmax(state.logits) - log_losses
    weights = solvers.softmax(logits, present)
    grads = trees.combine(weights, group_grads)
    state = state._replace(log_losses=log_losses)
    return grads, state, {'weights': weights}

  def post(info_after, state):
    present = info_after.counts > 0
    improvement = state.log_losses - jnp.log(losses_of(info_after) + EPSILON)
    improvement = jnp.where(present, improvement, 0.0)
    shares = solvers.softmax(state.logits, present)
    # The transposed Jacobian of the softmax times the improvements.
    slope = shares * (improvement - jnp.dot(shares, improvement))
    moves, opt_state = optimizer.update(
      slope + decay * state.logits, state.opt_state
    )
    logits = optax.apply_updates(state.logits, moves)
    return state._replace(logits=logits, opt_state=opt_state)

  return types.GradientAggregator(init, update, post=post)


class GradNormState(NamedTuple):
  """State of `gradnorm`.

  Attributes:
    weights: f32[G], their sum is G.
    opt_state: Adam on the weights.
    first_losses: f32[G], when a group was first seen; 0 before.
  """

  weights: jax.Array
  opt_state: Any
  first_losses: jax.Array


def gradnorm(
  alpha: float = 1.5, rate: float = 1e-3, block: str = ''
) -> types.GradientAggregator:
  """Gradient norms that follow the training rates (Chen et al. 2018).

  Descends sum_j |w_j |g_j| - mean(w |g|) r_j^alpha| in w, where r_j is
  L_j / L_j(first) over its mean; the update is mean_j w_j g_j with the weights
  from before this descent, as in the paper's algorithm 1.

  Args:
    alpha: strength of the pull to a common training rate.
    rate: learning rate of Adam on the weights.
    block: where norms are taken, a name of `blocks.split` such as
      'net/extractor' for the last shared layer; '' takes the whole tree.
  """
  optimizer = optax.adam(rate)

  def init(num_groups, params):
    del params
    ones, zeros = jnp.ones(num_groups), jnp.zeros(num_groups)
    return GradNormState(ones, optimizer.init(ones), zeros)

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present, losses = info.counts > 0, losses_of(info)
    measured = blocks.select(group_grads, block) if block else group_grads
    norms = jnp.sqrt(jnp.diagonal(trees.gram(measured)))
    seen = present & (state.first_losses == 0)
    first = jnp.where(seen, losses, state.first_losses)
    even = solvers.uniform(present)
    ratio = jnp.where(present, losses / jnp.where(first > 0, first, 1.0), 0.0)
    mean_ratio = jnp.dot(even, ratio)
    ratio = ratio / jnp.where(mean_ratio > 0, mean_ratio, 1.0)
    weighted = state.weights * norms
    target = jnp.dot(even, jnp.where(present, weighted, 0.0)) * ratio**alpha
    slope = jnp.where(present, jnp.sign(weighted - target) * norms, 0.0)
    moves, opt_state = optimizer.update(slope, state.opt_state)
    # Departure: Adam could push a weight below 0, where its norm grows again.
    moved = jnp.asarray(optax.apply_updates(state.weights, moves))
    moved = jnp.maximum(moved, 0.0)
    moved = moved * (moved.shape[0] / jnp.sum(moved))
    weights = even * state.weights
    state = GradNormState(moved, opt_state, first)
    grads = trees.combine(weights, group_grads)
    return grads, state, {'weights': weights, 'norms': norms}

  return types.GradientAggregator(init, update)


class DbMtlState(NamedTuple):
  """State of `db_mtl`.

  Attributes:
    average: moving averages of the gradients, leaves [G, ...].
    forgotten: f32[G], what the zeros of the start still weigh in it.
  """

  average: Any
  forgotten: jax.Array


def db_mtl(beta: float = 0.9) -> types.GradientAggregator:
  """Averaged gradients of log losses at the largest norm (Lin et al. 2023).

  One group alone gives the gradient of its log loss. The averages are kept for
  every group, G times the memory of the parameters.

  Departure: the averages are corrected for their start at 0 as in Adam, where
  the authors' beta / step^.5 does that job; so beta has one meaning.

  Args:
    beta: of the moving average.
  """

  def init(num_groups, params):
    zeros = lambda p: jnp.zeros((num_groups, *p.shape), p.dtype)
    return DbMtlState(jax.tree.map(zeros, params), jnp.ones(num_groups))

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    present = info.counts > 0
    # An absent group learns nothing: its average stays.
    keep = jnp.where(present, beta, 1.0)
    share = jnp.where(present, (1 - beta) / (losses_of(info) + EPSILON), 0.0)
    along = trees.along
    blend = lambda old, new: along(keep, old) * old + along(share, new) * new
    average = jax.tree.map(blend, state.average, group_grads)
    forgotten = keep * state.forgotten
    debias = 1.0 / jnp.where(forgotten < 1, 1.0 - forgotten, 1.0)
    norms = debias * jnp.sqrt(jnp.diagonal(trees.gram(average)))
    norms = jnp.where(present, norms, 0.0)
    scale = jnp.max(norms) / jnp.where(norms == 0, 1.0, norms)
    weights = jnp.where(present, scale * debias, 0.0)
    grads = trees.combine(weights, average)
    return grads, DbMtlState(average, forgotten), {'weights': weights}

  return types.GradientAggregator(init, update)
