"""BCIPM: what a user prefers in the context of a behavior (SIGIR 2024).

    G = conv(E; all behaviors),    B = conv(G; target)
    conv(x; A) = x + sum_l (1 + 1/l) h_l,    h_l = rows of length 1 of S h_{l-1}
    pref(u, i, k) = z o tanh([r o u || i || b_k] W)
    [r; z] = sigmoid([u || i || b_k] V)
    point_u = sum_{i in N_K(u)} pref(G_u, G_i, K)
    score = (1 - 1/n_u) <point_u, G_i> + (1/n_u) <(G + B)_u, (G + B)_i>

n_u are the target's items of u. Both parts are products, so the fusion gives
one table of width 2 D, and the head multiplies. The loss 'preference'
(`objectives.auxiliaries`) trains pref on all behaviors through <pref, G_i>.
Equations as in the authors' program (MingshiYan/BIPN).

Departure: a user without an item of the target has the second part alone, once;
the program multiplies it by 1e8.
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

_BLOCK = 2**14  # edges whose preferences are in memory at a time


class Contextual(NamedTuple):
  """What every preference is made of; see `preference`.

  Attributes:
    table: f32[n, D], G.
    gates: f32[n, 2 D], the part of V of a user or an item.
    hats: f32[n, D], the part of W of an item.
    by_behavior: f32[K, 3 D], the parts of b_k in V and W.
    mixing: f32[D, D], the part of W of a user.
  """

  table: jax.Array
  gates: jax.Array
  hats: jax.Array
  by_behavior: jax.Array
  mixing: jax.Array


class _Given(NamedTuple):
  """Graphs, and the target's pairs in blocks; a filling pair has user U.

  Attributes:
    everything: graph of all behaviors.
    target: graph of the target.
    users: i32[blocks, E].
    items: i32[blocks, E], nodes.
    degree: f32[U, 1].
  """

  everything: graph_lib.Graph
  target: graph_lib.Graph
  users: jax.Array
  items: jax.Array
  degree: jax.Array


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'gate': V, 'hat': W, 'behavior': f32[K, K]}.

  Raises:
    types.UserError: more than one number of layers.
  """
  options, number, width = config.fusion, sizes.num_behaviors, sizes.width
  depth, walk = cascade.depth(options), cascade.walk(options)

  def init(key):
    gate, hat = jax.random.split(key)
    xavier = jax.nn.initializers.glorot_normal()
    rows = 2 * width + number
    return {
      'gate': xavier(gate, (rows, 2 * width), jnp.float32),
      'hat': xavier(hat, (rows, width), jnp.float32),
      'behavior': jnp.eye(number),
    }

  def encode(net, nodes, given, *, key=None):
    del key  # no dropout
    general = _convolve(walk, given.everything, nodes, depth)
    bought = general + _convolve(walk, given.target, general, depth)
    contextual = _contextual(net, general, sizes)
    share = 1.0 / jnp.maximum(given.degree, 1.0)
    point = (1.0 - share) * _points(contextual, given, sizes)
    users, items = jnp.split(bought, [sizes.num_users])
    user = jnp.concatenate([point, share * users], axis=1)
    item = jnp.concatenate([general[sizes.num_users :], items], axis=1)
    table = jnp.concatenate([user, item])
    return types.Fused((table,) * number, {'contextual': contextual})

  return types.Fusion(
    init=init,
    context=lambda edges: _context(edges, sizes),
    encode=encode,
    width=2 * width,
    merged=True,
    reads=('num_layers', 'product_dtype'),
    extra=('contextual',),
  )


def preference(
  contextual: Contextual, users: jax.Array, items: jax.Array, behavior: int
) -> jax.Array:
  """pref(u, i, k) of pairs, f32[P, D].

  Args:
    contextual: of all nodes.
    users: i32[P], nodes; so are
    items: i32[P].
    behavior: k.
  """
  width = contextual.table.shape[1]
  at = lambda table, ids: table.at[ids].get(mode='clip')
  gate, hat = jnp.split(contextual.by_behavior[behavior], [2 * width])
  logits = at(contextual.gates, users) + at(contextual.gates, items) + gate
  reset, update = jnp.split(jax.nn.sigmoid(logits), 2, axis=1)
  own = reset * at(contextual.table, users)
  mixed = own @ contextual.mixing + at(contextual.hats, items) + hat
  return update * jnp.tanh(mixed)


def _convolve(walk, graph, x, depth):
  total, last = x, x
  for layer in range(1, depth + 1):
    last = layers.unit_rows(walk(graph, last))
    total += (1.0 + 1.0 / layer) * last
  return total


def _contextual(net, general, sizes):
  """Parts of a preference that need no pair, so that a pair costs little."""
  width, count = sizes.width, sizes.num_users
  of_user, of_item, of_behavior = jnp.split(net['gate'], [width, 2 * width])
  mixing, hat, hat_behavior = jnp.split(net['hat'], [width, 2 * width])
  gates = jnp.concatenate(
    [general[:count] @ of_user, general[count:] @ of_item]
  )
  weights = jnp.concatenate([of_behavior, hat_behavior], axis=1)
  return Contextual(
    table=general,
    gates=gates,
    hats=general @ hat,
    by_behavior=net['behavior'] @ weights,
    mixing=mixing,
  )


def _points(contextual, given, sizes):
  """Sum of the preferences of a user for the target's items, f32[U, D]."""
  target = sizes.num_behaviors - 1

  # What a block needs is computed again for its gradient, not kept.
  @jax.checkpoint
  def add(sums, pairs):
    users, items = pairs
    values = preference(contextual, users, items, target)
    return sums.at[users].add(values, mode='drop'), None

  nothing = jnp.zeros((sizes.num_users, sizes.width))
  return jax.lax.scan(add, nothing, (given.users, given.items))[0]


def _context(edges, sizes):
  number, num_users = sizes.num_behaviors, sizes.num_users
  keys = np.unique(
    edges.pairs[-1][0] * sizes.num_items + edges.pairs[-1][1] - 1
  )
  users, items = np.divmod(keys, sizes.num_items)
  size = max(min(_BLOCK, len(users)), 1)
  filling = max(-len(users) % size, size - len(users))
  pad = lambda ids, value: jnp.asarray(
    np.pad(ids, (0, filling), constant_values=value).reshape(-1, size),
    jnp.int32,
  )
  degree = np.bincount(users, minlength=num_users)[:, None]
  return _Given(
    everything=edges.graph(range(number), 'symmetric', 'union'),
    target=edges.graph([number - 1], 'symmetric'),
    users=pad(users, num_users),
    items=pad(items + num_users, num_users),
    degree=jnp.asarray(degree, jnp.float32),
  )
