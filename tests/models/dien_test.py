import jax
import numpy as np
import pytest

from tests.models import ctr_tower_test
from tests.models import examples
from twotsrec.models import dien
from twotsrec.models import layers
from twotsrec.ops import sequence

_WIDTH = 4


def _augru(params, items, weights, gate):
  """The equations of the module in a loop, f64[D]."""
  state = np.zeros(items.shape[1])
  for item, a in zip(items, weights, strict=True):
    by_input = np.split(examples.dense(params['input'], item), 3)
    by_state = np.split(examples.dense(params['recurrent'], state), 3)
    reset = examples.sigmoid(by_input[0] + by_state[0])
    write = 1.0 - examples.sigmoid(by_input[1] + by_state[1])
    fresh = np.tanh(by_input[2] + reset * by_state[2])
    share = a * write if gate == 'paper' else 1.0 - (1.0 - a) * (1.0 - write)
    state = (1.0 - share) * state + share * fresh
  return state


@pytest.mark.parametrize('gate', ['paper', 'code'])
def test_scores_equal_the_equations_in_a_loop(gate):
  def score(net, items, q):
    own, evolved = net['extractor'], np.zeros(examples.WIDTH)
    states = ctr_tower_test.gru(own['gru'], items)
    if len(states):
      pairs = [np.concatenate([q, h, q - h, q * h]) for h in states]
      logits = [
        examples.mlp(own['attention'], pair, examples.sigmoid)[0]
        for pair in pairs
      ]
      weights = examples.softmax(np.array(logits))
      evolved = _augru(own['augru'], states, weights, gate)
    pooled = items.sum(axis=0)
    joined = np.concatenate([q, evolved, pooled, q * pooled])
    return ctr_tower_test.tower(net['classifier'], joined)

  ctr_tower_test.check('dien', score, augru=gate)


def _arguments():
  generator = np.random.default_rng(0)
  params = layers.init_gru(jax.random.key(0), _WIDTH, _WIDTH)
  states = generator.normal(size=(2, 5, _WIDTH)).astype(np.float32)
  mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
  return params, states, mask


def test_without_attention_the_state_stays_at_its_start():
  zeros = np.zeros((2, 3, 5), np.float32)
  actual = dien.augru(*_arguments(), zeros, 'paper')
  np.testing.assert_array_equal(actual, np.zeros((2, 3, _WIDTH)))


def test_attention_on_an_event_alone_makes_one_step_of_the_gru():
  params, states, mask = _arguments()
  weights = np.zeros((2, 1, 5), np.float32)
  weights[:, :, 1] = 1.0
  actual = dien.augru(params, states, mask, weights, 'paper')
  expected, _ = sequence.gru(params, states[:, 1:2], mask[:, 1:2])
  np.testing.assert_allclose(actual[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_full_attention_is_the_gru_in_the_paper():
  params, states, mask = _arguments()
  ones, (last, _) = np.ones((2, 1, 5)), sequence.gru(params, states, mask)
  actual = dien.augru(params, states, mask, ones, 'paper')
  np.testing.assert_allclose(actual[:, 0], last, rtol=1e-5, atol=1e-6)


def test_in_the_code_no_attention_is_the_gru_and_full_attention_what_is_new():
  params, states, mask = _arguments()
  last, _ = sequence.gru(params, states, mask)
  actual = dien.augru(params, states, mask, np.zeros((2, 1, 5)), 'code')
  np.testing.assert_allclose(actual[:, 0], last, rtol=1e-5, atol=1e-6)
  by_code = lambda number: dien.augru(
    params, states[:1, :number], mask[:1, :number], np.ones((1, 1, number)),
    'code',
  )  # fmt: skip
  projected = examples.dense(params['input'], states[0, 4])
  _, fresh = sequence.gru_gates(
    params['recurrent'], projected, by_code(4)[0, 0]
  )
  np.testing.assert_allclose(by_code(5)[0, 0], fresh, rtol=1e-5, atol=1e-6)
