import functools

import jax
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec.data import stream_feeds
from twotsrec.data import streams

ITEMS, KEY = 20, jax.random.key(4)


@functools.cache
def _feed():
  prepared, groups = toys.log()
  return stream_feeds.make_feed(prepared, groups.user_group)


def _on_host(tree):
  # An index into an array on the device is a program of its own.
  return jax.tree.map(np.asarray, tree)


def _plan(length=5, num_streams=4):
  prepared, _ = toys.log()
  runs = streams.Runs(
    np.asarray(prepared.user_offsets[:-1]), np.diff(prepared.user_offsets)
  )
  return streams.carried(runs, length, num_streams).plan_of(0, 0)


@functools.cache
def _batch_of(shared=False):
  return jax.jit(stream_feeds.make_batch_of((5, 4), ITEMS, 3, shared))


def test_a_feed_has_the_item_before_each_event_of_the_same_user():
  prepared, groups = toys.log()
  feed = _on_host(_feed())
  for user in range(prepared.num_users):
    own = slice(*prepared.user_offsets[user : user + 2])
    items = prepared.items[own].tolist()
    np.testing.assert_array_equal(feed.item[own], items)
    np.testing.assert_array_equal(feed.previous[own], [0, *items][:-1])
    np.testing.assert_array_equal(feed.user[own], user)
  np.testing.assert_array_equal(feed.group, groups.user_group)


def test_users_without_events_are_no_first_ones():
  prepared, _ = toys.log()
  silent = prepared._replace(
    user_offsets=np.array([0, 0, 3, 3, 5, 5]), items=np.array([4, 5, 6, 7, 8])
  )
  previous = stream_feeds.previous_items(silent)
  np.testing.assert_array_equal(previous, [0, 4, 5, 0, 7])


def test_a_batch_is_what_its_entries_say():
  prepared, groups = toys.log()
  feed, look_up = _on_host(_feed()), jax.jit(stream_feeds.look_up)
  user = feed.user
  for entries in _plan():
    batch = _on_host(look_up(_feed(), entries))
    for place, entry in np.ndenumerate(entries):
      event = entry // 2
      real = entry >= 0
      assert batch.item[place] == (prepared.items[event] if real else 0)
      assert batch.reset[place] == (real and entry % 2 == 1)
      flat = np.ravel_multi_index(place, entries.shape)
      assert batch.weight[flat] == real
      if real:
        assert batch.user[place] == user[event]
        assert batch.previous[place] == feed.previous[event]
        assert batch.group[flat] == groups.user_group[user[event]]
  assert batch.negatives is None


@pytest.mark.parametrize('shared', [False, True])
def test_negatives_are_any_items_and_others_at_every_step(shared):
  plan = _plan()
  drawn = [
    np.asarray(_batch_of(shared)(_feed(), entries, KEY).negatives)
    for entries in plan
  ]
  assert {x.shape for x in drawn} == {(3,) if shared else (5, 4, 3)}
  assert len({x.tobytes() for x in drawn}) == len(plan)
  assert min(x.min() for x in drawn) >= 1
  assert max(x.max() for x in drawn) <= ITEMS
  if not shared:
    assert set(np.concatenate(drawn, axis=None)) == set(range(1, ITEMS + 1))


def test_a_batch_depends_on_its_key_and_entries_alone():
  first, again, other = (
    _batch_of()(_feed(), _plan()[1].ravel(), key).negatives
    for key in (KEY, KEY, jax.random.fold_in(KEY, 1))
  )
  np.testing.assert_array_equal(first, again)
  assert np.any(np.asarray(first) != np.asarray(other))
