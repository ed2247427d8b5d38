"""Losses on scores, one value per example; callers mask and reduce."""

import chex
import jax
import jax.numpy as jnp


def bce_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Binary cross-entropy with logits, in the form that never overflows.

  Args:
    logits: f32[...].
    labels: f32[...], 0 or 1.
  Reference: PIN eq. 2.
  """
  chex.assert_equal_shape([logits, labels])
  return jax.nn.softplus(logits) - logits * labels


def candidate_bce_loss(scores: jax.Array) -> jax.Array:
  """Mean binary cross-entropy of an observed item and its negatives, f32[...].

  Args:
    scores: f32[..., C], the observed item first.
  Reference: PIN eq. 2 with sec. 4.1.1's C - 1 negatives per positive.
  """
  chex.assert_axis_dimension_gt(scores, -1, 0)
  losses = jax.nn.softplus(scores)
  return jnp.mean(losses, axis=-1) - scores[..., 0] / scores.shape[-1]


def bpr_loss(margin: jax.Array) -> jax.Array:
  """Bayesian personalized ranking, -log sigmoid(margin), f32[...].

  Args:
    margin: f32[...], score of an observed item less that of an unobserved one.
  Reference: COPF eq. 16.
  """
  return jax.nn.softplus(-margin)


def gbce_power(negatives: int, num_items: int, calibration: float) -> float:
  """The power beta of gBCE, which undoes what sampling does to probabilities.

      beta = a (t (1 - 1/a) + 1/a),   a = negatives / (I - 1)

  With t = 0 it is 1, plain cross-entropy; with t = 1 it is a, and the sigmoid
  of a trained score is the probability of the item.

  Reference: Petrov and Macdonald 2023 (gSASRec), sec. 5.
  """
  rate = negatives / max(num_items - 1, 1)
  return rate * (calibration * (1.0 - 1.0 / rate) + 1.0 / rate)


def candidate_gbce_loss(scores: jax.Array, power: float) -> jax.Array:
  """`candidate_bce_loss` with sigmoid(s)^power for the observed item, f32[...].

  Args:
    scores: f32[..., C], the observed item first.
    power: beta, from `gbce_power`.
  """
  chex.assert_axis_dimension_gt(scores, -1, 1)
  observed = power * jax.nn.softplus(-scores[..., 0])
  others = jnp.sum(jax.nn.softplus(scores[..., 1:]), axis=-1)
  return (observed + others) / scores.shape[-1]


def candidate_bpr_loss(scores: jax.Array) -> jax.Array:
  """Mean BPR loss of an observed item against each negative, f32[...].

  Args:
    scores: f32[..., C], the observed item first.
  Reference: Rendle et al. 2009; the inner term of COPF eq. 16.
  """
  return jnp.mean(bpr_loss(_margins(scores)), axis=-1)


def candidate_hinge_loss(scores: jax.Array) -> jax.Array:
  """Mean of max(0, 1 - margin) over an observed item's negatives, f32[...].

  Args:
    scores: f32[..., C], the observed item first.
  Reference: the loss of GNMR (Xia et al. 2021).
  """
  return jnp.mean(jax.nn.relu(1.0 - _margins(scores)), axis=-1)


def candidate_softmax_loss(scores: jax.Array) -> jax.Array:
  """Softmax cross-entropy of an observed item among its negatives, f32[...].

  Args:
    scores: f32[..., C], the observed item first.
  """
  return offer_softmax_loss(scores[..., 0], scores[..., 1:])


def _margins(scores):
  """Score of the observed item less that of each negative, f32[..., C - 1]."""
  chex.assert_axis_dimension_gt(scores, -1, 1)
  return scores[..., :1] - scores[..., 1:]


def offer_softmax_loss(
  positive: jax.Array, others: jax.Array, hidden: jax.Array | None = None
) -> jax.Array:
  """Softmax cross-entropy of the chosen item among those on offer.

  log(exp(s_i) + sum_j exp(s_j)) - s_i with the other items j; uniform draws
  need no correction.

  Args:
    positive: f32[...], score of the chosen item i.
    others: f32[..., p], scores of the items offered beside it.
    hidden: bool[..., p], others that do not count, since they are i again.
  Returns:
    f32[...], log(1 + p) where all score the same.
  Reference: 2TS eq. 10-12; Yang et al. 2011 (CCF).
  """
  chex.assert_equal_shape([positive, others[..., 0]])
  if hidden is not None:
    others = jnp.where(hidden, -jnp.inf, others)
  # Nothing overflows, and all others may be hidden.
  top = jnp.maximum(positive, jnp.max(others, axis=-1))
  top = jax.lax.stop_gradient(top)
  total = jnp.exp(positive - top)
  total += jnp.sum(jnp.exp(others - top[..., None]), axis=-1)
  return jnp.log(total) + top - positive


def worst_weights(
  values: jax.Array, real: jax.Array, share: float, smoothing: float
) -> jax.Array:
  """Weights of the worst share of examples, whose mean is 1; f32[B].

  The mean of the losses under them is the conditional value at risk: that of
  the worst share of the users. The edge between those and the rest is a
  sigmoid, `smoothing` standard deviations wide; 0 cuts. Nothing is
  differentiated.

  Args:
    values: f32[B], losses.
    real: bool[B], False for filling.
    share: of the examples, above 0.
    smoothing: of the edge.
  Reference: Rockafellar and Uryasev 2000; Togashi et al. 2024 (SAFER2) smooth
    it and take the quantile over all users, where this is that of a batch.
  """
  chex.assert_equal_shape([values, real])
  values = jax.lax.stop_gradient(values)
  number = jnp.sum(real)
  ascending = jnp.sort(jnp.where(real, values, -jnp.inf))
  place = values.shape[0] - jnp.ceil(share * number).astype(jnp.int32)
  edge = ascending[jnp.clip(place, 0, values.shape[0] - 1)]
  known = jnp.where(real, values, 0.0)
  mean = jnp.sum(known) / jnp.maximum(number, 1)
  spread = jnp.sum(jnp.where(real, jnp.square(values - mean), 0.0))
  width = smoothing * jnp.sqrt(spread / jnp.maximum(number, 1))
  step = (values >= edge).astype(values.dtype)
  smooth = jax.nn.sigmoid((values - edge) / jnp.where(width > 0, width, 1.0))
  weights = jnp.where(real, jnp.where(width > 0, smooth, step), 0.0)
  return weights * number / jnp.maximum(jnp.sum(weights), 1e-12)


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
  """Mean of `values` under non-negative `weights`, f32[]; 0 if none is left.

  Args:
    values: f32[...].
    weights: f32[...], same shape; 0 hides a value, even one that is not
      finite.
  """
  chex.assert_equal_shape([values, weights])
  total = jnp.sum(jnp.where(weights > 0, values * weights, 0.0))
  weight = jnp.sum(weights)
  return total / jnp.where(weight > 0, weight, 1.0)


# By name: f32[..., C], the observed item first -> f32[...].
OF_CANDIDATES = {
  'bce': candidate_bce_loss,
  'bpr': candidate_bpr_loss,
  'hinge': candidate_hinge_loss,
  'softmax': candidate_softmax_loss,
}
