"""SASRec as in the code of its paper (Kang and McAuley 2018).

      x = sqrt(D) E[s] + Pos;   per block: x = MHA(q=LN(x), k=v=x) + LN(x),
      x = FF(LN(x)) + LN(x);   after the last block LN;   score = x . E[t]

Attention is causal and has no layer after its heads; FF is two D -> D layers
with relu between them; both residuals start from the normalized input.
Dropout acts on x at the start, on the attention weights and on both layers of
FF.

Departure: the original pads on the left and we on the right, with positions
counted from the end (`inner_product`). All else is the same, since padding is
never attended to; a test holds it against a left-padded one.
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import inner_product
from twotsrec.models import layers
from twotsrec.models import sasrec
from twotsrec.ops import sequence

_EPSILON = 1e-8  # of the original's layer normalization


def _init_block(key: jax.Array, width: int) -> dict:
  names = ('query', 'key', 'value', 'feed_in', 'feed_out')
  keys = jax.random.split(key, len(names))
  dense = {
    name: layers.init_dense(k, width, width)
    for name, k in zip(names, keys, strict=True)
  }
  norms = ('attention_norm', 'feed_norm')
  return dense | {name: layers.init_layer_norm(width) for name in norms}


def _attend(params, x, key, options):
  """MHA(q=LN(x), k=v=x) + LN(x), f32[B, L, D]."""
  normalized = layers.layer_norm(params['attention_norm'], x, _EPSILON)
  heads = sasrec.project_heads(params, normalized, x, options)

  def drop(number, weights):
    block_key = None if key is None else jax.random.fold_in(key, number)
    return layers.dropout(block_key, weights, options.dropout)

  seen = sequence.causal_attention(*heads, drop)
  return sasrec.merge_heads(seen) + normalized


def _feed(params, x, keys, options):
  """FF(LN(x)) + LN(x), f32[B, L, D]."""
  dtype = jnp.dtype(options.compute_dtype)
  normalized = layers.layer_norm(params['feed_norm'], x, _EPSILON)
  hidden = jax.nn.relu(layers.dense(params['feed_in'], normalized, dtype))
  hidden = layers.dropout(keys[0], hidden, options.dropout)
  fed = layers.dense(params['feed_out'], hidden, dtype)
  return layers.dropout(keys[1], fed, options.dropout) + normalized


def make(options: config.ModelConfig) -> types.Model:
  """The original SASRec; the score is an inner product with the item's row.

  The state x, f32[B, D] or f32[B, L, D], is where a plugin acts. With a key,
  dropout is on.
  """
  sasrec.check_heads(options)
  width = options.width

  def init(key, length):
    del length
    block_keys = jax.random.split(key, options.num_layers)
    return {
      'blocks': [_init_block(k, width) for k in block_keys],
      'norm': layers.init_layer_norm(width),
    }

  def encode(extractor, x, mask, key):
    blocks = extractor['blocks']
    keys = inner_product.keys_of(key, (len(blocks), 3))
    for block, own in zip(blocks, keys, strict=True):
      x = _attend(block, x, own[0], options)
      x = _feed(block, x, own[1:], options)
      x = jnp.where(mask[..., None], x, 0.0)
    return layers.layer_norm(extractor['norm'], x, _EPSILON)

  return inner_product.around(init, encode, options)
