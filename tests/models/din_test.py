import functools

import jax
import numpy as np

from tests.models import examples


def test_scores_equal_the_equations_in_a_loop():
  params = examples.params('din')
  table = examples.as_numpy(params.tables['item'])['embedding']
  net = examples.as_numpy(params.net)
  extractor = net['extractor']

  def score(history, candidate):
    target = np.tanh(examples.dense(extractor['target'], table[candidate]))
    query = examples.dense(extractor['query'], target)
    interest = np.zeros(examples.WIDTH)
    if len(history):
      items = [
        np.tanh(examples.dense(extractor['history'], table[i])) for i in history
      ]
      keys = [examples.dense(extractor['key'], item) for item in items]
      logits = np.array([query @ key for key in keys])
      weights = examples.softmax(logits / np.sqrt(examples.WIDTH))
      for weight, item in zip(weights, items, strict=True):
        interest += weight * examples.dense(extractor['value'], item)
    joined = np.concatenate([target, interest])
    return examples.mlp(net['classifier'], joined, np.tanh)[0]

  actual = examples.scores(
    examples.make('din'), params, examples.HISTORY, examples.CANDIDATES
  )
  np.testing.assert_allclose(
    actual, examples.reference(score), rtol=1e-5, atol=1e-5
  )


def test_the_classifier_reads_target_and_interest():
  model, params = examples.make('din'), examples.params('din')
  encoded = examples.encode(model, params, examples.HISTORY)
  vectors = params.tables['item']['embedding'][examples.CANDIDATES]
  features = model.stages.extract(
    params.net['extractor'], encoded, {'embedding': vectors}
  )
  assert features.plugged.shape == (
    *examples.CANDIDATES.shape,
    2 * examples.WIDTH,
  )
  empty = examples.LENGTHS.index(0)
  interest = features.plugged[empty, :, examples.WIDTH :]
  np.testing.assert_array_equal(interest, np.zeros_like(interest))


def test_default_widths_give_the_parameter_counts_of_the_equations():
  model = examples.make('din', width=32, hidden=(128, 64))
  init = functools.partial(model.init, sizes=examples.SIZES)
  net = jax.eval_shape(init, jax.random.key(0), {}).net
  count = lambda part: sum(leaf.size for leaf in jax.tree.leaves(net[part]))
  assert count('extractor') == 2 * (32 * 32 + 32) + 3 * 32 * 32
  layers = [(64, 128), (128, 64), (64, 1)]
  assert count('classifier') == sum((n + 1) * m for n, m in layers)
