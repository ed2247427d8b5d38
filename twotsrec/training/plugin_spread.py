"""How much the plugins of groups can be relied on, from their gradients.

A plugin is an estimate of what sets a group apart, and that of a group with few
samples is a noisy one. `theory.shrunk` weighs such an estimate by V / (V + Q /
(n + 1)), where V is the variance of what is estimated, here over groups and
around the bare trunk, and Q / (n + 1) the squared error after n samples.

Before a plugin moves, its gradient g_j is what its group asks of it. The mean
gradients a, b of two halves of the group's samples, n_a and n_b of them, differ
by their errors alone,

    E ||a_j - b_j||^2 = Q (1 / n_a + 1 / n_b),

and the gradient of all, n_j, is as long as what sets the group apart and its
error together,

    E ||g_j||^2 = V + Q / n_j.

A step along the gradient, of whatever size, scales both alike, and only the
ratio Q / V is wanted. Errors of samples that share a user are not independent,
so halves are of batches, which mix users: Q is that of a sample in a batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.training import plugin_steps

# Samples of a ratio without limit, where groups differ by noise alone: no
# group's plugin has any weight then.
NEVER = 1e12
_MOST_STEPS = 400


class Spread(NamedTuple):
  """Q and V of plugins, in the units of a gradient.

  Attributes:
    q: Q of a sample.
    variance: V, the noise taken off; below 0 where there is little else.
    shrinkage: Q / V in samples, or NEVER.
    steps: batches that it is of.
  """

  q: float
  variance: float
  shrinkage: float
  steps: int


def estimate(
  plugin_loss: plugin_steps.PluginLoss,
  source: contracts.Source,
  context: Any,
  start: types.Params,
  key: jax.Array,
) -> Spread:
  """Q and V from the gradients of plugins that have not moved.

  Args:
    plugin_loss: mean loss of a group with its plugin.
    source: examples with a row per group.
    context: given arrays of the model.
    start: trunk and plugins, as `plugged.join` has them.
    key: of what is drawn for the batches.
  Raises:
    types.UserError: a group without samples in both halves.
  """
  plan = np.asarray(source.plan_of(0))[:_MOST_STEPS]
  plan = plan[: len(plan) // 2 * 2]
  gradient = plugin_steps.make_plugin_gradient(plugin_loss, source.widths)
  run = _make_sums(gradient, source.batch_of)
  entries = jnp.asarray(plan.reshape(-1, 2, *plan.shape[1:]))
  sums, counts = run(start, context, source.feed, entries, key)
  return spread(np.asarray(sums), np.asarray(counts), steps=len(plan))


def spread(sums: np.ndarray, counts: np.ndarray, steps: int = 0) -> Spread:
  """Q and V of summed gradients of two halves of every group.

  Args:
    sums: f32[2, G, P].
    counts: f32[2, G], samples of them.
    steps: for the record.
  """
  sums, counts = np.asarray(sums, float), np.asarray(counts, float)
  if not np.all(counts > 0.0):
    raise types.UserError(
      'routing.mode shrunk needs two batches or more with samples of every'
      ' group; lower train.batch_size or groups.num_groups, or give'
      ' routing.shrinkage'
    )
  first, second = sums / counts[..., None]
  apart = np.sum((first - second) ** 2, axis=1)
  q = float(np.mean(apart / np.sum(1.0 / counts, axis=0)))
  number = counts.sum(axis=0)
  whole = sums.sum(axis=0) / number[:, None]
  variance = float(np.mean(np.sum(whole**2, axis=1) - q / number))
  shrinkage = min(q / variance, NEVER) if variance > 0.0 else NEVER
  return Spread(q, variance, shrinkage, steps)


def _make_sums(
  gradient: Callable[..., Any], batch_of: Callable[..., Any]
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """(start, context, feed, plan i32[S, 2, ...], key) -> sums and counts."""

  @jax.jit
  def run(start, context, feed, plan, key):
    def of_half(entries):
      batch = batch_of(feed, entries, key)
      grads = gradient(start, context, batch, key)
      counts = jnp.sum(batch.weight, axis=1)
      # A group that is absent has no gradient, whatever its filling says.
      flat = jnp.where(counts[:, None] > 0, _flat(grads), 0.0)
      return flat * counts[:, None], counts

    def step(sums, pair):
      halves = [of_half(entries) for entries in pair]
      added = jax.tree.map(lambda *leaves: jnp.stack(leaves), *halves)
      return jax.tree.map(jnp.add, sums, added), None

    shapes = jax.eval_shape(lambda: of_half(plan[0, 0]))
    zeros = jax.tree.map(lambda x: jnp.zeros((2, *x.shape)), shapes)
    return jax.lax.scan(step, zeros, plan)[0]

  return run


def _flat(grads: types.PyTree) -> jax.Array:
  """Leaves [G, ...] side by side, f32[G, P]."""
  leaves: Sequence[jax.Array] = jax.tree.leaves(grads)
  return jnp.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)
