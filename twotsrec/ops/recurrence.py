"""Recurrent cells over streams of events, as pure functions (2TS eq. 8-9).

The items of a sequence are known before the recurrence starts, so the input's
part of every gate can be one matrix product for all events, outside of the
scan. That is what an accelerator wants. A CPU has the gates of one step in its
cache, and those of all steps nowhere near it: there the product stays inside.
Both are the same numbers. Time comes first, [L, B, ...].

The state of a cell starts from a vector h_0 of the width d; what it is compared
with items by is its first d numbers.

Departure from our own plan, which had the product outside everywhere: on a CPU
it is .87 times as fast outside, on an H100 1.99 times.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from twotsrec.ops import sequence


class Cell(NamedTuple):
  """A recurrence.

  Attributes:
    gates: projections of width d that a step reads.
    states: vectors of width d that make up its state.
    step: (params, projected f32[B, gates d], state f32[B, states d]) ->
      next state.
  """

  gates: int
  states: int
  step: Callable[..., jax.Array]


def _gru(params, projected, state):
  return sequence.gru_step(params['recurrent'], projected, state)


def _scaled_gru(params, projected, state):
  """A GRU on h / s: its states lie within s, the scale of the start vectors."""
  scale = jax.lax.stop_gradient(params['scale'])
  return scale * _gru(params, projected, state / scale)


def _residual(params, projected, state):
  """h' = h + Linear((1 - z) n), z and n as in a GRU; nothing is forgotten."""
  width = state.shape[-1]
  recurrent = params['recurrent']
  inner = state @ recurrent['kernel'] + recurrent['bias']
  gates = jax.nn.sigmoid(projected[..., : 2 * width] + inner[..., : 2 * width])
  reset, update = jnp.split(gates, 2, axis=-1)
  candidate = jnp.tanh(
    projected[..., 2 * width :] + reset * inner[..., 2 * width :]
  )
  out = params['out']
  written = ((1.0 - update) * candidate) @ out['kernel'] + out['bias']
  return state + written


def _lstm(params, projected, state):
  """Hochreiter and Schmidhuber with a forget gate; gates ordered i, f, g, o."""
  hidden, memory = jnp.split(state, 2, axis=-1)
  recurrent = params['recurrent']
  inner = projected + hidden @ recurrent['kernel'] + recurrent['bias']
  write, keep, new, show = jnp.split(inner, 4, axis=-1)
  memory = jax.nn.sigmoid(keep) * memory
  memory += jax.nn.sigmoid(write) * jnp.tanh(new)
  return jnp.concatenate([jax.nn.sigmoid(show) * jnp.tanh(memory), memory], -1)


CELLS = {
  'gru': Cell(3, 1, _gru),
  'lstm': Cell(4, 2, _lstm),
  'residual': Cell(3, 1, _residual),
  'scaled_gru': Cell(3, 1, _scaled_gru),
}


def start(cell: Cell, vectors: jax.Array) -> jax.Array:
  """States that begin at f32[..., d]; further parts of a state begin at 0."""
  rest = jnp.zeros((*vectors.shape[:-1], (cell.states - 1) * vectors.shape[-1]))
  return jnp.concatenate([vectors, rest], axis=-1)


def project(params: dict, vectors: jax.Array) -> jax.Array:
  """The input's part of the gates, f32[..., gates d], for f32[..., d]."""
  layer = params['input']
  return vectors @ layer['kernel'] + layer['bias']


class Events(NamedTuple):
  """Streams of events, and the states that they begin with.

  Attributes:
    vectors: f32[L, B, d], of the items.
    carried: f32[B, states d], where streams that do not begin anew go on.
    reset: bool[L, B], where a run begins.
    fresh: f32[L, B, states d] or f32[states d], states where runs begin.
  """

  vectors: jax.Array
  carried: jax.Array
  reset: jax.Array
  fresh: jax.Array


def scan(
  cell: Cell, params: dict, events: Events, where: str = 'auto', unroll: int = 4
) -> tuple[jax.Array, jax.Array]:
  """States before and after every event.

  An event is scored with the state before it is consumed. Filling needs no
  mask: nothing reads the state that it leaves, since a run begins with a reset.

  Args:
    cell: recurrence.
    params: of the cell.
    events: streams.
    where: inputs are projected, 'outside' the scan or 'inside'; 'auto' is
      inside on a CPU.
    unroll: events per turn of the loop.
  Returns:
    (before, after), f32[L, B, states d] each.
  """
  vectors, carried, reset, fresh = events
  chex.assert_equal_shape_prefix([vectors, reset], 2)
  chex.assert_equal(where in ('auto', 'inside', 'outside'), True)
  if where == 'auto':
    where = 'inside' if jax.default_backend() == 'cpu' else 'outside'
  varying, outside = fresh.ndim == 3, where == 'outside'

  def begin(state, reset_t, fresh_t):
    return jnp.where(reset_t[..., None], fresh_t, state)

  def body(state, now):
    input_t, reset_t, fresh_t = now
    state = begin(state, reset_t, fresh_t if varying else fresh)
    projected = input_t if outside else project(params, input_t)
    state = cell.step(params, projected, state)
    return state, state

  inputs = project(params, vectors) if outside else vectors
  over = (inputs, reset, fresh if varying else reset)
  _, after = jax.lax.scan(body, carried, over, unroll=unroll)
  before = jnp.concatenate([carried[None], after[:-1]])
  return begin(before, reset, fresh), after
