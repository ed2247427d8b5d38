import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.models import history_prior
from twotsrec.ops import rows

ITEMS, USERS, LENGTH, K = 9, 6, 7, 4
READ = 5  # events of a history that the model reads
TERMS = config_lib.PRIOR_TERMS
REPEATS, NEIGHBORS, SUCCESSORS = TERMS


def _histories():
  rng = np.random.default_rng(3)
  made = rng.integers(1, 5, (USERS, LENGTH)).astype(np.int32)
  made[0], made[1, 3:] = 0, 0
  made[2] = [4, 4, 4, 2, 1, 1, 4]
  return made


def _memory():
  """Random neighbors of every item, some with fewer than K."""
  rng = np.random.default_rng(5)
  near = {}
  for term in (NEIGHBORS, SUCCESSORS):
    ids = np.zeros((ITEMS + 1, K), np.int32)
    weights = np.zeros((ITEMS + 1, K), np.float32)
    for item in range(1, ITEMS + 1):
      count = rng.integers(K + 1)
      others = [other for other in range(1, ITEMS + 1) if other != item]
      ids[item, :count] = rng.permutation(others)[:count]
      weights[item, :count] = rng.random(count)
    near[term] = history_prior.nearest(ids, weights)
  return history_prior.Memory(jnp.zeros(ITEMS + 1), near)


def _said(table, item, other):
  """What an item says of another one."""
  ids, weights = (np.asarray(leaf)[item] for leaf in table)
  return sum(w for i, w in zip(ids, weights) if i == other)


def _columns(memory, history, item, terms):
  """The columns of a user and an item, by their definitions."""
  past = [int(x) for x in history if x]
  made = []
  if REPEATS in terms:
    ages = [0.0] * 8
    if item in past:
      ago = past[::-1].index(item) + 1
      ages[min(int(math.log2(ago)), 7)] = 1.0
    made += [*ages, math.log(max(past.count(item), 1))]
  if NEIGHBORS in terms:
    total = sum(
      _said(memory.near[NEIGHBORS], other, item) for other in set(past)
    )
    made += [math.log1p(total), math.log1p(total) * (item in past)]
  if SUCCESSORS in terms:
    said = _said(memory.near[SUCCESSORS], past[-1], item) if past else 0.0
    made += [math.log1p(said), math.log1p(said) * (item in past)]
  return made


def test_nearest_items_have_a_mean_weight_of_one():
  weights = np.array([[0, 0], [0.2, 0.6], [0, 0]], np.float32)
  made = history_prior.nearest(np.zeros((3, 2), np.int32), weights)
  np.testing.assert_allclose(made.weights[1], [0.5, 1.5], rtol=1e-6)
  nothing = history_prior.nearest(np.zeros((3, 2), np.int32), 0 * weights)
  assert not np.any(nothing.weights)


@pytest.mark.parametrize(
  'terms', [(REPEATS,), (SUCCESSORS, NEIGHBORS), TERMS, TERMS[::-1]]
)
def test_a_score_is_the_models_and_what_the_history_says(terms):
  history, memory = _histories(), _memory()
  model = worlds.mean_model()
  sizes = types.Sizes(USERS, ITEMS, READ)
  params = model.init(jax.random.key(0), {}, sizes)
  number = len(history_prior.names(terms))
  weights = np.random.default_rng(1).normal(size=number)
  alone = contracts.Ranker(model, params, {}, READ)
  ranker = history_prior.around(alone, terms, memory, weights.tolist(), LENGTH)
  assert ranker.history_length == LENGTH
  offsets = LENGTH * np.arange(USERS + 1)
  ends = offsets[:-1] + np.sum(history > 0, axis=1)

  def scores(ranker, ids):
    read = gathers.histories(
      history.ravel(), offsets[:-1], ends, ranker.history_length
    )
    inputs = {'history': jnp.asarray(read)}
    items = ranker.params.tables['item']
    encoded = ranker.model.encode(
      ranker.params.net, rows.gather(items, inputs['history']), {}, inputs
    )
    candidates = rows.gather(items, jnp.asarray(ids))
    return ranker.model.score(ranker.params.net, encoded, candidates)

  every = np.arange(1, ITEMS + 1)
  expected = weights[0] * np.asarray(scores(alone, every))
  for user, item in np.ndindex(USERS, ITEMS):
    made = _columns(memory, history[user], item + 1, terms)
    expected[user, item] += weights[1:] @ made
  np.testing.assert_allclose(scores(ranker, every), expected, atol=1e-5)
  own = np.stack([np.roll(every, shift) for shift in range(USERS)])
  moved = np.take_along_axis(expected, own - 1, axis=1)
  np.testing.assert_allclose(scores(ranker, own), moved, atol=1e-5)
  # Nobody's history says anything.
  np.testing.assert_allclose(
    scores(ranker, every)[0], weights[0] * scores(alone, every)[0], atol=1e-5
  )
