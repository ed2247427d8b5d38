import numpy as np
import pytest

from tests.models import examples


@pytest.mark.parametrize('attention_norm', [False, True])
def test_scores_equal_the_equations_in_a_loop(attention_norm):
  changes = {'attention_norm': attention_norm}
  params = examples.params('din_original', **changes)
  table = examples.as_numpy(params.tables['item'])
  net = examples.as_numpy(params.net)
  extractor = net['extractor']

  def attention_logit(target, item):
    pair = np.concatenate([target, item, target - item, target * item])
    return examples.mlp(extractor['attention'], pair, examples.sigmoid)[0]

  def score(history, candidate):
    target = table['embedding'][candidate]
    items = table['embedding'][history]
    weights = np.array([attention_logit(target, item) for item in items])
    if attention_norm and len(history):
      weights = examples.softmax(weights / np.sqrt(examples.WIDTH))
    pooled = np.zeros(examples.WIDTH)
    for weight, item in zip(weights, items, strict=True):
      pooled += weight * item
    interest = examples.dense(extractor['interest'], pooled)
    joined = np.concatenate([interest, target, interest * target])
    logit = examples.mlp(net['classifier'], joined, examples.sigmoid)[0]
    return table['bias'][candidate, 0] + logit

  model = examples.make('din_original', **changes)
  actual = examples.scores(model, params, examples.HISTORY, examples.CANDIDATES)
  np.testing.assert_allclose(
    actual, examples.reference(score), rtol=1e-5, atol=1e-5
  )


def test_many_shared_candidates_are_scored_in_groups():
  model = examples.make('din_original')
  params = examples.params('din_original')
  ids = np.arange(37, dtype=np.int32) % examples.SIZES.num_items + 1
  shared = examples.scores(model, params, examples.HISTORY, ids)
  repeated = np.tile(ids, (len(examples.HISTORY), 1))
  expected = examples.scores(model, params, examples.HISTORY, repeated)
  np.testing.assert_allclose(shared, expected, rtol=1e-5, atol=1e-6)
