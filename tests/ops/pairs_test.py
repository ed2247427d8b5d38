import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.ops import pairs as pairs_lib

VIEW = toys.masks()[0]
SAMPLES = 3
DRAWN = np.minimum(VIEW.sum(1), SAMPLES)
PLACES = 64
_draw = jax.jit(pairs_lib.draw, static_argnums=(3, 4))
_count = jax.jit(pairs_lib.draw, static_argnums=(3, 4, 5))


def _set(mask=VIEW, drawn=None):
  seen = toys.seen(mask)
  drawn = np.minimum(mask.sum(1), SAMPLES) if drawn is None else drawn
  return pairs_lib.make_set(seen.offsets, seen.items, drawn)


def _drawn(seed, users, mask=VIEW):
  found = _draw(
    jax.random.key(seed), _set(mask), jnp.asarray(users), toys.ITEMS, PLACES
  )
  return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize('users', [[3, 0, 5, 1], [2, 4, -1, -1]])
def test_every_user_of_a_batch_gives_as_many_pairs_as_it_has_up_to_a_limit(
  users,
):
  found = _drawn(0, users)
  expected = [
    slot for slot, u in enumerate(users) if u >= 0 for _ in range(DRAWN[u])
  ]
  kept = found.weight > 0
  np.testing.assert_array_equal(found.slot[kept], expected)
  np.testing.assert_array_equal(kept, np.arange(PLACES) < len(expected))
  assert set(found.weight) == {0.0, 1.0}


@pytest.mark.parametrize('seed', range(4))
def test_positives_are_the_users_items_and_negatives_never_are(seed):
  users = np.array([3, 0, 2, 1])
  found = _drawn(seed, users)
  for slot, positive, negative, weight in zip(*found):
    user = users[slot]
    if weight:
      assert VIEW[user, positive - 1]
    assert negative.shape == (1,) and not np.any(VIEW[user, negative - 1])
    assert 1 <= positive <= toys.ITEMS and 1 <= negative[0] <= toys.ITEMS


def test_several_negatives_are_drawn_beside_the_same_positives():
  users = jnp.array([3, 0, 2, -1])
  draw = lambda count: _count(
    jax.random.key(5), _set(), users, toys.ITEMS, PLACES, count
  )
  one, four = draw(1), draw(4)
  for ours, theirs in zip(one._replace(negative=0), four._replace(negative=0)):
    np.testing.assert_array_equal(ours, theirs)
  kept = np.asarray(four.weight) > 0
  user = np.asarray(users)[np.asarray(four.slot)][kept]
  negative = np.asarray(four.negative)[kept]
  assert negative.shape == (kept.sum(), 4)
  assert not np.any(VIEW[user[:, None], negative - 1])
  assert np.any(negative != negative[:, :1])
  np.testing.assert_array_equal(pairs_lib.candidates(four)[:, 0], four.positive)
  np.testing.assert_array_equal(
    pairs_lib.candidates(four)[:, 1:], four.negative
  )


def test_draws_are_uniform_over_a_users_items_and_over_all_others():
  # One user many times over: the law of a single place.
  user, count = 1, 40
  users = np.full(count, user)
  positives, negatives = [], []
  many = _set(drawn=np.full(toys.USERS, 50))
  for seed in range(3):
    found = _draw(
      jax.random.key(seed), many, jnp.asarray(users), toys.ITEMS, 2048
    )
    kept = np.asarray(found.weight) > 0
    assert kept.sum() == 50 * count
    positives.append(np.asarray(found.positive)[kept])
    negatives.append(np.asarray(found.negative)[kept, 0])
  own = 1 + np.flatnonzero(VIEW[user])
  others = 1 + np.flatnonzero(~VIEW[user])
  assert len(own) > 1
  for drawn, support in ((positives, own), (negatives, others)):
    values, counts = np.unique(np.concatenate(drawn), return_counts=True)
    np.testing.assert_array_equal(values, support)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_behavior_without_any_pair_draws_none():
  nothing = np.zeros_like(VIEW)
  assert pairs_lib.places_for(nothing.sum(1), 4) == 0
  users = jnp.array([0, 3, 2, -1])
  found = pairs_lib.draw(jax.random.key(0), _set(nothing), users, toys.ITEMS, 0)
  assert found.negative.shape == (0, 1) and found.positive.shape == (0,)
  filled = _drawn(0, [0, 3, 2, -1], nothing)
  assert not np.any(filled.weight) and np.all(filled.positive >= 1)


