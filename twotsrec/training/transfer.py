"""Head-to-tail transfer: plugins learn what a longer history would have said.

An active user's last r items look like the history of somebody with little
history. The plugin of a group moves the state of those r items toward the state
of the whole history, r drawn from the lengths in the group; what is true of
active users is so handed on to others (the user branch of MELT, Kim et al.
2023). Neither the trunk nor the target moves for it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import losses
from twotsrec import types
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
  candidates = active.candidates
  if candidates.ndim > 2:  # a state needs none, and this is the last position
    candidates = candidates[:, -1]
  state = lambda stages, history: _state(stages, params, history, candidates)
  target = state(stages, active.history)
  made = state(plugged, short)
  real = ((active.weight > 0) & cut).astype(made.dtype)
  over = tuple(range(1, made.ndim))
  error = jnp.sum(jnp.square(made - target), axis=over)
  size = jnp.sum(jnp.square(target), axis=over)
  scale = losses.weighted_mean(size, real)
  return losses.weighted_mean(error, real) / jnp.maximum(scale, 1e-12)


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


def _state(stages, params, history, candidates):
  """What the classifier reads of a history, f32[B, d] or f32[B, C, d]."""
  items, net = params.tables['item'], params.net
  inputs = {'history': history}
  embedded, mask = stages_lib.embed(
    stages, net['embed'], rows.gather(items, history), inputs
  )
  summary = stages.summarize(net['extractor'], embedded, mask)
  given = rows.gather(items, candidates)
  return stages.extract(net['extractor'], summary, given).plugged
