"""RGCN: behaviors as relations of one graph (Schlichtkrull et al. 2018).

    X^{l+1} = relu(X^l W^l_0 + sum_k P_k X^l W^l_k)

P_k is the left normalization of the graph of behavior k. The last layer is one
table for all behaviors.

Departure: COPF cites the paper and says nothing of its form. Here there is no
decomposition of the weights, which are few, and all layers are rectified.
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'weight': f32[L, K + 1, D, D]}, W_0 first.

  Raises:
    types.UserError: more than one number of layers.
  """
  options, number = config.fusion, sizes.num_behaviors
  if len(options.num_layers) > 1:
    raise types.UserError(
      'fusion.name=rgcn walks all behaviors together, but fusion.num_layers has'
      f' {len(options.num_layers)} numbers; give one, or none for 1'
    )
  (depth,) = tuple(options.num_layers) or (1,)
  walk = cascade.walk(options)

  def init(key):
    xavier = jax.nn.initializers.glorot_uniform(batch_axis=(0, 1))
    shape = (depth, number + 1, sizes.width, sizes.width)
    return {'weight': xavier(key, shape, jnp.float32)}

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout

    def layer(at, x):
      own, *others = net['weight'][at]
      sums = [walk(graph, x) @ w for graph, w in zip(graphs, others)]
      return jax.nn.relu(x @ own + sum(sums))

    last = cascade.stack(nodes, depth, layer)[-1]
    return types.Fused((last,) * number)

  return types.Fusion(
    init=init,
    context=lambda edges: cascade.own_graphs(edges, 'left'),
    encode=encode,
    width=sizes.width,
    merged=True,
    reads=('num_layers', 'product_dtype'),
  )
