import itertools

import numpy as np
import pytest

from tests.models import examples


def _attend(params, x, sees, num_heads):
  """Attention of every position by loops; `sees[l]` lists visible keys."""
  width = x.shape[1] // num_heads
  query, key, value = (
    examples.dense(params[name], x) for name in ('query', 'key', 'value')
  )
  out = np.zeros_like(x)
  for position, head in itertools.product(range(len(x)), range(num_heads)):
    part = slice(head * width, (head + 1) * width)
    keys = sees[position]
    if not keys:
      continue
    logits = key[keys][:, part] @ query[position, part] / np.sqrt(width)
    out[position, part] = examples.softmax(logits) @ value[keys][:, part]
  return examples.dense(params['output'], out)


def _state(net, table, history, causal, quirk):
  """o[len] of the full transformer, f64[D]."""
  length = examples.SIZES.history_length
  vectors = np.zeros((length, examples.WIDTH))
  vectors[: len(history)] = table[history]
  real = length if quirk else len(history)
  vectors[:real] += net['embed']['position'][:real]
  extractor = net['extractor']
  x = np.tanh(examples.dense(extractor['history'], vectors))
  sees = [list(range(real)) for _ in range(length)]
  if causal:
    sees = [[k for k in keys if k <= q] for q, keys in enumerate(sees)]
  norm = lambda name, x: np.array(
    [examples.layer_norm(layer[name], row, 1e-5) for row in x]
  )
  for layer in extractor['layers']:
    seen = _attend(layer['attention'], x, sees, num_heads=2)
    x = norm('attention_norm', x + seen)
    hidden = np.maximum(examples.dense(layer['up'], x), 0.0)
    x = norm('feed_norm', x + examples.dense(layer['down'], hidden))
  return x[max(len(history) - 1, 0)]


@pytest.mark.parametrize(
  ('num_layers', 'causal', 'quirk'),
  [
    (1, False, False),
    (2, False, False),
    (2, True, False),
    (2, False, True),
    (1, True, True),
  ],
)
def test_scores_equal_the_full_transformer_in_a_loop(num_layers, causal, quirk):
  changes = {
    'num_layers': num_layers,
    'causal': causal,
    'authors_quirk': quirk,
  }
  params = examples.params('sasrec', **changes)
  table = examples.as_numpy(params.tables['item'])['embedding']
  net = examples.as_numpy(params.net)

  def score(history, candidate):
    state = _state(net, table, history, causal, quirk)
    user = examples.mlp(net['classifier'], state, np.tanh)
    target = net['extractor']['target']
    return user @ examples.mlp(target, table[candidate], np.tanh)

  model = examples.make('sasrec', **changes)
  actual = examples.scores(model, params, examples.HISTORY, examples.CANDIDATES)
  np.testing.assert_allclose(
    actual, examples.reference(score), rtol=1e-4, atol=1e-5
  )


def test_without_a_padding_mask_padding_changes_the_score():
  changes = {'authors_quirk': True}
  model = examples.make('sasrec', **changes)
  params = examples.params('sasrec', **changes)
  short = examples.HISTORY[1:2, : examples.LENGTHS[1]]
  candidates = examples.CANDIDATES[1:2]
  tight = examples.scores(model, params, short, candidates)
  padded = examples.scores(model, params, examples.HISTORY[1:2], candidates)
  assert np.max(np.abs(tight - padded)) > 1e-3


def test_the_order_of_the_history_matters():
  model, params = examples.make('sasrec'), examples.params('sasrec')
  history, candidates = examples.HISTORY[:1], examples.CANDIDATES[:1]
  swapped = history.copy()
  swapped[:, [0, 1]] = history[:, [1, 0]]
  before = examples.scores(model, params, history, candidates)
  after = examples.scores(model, params, swapped, candidates)
  assert np.max(np.abs(before - after)) > 1e-4
