"""GCMC and its two relatives of 2TS, on the graph of the target.

    z = W h,      score = z_u^T P z_i       (head.name=bilinear_matrix)
    gcmc          h = relu(S e)             (Graph Convolutional Matrix
                                             Completion, KDD-DLD 2018)
    gcmc_sage     h = relu(W_s e + W_n mean_j e_j)
    gcmc_gat      h = relu([.., sum_j a_j V_m e_j, ..]),
                  a_j = softmax_j leaky(l_m . V_m e + r_m . V_m e_j), m heads

S is the symmetric normalization of the graph, j are neighbors. The mean of
`gcmc_sage` is over all of them, or in training over `fusion.sample` that are
drawn anew at each step, with replacement; ranking always takes all.

Departure: 2TS names GCMC-SAGE and GCMC-GAT without their equations, and says
nothing of features on lastfm; these are the convolutions of GraphSAGE and GAT
in the place of GCMC's. An event has one rating, so one graph stands for all.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import layers
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import links as links_lib

_SLOPE = 0.2  # GAT


class _Neighbors(NamedTuple):
  """A graph, and its edges where some of them are drawn; else None."""

  graph: graph_lib.Graph
  links: links_lib.Links | None


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """GCMC; its net is {'out': f32[D, D]}."""
  walk = cascade.walk(config.fusion)

  def hidden(net, nodes, graph, key):
    del net, key
    return walk(graph, nodes)

  return _around(
    config,
    sizes,
    init=lambda key: {},
    context=lambda edges: _own(edges, 'symmetric'),
    hidden=hidden,
    reads=('product_dtype',),
  )


def make_sage(
  config: config_lib.Config, sizes: types.NodeSizes
) -> types.Fusion:
  """GCMC-SAGE; its net has {'own', 'neighbors': f32[D, D]} too."""
  walk, sample = cascade.walk(config.fusion), config.fusion.sample
  count = sizes.num_users, sizes.num_items

  def init(key):
    own, neighbors = jax.random.split(key)
    return {
      'own': _xavier(own, sizes.width),
      'neighbors': _xavier(neighbors, sizes.width),
    }

  def context(edges):
    links = links_lib.from_pairs(edges.pairs[-1:], *count) if sample else None
    return _Neighbors(_own(edges, 'left'), links)

  def hidden(net, nodes, given, key):
    if sample and key is not None:
      mean = sampled_mean(given.links, key, nodes, sample)
    else:
      mean = walk(given.graph, nodes)
    return nodes @ net['own'] + mean @ net['neighbors']

  reads = ('product_dtype', 'sample')
  return _around(config, sizes, init, context, hidden, reads)


def make_gat(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """GCMC-GAT; its net has {'value': f32[D, D], 'left', 'right': f32[M, D / M]}.

  Raises:
    types.UserError: heads that do not divide the width.
  """
  heads, width = config.fusion.num_heads, sizes.width
  if width % heads:
    raise types.UserError(
      f'fusion.num_heads is {heads}, but it must divide model.width {width};'
      ' use 1'
    )
  count = sizes.num_users, sizes.num_items

  def init(key):
    value, left, right = jax.random.split(key, 3)
    xavier = jax.nn.initializers.glorot_uniform()
    shape = heads, width // heads
    return {
      'value': _xavier(value, width),
      'left': xavier(left, shape, jnp.float32),
      'right': xavier(right, shape, jnp.float32),
    }

  def hidden(net, nodes, links, key):
    del key
    values = jnp.split(nodes @ net['value'], heads, axis=1)
    return jnp.concatenate(
      [
        links_lib.attend(links, logits(links, x @ left, x @ right), x)
        for x, left, right in zip(values, net['left'], net['right'])
      ],
      axis=1,
    )

  return _around(
    config,
    sizes,
    init=init,
    context=lambda edges: links_lib.from_pairs(edges.pairs[-1:], *count),
    hidden=hidden,
    reads=('num_heads',),
  )


def logits(
  links: links_lib.Links, left: jax.Array, right: jax.Array
) -> jax.Array:
  """leaky(left of the row + right of the column) of every edge, f32[E]."""
  ones = jnp.ones_like(left)
  ends = jnp.stack([left, ones], axis=1), jnp.stack([ones, right], axis=1)
  return jax.nn.leaky_relu(links_lib.dots(links, *ends), _SLOPE)


def sampled_mean(
  links: links_lib.Links, key: jax.Array, x: jax.Array, sample: int
) -> jax.Array:
  """Mean of neighbors drawn with replacement, f32[n, D]; 0 without any.

  Args:
    links: edges.
    key: of the draws.
    x: f32[n, D].
    sample: neighbors of each node.
  """
  first, degree = links.offsets[:-1], jnp.diff(links.offsets)
  shape = (sample, links.num_nodes)
  drawn = jax.random.randint(key, shape, 0, jnp.maximum(degree, 1))
  # A node without neighbors takes any, and nothing of it.
  place = jnp.minimum(first + drawn, len(links.columns) - 1)
  total = jnp.sum(x[links.columns[place]], axis=0) / sample
  return jnp.where(degree[:, None] > 0, total, 0.0)


def _around(config, sizes, init, context, hidden, reads) -> types.Fusion:
  """What the three share: relu, dropout, W, and one table for all behaviors."""

  def init_all(key):
    own, out = jax.random.split(key)
    return {**init(own), 'out': _xavier(out, sizes.width)}

  def encode(net, nodes, given, *, key=None):
    draws, drops = (None, None) if key is None else jax.random.split(key)
    h = jax.nn.relu(hidden(net, nodes, given, draws))
    table = layers.dropout(drops, h, config.fusion.dropout) @ net['out']
    return types.Fused((table,) * sizes.num_behaviors)

  return types.Fusion(
    init=init_all,
    context=context,
    encode=encode,
    width=sizes.width,
    merged=True,
    reads=('dropout', *reads),
  )


def _own(edges: Any, normalization: str) -> graph_lib.Graph:
  return edges.graph([len(edges.pairs) - 1], normalization)


def _xavier(key, width):
  xavier = jax.nn.initializers.glorot_uniform()
  return xavier(key, (width, width), jnp.float32)
