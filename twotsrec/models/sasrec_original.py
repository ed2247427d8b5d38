"""SASRec as in the code of its paper (Kang and McAuley 2018).

      x = sqrt(D) E[s] + Pos;   per block: x = MHA(q=LN(x), k=v=x) + LN(x),
      x = FF(LN(x)) + LN(x);   after the last block LN;   score = x . E[t]

Attention is causal and has no layer after its heads; FF is two D -> D layers
with relu between them; both residuals start from the normalized input.
Dropout acts on x at the start, on the attention weights and on both layers of
FF.

Departure: the original pads on the left and we on the right. Positions are
therefore counted from the end: the l-th of h items has position L - h + l, the
place where left padding would put it, L being the rows of the position table.
All else is the same, since padding is never attended to; a test holds it
against a left-padded one.
"""

import chex
import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import layers
from twotsrec.models import sasrec
from twotsrec.models import stages
from twotsrec.models import towers
from twotsrec.ops import rows as rows_ops
from twotsrec.ops import sequence

_EPSILON = 1e-8  # of the original's layer normalization


def positions_from_end(history: jax.Array, rows: int) -> jax.Array:
  """Row of the position table for every item, i32[B, L]; 0 for padding."""
  mask = history > 0
  lengths = jnp.sum(mask, axis=-1, keepdims=True, dtype=jnp.int32)
  index = rows - lengths + jnp.arange(history.shape[1], dtype=jnp.int32)
  return jnp.where(mask, index, 0)


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

  def init(key, context, sizes):
    del context
    item_key, position_key, block_key = jax.random.split(key, 3)
    block_keys = jax.random.split(block_key, options.num_layers)
    extractor = {
      'blocks': [_init_block(k, width) for k in block_keys],
      'norm': layers.init_layer_norm(width),
    }
    position = layers.init_positions(position_key, sizes, width)
    net = {
      'embed': {'position': position},
      'extractor': extractor,
      'classifier': {},
    }
    item = layers.init_item_table(item_key, sizes, width)
    return types.Params({'item': item}, net)

  def embed(net, rows, inputs):
    history = inputs['history']
    table = net['position']
    chex.assert_axis_dimension_lteq(history, 1, table.shape[0])
    index = positions_from_end(history, table.shape[0])
    positions = rows_ops.gather({'position': table}, index)['position']
    vectors = rows['embedding'] * width**0.5 + positions
    return rows_ops.mask_padding(vectors, history)

  def summarize_positions(extractor, embedded, mask, *, key=None):
    blocks = extractor['blocks']
    shape = (len(blocks), 3)
    first, rest = None, [(None, None, None)] * len(blocks)
    if key is not None:
      first, rest_key = jax.random.split(key)
      rest = jax.random.split(rest_key, shape)
    x = layers.dropout(first, embedded, options.dropout)
    for block, keys in zip(blocks, rest, strict=True):
      x = _attend(block, x, keys[0], options)
      x = _feed(block, x, keys[1:], options)
      x = jnp.where(mask[..., None], x, 0.0)
    return layers.layer_norm(extractor['norm'], x, _EPSILON)

  def summarize(extractor, embedded, mask, *, key=None):
    states = summarize_positions(extractor, embedded, mask, key=key)
    return sequence.take_last(states, mask)

  def extract(extractor, state, candidate_rows):
    del extractor
    return types.Features(plugged=state, fixed=candidate_rows['embedding'])

  def classify(classifier, features, candidate_rows):
    del classifier, candidate_rows
    return towers.inner_products(features.plugged, features.fixed)

  return stages.from_stages(
    types.Stages(init, embed, summarize, extract, classify, summarize_positions)
  )
