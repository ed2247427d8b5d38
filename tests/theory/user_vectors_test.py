import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from twotsrec import types
from twotsrec.theory import estimates
from twotsrec.theory import user_vectors

WIDTH, ITEMS = 4, 40


def clicks(lengths, seed=0):
  """Users with tastes of their own: (item_vectors, offsets, items)."""
  rng = np.random.default_rng(seed)
  vectors = rng.normal(size=(ITEMS + 1, WIDTH)).astype(np.float32)
  vectors[0] = 0.0
  tastes = 0.7 * rng.normal(size=(len(lengths), WIDTH)) + [1.0, 0, 0, 0]
  weights = np.exp(tastes @ vectors[1:].T)
  weights /= weights.sum(axis=1, keepdims=True)
  items = [rng.choice(ITEMS, n, p=p) + 1 for n, p in zip(lengths, weights)]
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  return vectors, offsets, np.concatenate(items).astype(np.int32)


def test_the_fit_is_that_of_scikit_learn():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(60, WIDTH)).astype(np.float32)
  clicked = (rng.random(60) < 0.3).astype(np.float32)
  weights = rng.integers(0, 3, 60).astype(np.float32)
  fit = jax.jit(
    functools.partial(
      user_vectors.logistic_ridge, rows, clicked, weights, newton_steps=8
    )
  )
  for c in (0.001, 0.1, 3.0):
    actual = fit(c=c)
    reference = linear_model.LogisticRegression(
      C=1.0 / (c * weights.sum()), fit_intercept=False, tol=1e-10
    ).fit(rows, clicked, sample_weight=weights)
    np.testing.assert_allclose(actual, reference.coef_[0], rtol=1e-3, atol=1e-4)


def test_steps_that_overshoot_are_shortened():
  # Nearly separable and nearly unregularized: plain Newton leaves the road.
  rows = np.float32([[8.0, 1.0], [-8.0, 1.0], [7.0, -1.0], [0.1, -3.0]])
  clicked = np.float32([1.0, 0.0, 1.0, 0.0])

  def loss(phi):
    logits = rows.astype(float) @ np.asarray(phi, float)
    errors = np.logaddexp(0.0, logits) - clicked * logits
    return errors.mean() + 5e-5 * np.sum(np.asarray(phi, float) ** 2)

  fits = [
    user_vectors.logistic_ridge(
      rows, clicked, jnp.ones(4), c=1e-4, newton_steps=steps
    )
    for steps in (0, 1, 3, 9)
  ]
  losses = [loss(phi) for phi in fits]
  assert np.all(np.diff(losses) <= 1e-6)
  assert losses[-1] < 0.02


def test_vectors_of_a_user_do_not_depend_on_the_others(monkeypatch):
  table = clicks([5, 7, 8, 6])
  whole = user_vectors.ridge_halves(*table)
  np.testing.assert_array_equal(whole.users, np.arange(4))
  some = user_vectors.ridge_halves(*table, users=np.array([2]))
  monkeypatch.setattr(user_vectors, '_FLOATS_AT_ONCE', 1)
  alone = user_vectors.ridge_halves(*table)
  for name in ('first', 'second', 'whole'):
    values = getattr(whole, name)
    assert values.shape == (4, WIDTH)
    np.testing.assert_allclose(
      getattr(some, name), values[[2]], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
      getattr(alone, name), values, rtol=1e-3, atol=1e-4
    )
  np.testing.assert_array_equal(some.counts, [8])


def test_tiles_hold_every_user_once_beside_others_of_its_length(monkeypatch):
  counts = np.random.default_rng(0).integers(2, 50, 200)
  monkeypatch.setattr(user_vectors, '_FLOATS_AT_ONCE', 10_000)
  tiles = list(user_vectors._tiles(counts, 20))
  places = np.concatenate([tile[tile >= 0] for tile, _ in tiles])
  np.testing.assert_array_equal(np.sort(places), np.arange(200))
  for tile, length in tiles:
    inside = counts[tile[tile >= 0]]
    assert length / 2 < inside.max() <= length
    assert len(tile) * length * 20 <= 10_000
  shapes = {(len(tile), length) for tile, length in tiles}
  assert {length for _, length in shapes} == {2, 4, 8, 16, 32, 49}
  assert len(shapes) == 6


