"""The naive plugin: a residual of the trunk's parameters (PIN eq. 8-11)."""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types

PARTS = ('extractor', 'classifier')


def _init(key, stages, trunk, num_groups, sizes):
  """Zeros like the trunk's extractor and classifier; leaves [G, ...]."""
  del key, stages, sizes  # starts at the trunk
  zeros = lambda leaf: jnp.zeros((num_groups, *leaf.shape), leaf.dtype)
  return {part: jax.tree.map(zeros, trunk.net[part]) for part in PARTS}


def _attach(stages, plugins, weights):
  """Stages that run with Phi + sum_k w_k dPhi_k and W + sum_k w_k dW_k."""

  def add(leaf, deltas):
    # Not at the default precision of an accelerator: it rounds the sum.
    delta = jnp.einsum('k,k...->...', weights, deltas, precision='highest')
    return leaf + delta

  def on(part, method):
    def run(params, *arguments, **key):
      moved = jax.tree.map(add, params, plugins[part])
      return method(moved, *arguments, **key)

    return run

  positions, auxiliary = stages.summarize_positions, stages.auxiliary
  attention = stages.attention
  return stages._replace(
    summarize=on('extractor', stages.summarize),
    extract=on('extractor', stages.extract),
    classify=on('classifier', stages.classify),
    summarize_positions=positions and on('extractor', positions),
    auxiliary=auxiliary and on('extractor', auxiliary),
    attention=attention and on('extractor', attention),
  )


def make(options: config.PluginConfig) -> types.Plugin:
  """Residuals of extractor and classifier, {'extractor': ..., 'classifier'}.

  The embedding is never in the plugin: it would be most of its parameters.
  """
  del options  # it has none
  return types.Plugin(_init, _attach)
