import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from tests import behavior_toys as toys
from twotsrec import config
from twotsrec import types
from twotsrec.models import pair_experts
from twotsrec.models import pair_prior
from twotsrec.ops import graph
from twotsrec.ops import rows

USERS, ITEMS = 60, 20
OPTIONS = config.ClosedFormConfig(neighbors=ITEMS, shrinkage=2.0)


@functools.cache
def _log():
  """Views, carts, and purchases of items in pairs: 1 with 2, 3 with 4..."""
  generator = np.random.default_rng(1)
  view = generator.random((USERS, ITEMS)) < 0.3
  cart = generator.random((USERS, ITEMS)) < 0.15
  buy = (view | cart) & (generator.random((USERS, ITEMS)) < 0.4)
  partner = np.arange(ITEMS) ^ 1
  buy |= buy[:, partner] & (generator.random((USERS, ITEMS)) < 0.5)
  return view, cart, buy


@functools.cache
def _counted():
  edges = graph.make_edges(toys.edges(_log()), USERS, ITEMS)
  return pair_experts.count(edges, OPTIONS)


def _neighbors(user=None):
  """x of all items for all users, pair by pair; without what `user` shows."""
  view, cart, buy = _log()
  every = (view | cart | buy).astype(float)
  norms = np.sqrt(every.sum(0))
  cosine = lambda counts: counts / (np.outer(norms, norms) + OPTIONS.shrinkage)
  whole = cosine(every.T @ every)
  whole[np.diag_indices(ITEMS)] = 0.0
  mean = whole[whole > 0].mean()
  if user is None:
    return np.log1p(buy @ whole / mean)
  others = every.T @ every - np.outer(every[user], every[user])
  left = cosine(others)
  left[np.diag_indices(ITEMS)] = 0.0
  return np.log1p(buy[user] @ left / mean)


def test_neighbors_are_counted_pair_by_pair():
  view, cart, buy = _log()
  counted, x = _counted(), _neighbors()
  pairs = counted.pairs
  np.testing.assert_allclose(
    counted.x, x[pairs.user, pairs.item - 1], rtol=1e-5
  )
  new = np.argwhere(buy & ~(view | cart))
  assert len(new) > 20
  expected = [_neighbors(user)[item] for user, item in new]
  np.testing.assert_allclose(counted.x_new, expected, rtol=1e-5)
  # All other pairs, as a histogram.
  rest = np.sort(x[~(view | cart | buy)])
  values = counted.width * np.arange(len(counted.others))
  found = np.repeat(values, counted.others.astype(int))
  np.testing.assert_allclose(found, rest, atol=counted.width)


def test_each_expert_is_a_logistic_regression():
  view, cart, buy = _log()
  counted = _counted()
  (fitted, recency), pairs = pair_experts.fit(counted), counted.pairs
  assert recency == 0.0
  assert fitted.shape == (4, 3) and fitted[0, 2] > 0

  def reference(columns, took):
    made = linear_model.LogisticRegression(C=1e8, tol=1e-10, max_iter=1000)
    made.fit(np.column_stack(columns), took)
    return [made.intercept_[0], *made.coef_[0]]

  for pattern in (1, 2, 3):
    own = pairs.pattern == pattern
    columns = pairs.rate[own], counted.x[own]
    expected = reference(columns, pairs.bought[own])
    np.testing.assert_allclose(fitted[pattern], expected, atol=0.02)
  rest = _neighbors()[~(view | cart | buy)]
  x = np.concatenate([counted.x_new, rest])
  bias, slope = reference([x], np.arange(len(x)) < len(counted.x_new))
  np.testing.assert_allclose(fitted[0], [bias, 0.0, slope], atol=0.02)


def test_scores_are_the_logits():
  view, cart, _ = _log()
  counted = _counted()
  fitted = pair_experts.fit(counted)
  params = pair_experts.params(fitted, ITEMS)
  fitted = fitted.weights
  model = pair_experts.make_model(ITEMS)
  users = np.array([3, 0, -1, 59], np.int32)
  context = pair_experts.context(counted)
  encoded = model.encode(params.net, None, context, {'user': users})
  ids = jnp.arange(1, ITEMS + 1)
  found = model.score(
    params.net, encoded, rows.gather(params.tables['item'], ids)
  )
  x = _neighbors()
  expected = fitted[0, 0] + fitted[0, 2] * x
  rate = np.zeros((USERS, ITEMS))
  rate[counted.pairs.user, counted.pairs.item - 1] = counted.pairs.rate
  for pattern in (1, 2, 3):
    own = (view + 2 * cart) == pattern
    bias, slope, near = fitted[pattern]
    expected[own] = (bias + slope * rate + near * x)[own]
  known = users >= 0
  np.testing.assert_allclose(
    np.asarray(found)[known], expected[users[known]], rtol=1e-4, atol=1e-4
  )
  np.testing.assert_allclose(np.asarray(found)[~known], fitted[0, 0], rtol=1e-6)


def test_one_behavior_or_too_many_are_refused():
  count = lambda dense: pair_experts.count(
    graph.make_edges(toys.edges(dense), *dense[0].shape), OPTIONS
  )
  with pytest.raises(types.UserError, match='use item_knn'):
    count(toys.masks()[:1])
  many = toys.masks()[:1] * (pair_prior.MAX_BEHAVIORS + 1)
  with pytest.raises(types.UserError, match='or use cascading_rank'):
    pair_experts.count(
      graph.make_edges(
        [edge for mask in many for edge in toys.edges((mask,))],
        *many[0].shape,
      ),
      OPTIONS,
    )
