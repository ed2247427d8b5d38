"""Sequence encoders whose score is an inner product with the item's row.

      x = c E[s] + Pos,   state = encoder(x),   score = state . E[t] (+ b_t)

The encoders are SASRec as published, HSTU, LiGR, BERT4Rec and GRU4Rec; a file
each has the blocks, and what they share stands here. Histories are padded on
the right, and positions are counted from the end: the l-th of h items has
position L - h + l, the place where padding on the left would put it, L being
the rows of the position table.
"""

from collections.abc import Callable
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import layers
from twotsrec.models import stages
from twotsrec.models import towers
from twotsrec.ops import rows as rows_ops
from twotsrec.ops import sequence


def positions_from_end(history: jax.Array, rows: int) -> jax.Array:
  """Row of the position table for every item, i32[B, L]; 0 for padding."""
  mask = history > 0
  lengths = jnp.sum(mask, axis=-1, keepdims=True, dtype=jnp.int32)
  index = rows - lengths + jnp.arange(history.shape[1], dtype=jnp.int32)
  return jnp.where(mask, index, 0)


def keys_of(key: jax.Array | None, shape: tuple[int, ...]) -> Any:
  """Keys of dropout for all blocks; without a key, None for each."""
  if key is not None:
    return jax.random.split(key, shape)
  return [[None] * shape[1] for _ in range(shape[0])]


def _init_embedding(key, rows, width, cloze, positions):
  """What embeds a history, besides the items: {name: parameters}."""
  made = {}
  if positions:
    made['position'] = layers.init_positions(key, rows, width)
  if cloze:
    made['hidden'] = layers.init_hidden(jax.random.fold_in(key, 1), width)
    made['norm'] = layers.init_layer_norm(width)
  return made


def _embed(scale, net, rows, inputs):
  """c E[s] and what there is of positions, hidden items and a norm."""
  history, x = inputs['history'], rows['embedding'] * scale
  if inputs.get('masked') is not None:
    x = jnp.where(inputs['masked'][..., None], net['hidden'], x)
  if 'position' in net:
    table = net['position']
    chex.assert_axis_dimension_lteq(history, 1, table.shape[0])
    index = positions_from_end(history, table.shape[0])
    x += rows_ops.gather({'position': table}, index)['position']
  x = layers.layer_norm(net['norm'], x) if 'norm' in net else x
  return rows_ops.mask_padding(x, history)


def _extract(extractor, state, candidate_rows):
  del extractor
  return types.Features(plugged=state, fixed=candidate_rows['embedding'])


def _classify(classifier, features, candidate_rows):
  del classifier
  scores = towers.inner_products(features.plugged, features.fixed)
  bias = candidate_rows.get('bias')
  return scores if bias is None else scores + bias[..., 0]


def _factors(classifier, features, candidate_rows):
  del classifier
  state, items = features.plugged, features.fixed
  bias = candidate_rows.get('bias')
  if bias is None:
    return state, items
  one = jnp.ones_like(state[..., :1])
  beside = lambda *parts: jnp.concatenate(parts, axis=-1)
  return beside(state, one), beside(items, bias)


def around(
  init_extractor: Callable[[jax.Array, int], dict],
  encode: Callable[..., jax.Array],
  options: config.ModelConfig,
  scale: float | None = None,
  cloze: bool = False,
  positions: bool = True,
) -> types.Model:
  """The model of an encoder; a plugin acts on its state.

  Args:
    init_extractor: (key, L) -> parameters of the encoder.
    encode: (extractor, x f32[B, L, D], mask bool[B, L], key or None) -> states
      f32[B, L, D]. A state sees its position and earlier ones, or all with
      `cloze`.
    options: width and dropout, which acts on x first.
    scale: c; None for sqrt(D), as in SASRec.
    cloze: as in `types.Model`. A vector stands for hidden items, items have a
      bias, what is embedded is normalized, and there is a position more, for
      the hidden item that comes next.
    positions: whether the place of an item is embedded.
  """
  width = options.width
  scale = width**0.5 if scale is None else scale

  def init(key, context, sizes):
    del context
    item_key, position_key, block_key = jax.random.split(key, 3)
    rows = sizes._replace(history_length=sizes.history_length + cloze)
    item = layers.init_item_table(item_key, sizes, width)
    if cloze:
      item['bias'] = jnp.zeros((sizes.num_items + 1, 1))
    net = {
      'embed': _init_embedding(position_key, rows, width, cloze, positions),
      'extractor': init_extractor(block_key, rows.history_length),
      'classifier': {},
    }
    return types.Params({'item': item}, net)

  def summarize_positions(extractor, embedded, mask, *, key=None):
    first, rest = (None, None) if key is None else jax.random.split(key)
    x = layers.dropout(first, embedded, options.dropout)
    return encode(extractor, x, mask, rest)

  def summarize(extractor, embedded, mask, *, key=None):
    states = summarize_positions(extractor, embedded, mask, key=key)
    return sequence.take_last(states, mask)

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=functools.partial(_embed, scale),
      summarize=summarize,
      extract=_extract,
      classify=_classify,
      summarize_positions=summarize_positions,
      cloze=cloze,
      factors=_factors,
    )
  )
