"""CIGF: behaviors as instances of one compressed graph (WWW 2023).

    m^1 = P_k E,    m^l = sum_j a^l_j o P_j m^{l-1},    a^l = leaky(E W + b)
    E^{k,l} = m^l + E^{k,l-1},    table_k = sum_l E^{k,l}

P_j is the left normalization of the graph of behavior j, E are the embeddings,
and W, b belong to a behavior and a layer: how much of each behavior a node
takes in from the second step on. Equations as in the authors' program
(MC-CV/CIGF); nothing is carried from one behavior to the next.
"""

import itertools

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade

_SLOPE = 0.1  # of the leaky rectifier, authors


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net has W f32[D, K] and b f32[K] for each layer but one.

  Raises:
    types.UserError: another number of layers than of behaviors.
  """
  options, number = config.fusion, sizes.num_behaviors
  depths, walk = cascade.depths(options, number), cascade.walk(options)

  def init(key):
    return [
      [_init_attention(key, k, at, sizes) for at in range(1, depth)]
      for k, depth in enumerate(depths)
    ]

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout

    def layer(k, at, message):
      if at == 0:
        return walk(graphs[k], message)
      own = net[k][at - 1]
      share = jax.nn.leaky_relu(nodes @ own['weight'] + own['bias'], _SLOPE)
      terms = [share[:, [j]] * walk(graphs[j], message) for j in range(number)]
      return jnp.asarray(sum(terms))

    combine = lambda messages: cascade.total([*itertools.accumulate(messages)])
    carry = lambda k, layers, table: nodes
    tables = cascade.run(nodes, depths, layer, combine, carry)
    return cascade.fused(tables, options)

  made = cascade.of_own_graphs(options, sizes.width, init, encode, 'left')
  # From the second layer on every graph is walked.
  return made._replace(upstream_only=made.upstream_only and max(depths) < 2)


def _init_attention(key, k, at, sizes):
  own = jax.random.fold_in(jax.random.fold_in(key, k), at)
  shape = (sizes.width, sizes.num_behaviors)
  weight = jax.nn.initializers.glorot_uniform()(own, shape, jnp.float32)
  return {'weight': weight, 'bias': jnp.zeros(sizes.num_behaviors)}
