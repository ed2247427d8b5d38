"""Encoders with an inner product as score, against literal loops in f64."""

import jax
from jax import numpy as jnp
import numpy as np
import pytest
from scipy import special

from tests.models import examples

HEADS, LAYERS = 2, 2


def _norm(params, x):
  return np.array([examples.layer_norm(params, row, 1e-5) for row in x])


def _silu(x):
  return x * examples.sigmoid(x)


def _gelu(x):  # its approximation with tanh
  inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
  return 0.5 * x * (1 + np.tanh(inner))


def _parts():
  return np.split(np.arange(examples.WIDTH), HEADS)


def _attention(query, key, value, causal):
  """Softmax attention of every head, position by position."""
  seen = np.zeros_like(query)
  for place in range(len(query)):
    keys = slice(0, place + 1) if causal else slice(None)
    for part in _parts():
      logits = key[keys][:, part] @ query[place, part] / np.sqrt(len(part))
      seen[place, part] = examples.softmax(logits) @ value[keys][:, part]
  return seen


def _ligr(extractor, x):
  for block in extractor['blocks']:
    dense = lambda name, x, block=block: examples.dense(block[name], x)
    y = _norm(block['attention_norm'], x)
    seen = _attention(
      dense('query', y), dense('key', y), dense('value', y), True
    )
    gate = examples.sigmoid(dense('attention_gate', x))
    x = x + gate * dense('output', seen)
    y = _norm(block['feed_norm'], x)
    fed = dense('down', _silu(dense('gate', y)) * dense('up', y))
    x = x + examples.sigmoid(dense('feed_gate', x)) * fed
  return _norm(extractor['norm'], x)


def _hstu(extractor, x):
  for unit in extractor['units']:
    distance = unit['distance']['bias']
    mixed = _silu(examples.dense(unit['uvqk'], _norm(unit['norm'], x)))
    gate, value, query, key = np.split(mixed, 4, axis=1)
    seen = np.zeros_like(x)
    for place in range(len(x)):
      for other in range(place + 1):
        for part in _parts():
          logit = query[place, part] @ key[other, part]
          weight = _silu(logit + distance[place - other]) / len(distance)
          seen[place, part] += weight * value[other, part]
    x = x + examples.dense(
      unit['output'], _norm(unit['seen_norm'], seen) * gate
    )
  return _norm(extractor['norm'], x)


def _bert4rec(extractor, x):
  for block in extractor['blocks']:
    dense = lambda name, block=block, x=x: examples.dense(
      block['attention'][name], x
    )
    seen = _attention(dense('query'), dense('key'), dense('value'), False)
    seen = examples.dense(block['attention']['output'], seen)
    x = _norm(block['attention_norm'], x + seen)
    fed = examples.dense(block['down'], _gelu(examples.dense(block['up'], x)))
    x = _norm(block['feed_norm'], x + fed)
  return _norm(
    extractor['output_norm'], _gelu(examples.dense(extractor['output'], x))
  )


def _gru(extractor, x):
  for cell in extractor['layers']:
    state, states = np.zeros(examples.WIDTH), []
    for row in x:
      given = np.split(examples.dense(cell['input'], row), 3)
      own = np.split(examples.dense(cell['recurrent'], state), 3)
      reset, update = (special.expit(given[i] + own[i]) for i in (0, 1))
      candidate = np.tanh(given[2] + reset * own[2])
      state = (1 - update) * candidate + update * state
      states.append(state)
    x = np.array(states)
  return examples.dense(extractor['output'], x)


ENCODERS = {
  'ligr': (_ligr, 1.0),
  'hstu': (_hstu, np.sqrt(examples.WIDTH)),
  'bert4rec': (_bert4rec, 1.0),
  'gru4rec_product': (_gru, 1.0),
}


def _embedded(net, table, history, scale):
  """Vectors of a history as the end of a full one; a hidden item for BERT."""
  embed = net['embed']
  x = scale * table[history]
  if 'hidden' in embed:
    x = np.concatenate([x, embed['hidden']])
  if 'position' in embed:
    x = x + embed['position'][len(embed['position']) - len(x) :]
  return _norm(embed['norm'], x) if 'norm' in embed else x


@pytest.mark.parametrize('name', tuple(ENCODERS))
def test_scores_are_those_of_a_literal_loop(name):
  encode, scale = ENCODERS[name]
  model = examples.make(name, num_layers=LAYERS)
  params = examples.params(name, num_layers=LAYERS)
  net = examples.as_numpy(params.net)
  items = examples.as_numpy(params.tables['item'])

  def score(history, candidate):
    x = _embedded(net, items['embedding'], history, scale)
    if not len(x):
      return np.nan  # what an empty history has is said below
    state = encode(net['extractor'], x)[-1]
    bias = items['bias'][candidate, 0] if 'bias' in items else 0.0
    return state @ items['embedding'][candidate] + bias

  actual = examples.scores(model, params, examples.HISTORY, examples.CANDIDATES)
  expected = examples.reference(score)
  there = np.isfinite(expected[:, 0])
  assert there.sum() >= 3
  np.testing.assert_allclose(
    np.asarray(actual)[there], expected[there], rtol=1e-4, atol=1e-4
  )


@pytest.mark.parametrize('name', tuple(ENCODERS))
def test_an_empty_history_has_finite_scores_of_its_own(name):
  model, params = examples.make(name), examples.params(name)
  empty = jnp.zeros((1, examples.SIZES.history_length), jnp.int32)
  scores = examples.scores(model, params, empty, examples.CANDIDATES[:1])
  assert np.all(np.isfinite(scores))


@pytest.mark.parametrize('name', tuple(ENCODERS))
def test_dropout_acts_with_a_key_alone(name):
  model, params = examples.make(name, dropout=0.5), examples.params(name)
  plain = examples.encode(examples.make(name), params, examples.HISTORY)
  encode = lambda *key: examples.encode(model, params, examples.HISTORY, *key)
  np.testing.assert_array_equal(encode(), plain)
  dropped = encode(jax.random.key(0))
  assert np.any(np.abs(dropped - plain)[0] > 1e-3)
