import functools

import jax
import numpy as np
import pytest

from tests import worlds
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib

ITEMS, KEY = 30, jax.random.key(7)


@functools.cache
def _feed():
  prepared, groups = worlds.log()
  return event_feeds.make(prepared, groups.user_group)


def _feed_without(held_out):
  prepared, groups = worlds.log()
  return event_feeds.make(prepared, groups.user_group, held_out)


@functools.cache
def _batch_of(**changes):
  """(feed, examples, key) -> batch on the host; one program for a shape."""
  options = config_lib.TwoTimeConfig(
    **{'negatives': 4, 'pool_size': 6, **changes}
  )
  batch_of = jax.jit(event_feeds.make_batch_of(ITEMS, options))
  return lambda feed, examples, key: jax.tree.map(
    np.asarray, batch_of(feed, np.asarray(examples, np.int32), key)
  )


def _train_events():
  prepared, _ = worlds.log()
  return np.flatnonzero(np.asarray(prepared.split) == prepared_lib.TRAIN)


def test_a_feed_holds_every_training_event_and_its_users_group():
  prepared, groups = worlds.log()
  feed, event = _feed(), _train_events()
  user = np.searchsorted(prepared.user_offsets, event, side='right') - 1
  np.testing.assert_array_equal(feed.user, user)
  np.testing.assert_array_equal(feed.item, prepared.items[event])
  np.testing.assert_array_equal(feed.group, groups.user_group[user])
  np.testing.assert_array_equal(feed.weight, 1.0)
  # First events have no history, but they are trained here.
  assert set(user.tolist()) == set(range(prepared.num_users))


def test_held_out_training_events_are_left_out():
  event = _train_events()
  held_out = event[[1, 5, 6]]
  whole, feed = _feed(), _feed_without(held_out)
  rest = np.delete(np.arange(len(event)), [1, 5, 6])
  for ours, theirs in zip(feed, whole, strict=True):
    np.testing.assert_array_equal(ours, np.asarray(theirs)[rest])


def test_counts_are_those_of_the_feed():
  feed = _feed_without(_train_events()[:3])
  counts = event_feeds.make_context(feed, 12, ITEMS)
  counts = jax.tree.map(np.asarray, counts)
  for u in range(12):
    assert counts['user_counts'][u] == np.sum(np.asarray(feed.user) == u)
  for i in range(ITEMS + 1):
    assert counts['item_counts'][i] == np.sum(np.asarray(feed.item) == i)


def test_a_plan_is_a_function_of_seed_and_epoch():
  make = lambda seed, epoch: event_feeds.make_plan(10, 4, seed, epoch)
  np.testing.assert_array_equal(make(3, 1), make(3, 1))
  for plan in (make(3, 1), make(3, 2), make(4, 1)):
    assert plan.shape == (3, 4) and plan.dtype == np.int32
    assert sorted(plan.ravel()) == [-1, -1, *range(10)]
  assert not np.array_equal(make(3, 1), make(3, 2))
  assert not np.array_equal(make(3, 1), make(4, 1))


def test_a_batch_has_the_events_of_its_row_and_filling():
  feed = jax.tree.map(np.asarray, _feed())
  batch = _batch_of()(_feed(), [5, 0, -1, 9], KEY)
  real, place = np.array([5, 0, 9]), np.array([0, 1, 3])
  for ours, theirs in ((batch.user, feed.user), (batch.item, feed.item)):
    np.testing.assert_array_equal(ours[place], theirs[real])
    assert ours[2] == -1
  np.testing.assert_array_equal(batch.group[place], feed.group[real])
  np.testing.assert_array_equal(batch.weight, [1.0, 1.0, 0.0, 1.0])
  assert batch.negatives.shape == (4, 4)


def test_negatives_of_an_event_depend_on_the_event_and_the_epoch_alone():
  feed, batch_of = _feed(), _batch_of()
  here = batch_of(feed, [5, 0, 2, 9], KEY).negatives
  there = batch_of(feed, [9, 3, 5, -1], KEY).negatives
  np.testing.assert_array_equal(here[0], there[2])
  np.testing.assert_array_equal(here[3], there[0])
  later = batch_of(feed, [5, 0, 2, 9], jax.random.key(8)).negatives
  assert not np.array_equal(here, later)


def test_a_shared_pool_depends_on_the_events_of_a_step_as_a_set():
  feed, batch_of = _feed(), _batch_of(pool='shared')
  pools = [
    batch_of(feed, row, KEY).negatives
    for row in ([5, 0, 2, 9], [9, 2, 0, 5], [1, 3, 4, 6])
  ]
  assert pools[0].shape == (6,)
  np.testing.assert_array_equal(pools[0], pools[1])
  assert not np.array_equal(pools[0], pools[2])


@pytest.mark.parametrize('pool', event_feeds.POOLS)
def test_a_row_per_group_changes_no_draw(pool):
  feed = _feed()
  plan = event_feeds.make_plan(len(feed.user), 8, 0, 0)
  stacked = plans.stack_plan(plan[:1], np.asarray(feed.group), 3, 8)[0]
  batch_of = _batch_of(pool=pool)
  flat = batch_of(feed, plan[0], KEY)
  batch = batch_of(feed, stacked, KEY)
  real = stacked >= 0
  if pool == 'shared':
    for row in batch.negatives:
      np.testing.assert_array_equal(row, flat.negatives)
  else:
    place = [plan[0].tolist().index(e) for e in stacked[real]]
    np.testing.assert_array_equal(
      batch.negatives[real], flat.negatives[np.array(place)]
    )
  np.testing.assert_array_equal(batch.weight, real)
  np.testing.assert_array_equal(batch.group[real], np.nonzero(real)[0])


def test_negatives_are_uniform_over_all_items():
  batch_of = _batch_of(negatives=4000)
  drawn = batch_of(_feed(), np.arange(15), KEY).negatives
  counts = np.bincount(np.ravel(drawn), minlength=ITEMS + 1)
  assert counts[0] == 0 and len(counts) == ITEMS + 1
  expected = drawn.size / ITEMS
  # Chi-squared with 29 degrees of freedom: 29, give or take sqrt(58).
  assert np.sum((counts[1:] - expected) ** 2 / expected) < 29 + 4 * 58**0.5


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'pool': 'global'}, "pool 'global'; known: event, shared"),
    ({'negatives': 0}, 'negatives 0 must be at least 1'),
    ({'pool': 'shared', 'pool_size': 0}, 'pool_size 0 must be at least 1'),
  ],
)
def test_a_wrong_offer_set_is_one_line(changes, message):
  with pytest.raises(types.UserError, match=message) as raised:
    event_feeds.make_batch_of(ITEMS, config_lib.TwoTimeConfig(**changes))
  assert '\n' not in str(raised.value)


def test_nothing_to_train_on_is_one_line():
  with pytest.raises(types.UserError, match='no training event is left'):
    _feed_without(_train_events())
  one = prepared_lib.build(
    np.zeros(2, np.int32),
    np.ones(2, np.int32),
    np.zeros(2, np.int8),
    user_ids=np.arange(1),
    item_ids=np.arange(1),
  )
  with pytest.raises(types.UserError, match='there is one item'):
    event_feeds.make(one, np.zeros(1, np.int32))
