"""Stage 2 of PIN: plugins and trunk learn together (PIN sec. 3.3, Alg. 1)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from twotsrec import types
from twotsrec.plugins import plugged
from twotsrec.training import grouped
from twotsrec.training import steps

# (trunk, plugin of one group, context, batch of that group, key) -> f32[]
PluginLoss = Callable[..., jax.Array]


def make_gradient(
  plugin_loss: PluginLoss,
  trunk_gradient: steps.Gradient | None,
  aggregator: types.GradientAggregator,
  sizes: jax.Array,
  widths: Sequence[int] | None = None,
  beside: Callable[..., Any] | None = None,
) -> steps.Gradient:
  """The gradient of trunk and plugins from batches [G, B, ...].

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
    beside: (context, batch of all groups) -> the context of `plugin_loss`.
  """
  wanted = (0, 1) if trunk_gradient is None else (1,)
  slopes = jax.value_and_grad(plugin_loss, argnums=wanted)
  mapped = grouped.map_groups(slopes, widths)

  def gradient(params, context, batch, state, key):
    trunk, plugins = plugged.split(params)
    group_key, aggregator_key = jax.random.split(key)
    given = context if beside is None else beside(context, batch)
    losses, grads = mapped(trunk, plugins, given, batch, group_key)
    counts = jnp.sum(batch.weight, axis=1)
    if trunk_gradient is None:
      info = types.GroupInfo(sizes, counts, losses)
      moves, state, _ = aggregator.update(
        grads[0], info, state, key=aggregator_key
      )
    else:
      moves, state, _, _ = trunk_gradient(trunk, context, batch, state, key)
    joined = plugged.join(moves, grads[-1])
    return joined, state, losses * counts, counts

  return gradient


def make_plugin_gradient(
  plugin_loss: PluginLoss, widths: Sequence[int] | None = None
) -> Callable[..., types.PyTree]:
  """(params, context, batch, key) -> gradients of plugins alone, [G, ...].

  Each is of its own group's mean loss; arguments are those of `make_gradient`.
  """
  mapped = grouped.map_groups(jax.grad(plugin_loss, argnums=1), widths)

  def gradient(params, context, batch, key):
    trunk, plugins = plugged.split(params)
    return mapped(trunk, plugins, context, batch, key)

  return gradient


def frozen_trunk(trunk, context, batch, state, key) -> tuple[Any, ...]:
  """The gradient of a trunk that stands still, as in `steps`."""
  del context, key
  zeros = jax.tree.map(jnp.zeros_like, trunk)
  counts = jnp.sum(batch.weight, axis=1)
  return zeros, state, jnp.zeros_like(counts), counts


def make_optimizer(
  trunk: optax.GradientTransformation | steps.Mover,
  plugin: optax.GradientTransformation,
) -> steps.Mover:
  """One optimizer for the trunk, one of its own for every plugin."""
  mover = steps.as_mover(trunk)
  each = steps.as_mover(grouped.own_optimizer(plugin))

  def init(params):
    own, plugins = plugged.split(params)
    return mover.init(own), each.init(plugins)

  def update(params, state, grads, *arguments):
    both = zip(plugged.split(params), state, plugged.split(grads), strict=True)
    (own, own_state), (plugins, plugin_state) = (
      one.update(*of_it, *arguments)
      for one, of_it in zip((mover, each), both, strict=True)
    )
    return plugged.join(own, plugins), (own_state, plugin_state)

  return steps.Mover(init, update)
