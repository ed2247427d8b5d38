"""Popularity: every user gets the most interacted items. The baseline."""

import jax.numpy as jnp

from twotsrec import config
from twotsrec import types


def make(options: config.ModelConfig) -> types.Model:
  """Scores an item by its count; nothing is trained.

  The counts, f32[I + 1] with 0 for padding, are given to `init` in
  context['item_counts'] and kept as {'item': {'popularity': f32[I + 1, 1]}}.
  """
  del options

  def init(key, context, sizes):
    del key
    counts = jnp.asarray(context['item_counts'], jnp.float32)
    popularity = counts.reshape(sizes.num_items + 1, 1)
    return types.Params({'item': {'popularity': popularity}}, {})

  def encode(net, rows, context, inputs, *, key=None):
    del net, rows, context, key  # nothing about the user matters
    return jnp.zeros(inputs['history'].shape[:1], jnp.float32)

  def encode_positions(net, rows, context, inputs, *, key=None):
    del net, rows, context, key
    return jnp.zeros(inputs['history'].shape, jnp.float32)

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return encoded[..., None] + candidate_rows['popularity'][..., 0]

  return types.Model(init, encode, score, encode_positions)
