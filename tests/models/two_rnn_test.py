import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.data import streams
from twotsrec.models import two_rnn

WIDTH = toys.WIDTH
INACTIVE = toys.jobs()['inactive'].part
HISTORY = np.array(
  [[3, 7, 7, 12], [5, 0, 0, 0], [9, 2, 0, 0], [0, 0, 0, 0]], np.int32
)


def _stages(**changes):
  return two_rnn.make_stages(toys.config(**changes).two_time, WIDTH)


@functools.cache
def _read(variant, cell='gru'):
  """Jitted (net, history) -> queries of rows f32[B, D]."""
  stages = _stages(two_time__variant=variant, two_time__cell=cell)

  @jax.jit
  def run(net, history):
    embedded = toys.vectors().item[history]
    summary = stages.summarize(net['extractor'], embedded, history > 0)
    return two_rnn.query_of(stages)(net, summary)

  return run


@pytest.mark.parametrize(
  ('variant', 'cell'), [('2ts', 'gru'), ('2ts_plus', 'lstm')]
)
def test_a_history_is_read_as_a_run_of_events(variant, cell):
  changes = {'two_time__variant': variant, 'two_time__cell': cell}
  net = toys.net(INACTIVE, **changes)
  actual = _read(variant, cell)(net, HISTORY)
  prepared, _ = toys.log()
  items = np.array(prepared.items)
  count = np.diff(prepared.user_offsets)
  # A user's query before an event is that of the history so far.
  user = int(np.argmax(count))
  start, length = int(prepared.user_offsets[user]), int(count[user])
  events = toys.play(
    net, cell, streams.Runs(np.array([start]), np.array([length]))
  )
  for size in (0, 1, 3):
    history = np.zeros((4, 4), np.int32)
    history[2, :size] = items[start : start + size]
    query = _read(variant, cell)(net, history)[2]
    np.testing.assert_allclose(
      query, events[start + size].query, rtol=1e-5, atol=1e-5
    )
  assert np.all(np.isfinite(actual))


def test_what_stands_behind_a_history_changes_nothing():
  net = toys.net(INACTIVE, two_time__variant='2ts_plus')
  whole = np.array(_read('2ts_plus')(net, HISTORY))
  cut = HISTORY.copy()
  cut[0, 2:] = 0
  assert np.any(np.asarray(_read('2ts_plus')(net, cut))[0] != whole[0])
  np.testing.assert_array_equal(_read('2ts_plus')(net, cut)[1:], whole[1:])


def test_nobody_is_psi_and_no_item():
  net = toys.net(INACTIVE, two_time__variant='2ts_plus')
  psi = np.asarray(net['extractor']['psi'], np.float64)
  both = np.concatenate([psi, np.zeros(WIDTH)])
  expected = both @ np.asarray(net['extractor']['readout'], np.float64)
  actual = _read('2ts_plus')(net, HISTORY)[3]
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_plus_with_the_identity_is_2ts_to_the_bit():
  net = toys.net(INACTIVE, two_time__variant='2ts_plus')
  identity = jnp.concatenate([jnp.eye(WIDTH), jnp.zeros((WIDTH, WIDTH))])
  net['extractor']['readout'] = identity
  plain = {k: v for k, v in net['extractor'].items() if k != 'readout'}
  np.testing.assert_array_equal(
    _read('2ts_plus')(net, HISTORY),
    _read('2ts')({**net, 'extractor': plain}, HISTORY),
  )


def test_a_network_starts_at_zero_and_plus_close_to_2ts():
  net = (
    _stages(two_time__variant='2ts_plus')
    .init(jax.random.key(0), None, types.Sizes(1, 1, 1))
    .net
  )
  np.testing.assert_array_equal(net['extractor']['psi'], np.zeros(WIDTH))
  identity = np.eye(WIDTH)
  np.testing.assert_array_equal(
    net['extractor']['readout'],
    np.concatenate([identity, np.float32(0.1) * identity]),
  )
  plain = _stages().init(jax.random.key(0), None, types.Sizes(1, 1, 1)).net
  assert 'readout' not in plain['extractor']


@pytest.mark.parametrize('shared', [True, False])
def test_scores_are_inner_products_with_items(shared):
  generator = np.random.default_rng(0)
  query = generator.normal(size=(4, WIDTH)).astype('f4')
  shape = (5, WIDTH) if shared else (4, 5, WIDTH)
  items = generator.normal(size=shape).astype('f4')
  scores = _stages().classify(
    {}, types.Features(jnp.asarray(query)), {'embedding': jnp.asarray(items)}
  )
  each = np.broadcast_to(items, (4, 5, WIDTH))
  expected = [[each[b, c] @ query[b] for c in range(5)] for b in range(4)]
  np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize('cell', ['gru', 'residual', 'scaled_gru'])
def test_the_bias_of_the_update_gate_starts_as_set(cell):
  options = toys.config(two_time__cell=cell, two_time__update_bias=2.0).two_time
  params = two_rnn.init_cell(jax.random.key(0), options, WIDTH)
  _, update, _ = jnp.split(params['input']['bias'], 3)
  np.testing.assert_array_equal(update, 2.0)
  options.update_bias = 0.0
  plain = two_rnn.init_cell(jax.random.key(0), options, WIDTH)
  np.testing.assert_array_equal(plain['input']['bias'], 0.0)


def test_the_scale_is_the_root_mean_square_of_the_starts():
  extractor = {'cell': {'scale': jnp.ones(()), 'input': jnp.zeros(2)}}
  starts = toys.vectors().user
  scaled = two_rnn.with_scale(extractor, starts)
  expected = np.sqrt(np.mean(np.asarray(starts, np.float64) ** 2))
  np.testing.assert_allclose(scaled['cell']['scale'], expected, rtol=1e-6)
  without = {'cell': {'input': jnp.zeros(2)}}
  assert two_rnn.with_scale(without, starts) is without
