import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from twotsrec.models import ctr_tower


def tower(params, x):
  """The tower on one concatenation f64[d], in NumPy."""
  x = x * params['norm']['scale'] + params['norm']['bias']
  for i in range(2):
    x = examples.dense(params[f'dense_{i}'], x)
    x = np.where(x > 0, x, params[f'prelu_{i}']['slope'] * x)
  return examples.dense(params['dense_2'], x)[0]


def gru(params, items, gate=lambda hidden, moved: moved):
  """States of a GRU over items f64[L, D], f64[L, D]."""
  state, states = np.zeros(items.shape[1]), []
  for item in items:
    by_input = np.split(examples.dense(params['input'], item), 3)
    by_state = np.split(examples.dense(params['recurrent'], state), 3)
    reset = examples.sigmoid(by_input[0] + by_state[0])
    keep = examples.sigmoid(by_input[1] + by_state[1])
    fresh = np.tanh(by_input[2] + reset * by_state[2])
    state = (1.0 - keep) * fresh + keep * state
    states.append(state)
  return np.array(states).reshape(items.shape)


def check(name, score, **changes):
  """`score(net, items f64[l, D], q f64[D])` gives what the model gives."""
  params = examples.params(name, **changes)
  table = examples.as_numpy(params.tables['item'])['embedding']
  net = examples.as_numpy(params.net)
  actual = examples.scores(
    examples.make(name, **changes),
    params,
    examples.HISTORY,
    examples.CANDIDATES,
  )
  expected = examples.reference(
    lambda history, candidate: score(net, table[history], table[candidate])
  )
  np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def test_sum_pooling_is_the_tower_on_a_candidate_and_the_sum():
  check(
    'sum_pooling',
    lambda net, items, q: tower(
      net['classifier'], np.concatenate([q, items.sum(axis=0)])
    ),
  )


def test_gru4rec_adds_the_last_state_to_the_tower():
  def score(net, items, q):
    states = gru(net['extractor']['gru'], items)
    last = states[-1] if len(states) else np.zeros(examples.WIDTH)
    joined = np.concatenate([q, items.sum(axis=0), last])
    return tower(net['classifier'], joined)

  check('gru4rec_tower', score)


@pytest.mark.parametrize('changes', [{}, {'width': 5}])
def test_the_order_of_a_history_changes_nothing_for_sum_pooling(changes):
  model = examples.make('sum_pooling', **changes)
  params = examples.params('sum_pooling', **changes)
  mixed = np.array(examples.HISTORY)
  for row, length in zip(mixed, examples.LENGTHS):
    row[:length] = np.random.default_rng(3).permutation(row[:length])
  assert np.any(mixed != examples.HISTORY)
  np.testing.assert_allclose(
    examples.scores(model, params, mixed, examples.CANDIDATES),
    examples.scores(model, params, examples.HISTORY, examples.CANDIDATES),
    rtol=1e-5,
    atol=1e-5,
  )


def test_the_order_of_a_history_matters_to_a_state():
  model, params = (f('gru4rec_tower') for f in (examples.make, examples.params))
  turned = np.array(examples.HISTORY[:1, ::-1])
  first = examples.scores(
    model, params, examples.HISTORY[:1], examples.CANDIDATES[:1]
  )
  second = examples.scores(model, params, turned, examples.CANDIDATES[:1])
  assert np.max(np.abs(first - second)) > 1e-3


def test_the_loss_of_the_next_item_is_the_mean_over_real_positions():
  width, mask = 3, np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
  generator = np.random.default_rng(0)
  states, items, others = (
    generator.normal(size=(2, 4, width)).astype(np.float32) for _ in range(3)
  )
  params = ctr_tower.init_next_item(jax.random.key(0), width)
  actual = ctr_tower.next_item_loss(params, states, items, others, mask)
  network = {k: v for k, v in examples.as_numpy(params).items() if k != 'norm'}

  def log_loss(state, item, label):
    joined = np.concatenate([state, item])
    logit = examples.mlp(network, joined, examples.sigmoid)[0]
    return np.logaddexp(0, logit) - label * logit

  expected = np.mean(
    [
      log_loss(states[0, t], items[0, t + 1], 1.0)
      + log_loss(states[0, t], others[0, t + 1], 0.0)
      for t in range(2)
    ]
  )
  np.testing.assert_allclose(actual, [expected, 0.0], rtol=1e-5)
  grads = jax.grad(
    lambda p: jnp.sum(ctr_tower.next_item_loss(p, states, items, others, mask))
  )(params)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))
