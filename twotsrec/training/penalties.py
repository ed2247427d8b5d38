"""Penalties on how the activeness groups differ: V-REx, IRMv1, Fishr.

      loss = sum_j w_j L_j + lambda_t R

w_j are the weights of a linear aggregator and R the penalty. Means over groups
are over the n groups in the batch; a group without examples takes no part.

Departure: the authors' codes also divide the loss by lambda, or start Adam
anew, when the warm-up ends. Here only lambda_t jumps; Adam forgets by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps


class PenaltyState(NamedTuple):
  """What a penalty carries between updates.

  Attributes:
    step: i32[], updates made; the warm-up counts them.
    seen: f32[G], updates whose batch had the group.
    variances: f32[G, P], moving averages of the variances of the P gradients;
      P is 0 but for Fishr.
  """

  step: jax.Array
  seen: jax.Array
  variances: jax.Array


class _Pass(NamedTuple):
  """What a forward pass gives a penalty.

  Attributes:
    values: f32[B], losses.
    scored: the batch behind them.
    member: f32[B, G], an example's weight in the column of its group.
    counts: f32[G], column sums.
    classifier: the model's, parameters.
    classify: the model's.
  """

  values: jax.Array
  scored: objectives.Scored
  member: jax.Array
  counts: jax.Array
  classifier: dict[str, Any]
  classify: Callable[..., jax.Array]


def init(
  num_groups: int, params: types.Params, options: config_lib.TrainConfig
) -> PenaltyState:
  """State before the first update.

  Raises:
    types.UserError: Fishr, and a classifier without parameters.
  """
  size = 0
  if options.penalty == 'fishr':
    classifier = params.net['classifier']
    layer = classifier[last_layer(classifier)]
    size = sum(leaf.size for leaf in jax.tree.leaves(layer))
  return PenaltyState(
    jnp.zeros((), jnp.int32),
    jnp.zeros(num_groups, jnp.float32),
    jnp.zeros((num_groups, size), jnp.float32),
  )


def make_gradient(
  model: types.Model,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
  options: config_lib.TrainConfig,
) -> Callable[..., Any]:
  """(params, context, batch, state, key) -> (grads, state, losses, counts).

  One backward pass through a flat batch, leaves [B, ...]; the state is a
  PenaltyState. Returned losses are without the penalty.

  Args:
    model: with stages; trained with sampled cross-entropy.
    aggregator: gives the w_j.
    sizes: f32[G], training samples per group.
    options: penalty, its weight, warm-up and decay.
  Raises:
    types.UserError: settings that do not go together.
  """
  _check(model, aggregator, options)
  penalty = _PENALTIES[options.penalty]
  num_groups = sizes.shape[0]

  def gradient(params, context, batch, state, key):
    del context  # the stages of a sequence model need none
    member = jax.nn.one_hot(batch.group, num_groups) * batch.weight[:, None]
    weight, counts = steps.fused_weights(batch, aggregator, sizes)
    warm = state.step >= options.penalty_warmup
    rate = jnp.where(warm, options.penalty_weight, 0.0)

    def loss(params):
      scored = objectives.score_stages(model.stages, params, batch, key)
      values = losses.candidate_bce_loss(scored.scores)
      risk = jnp.sum(jnp.where(weight > 0, weight * values, 0.0))
      classifier, classify = params.net['classifier'], model.stages.classify
      passed = _Pass(values, scored, member, counts, classifier, classify)
      value, after = penalty(passed, state, options)
      return risk + rate * value, (values, after)

    grads, (values, after) = jax.grad(loss, has_aux=True)(params)
    sums, _ = objectives.group_totals(values, batch, num_groups)
    return grads, after._replace(step=state.step + 1), sums, counts

  return gradient


def vrex(group_losses: jax.Array, present: jax.Array) -> jax.Array:
  """Variance of the groups' mean losses, f32[] (Krueger et al. 2021).

  The variance of these groups, divided by n and not by n - 1.

  Args:
    group_losses: f32[G].
    present: bool[G], groups that count.
  """
  chex.assert_equal_shape([group_losses, present])
  weights = present.astype(group_losses.dtype)
  mean = losses.weighted_mean(group_losses, weights)
  return losses.weighted_mean(jnp.square(group_losses - mean), weights)


def irm(scores: jax.Array, member: jax.Array) -> jax.Array:
  """Mean over groups of a squared gradient (Arjovsky et al. 2019, IRMv1).

      1/n sum_j D_j^2,   D_j = mean_i (sigmoid(a_i) - y_i) a_i

  D_j is the derivative of the group's mean loss with respect to a scale of all
  scores, at 1. The square of a mini-batch's mean is too large by its variance;
  the product of the means of two halves is not. The examples of a group go to
  the halves in turn, with all their candidates: those share a history, so
  halves that share an example would not be independent. The result may be
  negative. A group with fewer than two examples has no such product and takes
  no part.

  Args:
    scores: f32[B, C], the observed item first.
    member: f32[B, G], an example's weight in the column of its group.
  """
  chex.assert_rank([scores, member], 2)
  gains = jnp.mean(jax.nn.sigmoid(scores) * scores, axis=-1)
  slopes = gains - scores[:, 0] / scores.shape[1]
  inside = member > 0
  even = jnp.cumsum(inside, axis=0) % 2 == 0
  halves = jnp.where(jnp.stack([even, ~even]), member, 0.0)
  counts = jnp.sum(halves, axis=1)
  means = jnp.einsum('hbg,b->hg', halves, slopes, precision='highest')
  means = means / _safe(counts)
  both = jnp.all(counts > 0, axis=0).astype(scores.dtype)
  return losses.weighted_mean(means[0] * means[1], both)


def fishr(variances: jax.Array, present: jax.Array) -> jax.Array:
  """Spread of the groups' gradient variances, f32[] (Rame et al. 2022).

      1/n sum_j |v_j - mean_k v_k|^2

  Departure: the authors' code takes the mean over the P coordinates where the
  equation has the squared norm; its lambda of 1000 is 1000 / P here.

  Args:
    variances: f32[G, P], v_j.
    present: bool[G], groups that count.
  """
  chex.assert_equal_shape_prefix([variances, present], 1)
  weights = present.astype(variances.dtype)
  count = _safe(jnp.sum(weights))
  # Multiplied, not contracted: a matrix product would lose digits.
  mean = jnp.sum(weights[:, None] * variances, axis=0) / count
  distances = jnp.sum(jnp.square(variances - mean), axis=1)
  return losses.weighted_mean(distances, weights)


def gradient_variances(
  pair_gradients: jax.Array, member: jax.Array
) -> jax.Array:
  """Variances by group of gradients of single samples, f32[G, P].

  A sample is an example with one of its candidates. The variance is of these
  samples, divided by their number; 0 for a group without any.

  Args:
    pair_gradients: f32[B, C, P].
    member: f32[B, G], an example's weight in the column of its group.
  """
  chex.assert_rank([pair_gradients, member], [3, 2])
  share = member / (_safe(jnp.sum(member, axis=0)) * pair_gradients.shape[1])
  over_groups = lambda x: jnp.einsum(
    'bg,bcp->gp', share, x, precision='highest'
  )
  means = over_groups(pair_gradients)
  own_mean = means[jnp.argmax(member, axis=1)]
  return over_groups(jnp.square(pair_gradients - own_mean[:, None]))


def last_layer(classifier: dict[str, Any]) -> str:
  """Name of a classifier's last dense layer.

  Raises:
    types.UserError: a classifier without parameters.
  """
  numbers = [
    int(name.removeprefix('dense_'))
    for name in classifier
    if name.startswith('dense_')
  ]
  if not numbers:
    raise types.UserError(
      "train.penalty 'fishr' compares gradients of the classifier's last layer,"
      ' but the classifier of this model has no parameters (sasrec_original);'
      ' use model.name=sasrec, or train.penalty=vrex or irm'
    )
  return f'dense_{max(numbers)}'


def last_layer_gradients(
  classify: Callable[..., jax.Array],
  classifier: dict[str, Any],
  scored: objectives.Scored,
) -> jax.Array:
  """Loss gradients of single samples for the last layer, f32[B, C, P].

  (sigmoid(a) - y) da/dw for every example and candidate, w being all P
  parameters of the layer. For a layer a = h w + b that is h (sigmoid(a) - y),
  and sigmoid(a) - y for b.

  Args:
    classify: of the model's stages.
    classifier: its parameters.
    scored: a batch.
  """
  name = last_layer(classifier)

  def scores_of(layer, features, candidate_rows):
    one = jax.tree.map(lambda x: x[None], (features, candidate_rows))
    return classify({**classifier, name: layer}, *one)[0]

  slopes = jax.vmap(jax.jacrev(scores_of), in_axes=(None, 0, 0))(
    classifier[name], scored.features, scored.candidate_rows
  )
  shape = scored.scores.shape
  flat = [leaf.reshape(*shape, -1) for leaf in jax.tree.leaves(slopes)]
  # The observed item comes first.
  labels = (jnp.arange(shape[1]) == 0).astype(scored.scores.dtype)
  residual = jax.nn.sigmoid(scored.scores) - labels
  return residual[..., None] * jnp.concatenate(flat, axis=-1)


def _vrex(passed, state, options):
  """V-REx of a batch; nothing is carried on."""
  del options
  # `where` keeps a non-finite loss of a filling example out of the sum.
  kept = jnp.where(passed.member > 0, passed.values[:, None], 0.0)
  means = jnp.sum(kept * passed.member, axis=0) / _safe(passed.counts)
  return vrex(means, passed.counts > 0), state


def _irm(passed, state, options):
  """IRMv1 of a batch; nothing is carried on."""
  del options
  return irm(passed.scored.scores, passed.member), state


def _fishr(passed, state, options):
  """Fishr of a batch and of those before it.

  The average a_j = d a_j + (1 - d) v_j starts at 0, and no gradient flows into
  its past. As in the authors' code, a_j / (1 - d) is compared, so that the
  gradient of v_j does not depend on d; the first comparison is of v_j itself.
  Ours: a group with fewer updates than were made is scaled as if the others
  had been like its own, or else its age would be the difference.
  """
  present, decay = passed.counts > 0, options.fishr_decay
  gradients = last_layer_gradients(
    passed.classify, passed.classifier, passed.scored
  )
  fresh = gradient_variances(gradients, passed.member)
  past = state.variances
  averages = jnp.where(
    present[:, None], decay * past + (1 - decay) * fresh, past
  )
  seen = state.seen + present
  filled = lambda updates: 1 - decay ** jnp.asarray(updates, jnp.float32)
  scale = filled(state.step + 1) / _safe(filled(seen)) / (1 - decay)
  value = fishr(averages * scale[:, None], present)
  return value, state._replace(seen=seen, variances=averages)


# (_Pass, PenaltyState, options) -> (f32[], PenaltyState).
_PENALTIES = {'vrex': _vrex, 'irm': _irm, 'fishr': _fishr}
NAMES = tuple(_PENALTIES)


def _safe(counts):
  """The same, with 1 instead of 0, to divide by."""
  return jnp.where(counts > 0, counts, 1.0)


def _check(model, aggregator, options):
  if options.penalty not in _PENALTIES:
    raise types.UserError(
      f'train.penalty {options.penalty!r}; known: none, {", ".join(NAMES)}'
    )
  if aggregator.weights is None:
    raise types.UserError(
      'train.penalty needs an aggregator known before the gradient (joint,'
      ' backdoor, class_balanced); set aggregator.name to one of them'
    )
  what = f'train.penalty {options.penalty!r}'
  objectives.check_stages(what, model, options)
  if not options.penalty_weight >= 0:
    raise types.UserError(
      f'train.penalty_weight {options.penalty_weight} must be at least 0'
    )
  if not 0 <= options.fishr_decay < 1:
    raise types.UserError(
      f'train.fishr_decay {options.fishr_decay} must be at least 0 and below 1'
    )
