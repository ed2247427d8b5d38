"""Head-to-tail transfer: plugins learn what a longer history would have said.

An active user's last r items look like the history of somebody with little
history. The plugin of a group moves the state of those r items toward the state
of the whole history, r drawn from the lengths in the group; what is true of
active users is so handed on to others (the user branch of MELT, Kim et al.
2023). Where asked for, it also moves the states of the group's own users toward
the mean state of the active users nearest to them (after LLM-ESR, Liu et al.
2024, without its language model). Neither the trunk nor a target moves for it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import losses
from twotsrec import types
from twotsrec.models import layers
from twotsrec.models import stages as stages_lib
from twotsrec.ops import rows


class Beside(NamedTuple):
  """What a step knows besides the examples of one group.

  Attributes:
    context: given arrays of the trunk.
    active: types.Batch of the most active group.
  """

  context: types.PyTree
  active: types.Batch


def loss(
  stages: types.Stages,
  plugged: types.Stages,
  params: types.Params,
  batch: types.Batch,
  active: types.Batch,
  key: jax.Array,
) -> jax.Array:
  """Squared distance of the two states over the length of the target, f32[].

      mean_u |plugin(state of the last r_u items) - state|^2 / mean_u |state|^2

  Args:
    stages: the trunk.
    plugged: the same with the plugin of a group on it.
    params: of the trunk.
    batch: examples of the group, which r is drawn from.
    active: examples of the most active group, leaves [B, ...].
    key: of the draws.
  """
  params = jax.lax.stop_gradient(params)
  short, cut = _last(active.history, _lengths(batch, active, key))
  target = _state(stages, params, active)
  made = _state(plugged, params, active._replace(history=short))
  return _distance(made, target, (active.weight > 0) & cut)


def near(
  stages: types.Stages,
  plugged: types.Stages,
  params: types.Params,
  batch: types.Batch,
  active: types.Batch,
  count: int,
) -> jax.Array:
  """Like `loss`, toward the mean state of the nearest active users, f32[].

  Near is a large cosine of the trunk's states. A user whose history is short
  leans on others more: user u counts as 1 / (1 + T_u), of T_u items.

  Args:
    stages: the trunk; its state must not depend on the candidates (`check`).
    plugged: the same with the plugin of a group on it.
    params: of the trunk.
    batch: examples of the group.
    active: examples of the most active group, leaves [B, ...].
    count: of active users whose states are averaged, all if there are fewer.
  """
  params = jax.lax.stop_gradient(params)
  bare, others = (_state(stages, params, part) for part in (batch, active))
  alike = layers.unit_rows(bare) @ layers.unit_rows(others).T
  real = active.weight > 0
  alike = jnp.where(real, alike, -jnp.inf)
  values, place = jax.lax.top_k(alike, min(count, alike.shape[1]))
  counts = jnp.isfinite(values)[..., None]
  total = jnp.sum(jnp.where(counts, others[place], 0.0), axis=1)
  target = total / jnp.maximum(jnp.sum(counts, axis=1), 1)
  lengths = jnp.sum(batch.history > 0, axis=1)
  weight = jnp.where(batch.weight > 0, 1.0 / (1.0 + lengths), 0.0)
  return _distance(
    _state(plugged, params, batch), target, weight * jnp.any(real)
  )


def check(
  trunk: types.Model, context: types.PyTree, sizes: types.Sizes, name: str
) -> None:
  """Refuses `near` where what a user's state is depends on the candidates.

  Args:
    trunk: with stages.
    context: given arrays.
    sizes: what parameters are initialized for.
    name: of the model, for the message.
  Raises:
    types.UserError: such a model.
  """
  history = jnp.zeros((1, sizes.history_length), jnp.int32)
  one = jnp.ones((1, 2), jnp.int32)
  batch = types.Batch(history, one, one[:, 0], one[:, 0], one[:, 0])

  def state(key):
    params = trunk.init(key, context, sizes)
    return _state(trunk.stages, params, batch)

  if jax.eval_shape(state, jax.random.key(0)).ndim > 2:
    raise types.UserError(
      f'plugin.near needs one state a user, and that of {name} differs by'
      ' candidate; use plugin.near=0, or a model such as model.name=gru4rec'
    )


def _distance(made, target, weight):
  """Weighted mean of squared distances, over that of squared lengths."""
  weight = weight.astype(made.dtype)
  over = tuple(range(1, made.ndim))
  error = jnp.sum(jnp.square(made - target), axis=over)
  size = jnp.sum(jnp.square(target), axis=over)
  scale = losses.weighted_mean(size, weight)
  return losses.weighted_mean(error, weight) / jnp.maximum(scale, 1e-12)


def _lengths(batch, active, key):
  """Lengths of histories of the group, for the active users, i32[B']."""
  lengths = jnp.sum(batch.history > 0, axis=1)
  logits = jnp.where(batch.weight > 0, 0.0, -jnp.inf)
  # A group without examples draws its filling, and its loss is not used.
  logits = jnp.where(jnp.any(batch.weight > 0), logits, 0.0)
  shape = (active.history.shape[0],)
  return lengths[jax.random.categorical(key, logits, shape=shape)]


def _last(history, lengths):
  """The last r items of each history, and whether that leaves some out."""
  number = jnp.sum(history > 0, axis=1)
  kept = jnp.minimum(lengths, number)
  offset = jnp.arange(history.shape[1])
  place = jnp.minimum((number - kept)[:, None] + offset, history.shape[1] - 1)
  items = jnp.take_along_axis(history, place, axis=1)
  return jnp.where(offset < kept[:, None], items, 0), kept < number


def _state(stages, params, batch):
  """What the classifier reads of histories, f32[B, d] or f32[B, C, d]."""
  items, net = params.tables['item'], params.net
  candidates = batch.candidates
  if candidates.ndim > 2:  # a state needs none, and this is the last position
    candidates = candidates[:, -1]
  embedded, mask = stages_lib.embed(
    stages,
    net['embed'],
    rows.gather(items, batch.history),
    {'history': batch.history},
  )
  summary = stages.summarize(net['extractor'], embedded, mask)
  given = rows.gather(items, candidates)
  return stages.extract(net['extractor'], summary, given).plugged