@hypothesis.given(
  st.lists(st.integers(0, 40), min_size=1, max_size=60),
  st.integers(1, 70),
  st.integers(0, 1000),
)
@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
def test_a_plan_has_every_user_once_and_no_batch_more_than_its_places(
  first, batch_size, seed
):
  drawn = np.stack([first, np.sort(first)])
  places = np.array([pairs_lib.places_for(d, batch_size) for d in drawn])
  deal = functools.partial(
    pairs_lib.deal_users, drawn, places, batch_size, (seed, 1)
  )
  plan = deal()
  assert plan.shape == (-(-len(first) // batch_size), batch_size)
  assert np.all(plan[:, 0] >= 0)  # only the last batch has filling, at its end
  flat = plan.ravel()
  assert np.all(flat[len(first) :] == -1)
  assert sorted(flat[: len(first)]) == list(range(len(first)))
  for row in plan:
    assert np.all(drawn[:, row[row >= 0]].sum(1) <= places)
  np.testing.assert_array_equal(plan, deal())


def test_a_few_heavy_users_among_idle_ones_find_batches_of_their_own():
  drawn = np.zeros((1, 20_000), np.int64)
  drawn[0, :500] = 640
  places = np.array([pairs_lib.places_for(drawn[0], 2)])
  # Two of them are too many, and nearly every random order has such batches.
  assert 640 <= places[0] < 1280
  plan = pairs_lib.deal_users(drawn, places, 2, (0,))
  assert np.all(np.sum(plan < 500, axis=1) <= 1)
  assert sorted(plan.ravel()) == list(range(20_000))


def test_users_drawn_with_replacement_are_uniform_and_fit_their_places():
  drawn = np.array([[1, 0, 3, 2, 5, 0], [0, 0, 0, 1, 1, 0]])
  pool, count = np.flatnonzero(drawn.any(0)), 4001
  places = [pairs_lib.places_for(d[pool], 8, again=True) for d in drawn]
  deal = functools.partial(
    pairs_lib.draw_users, pool, drawn, np.array(places), 8, count
  )
  plan = deal((0, 1))
  assert plan.shape == (501, 8) and np.all(plan[-1, 1:] == -1)
  flat = plan.ravel()[:count]
  values, counts = np.unique(flat, return_counts=True)
  np.testing.assert_array_equal(values, pool)
  assert stats.chisquare(counts).pvalue > 1e-3
  np.testing.assert_array_equal(plan, deal((0, 1)))
  assert not np.array_equal(plan, deal((0, 2)))


@pytest.mark.parametrize('limit', [12, 9])
def test_a_batch_drawn_too_full_is_drawn_again(limit):
  drawn, pool = np.array([[1, 5]]), np.arange(2)
  draw = functools.partial(
    pairs_lib.draw_users, pool, drawn, np.array([limit]), 4, 400, (0,)
  )
  plan = draw()
  sums = drawn[0][plan].sum(1)
  assert sums.max() == limit - (limit - 4) % 4  # 4 to 20 in steps of 4
  with pytest.raises(types.UserError, match='raise train.batch_size'):
    pairs_lib.draw_users(pool, drawn, np.array([3]), 4, 400, (0,))


@pytest.mark.parametrize('batch_size', [1, 16, 256])
def test_places_hold_nearly_all_batches_with_replacement(batch_size):
  generator = np.random.default_rng(0)
  drawn = np.minimum(generator.geometric(0.1, 60), 40)
  places = pairs_lib.places_for(drawn, batch_size, again=True)
  sums = generator.choice(drawn, (2000, batch_size)).sum(1)
  assert sums.max() <= places <= max(batch_size * 40, 64)
  one_each = pairs_lib.places_for(np.ones(60), 2048, again=True)
  assert one_each == 2048  # though it is more than all users


def test_an_order_that_does_not_exist_is_an_error_and_no_endless_search():
  with pytest.raises(types.UserError, match='raise train.batch_size'):
    pairs_lib.deal_users(np.array([[3, 3]]), np.array([5]), 2, (0,))


@pytest.mark.parametrize('batch_size', [1, 16, 256])
def test_places_hold_nearly_all_random_batches_and_little_more(batch_size):
  generator = np.random.default_rng(0)
  drawn = np.minimum(generator.geometric(0.1, 2000), 40)
  places = pairs_lib.places_for(drawn, batch_size)
  sums = [
    generator.choice(drawn, batch_size, replace=False).sum()
    for _ in range(2000)
  ]
  assert max(sums) <= places
  spread = np.sqrt(batch_size) * drawn.std()
  assert places <= batch_size * drawn.mean() + 6 * spread + 64
  assert places % 64 == 0


def test_a_batch_of_everybody_has_room_for_exactly_all():
  drawn = np.array([40, 1, 3, 0])
  assert pairs_lib.places_for(drawn, 4) == pairs_lib.places_for(drawn, 99) == 64
