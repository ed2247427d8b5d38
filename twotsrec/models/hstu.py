"""HSTU, sequential transduction units (Zhai et al. 2024, arXiv 2402.17152).

      u, v, q, k = silu(LN(x) W),   a = silu(q k' + r) / L
      x = x + (LN(a v) * u) W_o

Weights of attention are not normalized over the history: how often something
was liked counts too. r is a number for each distance between two positions.

Departure: the authors add a number for each bucket of the time between two
events; a history here has an order and no times. States and items are not cut
to length 1, and the scores have no temperature, since losses with either are
not the model's part.
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import inner_product
from twotsrec.models import layers
from twotsrec.models import sasrec


def _init_unit(key: jax.Array, width: int, length: int) -> dict:
  first, second = jax.random.split(key)
  return {
    'norm': layers.init_layer_norm(width),
    'uvqk': layers.init_dense(first, width, 4 * width, bias=False),
    'distance': {'bias': jnp.zeros(length)},
    'seen_norm': layers.init_layer_norm(width),
    'output': layers.init_dense(second, width, width),
  }


def _unit(params, x, mask, key, options):
  """One unit, f32[B, L, D]; mask bool[B, L]."""
  dtype, heads = jnp.dtype(options.compute_dtype), options.num_heads
  normalized = layers.layer_norm(params['norm'], x)
  mixed = jax.nn.silu(layers.dense(params['uvqk'], normalized, dtype))
  gate, *parts = jnp.split(mixed, 4, axis=-1)
  value, query, keys = (y.reshape(*y.shape[:-1], heads, -1) for y in parts)
  distances = params['distance']['bias']
  ago = jnp.arange(x.shape[1])[:, None] - jnp.arange(x.shape[1])
  logits = jnp.einsum('bqhd,blhd->bhql', query, keys).astype(jnp.float32)
  logits += distances[jnp.maximum(ago, 0)]
  visible = (ago >= 0) & mask[:, None, None, :]
  weights = jnp.where(visible, jax.nn.silu(logits), 0.0) / len(distances)
  seen = jnp.einsum('bhql,blhd->bqhd', weights.astype(value.dtype), value)
  seen = layers.layer_norm(params['seen_norm'], sasrec.merge_heads(seen))
  seen = layers.dropout(key, seen * gate, options.dropout)
  return x + layers.dense(params['output'], seen, dtype)


def make(options: config.ModelConfig) -> types.Model:
  """HSTU over a history; the score is a product with the item's row."""
  sasrec.check_heads(options)
  width = options.width

  def init(key, length):
    keys = jax.random.split(key, options.num_layers)
    return {
      'units': [_init_unit(k, width, length) for k in keys],
      'norm': layers.init_layer_norm(width),
    }

  def encode(extractor, x, mask, key):
    units = extractor['units']
    keys = inner_product.keys_of(key, (len(units), 1))
    for unit, (own,) in zip(units, keys, strict=True):
      x = _unit(unit, x, mask, own, options)
    return layers.layer_norm(extractor['norm'], x)

  return inner_product.around(init, encode, options)
