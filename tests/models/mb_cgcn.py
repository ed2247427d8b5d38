"""MB-CGCN (WWW 2023) as a fusion of one's own, with dropout between behaviors.

Z_k = mean_l S_k^l X_k,    X_{k+1} = [Z_k,user W^u_k ; Z_k,item W^i_k]
"""

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.models import layers
from twotsrec.ops import graph as graph_lib


def make(config, sizes, dropout=0.0):
  """The fusion; `dropout` is the share of what flows on that is left out."""
  number, width = sizes.num_behaviors, sizes.width
  depths = config.fusion.num_layers or (1,) * number
  merged = config.fusion.post_behavior == 'merged'

  def init(key):
    noise = jax.random.normal(key, (number - 1, 2, width, width))
    return {'weight': jnp.eye(width) + 0.01 * noise}

  def context(edges):
    return tuple(edges.graph([k], 'symmetric') for k in range(number))

  def encode(net, nodes, context, *, key=None):
    tables, start = [], nodes
    for k, (graph, depth) in enumerate(zip(context, depths, strict=True)):
      walked = [start]
      for _ in range(depth):
        walked.append(graph_lib.propagate(graph, walked[-1]))
      tables.append(sum(walked) / len(walked))
      if k + 1 < number:
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
    width=width,
    merged=merged,
    reads=('num_layers', 'post_behavior'),
    least_behaviors=2,
    upstream_only=not merged,
  )
