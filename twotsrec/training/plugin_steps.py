"""Stage 2 of PIN: plugins and trunk learn together (PIN sec. 3.3, Alg. 1)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from twotsrec import trees
from twotsrec import types
from twotsrec.plugins import plugged
from twotsrec.training import grouped
from twotsrec.training import separate
from twotsrec.training import steps

# (trunk, plugin of one group, context, batch of that group, key) -> f32[]
PluginLoss = Callable[..., jax.Array]


def make_gradient(
  plugin_loss: PluginLoss,
  trunk_gradient: Callable[..., Any] | None,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
  widths: Sequence[int] | None = None,
) -> Callable[..., Any]:
  """(params, context, batch [G, B, ...], state, key) -> as `steps`.

  Alg. 1 goes through the groups one by one: plugin j moves at once, the trunk
  after the last group. No gradient depends on what moved before it, since the
  trunk stands still and no two groups share a plugin, so all gradients are
  taken together. A plugin follows its own group's mean loss (eq. 10); the
  trunk gets the aggregated gradient (eq. 7).

  Args:
    plugin_loss: mean loss of a group with its plugin.
    trunk_gradient: gradient of the trunk's own, for example of the bare model;
      None takes it through the plugins, in the same backward pass.
    aggregator: of the trunk's gradients.
    sizes: f32[G], training samples per group.
    widths: rows that each group fills at most, as in `grouped.map_groups`.
  """
  through = trunk_gradient is None
  wanted = (0, 1) if through else (1,)
  loss_and_gradient = jax.value_and_grad(plugin_loss, argnums=wanted)

  def one(shared, own, batch):
    trunk, context = shared
    plugin, key = own
    return loss_and_gradient(trunk, plugin, context, batch, key)

  mapped = grouped.map_groups(one, widths)

  def gradient(params, context, batch, state, key):
    trunk, plugins = plugged.split(params)
    group_key, aggregator_key = jax.random.split(key)
    keys = jax.random.split(group_key, sizes.shape[0])
    losses, grads = mapped((trunk, context), (plugins, keys), batch)
    counts = jnp.sum(batch.weight, axis=1)
    if through:
      info = types.GroupInfo(sizes, counts, losses)
      trunk_grads, state, _ = aggregator.update(
        grads[0], info, state, key=aggregator_key
      )
    else:
      trunk_grads, state, _, _ = trunk_gradient(
        trunk, context, batch, state, key
      )
    joined = plugged.join(trunk_grads, grads[-1])
    return joined, state, losses * counts, counts

  return gradient


def frozen_trunk(trunk, context, batch, state, key):
  """The gradient of a trunk that stands still, as `steps.make_gradient`."""
  del context, key
  zeros = jax.tree.map(jnp.zeros_like, trunk)
  counts = jnp.sum(batch.weight, axis=1)
  return zeros, state, jnp.zeros_like(counts), counts


def make_group_loss(plugin_loss: PluginLoss) -> steps.GroupLoss:
  """(params, context, batch of one group, key) -> its loss with its plugin."""

  def group_loss(params, context, batch, key):
    trunk, plugins = plugged.split(params)
    own = trees.take(plugins, batch.group[0])
    return plugin_loss(trunk, own, context, batch, key)

  return group_loss


def make_optimizer(
  trunk: optax.GradientTransformation, plugin: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
  """One optimizer for the trunk, one of its own for every plugin.

  Update takes `counts`, f32[G], as in `separate.make_optimizer`.
  """

  each = separate.make_optimizer(plugin)

  def init(params):
    own, plugins = plugged.split(params)
    return trunk.init(own), each.init(plugins)

  def update(grads, state, params=None, *, counts, **extra):
    del extra
    own, plugins = plugged.split(params)
    own_grads, plugin_grads = plugged.split(grads)
    own_updates, own_state = trunk.update(own_grads, state[0], own)
    updates, plugin_state = each.update(
      plugin_grads, state[1], plugins, counts=counts
    )
    joined = plugged.join(own_updates, updates)
    return joined, (own_state, plugin_state)

  return optax.GradientTransformationExtraArgs(init, update)
