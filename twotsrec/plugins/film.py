"""Scale and shift at the points of the light plugin.

After FiLM (Perez et al. 2018), with learned vectors per group instead of a
network that makes them.
"""

import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.plugins import light


def _init(key, width):
  del key  # starts as the identity
  return {'scale': jnp.zeros(width), 'shift': jnp.zeros(width)}


def _apply(plugs, weights, x):
  """x + sum_k w_k (x s_k + c_k)."""
  # Not at the default precision of an accelerator: it rounds the sums.
  blend = lambda leaf: jnp.einsum('k,kd->d', weights, leaf, precision='highest')
  scale, shift = blend(plugs['scale']), blend(plugs['shift'])
  return x + (x * scale.astype(x.dtype) + shift.astype(x.dtype))


def make(options: config.PluginConfig) -> types.Plugin:
  """x (1 + s) + c at every point; s and c start at 0."""
  plug = light.Plug(_init, _apply)
  return light.at_points(plug, options.points, options.history_only)