def test_a_seed_decides_the_halves():
  table = clicks([6, 7, 8])
  one, again = (
    user_vectors.ridge_halves(*table),
    user_vectors.ridge_halves(*table),
  )
  np.testing.assert_array_equal(one.first, again.first)
  other = user_vectors.ridge_halves(*table, seed=1)
  assert np.abs(one.first - other.first).max() > 1e-3


def test_the_scale_of_the_items_does_not_matter():
  vectors, *log = clicks([6, 7, 8])
  one = user_vectors.ridge_halves(vectors, *log)
  other = user_vectors.ridge_halves(10.0 * vectors, *log)
  np.testing.assert_allclose(
    other.whole, one.whole / 10.0, rtol=1e-3, atol=1e-5
  )


def test_halves_predict_the_error_of_the_whole():
  # The same users with 32 events and with all of theirs, near their tastes.
  users, few, many = 200, 32, 400
  vectors, offsets, items = clicks([many] * users)
  log = items.reshape(users, many)
  how = user_vectors.Fit(c=0.3, max_events=many)
  tastes = user_vectors.ridge_halves(vectors, offsets, items, how=how).whole
  short = user_vectors.ridge_halves(
    vectors, few * np.arange(users + 1), log[:, :few].ravel(), how=how
  )
  q = estimates.estimate_q(short.first, short.second, short.counts)
  # The tastes err too, and share the events.
  error = np.mean(np.sum((short.whole - tastes) ** 2, axis=1))
  expected = q * (1.0 / (few + 1.0) - 1.0 / (many + 1.0))
  assert error == pytest.approx(expected, rel=0.2)
  V = np.sum(np.var(tastes, axis=0, ddof=1))
  found = estimates.estimate_variance(short.whole, short.counts, q)
  assert found == pytest.approx(V, rel=0.2)


def test_long_histories_give_events_from_all_of_their_time():
  offsets = np.array([0, 10, 13])
  items = np.arange(1, 14)
  for shift in (0.0, 0.5, 0.999):
    events = user_vectors._events(
      offsets, items, np.full(2, shift), np.array([0, 1, -1]), 4
    )
    first, second, filling = np.asarray(events)
    expected = np.floor((np.arange(4) + shift) * 10 / 4) + 1
    np.testing.assert_array_equal(first, expected)
    assert len(set(first)) == 4
    np.testing.assert_array_equal(second, [11, 12, 13, 0])
    assert not filling.any()
  halves = user_vectors.ridge_halves(
    *clicks([30, 8, 7]), how=user_vectors.Fit(max_events=8)
  )
  np.testing.assert_array_equal(halves.counts, [8, 8, 7])


def test_users_are_drawn_where_there_are_many():
  table = clicks([8] * 4 + [1])
  drawn = user_vectors.ridge_halves(*table, how=user_vectors.Fit(max_users=3))
  assert len(drawn.users) == len(set(drawn.users)) == 3
  assert 4 not in drawn.users
  whole = user_vectors.ridge_halves(*table)
  np.testing.assert_allclose(
    drawn.whole, whole.whole[drawn.users], rtol=1e-3, atol=1e-4
  )


def test_users_without_two_halves_are_refused():
  table = clicks([3, 1])
  with pytest.raises(types.UserError, match='two events'):
    user_vectors.ridge_halves(*table, users=np.array([1]))
  with pytest.raises(types.UserError, match='c = 0'):
    user_vectors.ridge_halves(*table, how=user_vectors.Fit(c=0.0))
