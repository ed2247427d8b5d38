import math

import jax
import jax.numpy as jnp
import numpy as np

from tests import behavior_toys as toys
from twotsrec.models import pair_prior

SMOOTHING = 5.0
VIEW, CART, BUY = toys.masks()
GRID = np.array(
  [(u, i) for u in range(toys.USERS) for i in range(1, toys.ITEMS + 1)]
)


def _shown(dense=None):
  users, items = zip(*toys.edges(dense), strict=True)
  return pair_prior.make_shown(users, items, toys.USERS, toys.ITEMS)


def _net():
  return toys.random_like(pair_prior.init(3), 0.5)


def _pattern(user, item):
  return int(VIEW[user, item - 1]) + 2 * int(CART[user, item - 1])


def _term(net, user, item, bought):
  """By counting everybody but the pair's own user."""
  showed = bought_by = 0
  for other in range(toys.USERS):
    if other == user:
      continue
    showed += bool(_pattern(other, item))
    bought_by += BUY[other, item - 1]
  if not bought:  # a user who bought is taken for one who did not
    bought_by += BUY[user, item - 1]
  pattern = _pattern(user, item)
  if not pattern:
    assert showed == sum(bool(_pattern(u, item)) for u in range(toys.USERS))
  rate = (bought_by + 1) / (showed + SMOOTHING)
  bias = float(net['bias'][pattern]) if pattern else 0.0
  return 10 * (bias + float(net['slope'][pattern]) * math.log(rate))


def test_patterns_are_the_bits_of_the_upstream_behaviors():
  user, item = jnp.asarray(GRID.T)
  found = pair_prior.pattern_of(_shown(), user, item)
  np.testing.assert_array_equal(found, [_pattern(u, i) for u, i in GRID])
  assert set(np.asarray(found)) == {0, 1, 2, 3}


def test_a_training_pair_does_not_vote_for_itself():
  net, shown = _net(), _shown()
  for bought in (True, False):
    pairs = GRID[BUY[GRID[:, 0], GRID[:, 1] - 1] == bought]
    found = pair_prior.of_pairs(
      net, shown, *jnp.asarray(pairs.T), bought, SMOOTHING
    )
    expected = [_term(net, user, item, bought) for user, item in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_ranking_takes_every_pair_for_one_that_was_not_bought():
  net, shown = _net(), _shown()
  served, base = pair_prior.serve(net, shown, SMOOTHING)
  users = jnp.asarray([5, 0, 3, 1, 2, 4])
  found = base['prior'] + pair_prior.bonus(served, users)
  expected = [
    [_term(net, u, i, False) for i in range(1, toys.ITEMS + 1)] for u in users
  ]
  np.testing.assert_allclose(found[:, 1:], expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(found[:, 0], np.full(6, base['prior'][0]))


def test_the_prior_begins_without_an_opinion_and_learns_every_pattern():
  shown, net = _shown(), pair_prior.init(3)
  user, item = jnp.asarray(GRID.T)

  def total(net):
    terms = pair_prior.of_pairs(net, shown, user, item, False, SMOOTHING)
    return jnp.sum(terms), terms

  slope, terms = jax.grad(total, has_aux=True)(net)
  assert not np.any(terms)
  counts = np.bincount([_pattern(u, i) for u, i in GRID], minlength=4)
  # The bias of an item that was not shown stays 0.
  np.testing.assert_allclose(slope['bias'], 10 * counts * [0, 1, 1, 1])
  assert np.all(np.asarray(slope['slope']) != 0)


def test_behaviors_without_any_pair_leave_the_empty_pattern():
  nothing = np.zeros_like(VIEW)
  shown = _shown((nothing, nothing, BUY))
  user, item = jnp.asarray(GRID.T)
  assert not np.any(pair_prior.pattern_of(shown, user, item))
  served, base = pair_prior.serve(_net(), shown, SMOOTHING)
  assert not np.any(pair_prior.bonus(served, jnp.arange(toys.USERS)))
  assert np.all(np.isfinite(base['prior']))
