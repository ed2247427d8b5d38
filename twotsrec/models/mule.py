"""MuLe: graphs of several grains, views read by purchases (CIKM 2024).

    light(x; A)  = x + sum_l h_l / l,    h_l = S h_{l-1} with rows of length 1
    U   = light(E; all behaviors),        Z_k = light(U; k)
    I_k = light(Z_k; k and target),       C_k = attend(Z_k; k without target)
    table = sum_t softmax_t(<w, t>) t     over all C_k and I_k

`attend` is `light` where what node s gives to its neighbors j is shared out by
softmax_j(<Z_K[s], x_j>): a view counts as far as purchases speak for it. Two
numbers of `fusion.num_layers` are the layers of `light` and of `attend`.
Equations as in the authors' program (geonwooko/MULE).

Departure: the program also has an attention over the Z_k, whose result is a
query of the one over C_k and I_k. A query adds the same to all logits of that
softmax, so it changes neither result nor gradient; it is left out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import layers
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import links as links_lib


class _Graphs(NamedTuple):
  """Graphs; of the last two one for each behavior but the target.

  Attributes:
    everything: of all behaviors together.
    own: of each behavior.
    shared: pairs that have both a behavior and the target.
    rest: pairs that have the behavior alone.
  """

  everything: graph_lib.Graph
  own: tuple[graph_lib.Graph, ...]
  shared: tuple[graph_lib.Graph, ...]
  rest: tuple[links_lib.Links, ...]


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'attention': f32[D]}.

  Raises:
    types.UserError: more than two numbers of layers.
  """
  options = config.fusion
  light, attended = _depths(options)
  walk = cascade.walk(options)

  def init(key):
    # Half of the weights of a map from [query || table].
    xavier = jax.nn.initializers.glorot_uniform()
    weight = xavier(key, (2 * sizes.width, 1), jnp.float32)
    return {'attention': weight[: sizes.width, 0]}

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout
    convolve = lambda graph, x: _convolve(lambda y: walk(graph, y), x, light)
    everything = convolve(graphs.everything, nodes)
    own = [convolve(graph, everything) for graph in graphs.own]
    parts = [
      _convolve(lambda x, links=links: _attend(links, own[-1], x), z, attended)
      for links, z in zip(graphs.rest, own)
    ]
    parts += [convolve(graph, z) for graph, z in zip(graphs.shared, own)]
    table = _mean(net['attention'], parts)
    return types.Fused((table,) * sizes.num_behaviors)

  return types.Fusion(
    init=init,
    context=_context,
    encode=encode,
    width=sizes.width,
    merged=True,
    reads=('num_layers', 'product_dtype'),
    least_behaviors=2,
  )


def _depths(options):
  depths = tuple(options.num_layers) or (1, 1)
  if len(depths) != 2:
    raise types.UserError(
      'fusion.name=mule takes two numbers, layers of light convolutions and of'
      f' attention, but fusion.num_layers has {len(depths)} numbers; give 1,4,'
      ' or none for 1 each'
    )
  return depths


def _convolve(walk, x, depth):
  total, last = x, x
  for layer in range(1, depth + 1):
    last = layers.unit_rows(walk(last))
    total += last / layer
  return total


def _attend(links, target, x):
  """What nodes give to their neighbors, shared out by the target's tables."""
  share = links_lib.softmax(links, links_lib.dots(links, target, x))
  return links_lib.weigh(links, share[links.reverse], x)


def _mean(weight, parts):
  """Mean of the tables by a softmax of their own, f32[n, D]."""
  logits = jnp.stack([part @ weight for part in parts], axis=1)
  shares = jax.nn.softmax(logits, axis=1)
  mixed = [shares[:, [t]] * part for t, part in enumerate(parts)]
  return jnp.asarray(sum(mixed))


def _context(edges):
  sizes, number = (edges.num_users, edges.num_items), len(edges.pairs)
  encode = lambda pairs: pairs[0] * (edges.num_items + 1) + pairs[1]
  bought, shared, rest = encode(edges.pairs[-1]), [], []
  for pairs in edges.pairs[:-1]:
    both = np.isin(encode(pairs), bought)
    choose = lambda chosen, pairs=pairs: [tuple(ids[chosen] for ids in pairs)]
    shared.append(graph_lib.from_pairs(choose(both), *sizes, 'symmetric'))
    rest.append(links_lib.from_pairs(choose(~both), *sizes))
  return _Graphs(
    everything=edges.graph(range(number), 'symmetric', 'union'),
    own=cascade.own_graphs(edges, 'symmetric'),
    shared=tuple(shared),
    rest=tuple(rest),
  )
