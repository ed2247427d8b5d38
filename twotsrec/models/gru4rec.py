"""GRU4Rec: in the click-through form of PIN's authors, and as a product.

Departure from Hidasi et al. 2016: only the encoder is theirs, in PIN's click
model, because PIN compares encoders. The original is session-parallel and
trains with a ranking loss over the batch's items (BPR-max).
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import din
from twotsrec.models import inner_product
from twotsrec.models import layers
from twotsrec.models import towers
from twotsrec.ops import sequence


def make(options: config.ModelConfig) -> types.Model:
  """A recurrent encoder between two towers.

      k_l = tanh(Dense_s(e_l)),   state = GRU(k_1 .. k_h)
      score = MLP(state) . MLP(e_t)

  The state, f32[B, D], is where a plugin acts; it is 0 for an empty history.
  """
  width = options.width
  dtype = jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    keys = jax.random.split(key, 5)
    extractor = {
      'target': towers.init_tower(keys[1], width),
      'history': layers.init_dense(keys[2], width, width),
      'gru': layers.init_gru(keys[3], width, width),
    }
    classifier = towers.init_tower(keys[4], width)
    net = {'embed': {}, 'extractor': extractor, 'classifier': classifier}
    item = layers.init_item_table(keys[0], sizes, width)
    return types.Params({'item': item}, net)

  def encode(extractor, embedded, mask, only_last):
    hidden = jnp.tanh(layers.dense(extractor['history'], embedded, dtype))
    last, states = sequence.gru(extractor['gru'], hidden, mask, dtype)
    return last if only_last else states

  return towers.around(init, din.embed, encode, dtype)


def make_product(options: config.ModelConfig) -> types.Model:
  """Recurrent layers whose state, through one layer, meets the item's row.

      x = E[s],   state = W GRU(..GRU(x)) + b,   score = state . E[t]

  With a softmax over many items this is the GRU4Rec that others compare with
  (Klenitskiy and Vasilev 2023). The state of an empty history is b.
  """
  width, dtype = options.width, jnp.dtype(options.compute_dtype)

  def init(key, length):
    del length
    output_key, *keys = jax.random.split(key, options.num_layers + 1)
    return {
      'layers': [layers.init_gru(k, width, width) for k in keys],
      'output': layers.init_dense(output_key, width, width),
    }

  def encode(extractor, x, mask, key):
    cells = extractor['layers']
    keys = inner_product.keys_of(key, (len(cells), 1))
    for cell, (own,) in zip(cells, keys, strict=True):
      _, x = sequence.gru(cell, x, mask, dtype)
      x = layers.dropout(own, x, options.dropout)
    return layers.dense(extractor['output'], x, dtype)

  return inner_product.around(init, encode, options, scale=1.0, positions=False)
