import jax
import jax.numpy as jnp
import numpy as np

from tests.models import examples
from twotsrec.models import inner_product


def _left_padded_states(net, table, history):
  """The original's forward pass on a left-padded history, f64[L, D]."""
  length, width = examples.SIZES.history_length, examples.WIDTH
  heads = 2
  start = length - len(history)
  real = np.arange(length) >= start
  x = np.zeros((length, width))
  x[start:] = np.sqrt(width) * table[history]
  x[start:] += net['embed']['position'][start:]
  extractor = net['extractor']
  norm = lambda params, x: np.array(
    [examples.layer_norm(params, row, 1e-8) for row in x]
  )
  for block in extractor['blocks']:
    normalized = norm(block['attention_norm'], x)
    query = examples.dense(block['query'], normalized)
    key = examples.dense(block['key'], x)
    value = examples.dense(block['value'], x)
    seen = np.zeros_like(x)
    for position in range(start, length):
      keys = slice(start, position + 1)
      for part in np.split(np.arange(width), heads):
        logits = key[keys][:, part] @ query[position, part]
        weights = examples.softmax(logits / np.sqrt(width // heads))
        seen[position, part] = weights @ value[keys][:, part]
    x = seen + normalized
    normalized = norm(block['feed_norm'], x)
    hidden = np.maximum(examples.dense(block['feed_in'], normalized), 0.0)
    x = examples.dense(block['feed_out'], hidden) + normalized
    x = x * real[:, None]
  return norm(extractor['norm'], x)


def _reference():
  params = examples.params('sasrec_original', num_layers=2)
  table = examples.as_numpy(params.tables['item'])['embedding']
  return examples.as_numpy(params.net), table


def test_right_padding_scores_like_the_left_padded_original():
  net, table = _reference()

  def score(history, candidate):
    if not len(history):  # the final norm of an all-zero row
      return net['extractor']['norm']['bias'] @ table[candidate]
    states = _left_padded_states(net, table, history)
    return states[-1] @ table[candidate]

  actual = examples.scores(
    examples.make('sasrec_original', num_layers=2),
    examples.params('sasrec_original', num_layers=2),
    examples.HISTORY,
    examples.CANDIDATES,
  )
  np.testing.assert_allclose(
    actual, examples.reference(score), rtol=1e-4, atol=1e-5
  )


def test_every_position_equals_its_place_in_the_left_padded_original():
  net, table = _reference()
  actual = examples.encode_positions(
    examples.make('sasrec_original', num_layers=2),
    examples.params('sasrec_original', num_layers=2),
    examples.HISTORY,
  )
  for row, history in zip(actual, examples.HISTORY, strict=True):
    length = int(np.sum(history > 0))
    if length:
      expected = _left_padded_states(net, table, history[:length])
      np.testing.assert_allclose(
        row[:length], expected[-length:], rtol=1e-4, atol=1e-5
      )


def test_positions_count_from_the_end():
  history = jnp.array([[3, 4, 5, 0, 0], [6, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
  actual = inner_product.positions_from_end(history, 7)
  expected = [[4, 5, 6, 0, 0], [6, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
  np.testing.assert_array_equal(actual, expected)


def test_later_items_do_not_change_earlier_positions():
  model = examples.make('sasrec_original')
  params = examples.params('sasrec_original')
  history = examples.HISTORY[:1]
  changed = history.copy()
  changed[:, -2:] = changed[:, -2:] % examples.SIZES.num_items + 1
  before = examples.encode_positions(model, params, history)
  after = examples.encode_positions(model, params, changed)
  np.testing.assert_array_equal(before[:, :-2], after[:, :-2])
  assert np.all(np.max(np.abs(before - after)[:, -2:], axis=-1) > 1e-4)


def test_dropout_needs_a_key_and_follows_it():
  model = examples.make('sasrec_original', dropout=0.5)
  params = examples.params('sasrec_original')
  run = lambda key: examples.encode(model, params, examples.HISTORY, key)
  plain = examples.encode(
    examples.make('sasrec_original'), params, examples.HISTORY
  )
  np.testing.assert_array_equal(run(None), plain)
  first, again = run(jax.random.key(0)), run(jax.random.key(0))
  np.testing.assert_array_equal(first, again)
  assert np.max(np.abs(first - run(jax.random.key(1)))) > 1e-3
  assert np.max(np.abs(first - plain)) > 1e-3
