import numpy as np

from tests.models import examples


def test_scores_equal_the_equations_in_a_loop():
  params = examples.params('gru4rec')
  table = examples.as_numpy(params.tables['item'])['embedding']
  net = examples.as_numpy(params.net)
  extractor = net['extractor']

  def score(history, candidate):
    state = np.zeros(examples.WIDTH)
    for item in history:
      x = np.tanh(examples.dense(extractor['history'], table[item]))
      by_input = np.split(examples.dense(extractor['gru']['input'], x), 3)
      by_state = examples.dense(extractor['gru']['recurrent'], state)
      by_state = np.split(by_state, 3)
      reset = examples.sigmoid(by_input[0] + by_state[0])
      update = examples.sigmoid(by_input[1] + by_state[1])
      fresh = np.tanh(by_input[2] + reset * by_state[2])
      state = (1.0 - update) * fresh + update * state
    user = examples.mlp(net['classifier'], state, np.tanh)
    target = examples.mlp(extractor['target'], table[candidate], np.tanh)
    return user @ target

  actual = examples.scores(
    examples.make('gru4rec'), params, examples.HISTORY, examples.CANDIDATES
  )
  np.testing.assert_allclose(
    actual, examples.reference(score), rtol=1e-5, atol=1e-5
  )


def test_the_state_of_an_empty_history_is_zero():
  model, params = examples.make('gru4rec'), examples.params('gru4rec')
  state = examples.encode(model, params, examples.HISTORY)
  empty = examples.LENGTHS.index(0)
  np.testing.assert_array_equal(state[empty], np.zeros(examples.WIDTH))
