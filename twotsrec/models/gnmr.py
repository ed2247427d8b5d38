"""GNMR: behaviors attend to each other in every layer (ICDE 2021).

    m_k = A_k H of the other side,    a_k = relu(m_k V_k + b_k) in R^8
    t_k = sum_c a_kc m_k O_c,         t' = attention over behaviors of t
    H'  = sum_k softmax_k(v relu(t'_k G + g)) t'_k
    Z   = relu([P || H^1 || H^2 || ...] F + f),  the H^l with rows of length 1

A_k is not normalized, weights belong to a layer and a side, F to both sides. P
are embeddings that no graph walks: they are the second half of the columns of
the embeddings, so `model.width` is 2 D here, 32 for the 16 of the authors. Its
own head is `mlp_product` under the hinge loss. Equations as in the authors'
program (akaxlh/GNMR), where attention has no residual and divides by the width
of a head, not its root.

Departure: the program adds a bias before the last softmax, the same for all
behaviors, which changes neither result nor gradient. It is left out.
Departure: the program leaves P out of the penalty; here it is part of the
embeddings, whose penalty is one.
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import layers

_CHANNELS = 8
_HEADS = 2
_TINY = 1e-6


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'layers': L times one for each side, 'out'}.

  Raises:
    types.UserError: a width that is not twice a multiple of the heads, or more
      than one number of layers.
  """
  width, options = halved(config, sizes, 2 * _HEADS), config.fusion
  depth, walk = cascade.depth(options), cascade.walk(options)
  number, num_users = sizes.num_behaviors, sizes.num_users

  def init(key):
    out, *keys = jax.random.split(key, 1 + 2 * depth)
    sides = [_init_side(own, number, width) for own in keys]
    return {
      'layers': list(zip(sides[::2], sides[1::2], strict=True)),
      'out': layers.init_dense(out, (depth + 1) * width, width),
    }

  def encode(net, nodes, graphs, *, key=None):
    del key  # no dropout
    walked, predicting = jnp.split(nodes, 2, axis=1)
    tables, last = [predicting], walked
    for of_users, of_items in net['layers']:
      messages = [jnp.split(walk(g, last), [num_users]) for g in graphs]
      users, items = zip(*messages, strict=True)
      last = jnp.concatenate([_side(of_users, users), _side(of_items, items)])
      tables.append(_shorten(last))
    together = jnp.concatenate(tables, axis=1)
    out = jax.nn.relu(layers.dense(net['out'], together))
    return types.Fused((out,) * number)

  return types.Fusion(
    init=init,
    context=lambda edges: cascade.own_graphs(edges, 'none'),
    encode=encode,
    width=width,
    merged=True,
    reads=('num_layers', 'product_dtype'),
  )


def halved(
  config: config_lib.Config, sizes: types.NodeSizes, multiple: int = 2
) -> int:
  """Width of each of two tables in the columns of the embeddings.

  Raises:
    types.UserError: a width that is no multiple of `multiple`.
  """
  if sizes.width % multiple:
    raise types.UserError(
      f'model.width is {sizes.width}, but fusion.name={config.fusion.name}'
      f' makes two tables of its columns; give a multiple of {multiple}'
    )
  return sizes.width // 2


def _shorten(x):
  """Rows of length 1; those far below 1e-3 keep some of their length."""
  squared = jnp.sum(x * x, axis=1, keepdims=True)
  return x / (_TINY + jnp.sqrt(_TINY + squared))


def _init_side(key, number, width):
  keys = jax.random.split(key, 5)
  xavier = jax.nn.initializers.glorot_uniform()
  transform = xavier(keys[1], (_CHANNELS, width * width), jnp.float32)
  channels = [
    layers.init_dense(jax.random.fold_in(keys[0], k), width, _CHANNELS)
    for k in range(number)
  ]
  draw = lambda key: xavier(key, (width, width), jnp.float32)
  query, of_key, value = map(draw, jax.random.split(keys[2], 3))
  return {
    'channels': channels,
    'transform': transform.reshape(_CHANNELS, width, width),
    'attention': {'query': query, 'key': of_key, 'value': value},
    'gate': layers.init_dense(keys[3], width, width // 2),
    'read': layers.init_dense(keys[4], width // 2, 1, bias=False),
  }


def _side(net, messages):
  """The next table of the users or of the items, f32[N, D]."""
  transformed = [
    _transform(layers.dense(channel, message), message, net['transform'])
    for channel, message in zip(net['channels'], messages, strict=True)
  ]
  attended = _attend(net['attention'], jnp.stack(transformed, axis=1))
  hidden = jax.nn.relu(layers.dense(net['gate'], attended))
  share = jax.nn.softmax(layers.dense(net['read'], hidden), axis=1)
  return jnp.sum(share * attended, axis=1)


def _transform(logits, message, matrices):
  """sum_c a_c m O_c; no matrix of a node is ever made."""
  gates = jax.nn.relu(logits)
  return sum(gates[:, [c]] * (message @ matrices[c]) for c in range(_CHANNELS))


def _attend(net, x):
  """Attention over behaviors, f32[N, K, D]."""
  split = lambda y: y.reshape(*y.shape[:2], _HEADS, -1)
  query, key, value = (split(x @ net[n]) for n in ('query', 'key', 'value'))
  logits = jnp.einsum('nkhd,njhd->nkjh', query, key) / query.shape[-1]
  share = jax.nn.softmax(logits, axis=2)
  return jnp.einsum('nkjh,njhd->nkhd', share, value).reshape(x.shape)
