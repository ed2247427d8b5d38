"""Layers shared by the sequence models: Flax Linen as pure functions.

A layer's parameters are a plain dictionary, so that a plugin or an aggregator
is `jax.tree.map` over them. Weights start Xavier-uniform and biases at 0 (the
authors' code of PIN does the same, embedding tables included).
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from twotsrec import types

_TINY = 1e-24  # of a squared length
_xavier = nn.initializers.xavier_uniform()


def init_dense(
  key: jax.Array, inputs: int, outputs: int, bias: bool = True
) -> dict[str, jax.Array]:
  """Parameters of `dense`: kernel f32[inputs, outputs], bias f32[outputs]."""
  layer = nn.Dense(outputs, use_bias=bias, kernel_init=_xavier)
  variables: Any = layer.init(key, jnp.zeros((1, inputs)))
  return variables['params']


def dense(
  params: dict[str, jax.Array], x: jax.Array, dtype: DTypeLike = jnp.float32
) -> jax.Array:
  """x W + b over the last axis, computed and returned in `dtype`."""
  kernel = params['kernel']
  layer = nn.Dense(kernel.shape[-1], use_bias=False, dtype=dtype)
  # With the leading axes as one, the gradient of the kernel is one product of
  # matrices; with more, XLA copies a transposed operand for it first.
  rows = x.reshape(-1, x.shape[-1])
  outputs: Any = layer.apply({'params': {'kernel': kernel}}, rows)
  outputs = outputs.reshape(*x.shape[:-1], kernel.shape[-1])
  return outputs + params['bias'].astype(dtype) if 'bias' in params else outputs


def init_mlp(key: jax.Array, widths: tuple[int, ...]) -> dict[str, Any]:
  """Parameters of `mlp`, one layer between each two neighbouring widths."""
  keys = jax.random.split(key, len(widths) - 1)
  pairs = zip(keys, widths[:-1], widths[1:], strict=True)
  return {f'dense_{i}': init_dense(*pair) for i, pair in enumerate(pairs)}


def mlp(
  params: dict[str, Any],
  x: jax.Array,
  activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
  dtype: DTypeLike = jnp.float32,
) -> jax.Array:
  """Dense layers with an activation between them; the last one is linear."""
  for i in range(len(params) - 1):
    x = activation(dense(params[f'dense_{i}'], x, dtype))
  return dense(params[f'dense_{len(params) - 1}'], x, dtype)


def init_gru(key: jax.Array, inputs: int, width: int) -> dict[str, Any]:
  """Parameters of `ops.sequence.gru`.

  The three gates are one matrix, as in torch, also for the Xavier limit.
  """
  input_key, recurrent_key = jax.random.split(key)
  return {
    'input': init_dense(input_key, inputs, 3 * width),
    'recurrent': init_dense(recurrent_key, width, 3 * width),
  }


def init_layer_norm(width: int) -> dict[str, jax.Array]:
  """Parameters of `layer_norm`: scale 1 and bias 0, f32[width]."""
  return {'scale': jnp.ones(width), 'bias': jnp.zeros(width)}


def layer_norm(
  params: dict[str, jax.Array], x: jax.Array, epsilon: float = 1e-5
) -> jax.Array:
  """Layer normalization of the last axis, f32 whatever the input."""
  # The two-pass variance: the fast one loses digits for large means.
  layer = nn.LayerNorm(
    epsilon=epsilon, dtype=jnp.float32, use_fast_variance=False
  )
  normalized: Any = layer.apply({'params': params}, x)
  return normalized


def init_item_table(
  key: jax.Array, sizes: types.Sizes, width: int
) -> dict[str, jax.Array]:
  """Item embeddings with their padding row, {'embedding': f32[I + 1, D]}."""
  shape = (sizes.num_items + 1, width)
  return {'embedding': _xavier(key, shape, jnp.float32)}


def init_positions(key: jax.Array, sizes: types.Sizes, width: int) -> jax.Array:
  """Position embeddings, f32[L, D]."""
  shape = (sizes.history_length, width)
  return _xavier(key, shape, jnp.float32)


def init_hidden(key: jax.Array, width: int) -> jax.Array:
  """The vector of an item that is hidden, f32[1, D]."""
  return _xavier(key, (1, width), jnp.float32)


def products(x: jax.Array, candidates: jax.Array) -> jax.Array:
  """Inner products of f32[B, D] and f32[C, D] or f32[B, C, D], f32[B, C]."""
  if candidates.ndim == 2:
    return x @ candidates.T
  return jnp.einsum('bd,bcd->bc', x, candidates)


def unit_rows(x: jax.Array) -> jax.Array:
  """Rows of length 1, f32[n, D]; a row of zeros stays one, without gradient."""
  squared = jnp.sum(x * x, axis=1, keepdims=True)
  some = squared > _TINY
  # The inner `where` keeps a division by 0 out of the gradient.
  return jnp.where(some, x / jnp.sqrt(jnp.where(some, squared, 1.0)), 0.0)


def dropout(key: jax.Array | None, x: jax.Array, rate: float) -> jax.Array:
  """Zero a share of the entries and scale the rest; no key, no change.

  One draw of 32 random bits serves two entries, which halves the cost of the
  generator; the rate is so rounded to a multiple of 2^-16.

  Args:
    key: random key, or None in evaluation.
    x: f32[...].
    rate: share that becomes 0, in [0, 1).
  """
  if key is None or rate == 0.0:
    return x
  chex.assert_scalar_in(rate, 0.0, 1.0, included=False)
  threshold = round(rate * 2**16)
  draws = jax.random.bits(key, ((x.size + 1) // 2,), jnp.uint32)
  bits = jax.lax.bitcast_convert_type(draws, jnp.uint16)
  keep = bits.reshape(-1)[: x.size].reshape(x.shape) >= threshold
  return jnp.where(keep, x * (2**16 / (2**16 - threshold)), 0.0)
