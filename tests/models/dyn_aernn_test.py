import jax
import numpy as np
import pytest

from tests import behavior_toys
from twotsrec import config as config_lib
from twotsrec.models import dyn_aernn

NODES, WIDTH, HIDDEN, BACK, TIMES = 6, 3, (5, 4), 2, 4


def _config(**changes):
  made = config_lib.Config()
  made.model.width = WIDTH
  made.dyn_aernn.hidden, made.dyn_aernn.lookback = HIDDEN, BACK
  config_lib.change(made, changes)
  return made


def _net(**changes):
  shapes = jax.eval_shape(
    lambda key: dyn_aernn.init(key, _config(**changes), NODES),
    jax.random.key(0),
  )
  return behavior_toys.random_like(shapes, 0.7)


def _first(seed=0):
  """When edges come, i8[n, n], symmetric; the last node has none."""
  generator = np.random.default_rng(seed)
  made = generator.integers(TIMES + 1, size=(NODES, NODES))
  made = np.minimum(made, made.T).astype(np.int8)
  made[-1], made[:, -1] = TIMES, TIMES
  return made


def _dense(params, x):
  return x @ params['kernel'] + params['bias']


def _layers(params, x):
  for i in range(len(params)):
    x = _dense(params[f'dense_{i}'], x)
    x = np.where(x > 0, x, 0.3 * x)
  return x


def _sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def _lstm(params, sequence):
  """Hidden states of an LSTM over f64[L, D], one after the other."""
  width = params['recurrent']['kernel'].shape[0]
  hidden, memory, seen = np.zeros(width), np.zeros(width), []
  for x in sequence:
    inner = _dense(params['input'], x) + _dense(params['recurrent'], hidden)
    write, keep, new, show = np.split(inner, 4)
    memory = _sigmoid(keep) * memory + _sigmoid(write) * np.tanh(new)
    hidden = _sigmoid(show) * np.tanh(memory)
    seen.append(hidden)
  return seen


def _by_hand(net, first, node, time):
  """z of one node before a snapshot, by the equations in f64."""
  seen = []
  for lag in range(BACK):
    row = (first[node] <= time - BACK + lag).astype(np.float64)
    own = jax.tree.map(lambda leaf, lag=lag: leaf[lag], net['encoders'])
    seen.append(_layers(own, row))
  for cell in net['lstm']:
    seen = _lstm(cell, seen)
  return seen[-1]


def _f64(tree):
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def test_it_is_its_equations():
  net, first = _net(), _first()
  node, time = np.array([0, 3, 2, 5]), np.array([2, 3, 4, 3])
  rows = dyn_aernn.rows_of(first, node, time, BACK)
  assert rows.shape == (BACK, 4, NODES)
  z = dyn_aernn.embed(net, rows)
  expected = [_by_hand(_f64(net), first, *pair) for pair in zip(node, time)]
  np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
  decoded = dyn_aernn.decode(net, z)
  by_hand = _layers(_f64(net['decoder']), np.asarray(z, np.float64))
  np.testing.assert_allclose(decoded, by_hand, rtol=1e-5, atol=1e-6)


def test_identical_snapshots_give_the_lstm_a_fixed_input():
  """With one encoder for every lag; so the time changes nothing, either."""
  net, first = _net(), np.where(_first() < TIMES, 0, TIMES)
  alike = jax.tree.map(
    lambda leaf: np.broadcast_to(leaf[:1], leaf.shape), net['encoders']
  )
  net = {**net, 'encoders': alike}
  nodes = np.arange(NODES)
  at = lambda time: dyn_aernn.rows_of(first, nodes, np.full(NODES, time), BACK)
  np.testing.assert_array_equal(at(BACK)[0], at(BACK)[1])
  exact = _f64(net)
  encoder = jax.tree.map(lambda leaf: leaf[0], exact['encoders'])
  for node in nodes:
    fixed = _layers(encoder, (first[node] == 0).astype(np.float64))
    once, twice = _lstm(exact['lstm'][0], [fixed, fixed])
    expected = _lstm(exact['lstm'][1], [once, twice])[-1]
    for time in (BACK, TIMES - 1):
      z = dyn_aernn.embed(net, at(time))[node]
      np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('block', [2, 256])
def test_all_nodes_are_embedded_and_lonely_ones_have_the_mean(
  block, monkeypatch
):
  monkeypatch.setattr(dyn_aernn, '_BLOCK', block)
  dyn_aernn.embed_all.clear_cache()
  net, first = _net(), _first()
  z = np.asarray(dyn_aernn.embed_all(net, first, TIMES, BACK))
  expected = [_by_hand(_f64(net), first, n, TIMES) for n in range(NODES - 1)]
  np.testing.assert_allclose(z[:-1], expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(z[-1], z[:-1].mean(axis=0), rtol=1e-5)


def test_edges_are_told_from_other_pairs_by_the_products_of_their_ends():
  """Nodes of two kinds, where like goes to like along one column alone."""
  generator = np.random.default_rng(0)
  z = generator.normal(size=(40, 3))
  left, right = (
    generator.integers(20, size=400),
    generator.integers(20, 40, size=400),
  )
  like = z[left, 1] * z[right, 1] > 0
  pairs = lambda chosen: (left[chosen], right[chosen])
  weights = dyn_aernn.weigh(z, pairs(like), pairs(~like))
  assert weights[1] > 5 * np.max(np.abs(weights[[0, 2]]))


def test_the_matrix_of_all_pairs_has_a_byte_for_each():
  assert dyn_aernn.adjacency_bytes(4, 2) == _first().nbytes == 36
