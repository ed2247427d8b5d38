"""Losses of the groups, and norms and cosines of their gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import trees
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps


def make_diagnose(
  objective: objectives.Objective,
  source: contracts.Source,
  num_batches: int = 8,
  shared: Callable[[Any], Any] = lambda gradient: gradient,
) -> Callable[..., dict[str, Any]]:
  """Compiles (state, context, feed, plan, key) -> means over some batches.

  Args:
    objective: losses per example.
    source: flat batches, which it lays out by group; plans that are laid out
      already are taken as they are.
    num_batches: batches looked at, evenly spread over the epoch.
    shared: gradient -> the part to look at. What every group has of its own
      would make their gradients look orthogonal.
  Returns:
    Function giving {'loss': f32[G], 'norm': f32[G], 'cosine': f32[G, G]}, of
    the groups' mean gradients: each a mean over the batches that have the
    group, or both groups; 0 if none has.
  """
  group_gradients = steps.make_group_gradients(objective)
  stack = source.stack or np.asarray

  @jax.jit
  def diagnose(state, context, feed, stacked, key):
    def look(examples):
      batch = jax.vmap(lambda e: source.batch_of(feed, e, key))(examples)
      losses, grads = group_gradients(state.params, context, batch, state.key)
      norms, cosines = trees.cosines(trees.gram(shared(grads)))
      there = (jnp.sum(batch.weight, axis=1) > 0).astype(losses.dtype)
      both = there[:, None] * there
      seen = {'loss': losses, 'norm': norms, 'cosine': cosines}
      return seen, {'loss': there, 'norm': there, 'cosine': both}

    looks, there = jax.lax.map(look, stacked)
    return jax.tree.map(
      lambda x, w: jnp.sum(x * w, 0) / jnp.maximum(jnp.sum(w, 0), 1.0),
      looks,
      there,
    )

  def run(state, context, feed, plan, key):
    every = max(1, plan.shape[0] // num_batches)
    chosen = plan[::every][:num_batches]
    stacked = jnp.asarray(chosen if chosen.ndim > 2 else stack(chosen))
    return diagnose(state, context, feed, stacked, key)

  return run
