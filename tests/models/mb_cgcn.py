"""MB-CGCN as a fusion of one's own: the package knows nothing of this file.

A cascade of LightGCN blocks; what one behavior makes of a node is the start of
the next one, after a linear map for users and one for items (WWW 2023):

    Z_k = mean_l S_k^l X_k,    X_{k+1} = [Z_k,user W^u_k ; Z_k,item W^i_k]

With `fusion.post_behavior=merged`, as in the paper, all behaviors have the sum
of the Z_k. W starts near the identity, else downstream tables would start near
zero.
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import layers
from twotsrec.ops import graph as graph_lib


def make(
  config: config_lib.Config, sizes: types.NodeSizes, dropout: float = 0.0
) -> types.Fusion:
  """The fusion; reads num_layers and post_behavior.

  Args:
    config: settings of a run.
    sizes: of the log.
    dropout: share of what flows downstream that is left out in training.
  """
  options, number = config.fusion, sizes.num_behaviors
  depths = options.num_layers or (1,) * number
  merged = options.post_behavior == 'merged'

  def init(key):
    noise = jax.random.normal(key, (number - 1, 2, sizes.width, sizes.width))
    return {'weight': jnp.eye(sizes.width) + 0.01 * noise}

  def context(edges):
    return tuple(edges.graph([k], 'symmetric') for k in range(number))

  def encode(net, nodes, context, *, key=None):
    tables, start = [], nodes
    for k, (graph, depth) in enumerate(zip(context, depths, strict=True)):
      walked = [start]
      for _ in range(depth):
        walked.append(graph_lib.propagate(graph, walked[-1]))
      tables.append(sum(walked) / len(walked))
      if k + 1 == number:
        break
      own_key = None if key is None else jax.random.fold_in(key, k)
      users, items = jnp.split(tables[-1], [sizes.num_users])
      of_users, of_items = net['weight'][k]
      start = jnp.concatenate([users @ of_users, items @ of_items])
      start = layers.dropout(own_key, start, dropout)
    return types.Fused((sum(tables),) * number if merged else tuple(tables))

  return types.Fusion(
    init=init,
    context=context,
    encode=encode,
    width=sizes.width,
    merged=merged,
    reads=('num_layers', 'post_behavior'),
  )
