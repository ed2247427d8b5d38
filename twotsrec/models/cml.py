"""CML: behaviors of one encoder, drawn together by contrast (WSDM 2022).

    H^{l+1} = sigmoid(mean_k(A_k H^l) W^l),  U_k^{l+1} = sigmoid(A_k H^l W^l)
    table = [H^1 || ... || H^L] C,           table_k = [U_k^1 || ... || U_k^L] C

W and C belong to a side. A layer reads the table of all behaviors alone. All
behaviors are scored by it; those of each behavior are there for the loss 'view'
(`objectives.auxiliaries`). Equations as in the authors' program
(weiwei1206/CML), whose A_k are normalized by nothing: it computes a symmetric
normalization and does not use it. `fusion.normalization` says which.

`behavior.meta_rate` weighs losses by the authors' network of a look-ahead step
(`training.meta_weights`).
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade

READS = ('num_layers', 'normalization', 'product_dtype')


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'walk': f32[L, 2, D, D], 'out': f32[2, L D, D]}.

  Raises:
    types.UserError: more than one number of layers, or none.
  """
  options, number, width = config.fusion, sizes.num_behaviors, sizes.width
  depth, walk = cascade.depth(options), cascade.walk(options)
  if not depth:
    raise types.UserError(
      f'fusion.num_layers is 0, but fusion.name={options.name} has no table'
      ' without a layer; give 1 or more'
    )

  def init(key):
    walked, out = jax.random.split(key)
    xavier = jax.nn.initializers.glorot_uniform
    shapes = (depth, 2, width, width), (2, depth * width, width)
    return {
      'walk': xavier(batch_axis=(0, 1))(walked, shapes[0], jnp.float32),
      'out': xavier(batch_axis=0)(out, shapes[1], jnp.float32),
    }

  def by_side(x, weights):
    users, items = jnp.split(x, [sizes.num_users])
    return jnp.concatenate([users @ weights[0], items @ weights[1]])

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout
    layers, last = [], nodes
    for weights in net['walk']:
      messages = [walk(graph, last) for graph in graphs]
      mean = sum(messages) / number
      made = [jax.nn.sigmoid(by_side(x, weights)) for x in (mean, *messages)]
      layers.append(made)
      last = made[0]
    out = lambda tables: by_side(jnp.concatenate(tables, axis=1), net['out'])
    table, *views = [out(tables) for tables in zip(*layers, strict=True)]
    return types.Fused((table,) * number, {'views': tuple(views)})

  return types.Fusion(
    init=init,
    context=lambda edges: cascade.own_graphs(edges, options.normalization),
    encode=encode,
    width=width,
    merged=True,
    reads=READS,
    extra=('views',),
    least_behaviors=2,
  )
