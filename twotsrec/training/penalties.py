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

NAMES = ('vrex', 'irm', 'fishr')


class PenaltyState(NamedTuple):
  """State of a penalty between updates.

  Attributes:
    step: i32[], updates made; the warm-up counts them.
    seen: f32[G], updates whose batch had the group.
    variances: f32[G, P], moving averages of the variances of the P gradients;
      P is 0 but for Fishr.
  """

  step: jax.Array
  seen: jax.Array
  variances: jax.Array


def init(
  num_groups: int, params: types.Params, options: config_lib.TrainConfig
) -> PenaltyState:
  """State before the first update; a UserError as `last_layer`, for Fishr."""
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
) -> steps.Gradient:
  """A gradient as in `steps`, of one backward pass through a flat batch.

  The state is a PenaltyState. Returned losses are without the penalty.

  Args:
    model: with stages; trained with sampled cross-entropy.
    aggregator: gives the w_j.
    sizes: f32[G], training samples per group.
    options: penalty, its weight, warm-up and decay.
  Raises:
    types.UserError: settings that do not go together.
  """
  weigh = steps.weighted(aggregator, sizes, 'train.penalty')
  objectives.check_stages(f'train.penalty {options.penalty!r}', model, options)

  def loss(params, context, batch, state, key):
    del context  # the stages of a sequence model need none
    member = jax.nn.one_hot(batch.group, len(sizes)) * batch.weight[:, None]
    warm = state.step >= options.penalty_warmup
    rate = jnp.where(warm, options.penalty_weight, 0.0)
    scored = objectives.score_stages(model.stages, params, batch, key)
    values = objectives.bce(scored.scores, batch)
    risk, *totals = weigh(values, batch)
    if options.penalty == 'vrex':
      value = vrex(*_group_means(values, member))
    elif options.penalty == 'irm':
      value = irm(scored.scores, member, batch.label)
    else:
      slopes = last_layer_gradients(
        model.stages.classify, params.net['classifier'], scored, batch.label
      )
      value, state = _fishr(slopes, member, state, options.fishr_decay)
    state = state._replace(step=state.step + 1)
    return risk + rate * value, (state, *totals)

  return steps.one_pass(loss)


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


def irm(
  scores: jax.Array, member: jax.Array, label: jax.Array | None = None
) -> jax.Array:
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
    label: f32[B], of impressions, whether the first was observed after all.
  """
  chex.assert_rank([scores, member], 2)
  gains = jnp.mean(jax.nn.sigmoid(scores) * scores, axis=-1)
  observed = scores[:, 0] if label is None else scores[:, 0] * label
  slopes = gains - observed / scores.shape[1]
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

  A sample is an example with one of its candidates. The variance is divided by
  their number; 0 for a group without any.

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
  layers = [name for name in classifier if name.startswith('dense_')]
  if not layers:
    raise types.UserError(
      "train.penalty 'fishr' compares gradients of the classifier's last layer,"
      ' but the classifier of this model has no parameters (sasrec_original);'
      ' use model.name=sasrec, or train.penalty=vrex or irm'
    )
  return max(layers, key=lambda name: int(name.removeprefix('dense_')))


def last_layer_gradients(
  classify: Callable[..., jax.Array],
  classifier: dict[str, Any],
  scored: objectives.Scored,
  label: jax.Array | None = None,
) -> jax.Array:
  """Loss gradients of single samples for the last layer, f32[B, C, P].

  (sigmoid(a) - y) da/dw for every example and candidate of a batch, w being
  all P parameters of the layer. For a layer a = h w + b that is
  h (sigmoid(a) - y), and sigmoid(a) - y for b.
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
  # The observed item comes first; of impressions the label says whether.
  labels = (jnp.arange(shape[1]) == 0).astype(scored.scores.dtype)
  labels = labels if label is None else label[:, None]
  residual = jax.nn.sigmoid(scored.scores) - labels
  return residual[..., None] * jnp.concatenate(flat, axis=-1)


def _group_means(values, member):
  """(mean losses f32[G], bool[G] whether the group is in the batch)."""
  counts = jnp.sum(member, axis=0)
  # `where` keeps a non-finite loss of a filling example out of the sum.
  inside = jnp.where(member > 0, values[:, None], 0.0)
  return jnp.sum(inside * member, axis=0) / _safe(counts), counts > 0


def _fishr(gradients, member, state, decay):
  """Fishr of a batch and of those before it.

  The average a_j = d a_j + (1 - d) v_j starts at 0, and no gradient flows into
  its past. As in the authors' code, a_j / (1 - d) is compared, so that the
  gradient of v_j does not depend on d; the first comparison is of v_j itself.
  Ours: a group with fewer updates than were made is scaled as if the others
  had been like its own, or else its age would be the difference.
  """
  present = jnp.sum(member, axis=0) > 0
  fresh = gradient_variances(gradients, member)
  past = state.variances
  averages = jnp.where(
    present[:, None], decay * past + (1 - decay) * fresh, past
  )
  seen = state.seen + present
  filled = lambda updates: 1 - decay ** jnp.asarray(updates, jnp.float32)
  scale = filled(state.step + 1) / _safe(filled(seen)) / (1 - decay)
  value = fishr(averages * scale[:, None], present)
  return value, state._replace(seen=seen, variances=averages)


def _safe(counts):
  """The same, with 1 instead of 0, to divide by."""
  return jnp.where(counts > 0, counts, 1.0)
