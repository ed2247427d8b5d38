"""Updates that pass through the groups one after the other.

From theta_0 an update makes one plain gradient step per group in the batch,

      theta_s = theta_{s-1} - alpha grad L_s(theta_{s-1})

in random order, and hands (theta_0 - theta_k) / alpha to the optimizer. To the
first order that is the sum of the groups' gradients, less alpha times a term
that raises their inner products.

Fish (Shi et al. 2021) and Reptile (Nichol et al. 2018) are this. Grad-Transfer
(Yin et al. 2020) adds an adversary that tells the head group by the user's
representation, whose gradient is reversed for the model.

Departure from Grad-Transfer: its equations are not public in full, and no code
was published. It is reconstructed from inner steps over the groups in random
order and a head-against-tail adversary by gradient reversal. A step is a
mini-batch of a group, not of a user, and the optimizer takes the place of a
fixed outer rate.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import trees
from twotsrec import types
from twotsrec.models import layers
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps

NAMES = ('fish', 'grad_transfer')


def init(
  key: jax.Array,
  params: types.Params,
  model: types.Model,
  sizes: types.Sizes,
  options: config_lib.TrainConfig,
) -> types.PyTree:
  """State before the first update: the adversary, or () if there is none.

  The adversary is d -> d tanh -> 1 on representations of d numbers.

  Args:
    key: of the adversary's start.
    params: of the model.
    model: with stages, for Grad-Transfer.
    sizes: the model is initialized for.
    options: the method.
  """
  if options.method != 'grad_transfer':
    return ()
  one = jnp.ones((1, 1), jnp.int32)
  batch = types.Batch(
    history=jnp.ones((1, sizes.history_length), jnp.int32),
    candidates=one,
    user=one[0],
    group=one[0],
    weight=jnp.ones(1),
  )

  represent = lambda params: representation(
    objectives.score_stages(model.stages, params, batch)
  )
  width = jax.eval_shape(represent, params).shape[-1]
  make = jax.jit(layers.init_mlp, static_argnums=1)
  return make(key, (width, width, 1))


def make_gradient(
  model: types.Model,
  objective: objectives.Objective,
  sizes: jax.Array,
  options: config_lib.TrainConfig,
) -> steps.Gradient:
  """A gradient as in `steps`, from batches with leaves [G, B, ...].

  Every group in a batch makes one step whatever its size; one without examples
  makes none. With an adversary both move together, from one forward pass and
  at the same rate, and the state is the adversary after its last step. Since
  the head group is one step in n, a blind adversary has the entropy of 1/n as
  its loss.

  Returned losses are those of the steps, without the adversary's.

  Args:
    model: what is trained.
    objective: its loss; the one with an adversary has its own.
    sizes: f32[G], training samples per group; here only their number counts.
    options: method, its inner rate and the adversary's weight.
  Raises:
    types.UserError: settings that do not go together.
  """
  num_groups, rate = sizes.shape[0], options.inner_rate
  if options.method == 'fish':
    loss = _fish_loss(objective)
  else:
    loss = _transfer_loss(model, num_groups, options)
  slopes_of = jax.grad(loss, argnums=(0, 1), has_aux=True)

  def gradient(params, context, batch, state, key):
    chex.assert_axis_dimension(batch.weight, 0, num_groups)
    order_key, dropout_key = jax.random.split(key)
    order = jax.random.permutation(order_key, num_groups)
    keys = jax.random.split(dropout_key, num_groups)

    def step(carry, group):
      # The sum of the gradients is (theta_0 - theta_s) / alpha without the
      # digits that a difference of nearly equal numbers loses.
      total, adversary = carry
      own = trees.take(batch, group)
      moved = jax.tree.map(lambda p, g: p - rate * g, params, total)
      slopes, value = slopes_of(
        moved, adversary, context, own, group, keys[group]
      )
      after = (
        jax.tree.map(jnp.add, total, slopes[0]),
        jax.tree.map(lambda w, g: w - rate * g, adversary, slopes[1]),
      )
      present = jnp.any(own.weight > 0)
      keep = lambda new, old: jnp.where(present, new, old)
      return jax.tree.map(keep, after, carry), value

    zeros = jax.tree.map(jnp.zeros_like, params)
    (grads, state), values = jax.lax.scan(step, (zeros, state), order)
    values = jnp.zeros_like(values).at[order].set(values)
    counts = jnp.sum(batch.weight, axis=1)
    return grads, state, values * counts, counts

  return gradient


def representation(scored: objectives.Scored) -> jax.Array:
  """Representations of users that the adversary reads, f32[B, d].

  The features where a plugin acts; of the observed item, where they depend on
  the candidate.
  """
  plugged = scored.features.plugged
  if plugged.ndim > scored.scores.ndim:
    plugged = plugged[:, 0]
  return plugged.astype(jnp.float32)


def adversary_loss(
  adversary: dict[str, Any],
  user: jax.Array,
  weight: jax.Array,
  is_head: jax.Array,
) -> jax.Array:
  """Mean cross-entropy of telling the head group, f32[].

  Args:
    adversary: from `init`.
    user: f32[B, d], representations of one group's users.
    weight: f32[B], 0 for filling.
    is_head: bool[], whether that is the head group.
  """
  logits = layers.mlp(adversary, user, jnp.tanh)[..., 0]
  labels = jnp.broadcast_to(is_head.astype(logits.dtype), logits.shape)
  return losses.weighted_mean(losses.bce_loss(logits, labels), weight)


def _fish_loss(objective):
  """(params, (), context, batch of a group, group, key) -> (f32[], f32[])."""

  def loss(params, adversary, context, batch, group, key):
    del adversary, group
    values = objective(params, context, batch, key)
    value = losses.weighted_mean(values, batch.weight)
    return value, value

  return loss


def _transfer_loss(model, num_groups, options):
  """(params, adversary, context, batch of a group, group, key) -> the same.

  One number whose gradient is that of L_pred - lambda L_D for the model, and
  that of L_D for the adversary.
  """
  objectives.check_stages("train.method 'grad_transfer'", model, options)

  def loss(params, adversary, context, batch, group, key):
    del context  # the stages of a sequence model need none
    scored = objectives.score_stages(model.stages, params, batch, key)
    values = objectives.bce(scored.scores, batch)
    value = losses.weighted_mean(values, batch.weight)
    user = _reverse(representation(scored), options.adversary_weight)
    is_head = group == num_groups - 1
    blame = adversary_loss(adversary, user, batch.weight, is_head)
    return value + blame, value

  return loss


def _reverse(x, weight):
  """x, with a gradient times -`weight`."""
  still = jax.lax.stop_gradient(x)
  return still - weight * (x - still)
