"""MBGCN: what behaviors say of a user, and what they say of items (SIGIR 2020).

    P'_u = sum_k w_k n_uk / (sum_m w_m n_um) mean_{i in N_k(u)} q_i
    Q'_i = sum_{u in N_K(i)} p_u
    s_ik = [q_i || c_ik T_k],    c_ik a mean over items that share users with i
    score = <[p || P' W]_u, [q || Q' W]_i>
          + lambda / K sum_k <mean_{j in N_k(u)} s_jk M_k, s_ik>

The score is one product of concatenated rows of width 2 D + 2 D K, so the
fusion gives one table with lambda / K in it, and the head multiplies. Equations
as in the authors' program (tsinghua-fib-lab/MBGCN); w starts at 1, and
`fusion.dropout` acts on the rows of the first product.

Departure: the program reads items that share users from a file, a matrix of
items by items. Here c_ik comes from two products with the graph of a behavior,
so an item counts as often as it shares a user.
Departure: the program also drops edges in training, and starts from embeddings
of a matrix factorization trained before, of length 1. Here no edge is dropped,
and embeddings start small, as everywhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import layers
from twotsrec.ops import graph as graph_lib

_TINY = 1e-8  # authors


class _Relation(NamedTuple):
  """A behavior.

  Attributes:
    graph: normalized by the left.
    degree: f32[n, 1].
    others: f32[n, 1], how many other items the users of an item have, on
      average; 0 for users and where there are none.
  """

  graph: graph_lib.Graph
  degree: jax.Array
  others: jax.Array


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'share': w, 'own': W, 'item': T, 'pair': M}."""
  options, number = config.fusion, sizes.num_behaviors
  width, num_users = sizes.width, sizes.num_users
  walk = cascade.walk(options)
  scale = options.item_weight / number

  def init(key):
    own, item, pair = jax.random.split(key, 3)
    xavier = jax.nn.initializers.glorot_normal(batch_axis=0)
    draw = lambda key, count, size: xavier(key, (count, size, size))
    return {
      'share': jnp.ones(number),
      'own': draw(own, 1, width)[0],
      'item': draw(item, number, width),
      'pair': draw(pair, number, 2 * width),
    }

  def encode(net, nodes, context, *, key=None):
    degrees = [relation.degree for relation in context]
    means = [walk(relation.graph, nodes) for relation in context]
    together = [
      _together(walk, relation, mean, nodes, num_users)
      for relation, mean in zip(context, means, strict=True)
    ]
    at_user, at_item = _neighbors(net['share'], degrees, means, num_users)
    summed = jnp.concatenate([at_user, at_item]) @ net['own']
    base = jnp.concatenate([nodes, summed], axis=1)
    parts = [layers.dropout(key, base, options.dropout)]
    for mean, of_items, item, pair in zip(
      means, together, net['item'], net['pair'], strict=True
    ):
      user = jnp.concatenate([mean, of_items @ item], axis=1)[:num_users]
      own = jnp.concatenate([nodes, of_items @ item], axis=1)[num_users:]
      parts.append(jnp.concatenate([scale * user @ pair, own]))
    return types.Fused((jnp.concatenate(parts, axis=1),) * number)

  return types.Fusion(
    init=init,
    context=_relations,
    encode=encode,
    width=2 * width * (1 + number),
    merged=True,
    reads=('dropout', 'item_weight', 'product_dtype'),
  )


def _relations(edges):
  """Graph and degrees of every behavior."""
  ones = jnp.ones((edges.num_users + edges.num_items, 1))
  is_item = jnp.arange(len(ones))[:, None] >= edges.num_users
  walk = lambda graph, x: jnp.asarray(graph_lib.propagate(graph, x))
  made = []
  for k in range(len(edges.pairs)):
    graph = edges.graph([k], 'left')
    degree = walk(edges.graph([k], 'none'), ones)
    # The item itself is one of those of each of its users.
    others = walk(graph, degree) - 1.0
    others = jnp.where(is_item & (others > _TINY), others, 0.0)
    made.append(_Relation(graph, degree, others))
  return tuple(made)


def _neighbors(share, degrees, means, num_users):
  """P' of the users, f32[U, D], and Q' of the items, f32[I, D]."""
  weights = [w * d[:num_users] for w, d in zip(share, degrees, strict=True)]
  total = sum(weights) + _TINY
  at_user = sum(
    w / total * mean[:num_users] for w, mean in zip(weights, means, strict=True)
  )
  return at_user, (degrees[-1] * means[-1])[num_users:]


def _together(walk, relation, mean, nodes, num_users):
  """c_i of the items, and of the users its mean over their items; f32[n, D].

  Item i has the mean over the other items of its users: B'(B q) without q_i.
  """
  is_user = jnp.arange(len(nodes))[:, None] < num_users
  sums = walk(relation.graph, jnp.where(is_user, relation.degree * mean, 0.0))
  some = relation.others > 0
  others = jnp.where(some, relation.others, 1.0)
  of_item = jnp.where(some, (sums - nodes) / others, 0.0)
  return jnp.where(is_user, walk(relation.graph, of_item), of_item)
