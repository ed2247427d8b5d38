"""CRGCN: every behavior adds a direction to what came before (TOIS 2023).

    T_0 = E,    T_k = T_{k-1} + H_k / ||H_k||,    H_k = conv_k^{L_k}(T_{k-1})

A layer conv_k is S_k x + b, with the symmetric normalization of the graph of
behavior k and a bias of its own. Every behavior is scored by its T_k. Equations
as in the authors' program (MingshiYan/CRGCN).

Departure: a row of zeros has no direction and no gradient. The program divides
it by 1e-12, which makes the first gradient of a bias 1e12 times too large where
a node has no neighbors.
"""

import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import layers as layers_lib


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'bias': K times f32[L_k, D]}.

  Raises:
    types.UserError: another number of layers than of behaviors.
  """
  options = config.fusion
  depths = cascade.depths(options, sizes.num_behaviors)
  walk = cascade.walk(options)

  def init(key):
    del key  # biases start at 0
    return {'bias': [jnp.zeros((depth, sizes.width)) for depth in depths]}

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout
    layer = lambda k, at, x: walk(graphs[k], x) + net['bias'][k][at]
    combine = lambda layers: layers[0] + layers_lib.unit_rows(layers[-1])
    carry = lambda k, layers, table: table
    return cascade.fused(
      cascade.run(nodes, depths, layer, combine, carry), options
    )

  return cascade.of_own_graphs(options, sizes.width, init, encode, 'symmetric')
