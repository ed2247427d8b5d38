"""LiGR blocks: attention and a feed layer, each behind a gate (eSASRec).

      x = x + sigmoid(x W_a + a) * MHA(LN(x))
      x = x + sigmoid(x W_f + f) * FF(LN(x)),   FF(y) = (silu(y V) * y U) W

Borisyuk et al. 2025 (LiGR, arXiv 2502.03417) have these blocks; with SASRec's
task and a softmax over sampled items they are eSASRec (RecSys 2025). Attention
is causal, and a layer normalization ends it as in SASRec.
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import inner_product
from twotsrec.models import layers
from twotsrec.models import sasrec
from twotsrec.ops import sequence

_WIDER = 4  # hidden units of the feed layer over D


def _init_block(key: jax.Array, width: int) -> dict:
  sizes = {
    'query': (width, width),
    'key': (width, width),
    'value': (width, width),
    'output': (width, width),
    'attention_gate': (width, width),
    'gate': (width, _WIDER * width),
    'up': (width, _WIDER * width),
    'down': (_WIDER * width, width),
    'feed_gate': (width, width),
  }
  keys = jax.random.split(key, len(sizes))
  dense = {
    name: layers.init_dense(k, *sizes[name])
    for name, k in zip(sizes, keys, strict=True)
  }
  norms = ('attention_norm', 'feed_norm')
  return dense | {name: layers.init_layer_norm(width) for name in norms}


def _block(params, x, keys, options):
  """One block, f32[B, L, D]; keys of dropout on weights, both parts and FF."""
  dtype, drop = jnp.dtype(options.compute_dtype), options.dropout
  dense = lambda name, x: layers.dense(params[name], x, dtype)

  def drop_weights(number, weights):
    key = None if keys[0] is None else jax.random.fold_in(keys[0], number)
    return layers.dropout(key, weights, drop)

  y = layers.layer_norm(params['attention_norm'], x)
  heads = sasrec.project_heads(params, y, y, options)
  seen = sequence.causal_attention(*heads, drop_weights)
  seen = dense('output', sasrec.merge_heads(seen))
  gate = jax.nn.sigmoid(dense('attention_gate', x))
  x = x + gate * layers.dropout(keys[1], seen, drop)
  y = layers.layer_norm(params['feed_norm'], x)
  hidden = jax.nn.silu(dense('gate', y)) * dense('up', y)
  fed = dense('down', layers.dropout(keys[2], hidden, drop))
  gate = jax.nn.sigmoid(dense('feed_gate', x))
  return x + gate * layers.dropout(keys[3], fed, drop)


def make(options: config.ModelConfig) -> types.Model:
  """LiGR blocks over a history; the score is a product with the item's row."""
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
    del mask  # padding comes after all items
    blocks = extractor['blocks']
    keys = inner_product.keys_of(key, (len(blocks), 4))
    for block, own in zip(blocks, keys, strict=True):
      x = _block(block, x, own, options)
    return layers.layer_norm(extractor['norm'], x)

  return inner_product.around(init, encode, options, scale=1.0)
