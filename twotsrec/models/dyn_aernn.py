"""dynAERNN: embeddings of nodes from snapshots of a growing graph.

    y_s = enc_s(row_v(G_s)),   s = t - l .. t - 1, an encoder for each
    z   = LSTM_D(LSTM_H(y_(t-l), .., y_(t-1))),   the last output
    x^  = dec(z), which is to be row_v(G_t)

for a node v, with a leaky ReLU behind every layer (Goyal, Chhetri and Canedo
2020, dyngraph2vec). Users and items are ranked by z_u . diag(w) z_i, where w is
that of a logistic regression on products of the ends of edges and of other
pairs (DySAT's evaluation, as in 2TS).

A row has a number for every node. The matrix of all pairs of nodes is held, a
byte for each; the layers beside it have l + 1 times H of 4 bytes for a node.

Departure: nodes without an edge have the mean vector of the others.
"""

from collections.abc import Sequence
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec.models import layers
from twotsrec.models import pair_prior
from twotsrec.ops import recurrence

Net = dict[str, Any]
_SLOPE = 0.3  # of a leaky ReLU in Keras, which the authors have
_BLOCK = 256  # nodes embedded at once
_LSTM = recurrence.CELLS['lstm']


def adjacency_bytes(num_users: int, num_items: int) -> int:
  """Of the matrix of all pairs of nodes."""
  return (num_users + num_items) ** 2


def init(key: jax.Array, config: config_lib.Config, num_nodes: int) -> Net:
  """Parameters: {'encoders': l of them, stacked, 'lstm': two, 'decoder'}."""
  options, width = config.dyn_aernn, config.model.width
  encoder, first, second, decoder = jax.random.split(key, 4)
  widths = (num_nodes, *options.hidden, width)
  keys = jax.random.split(encoder, options.lookback)
  return {
    'encoders': jax.vmap(lambda key: layers.init_mlp(key, widths))(keys),
    'lstm': [
      _init_lstm(first, width, options.hidden[0]),
      _init_lstm(second, options.hidden[0], width),
    ],
    'decoder': layers.init_mlp(decoder, widths[::-1]),
  }


def _init_lstm(key, inputs, width):
  own, recurrent = jax.random.split(key)
  return {
    'input': layers.init_dense(own, inputs, 4 * width),
    'recurrent': layers.init_dense(recurrent, width, 4 * width),
  }


def rows_of(
  first: jax.Array, node: jax.Array, time: jax.Array, lookback: int
) -> jax.Array:
  """Rows of nodes i32[B] in the snapshots before i32[B], f32[l, B, n].

  `first` is i8[n, n], of `data.snapshots`.
  """
  before = time - lookback + jnp.arange(lookback)[:, None]
  return (first[node] <= before[..., None]).astype(jnp.float32)


def embed(net: Net, rows: jax.Array) -> jax.Array:
  """z f32[B, D] of nodes from their rows f32[l, B, n]."""
  chex.assert_rank(rows, 3)
  seen = jax.vmap(_layers)(net['encoders'], rows)
  for cell in net['lstm']:
    width = cell['recurrent']['kernel'].shape[0]
    nothing = jnp.zeros((rows.shape[1], 2 * width))
    events = recurrence.Events(
      seen, nothing, jnp.zeros(rows.shape[:2], bool), nothing[0]
    )
    seen = recurrence.scan(_LSTM, cell, events)[1][..., :width]
  return seen[-1]


def decode(net: Net, z: jax.Array) -> jax.Array:
  """x^ f32[B, n] of embeddings f32[B, D]."""
  return _layers(net['decoder'], z)


def _leaky(x):
  return jax.nn.leaky_relu(x, _SLOPE)


def _layers(params, x):
  return _leaky(layers.mlp(params, x, _leaky))


@functools.partial(jax.jit, static_argnames=('time', 'lookback'))
def embed_all(
  net: Net, first: jax.Array, time: int, lookback: int
) -> jax.Array:
  """z f32[n, D] of all nodes from the snapshots before a time."""
  nodes = first.shape[0]
  blocks = -(-nodes // _BLOCK)
  every = jnp.minimum(jnp.arange(blocks * _BLOCK), nodes - 1)

  def of_block(node):
    rows = rows_of(first, node, jnp.full_like(node, time), lookback)
    return embed(net, rows)

  z = jax.lax.map(of_block, every.reshape(blocks, _BLOCK))
  z = z.reshape(-1, z.shape[-1])[:nodes]
  known = jnp.any(first < time, axis=1)[:, None]
  mean = jnp.sum(jnp.where(known, z, 0.0), axis=0) / jnp.sum(known)
  return jnp.where(known, z, mean)


def weigh(
  z: np.ndarray,
  edges: Sequence[np.ndarray],
  others: Sequence[np.ndarray],
) -> np.ndarray:
  """w f32[D] of a logistic regression on z_u o z_i, edges against others.

  Both are (users, items) as nodes, i64[E]; on the host.
  """
  left, right = (np.concatenate(ends) for ends in zip(edges, others))
  products = np.asarray(z, np.float64)[left] * np.asarray(z, np.float64)[right]
  is_edge = np.arange(left.size) < edges[0].size
  weights = pair_prior.logistic(list(products.T), is_edge)
  return weights[1:].astype(np.float32)  # a bias ranks nothing
