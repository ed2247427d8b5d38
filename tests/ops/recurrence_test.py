import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec.ops import recurrence

LENGTH, STREAMS, WIDTH = 7, 3, toys.WIDTH
each_cell = pytest.mark.parametrize('name', toys.CELLS)


@functools.cache
def _inputs(name):
  """Streams with some new beginnings."""
  cell = recurrence.CELLS[name]
  generator = np.random.default_rng(1)
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)
  reset = np.zeros((LENGTH, STREAMS), bool)
  reset[[0, 3, 4, 0, 6], [0, 0, 0, 1, 1]] = True  # stream 2 goes on
  size = cell.states * WIDTH
  return recurrence.Events(
    vectors=draw(LENGTH, STREAMS, WIDTH),
    carried=draw(STREAMS, size),
    reset=jnp.asarray(reset),
    fresh=draw(LENGTH, STREAMS, size),
  )


@functools.cache
def _scan(name):
  return jax.jit(functools.partial(recurrence.scan, recurrence.CELLS[name]))


@each_cell
def test_states_follow_the_equations_event_by_event(name):
  params = toys.cell_params(name)
  before, after = _scan(name)(params, _inputs(name))
  vectors, carried, reset, fresh = map(np.asarray, _inputs(name))
  for b in range(STREAMS):
    state = carried[b].astype(np.float64)
    for t in range(LENGTH):
      state = fresh[t, b] if reset[t, b] else state
      np.testing.assert_allclose(before[t, b], state, rtol=1e-5, atol=1e-5)
      state = toys.literal_step(name, params, vectors[t, b], state)
      np.testing.assert_allclose(after[t, b], state, rtol=1e-5, atol=1e-5)


@each_cell
def test_a_projection_outside_of_the_scan_equals_one_inside(name):
  cell, params = recurrence.CELLS[name], toys.cell_params(name)
  run = functools.partial(recurrence.scan, cell, unroll=1)

  def total(params, where):
    states = run(params, _inputs(name), where=where)
    return sum(jnp.sum(jnp.sin(x)) for x in states)

  @jax.jit
  def both(params):
    return tuple(
      jax.value_and_grad(total)(params, where)
      for where in ('inside', 'outside')
    )

  chex.assert_trees_all_close(*both(params), rtol=1e-5, atol=1e-5)


def _split_flax(params, names):
  """Our stacked kernels as flax names them, {'ir': {'kernel', 'bias'}}."""
  found = {}
  for prefix, layer in (('i', 'input'), ('h', 'recurrent')):
    kernels = jnp.split(params[layer]['kernel'], len(names), axis=1)
    biases = jnp.split(params[layer]['bias'], len(names))
    for name, kernel, bias in zip(names, kernels, biases, strict=True):
      found[prefix + name] = {'kernel': kernel, 'bias': bias}
  return found


def test_a_gru_is_that_of_flax():
  params = toys.cell_params('gru')
  vectors, carried, _, _ = _inputs('gru')
  # Flax has one bias for both sides of the first two gates.
  theirs = _split_flax(params, 'rzn')
  for gate in 'rz':
    theirs[f'i{gate}']['bias'] += theirs[f'h{gate}'].pop('bias')
  cell = nn.GRUCell(WIDTH)
  _, expected = cell.apply({'params': theirs}, carried, vectors[0])
  projected = recurrence.project(params, vectors[0])
  actual = recurrence.CELLS['gru'].step(params, projected, carried)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_an_lstm_is_that_of_flax():
  params = toys.cell_params('lstm')
  vectors, carried, _, _ = _inputs('lstm')
  theirs = _split_flax(params, 'ifgo')
  for gate in 'ifgo':  # flax has the biases on the side of the state
    theirs[f'h{gate}']['bias'] += theirs[f'i{gate}'].pop('bias')
  hidden, memory = jnp.split(carried, 2, axis=1)
  cell = nn.LSTMCell(WIDTH)
  (memory, hidden), _ = cell.apply(
    {'params': theirs}, (memory, hidden), vectors[0]
  )
  projected = recurrence.project(params, vectors[0])
  actual = recurrence.CELLS['lstm'].step(params, projected, carried)
  expected = jnp.concatenate([hidden, memory], axis=1)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_one_start_for_all_is_that_start_everywhere():
  params = toys.cell_params('gru')
  events = _inputs('gru')
  one = events.fresh[0, 0]
  everywhere = jnp.broadcast_to(one, events.fresh.shape)
  chex.assert_trees_all_close(
    _scan('gru')(params, events._replace(fresh=one)),
    _scan('gru')(params, events._replace(fresh=everywhere)),
    rtol=1e-6,
  )


def test_nothing_before_a_reset_is_remembered():
  params = toys.cell_params('gru')
  events = _inputs('gru')
  first = _scan('gru')(params, events)
  moved = events.vectors.at[:3, 0].add(1.0)
  other = _scan('gru')(
    params, events._replace(vectors=moved, carried=events.carried + 1.0)
  )
  for a, b in zip(first, other):
    np.testing.assert_array_equal(a[3:, 0], b[3:, 0])
    assert np.any(np.asarray(a[1:3, 0]) != np.asarray(b[1:3, 0]))


@each_cell
def test_further_parts_of_a_state_begin_at_zero(name):
  cell = recurrence.CELLS[name]
  vectors = _inputs(name)[0]
  states = recurrence.start(cell, vectors)
  assert states.shape == (LENGTH, STREAMS, cell.states * WIDTH)
  np.testing.assert_array_equal(states[..., :WIDTH], vectors)
  np.testing.assert_array_equal(states[..., WIDTH:], 0.0)


def test_a_scale_of_one_is_a_gru_and_another_bounds_the_states():
  params = toys.cell_params('scaled_gru')
  events = _inputs('scaled_gru')
  events = events._replace(
    carried=jnp.zeros((STREAMS, WIDTH)), fresh=0 * events.fresh
  )
  at = lambda scale: _scan('scaled_gru')(
    {**params, 'scale': jnp.float32(scale)}, events
  )
  plain = {k: v for k, v in params.items() if k != 'scale'}
  expected = _scan('gru')(plain, events)
  chex.assert_trees_all_close(at(1.0), expected, rtol=1e-6)
  assert np.abs(at(0.1)[1]).max() <= 0.1 < np.abs(at(3.0)[1]).max()


def test_the_scale_is_not_trained():
  params = toys.cell_params('scaled_gru')
  cell = recurrence.CELLS['scaled_gru']
  vectors, carried, _, _ = _inputs('scaled_gru')

  def total(params):
    projected = recurrence.project(params, vectors[0])
    return jnp.sum(cell.step(params, projected, carried))

  grads = jax.jit(jax.grad(total))(params)
  assert grads['scale'] == 0
  assert np.any(np.asarray(grads['recurrent']['kernel']) != 0)


def test_a_residual_that_writes_nothing_stays():
  params = toys.cell_params('residual')
  params['out'] = jax.tree.map(jnp.zeros_like, params['out'])
  events = _inputs('residual')
  never = jnp.zeros((LENGTH, STREAMS), bool)
  _, after = _scan('residual')(params, events._replace(reset=never))
  np.testing.assert_array_equal(
    after, np.broadcast_to(np.asarray(events.carried), after.shape)
  )
