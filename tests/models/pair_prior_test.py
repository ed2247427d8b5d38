import hypothesis
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.models import pair_prior

SMOOTHING, SCALE = 5.0, 100.0
# A log of some size: views, and purchases that follow an item's rate.
USERS, ITEMS = 80, 30


def _log(seed=0):
  generator = np.random.default_rng(seed)
  view = generator.random((USERS, ITEMS)) < 0.5
  cart = generator.random((USERS, ITEMS)) < 0.3
  taste = generator.uniform(0.02, 0.7, ITEMS)
  shown = view | cart
  buy = generator.random((USERS, ITEMS)) < taste * np.where(shown, 1.0, 0.05)
  buy[: ITEMS // 2, :] |= np.eye(ITEMS // 2, ITEMS, dtype=bool)
  return view, cart, buy


def _edges(dense):
  return behavior_feeds.edges(toys.behaviors(dense))


def _shown(dense, smoothing=SMOOTHING):
  return pair_prior.touched(_edges(dense), dense[0].shape[1], smoothing)


def _prior(dense, scale=SCALE):
  return pair_prior.make(_edges(dense), *dense[0].shape, SMOOTHING, scale)


def test_a_pair_is_judged_by_what_all_others_did():
  view, cart, buy = dense = toys.masks()
  pairs = _shown(dense)
  expected = []
  for user, item in np.argwhere(view | cart):
    others = np.arange(toys.USERS) != user
    users = np.sum((view | cart)[others, item])
    buyers = np.sum(buy[others, item])
    expected.append(
      (
        user,
        item + 1,
        view[user, item] + 2 * cart[user, item],
        buy[user, item],
        np.log((buyers + 1) / (users + SMOOTHING)),
      )
    )
  for column, values in zip(pairs, zip(*expected), strict=True):
    np.testing.assert_allclose(column, values)


def test_patterns_of_too_many_behaviors_are_refused():
  pair_prior.check(pair_prior.MAX_BEHAVIORS)
  with pytest.raises(types.UserError, match='K = 17; at most 16'):
    pair_prior.check(pair_prior.MAX_BEHAVIORS + 1)


def test_the_fit_is_a_logistic_regression_of_each_pattern():
  pairs = _shown(_log())
  found = pair_prior.fit(pairs, 3)
  assert found.shape == (4, 2) and not np.any(found[0])
  for pattern in (1, 2, 3):
    own = pairs.pattern == pattern
    reference = linear_model.LogisticRegression(C=1e8, tol=1e-10, max_iter=500)
    reference.fit(pairs.rate[own, None], pairs.bought[own])
    expected = [reference.intercept_[0], reference.coef_[0, 0]]
    np.testing.assert_allclose(found[pattern], expected, atol=0.02)


@hypothesis.given(st.integers(0, 10_000))
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
def test_no_other_line_fits_better(seed):
  generator = np.random.default_rng(seed)
  rate = generator.normal(size=40) * generator.choice([0.0, 1.0, 50.0])
  bought = generator.random(40) < generator.choice([0.0, 0.3, 1.0])
  weights = pair_prior.logistic([rate], bought)
  assert np.all(np.isfinite(weights))
  logits = weights[0] + weights[1] * rate
  residual = 1 / (1 + np.exp(-logits)) - bought
  # The gradient of the penalized likelihood.
  slopes = [residual.sum(), residual @ rate]
  np.testing.assert_allclose(slopes, -1e-3 * weights, atol=1e-3)


def test_a_pair_gains_its_log_odds_over_those_of_a_new_one():
  dense = _log()
  view, cart, buy = dense
  bonus = np.asarray(pair_prior.bonus(_prior(dense), jnp.arange(USERS), ITEMS))
  pairs = _shown(dense)
  fitted = pair_prior.fit(pairs, 3)
  new = ~(view | cart)
  base = np.log(1 + np.sum(new & buy)) - np.log(1 + np.sum(new & ~buy))
  expected = np.zeros((USERS, ITEMS + 1))
  for user, item, pattern, rate in zip(
    pairs.user, pairs.item, pairs.pattern, pairs.rate
  ):
    logit = fitted[pattern, 0] + fitted[pattern, 1] * rate
    expected[user, item] = SCALE * (logit - base)
  np.testing.assert_allclose(bonus, expected, rtol=1e-4, atol=1e-3)
  assert bonus[:, 1:][view | cart].mean() > 0


def test_a_user_without_anything_shown_gains_nothing():
  view, cart, buy = toys.masks()
  view, cart = view.copy(), cart.copy()
  view[2] = cart[2] = False
  bonus = pair_prior.bonus(
    _prior((view, cart, buy)), jnp.array([2, 0]), toys.ITEMS
  )
  assert not np.any(bonus[0]) and np.any(bonus[1])


@pytest.mark.parametrize('empty', [0, 1])
def test_a_behavior_without_rows_is_a_pattern_without_pairs(empty):
  dense = list(_log())
  dense[empty] = np.zeros_like(dense[empty])
  pairs = _shown(dense)
  assert set(pairs.pattern) == {2 - empty}
  prior = _prior(dense)
  assert np.all(np.isfinite(prior.gains))


def test_a_log_without_anything_upstream_gains_nothing():
  view, cart, buy = _log()
  nothing = np.zeros_like(view)
  prior = _prior((nothing, nothing, buy))
  assert not np.any(pair_prior.bonus(prior, jnp.arange(USERS), ITEMS))


def test_two_behaviors_have_one_pattern():
  view, _, buy = _log()
  pairs = _shown((view, buy))
  assert set(pairs.pattern) == {1}
  assert pair_prior.fit(pairs, 2).shape == (2, 2)
