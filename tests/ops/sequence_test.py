import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec.ops import sequence

_SETTINGS = hypothesis.settings(
  max_examples=30, deadline=None, derandomize=True
)
_B, _L, _D, _H = 4, 6, 3, 5
_LENGTHS = st.lists(st.integers(0, _L), min_size=_B, max_size=_B)


def _mask(lengths):
  return np.arange(_L) < np.array(lengths)[:, None]


def _gru_params(seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  return {
    'input': {'kernel': draw(_D, 3 * _H), 'bias': draw(3 * _H)},
    'recurrent': {'kernel': draw(_H, 3 * _H), 'bias': draw(3 * _H)},
  }


def _inputs(seed=1):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(_B, _L, _D)).astype(np.float32)


_gru = jax.jit(sequence.gru)
_take_last = jax.jit(sequence.take_last)
_attention = jax.jit(sequence.attention, static_argnames='causal')


def _loop_states(params, items):
  """States after each item, one scalar gate at a time, f64[len, H]."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  sigmoid = lambda x: 1.0 / (1.0 + np.exp(-x))

  def gate(part, value, column):
    kernel, bias = params[part]['kernel'], params[part]['bias']
    return value @ kernel[:, column] + bias[column]

  state, states = np.zeros(_H), []
  for x in items:
    following = np.zeros(_H)
    for unit in range(_H):
      r, z, c = unit, _H + unit, 2 * _H + unit
      reset = sigmoid(gate('input', x, r) + gate('recurrent', state, r))
      update = sigmoid(gate('input', x, z) + gate('recurrent', state, z))
      fresh = gate('input', x, c) + reset * gate('recurrent', state, c)
      following[unit] = (1 - update) * np.tanh(fresh) + update * state[unit]
    state = following
    states.append(state)
  return np.array(states).reshape(-1, _H)


@_SETTINGS
@hypothesis.given(_LENGTHS)
def test_gru_equals_a_literal_loop_over_the_real_items(lengths):
  params, inputs = _gru_params(), _inputs()
  last, states = _gru(params, inputs, _mask(lengths))
  for b, length in enumerate(lengths):
    expected = _loop_states(params, inputs[b, :length])
    np.testing.assert_allclose(
      states[b, :length], expected, rtol=1e-4, atol=1e-5
    )
    final = expected[-1] if length else np.zeros(_H)
    np.testing.assert_allclose(last[b], final, rtol=1e-4, atol=1e-5)
    for padded in states[b, length:]:
      np.testing.assert_array_equal(padded, last[b])


def test_gru_does_not_read_padding():
  params, inputs = _gru_params(), _inputs()
  mask = _mask([0, 1, 3, 6])
  dirty = np.where(mask[..., None], inputs, 1e3).astype(np.float32)
  chex.assert_trees_all_equal(
    _gru(params, inputs, mask), _gru(params, dirty, mask)
  )


def test_gru_gradient_equals_finite_differences():
  inputs, mask = _inputs(), _mask([0, 1, 3, 6])
  direction = _gru_params(seed=2)

  @jax.jit
  def value(step):
    params = jax.tree.map(lambda p, d: p + step * d, _gru_params(), direction)
    return jnp.sum(jnp.sin(sequence.gru(params, inputs, mask)[1]))

  step = 1e-2
  expected = (value(step) - value(-step)) / (2.0 * step)
  np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=2e-2)


def test_a_bfloat16_gru_keeps_its_state_in_float32():
  params, inputs, mask = _gru_params(), _inputs(), _mask([0, 1, 3, 6])
  last, states = sequence.gru(params, inputs, mask, jnp.bfloat16)
  assert last.dtype == states.dtype == jnp.float32
  np.testing.assert_allclose(last, _gru(params, inputs, mask)[0], atol=0.1)


@_SETTINGS
@hypothesis.given(_LENGTHS)
def test_take_last_reads_the_last_real_item(lengths):
  states = _inputs()
  actual = _take_last(states, _mask(lengths))
  expected = [states[b, max(n - 1, 0)] for b, n in enumerate(lengths)]
  np.testing.assert_array_equal(actual, expected)


def _loop_attention(query, key, value, visible):
  out = np.zeros(query.shape)
  for b, q, h in np.ndindex(*query.shape[:3]):
    seen = np.flatnonzero(visible[b, q])
    if not len(seen):
      continue
    logits = key[b, seen, h] @ query[b, q, h] / np.sqrt(query.shape[-1])
    weights = np.exp(logits - np.max(logits))
    out[b, q, h] = weights / np.sum(weights) @ value[b, seen, h]
  return out


@pytest.mark.parametrize('causal', [False, True])
@_SETTINGS
@hypothesis.given(_LENGTHS)
def test_attention_equals_a_loop_and_is_zero_where_nothing_is_seen(
  causal, lengths
):
  rng = np.random.default_rng(0)
  query, key, value = rng.normal(size=(3, _B, _L, 2, _D)).astype(np.float32)
  mask = _mask(lengths)
  visible = np.broadcast_to(mask[:, None], (_B, _L, _L))
  if causal:
    visible = visible & np.tri(_L, dtype=bool)
  actual = _attention(query, key, value, mask, causal=causal)
  expected = _loop_attention(query, key, value, visible)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('block', [1, 4, _L, 50])
def test_causal_attention_in_blocks_equals_attention_at_once(block):
  rng = np.random.default_rng(0)
  parts = rng.normal(size=(3, _B, _L, 2, _D)).astype(np.float32)
  lengths = [6, 3, 1, 0]
  at_once = _attention(*parts, _mask(lengths), causal=True)
  in_blocks = jax.jit(
    lambda parts: sequence.causal_attention(*parts, block=block)
  )(parts)
  for b, length in enumerate(lengths):
    np.testing.assert_allclose(
      in_blocks[b, :length], at_once[b, :length], rtol=1e-5, atol=1e-6
    )


def test_causal_attention_drops_each_block_by_its_number():
  parts = np.ones((3, 1, 4, 1, 1), np.float32)
  keep_second = lambda number, weights: weights * (number == 1)
  actual = sequence.causal_attention(*parts, drop=keep_second, block=2)
  np.testing.assert_array_equal(actual[0, :, 0, 0], [0.0, 0.0, 1.0, 1.0])


def test_attention_without_a_mask_sees_every_key():
  rng = np.random.default_rng(0)
  query, key, value = rng.normal(size=(3, _B, _L, 2, _D)).astype(np.float32)
  everything = np.ones((_B, _L), bool)
  actual = _attention(query[:, :1], key, value)
  expected = _attention(query, key, value, everything)[:, :1]
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_attention_gradients_are_finite_where_nothing_is_seen():
  rng = np.random.default_rng(0)
  parts = rng.normal(size=(3, _B, _L, 2, _D)).astype(np.float32)
  mask = jnp.zeros((_B, _L), bool)
  total = lambda parts: jnp.sum(sequence.attention(*parts, mask) ** 2)
  grads = jax.jit(jax.grad(total))(parts)
  np.testing.assert_array_equal(grads, np.zeros_like(parts))
