"""MB-CGCN: a cascade of LightGCN blocks with linear maps between (WWW 2023).

    Z_k = mean_l S_k^l X_k,    X_{k+1} = [Z_k,user W^u_k ; Z_k,item W^i_k]

S_k is the symmetric normalization of the graph of behavior k. The published
model scores by the sum of the Z_k (`fusion.post_behavior=merged`).

Departure: W starts near the identity, where the authors' program draws it from
N(0, .01), with which tables of later behaviors would start at nearly nothing.
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'weight': f32[K - 1, 2, D, D]}, users first.

  Raises:
    types.UserError: another number of layers than of behaviors.
  """
  options, number = config.fusion, sizes.num_behaviors
  depths, walk = cascade.depths(options, number), cascade.walk(options)

  def init(key):
    noise = jax.random.normal(key, (number - 1, 2, sizes.width, sizes.width))
    return {'weight': jnp.eye(sizes.width) + 0.01 * noise}

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout

    def carry(k, layers, table):
      del layers
      users, items = jnp.split(table, [sizes.num_users])
      of_users, of_items = net['weight'][k]
      return jnp.concatenate([users @ of_users, items @ of_items])

    layer = lambda k, _, x: walk(graphs[k], x)
    tables = cascade.run(nodes, depths, layer, cascade.mean, carry)
    return cascade.fused(tables, options)

  made = cascade.of_own_graphs(options, sizes.width, init, encode, 'symmetric')
  return made._replace(least_behaviors=2)
