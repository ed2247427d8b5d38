"""BERT4Rec: a history read in both directions fills in hidden items.

      x = LN(E[s] + Pos),   per block: x = LN(x + MHA(x)), x = LN(x + FF(x))
      state = LN(gelu(x W + b)),   score = state . E[t] + b_t

Sun et al. 2019. FF is D -> 4 D gelu -> D. It is trained with
train.positions=masked, where a hidden item is replaced by a vector of its own;
to rank, such a vector is appended to the history, and its state is read.
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import inner_product
from twotsrec.models import layers
from twotsrec.models import sasrec
from twotsrec.ops import sequence


def _block(params, x, mask, keys, options):
  """One block, f32[B, L, D]; keys of dropout on weights and both parts."""
  dtype, drop = jnp.dtype(options.compute_dtype), options.dropout
  heads = sasrec.project_heads(params['attention'], x, x, options)
  drop_weights = lambda weights: layers.dropout(keys[0], weights, drop)
  seen = sequence.attention(*heads, mask, drop=drop_weights)
  seen = layers.dense(
    params['attention']['output'], sasrec.merge_heads(seen), dtype
  )
  x = x + layers.dropout(keys[1], seen, drop)
  x = layers.layer_norm(params['attention_norm'], x)
  hidden = jax.nn.gelu(layers.dense(params['up'], x, dtype))
  fed = layers.dense(params['down'], hidden, dtype)
  x = x + layers.dropout(keys[2], fed, drop)
  return layers.layer_norm(params['feed_norm'], x)


def make(options: config.ModelConfig) -> types.Model:
  """BERT4Rec; see `types.Model.cloze` for what is hidden."""
  sasrec.check_heads(options)
  width, dtype = options.width, jnp.dtype(options.compute_dtype)

  def init(key, length):
    del length
    output_key, *block_keys = jax.random.split(key, options.num_layers + 1)
    return {
      'blocks': [sasrec.init_layer(k, width) for k in block_keys],
      'output': layers.init_dense(output_key, width, width),
      'output_norm': layers.init_layer_norm(width),
    }

  def encode(extractor, x, mask, key):
    blocks = extractor['blocks']
    keys = inner_product.keys_of(key, (len(blocks), 3))
    for block, own in zip(blocks, keys, strict=True):
      x = _block(block, x, mask, own, options)
    state = jax.nn.gelu(layers.dense(extractor['output'], x, dtype))
    return layers.layer_norm(extractor['output_norm'], state)

  return inner_product.around(init, encode, options, scale=1.0, cloze=True)
