"""The loss of dynAERNN: a node's next row, where edges count more."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec.models import dyn_aernn


def make(config: config_lib.Config) -> Callable[..., jax.Array]:
  """(params, context, batch, key) -> f32[B].

      sum_j (b_j (x^_j - x_j))^2 + penalty (|W|_1 + |W|^2),   b_j = beta or 1

  The context is {'first': i8[n, n]}, of `data.snapshots`; beta is of the edges.
  """
  options = config.dyn_aernn

  def loss(params, context, batch, key):
    del key  # nothing is drawn
    net, first = params.net, context['first']
    rows = dyn_aernn.rows_of(first, batch.node, batch.time, options.lookback)
    made = dyn_aernn.decode(net, dyn_aernn.embed(net, rows))
    target = first[batch.node] <= batch.time[:, None]
    beside = jnp.where(target, options.beta, 1.0)
    values = jnp.sum((beside * (made - target)) ** 2, axis=1)
    size = sum(jnp.sum(jnp.abs(w)) + jnp.sum(w**2) for w in _kernels(net))
    return values + options.penalty * size

  return loss


def _kernels(net):
  """Matrices of weights, without biases."""
  name = lambda path: jax.tree_util.keystr(path[-1:])
  leaves = jax.tree_util.tree_leaves_with_path(net)
  return [leaf for path, leaf in leaves if name(path) == "['kernel']"]
