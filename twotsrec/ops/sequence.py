"""Recurrence and attention over padded histories, as pure functions.

A history is right-padded: `mask` is bool[B, L], True on a prefix of each row.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def take_last(states: jax.Array, mask: jax.Array) -> jax.Array:
  """The state, of f32[B, L, D], of the last real item, f32[B, D].

  Of an empty history it is the first one.
  """
  chex.assert_equal_shape_prefix([states, mask], 2)
  last = jnp.maximum(jnp.sum(mask, axis=-1, dtype=jnp.int32) - 1, 0)
  return jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]


def gru_step(
  params: dict[str, jax.Array],
  projected: jax.Array,
  state: jax.Array,
  dtype: DTypeLike = jnp.float32,
) -> jax.Array:
  """One step of a gated recurrent unit in torch's gate form.

      r = sigmoid(x_r + h W_r + b_r),   z = sigmoid(x_z + h W_z + b_z)
      c = tanh(x_c + r * (h W_c + b_c)),   h' = (1 - z) * c + z * h

  Args:
    params: {'kernel': f32[H, 3H], 'bias': f32[3H]}, ordered r, z, c.
    projected: f32[B, 3H], x_r, x_z, x_c: the input after its own layer.
    state: f32[B, H].
    dtype: of the matmul; the rest is f32.
  Returns:
    f32[B, H], the next state.
  """
  update, candidate = gru_gates(params, projected, state, dtype)
  return (1.0 - update) * candidate + update * state


def gru_gates(
  params: dict[str, jax.Array],
  projected: jax.Array,
  state: jax.Array,
  dtype: DTypeLike = jnp.float32,
) -> tuple[jax.Array, jax.Array]:
  """(z, c) of `gru_step`, f32[..., H] each: what is kept, and what is new."""
  width = state.shape[-1]
  recurrent = _affine(params, state, dtype)
  gates = jax.nn.sigmoid(
    projected[..., : 2 * width] + recurrent[..., : 2 * width]
  )
  reset, update = jnp.split(gates, 2, axis=-1)
  # The reset gate acts after the matmul, unlike in Cho et al. 2014.
  candidate = jnp.tanh(
    projected[..., 2 * width :] + reset * recurrent[..., 2 * width :]
  )
  return update, candidate


def gru(
  params: dict[str, dict[str, jax.Array]],
  inputs: jax.Array,
  mask: jax.Array,
  dtype: DTypeLike = jnp.float32,
) -> tuple[jax.Array, jax.Array]:
  """A gated recurrent unit over right-padded sequences; it starts at 0.

  Args:
    params: {'input': {'kernel': f32[D, 3H], 'bias': f32[3H]},
      'recurrent': {'kernel': f32[H, 3H], 'bias': f32[3H]}}, gates ordered r,
      z, c.
    inputs: f32[B, L, D].
    mask: bool[B, L]; the state stays as it is where it is False.
    dtype: of the matmuls; the state is f32 whatever it is.
  Returns:
    (f32[B, H] state after the last real item, 0 if there is none;
    f32[B, L, H] state after every item).
  """
  chex.assert_rank([inputs, mask], [3, 2])
  chex.assert_equal_shape_prefix([inputs, mask], 2)
  # The input's part of every gate is one matmul, outside the loop.
  projected = _affine(params['input'], jnp.swapaxes(inputs, 0, 1), dtype)

  def step(state, now):
    projected_t, real_t = now
    following = gru_step(params['recurrent'], projected_t, state, dtype)
    state = jnp.where(real_t[:, None], following, state)
    return state, state

  width = params['recurrent']['kernel'].shape[0]
  start = jnp.zeros((inputs.shape[0], width), jnp.float32)
  by_time = (projected, jnp.swapaxes(mask, 0, 1))
  last, states = jax.lax.scan(step, start, by_time)
  return last, jnp.swapaxes(states, 0, 1)


def _affine(params, x, dtype):
  """x W + b with the matmul in `dtype`, returned as f32."""
  product = x.astype(dtype) @ params['kernel'].astype(dtype)
  return product.astype(jnp.float32) + params['bias']


def attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  mask: jax.Array | None = None,
  causal: bool = False,
  drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
  """Scaled dot-product attention, softmax(q k' / sqrt(d)) v, in every head.

  Args:
    query: f32[B, Q, heads, d].
    key: f32[B, L, heads, d].
    value: f32[B, L, heads, d].
    mask: bool[B, L], the keys that may be seen; None for all.
    causal: whether position l sees positions up to l only; needs Q = L.
    drop: what to do with the weights before they are used (dropout).
  Returns:
    f32[B, Q, heads, d]; 0 for a query that sees no key.
  """
  chex.assert_rank([query, key, value], 4)
  chex.assert_equal_shape([key, value])
  scale = query.shape[-1] ** -0.5
  logits = jnp.einsum('bqhd,blhd->bhql', query * scale, key)
  logits = logits.astype(jnp.float32)
  visible = jnp.ones((1, 1, 1, key.shape[1]), bool)
  if mask is not None:
    chex.assert_shape(mask, (key.shape[0], key.shape[1]))
    visible = mask[:, None, None, :]
  if causal:
    chex.assert_equal(query.shape[1], key.shape[1])
    visible = visible & jnp.tri(key.shape[1], dtype=bool)
  # A finite floor: a row without any visible key is uniform, not NaN.
  logits = jnp.where(visible, logits, jnp.finfo(jnp.float32).min / 2)
  weights = jax.nn.softmax(logits, axis=-1)
  if drop is not None:
    weights = drop(weights)
  out = jnp.einsum('bhql,blhd->bqhd', weights.astype(value.dtype), value)
  sees_any = jnp.any(visible, axis=-1)[:, 0, :, None, None]
  return jnp.where(sees_any, out, 0.0)


def causal_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  drop: Callable[[int, jax.Array], jax.Array] | None = None,
  block: int = 50,
) -> jax.Array:
  """Attention in which position l sees positions up to l only.

  Runs over blocks of queries and leaves out the keys that none of them may
  see, which saves up to half the work. It needs no key mask: the padding of a
  right-padded row comes after all its items.

  Args:
    query: f32[B, L, heads, d].
    key: f32[B, L, heads, d].
    value: f32[B, L, heads, d].
    drop: (number of the block, weights) -> weights, dropout.
    block: queries at a time.
  Returns:
    f32[B, L, heads, d].
  """
  chex.assert_rank([query, key, value], 4)
  chex.assert_equal_shape([query, key, value])
  length, scale = query.shape[1], query.shape[-1] ** -0.5
  seen = []
  for number, start in enumerate(range(0, length, block)):
    stop = min(start + block, length)
    logits = jnp.einsum(
      'bqhd,blhd->bhql', query[:, start:stop] * scale, key[:, :stop]
    ).astype(jnp.float32)
    visible = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)
    weights = jax.nn.softmax(jnp.where(visible, logits, -jnp.inf), axis=-1)
    if drop is not None:
      weights = drop(number, weights)
    weights = weights.astype(value.dtype)
    seen.append(jnp.einsum('bhql,blhd->bqhd', weights, value[:, :stop]))
  return jnp.concatenate(seen, axis=1)
