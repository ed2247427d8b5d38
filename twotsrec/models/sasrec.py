"""Self-attention over the history, after Kang and McAuley 2018 (SASRec).

The click-through variant of PIN's authors; `sasrec_original` is the one of the
paper's own code.
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import layers
from twotsrec.models import towers
from twotsrec.ops import rows as rows_ops
from twotsrec.ops import sequence


def check_heads(options: config.ModelConfig) -> None:
  """Raises UserError unless the heads share the width evenly."""
  if options.width % options.num_heads:
    raise types.UserError(
      f'model.num_heads is {options.num_heads}, but it must divide '
      f'model.width, which is {options.width}'
    )


def project_heads(
  params: dict, x: jax.Array, memory: jax.Array, options: config.ModelConfig
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Query of x, key and value of memory, f32[B, L, heads, D / heads] each."""
  dtype, shape = jnp.dtype(options.compute_dtype), (options.num_heads, -1)

  def of(name, x):
    return layers.dense(params[name], x, dtype).reshape(*x.shape[:-1], *shape)

  return of('query', x), of('key', memory), of('value', memory)


def merge_heads(x: jax.Array) -> jax.Array:
  """f32[B, L, heads, D / heads] -> f32[B, L, D]."""
  return x.reshape(*x.shape[:-2], -1)


def init_layer(key: jax.Array, width: int) -> dict:
  """Parameters of a block of a transformer with a feed layer of 4 D."""
  keys = jax.random.split(key, 6)
  names = ('query', 'key', 'value', 'output')
  attention = {
    name: layers.init_dense(k, width, width)
    for name, k in zip(names, keys[:4], strict=True)
  }
  return {
    'attention': attention,
    'attention_norm': layers.init_layer_norm(width),
    'up': layers.init_dense(keys[4], width, 4 * width),
    'down': layers.init_dense(keys[5], 4 * width, width),
    'feed_norm': layers.init_layer_norm(width),
  }


def _post_norm_layer(params, x, memory, mask, causal, options):
  """y = LN(x + MHA(x)), LN(y + FF(y)); x f32[B, Q, D], memory f32[B, L, D]."""
  dtype = jnp.dtype(options.compute_dtype)
  heads = project_heads(params['attention'], x, memory, options)
  seen = sequence.attention(*heads, mask, causal)
  seen = layers.dense(params['attention']['output'], merge_heads(seen), dtype)
  x = layers.layer_norm(params['attention_norm'], x + seen)
  hidden = jax.nn.relu(layers.dense(params['up'], x, dtype))
  fed = layers.dense(params['down'], hidden, dtype)
  return layers.layer_norm(params['feed_norm'], x + fed)


def _init(key, sizes, options):
  width = options.width
  keys = jax.random.split(key, 6)
  layer_keys = jax.random.split(keys[4], options.num_layers)
  extractor = {
    'target': towers.init_tower(keys[2], width),
    'history': layers.init_dense(keys[3], width, width),
    'layers': [init_layer(k, width) for k in layer_keys],
  }
  net = {
    'embed': {'position': layers.init_positions(keys[1], sizes, width)},
    'extractor': extractor,
    'classifier': towers.init_tower(keys[5], width),
  }
  item = layers.init_item_table(keys[0], sizes, width)
  return types.Params({'item': item}, net)


def make(options: config.ModelConfig) -> types.Model:
  """A transformer encoder with normalization after each part.

      x_l = tanh(Dense_s(e_l + Pos_l)),   o = transformer(x),   state = o_h
      score = MLP(state) . MLP(e_t)

  `causal` makes a position see earlier ones only, and so gives
  `encode_positions`.

  The state, f32[B, D], is where a plugin acts. An empty history reads the
  first position, where everything is masked: a learned constant.

  Departure: keys of padding are masked, because padding is not a history.
  `authors_quirk` is the authors' form without a mask, where the state depends
  on how much padding there is.
  Departure: the authors size the position table by the item vocabulary; we by
  the history length, since no other row is ever read.
  """
  check_heads(options)
  causal, dtype = options.causal, jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    return _init(key, sizes, options)

  def embed(net, rows, inputs):
    history = inputs['history']
    vectors = rows_ops.mask_padding(rows['embedding'], history)
    vectors = vectors + net['position'][: history.shape[1]]
    if options.authors_quirk:
      return vectors
    return rows_ops.mask_padding(vectors, history)

  def encode(extractor, embedded, mask, only_last):
    x = jnp.tanh(layers.dense(extractor['history'], embedded, dtype))
    keys = None if options.authors_quirk else mask
    *body, head = extractor['layers']
    for layer in body:
      x = _post_norm_layer(layer, x, x, keys, causal, options)
    if not only_last:
      return _post_norm_layer(head, x, x, keys, causal, options)
    # Only one position of the last layer is read, so only it is computed. It
    # is the last real item (or the first place, if there is none): to it, a
    # causal mask shows what the padding mask does.
    query = sequence.take_last(x, mask)[:, None]
    if causal:
      keys = mask.at[:, 0].set(True) if options.authors_quirk else mask
    state = _post_norm_layer(head, query, x, keys, False, options)
    return state[:, 0]

  return towers.around(init, embed, encode, dtype, causal)
