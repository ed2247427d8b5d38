import hypothesis
from hypothesis import strategies
import jax
import numpy as np
import pytest

from tests.serving import online_toys
from twotsrec.serving import online
from twotsrec.serving import online_windows

_USERS = np.array([3, -1, 0])  # of the run, somebody new, of the run


@pytest.fixture(scope='module')
def service():
  return online_toys.world(two_time__variant='2ts_plus').service


def _begin(service, last_time=10.0):
  ids = np.array([103, 200, 100])
  times = np.array([last_time, -np.inf, last_time])
  return online_windows.begin(service, ids, _USERS, times)


def _window(rows, times, items):
  """Events of the three users, in the order in which they are given."""
  order = np.argsort(rows, kind='stable')
  rows = np.asarray(rows, int)[order]
  return online_windows.Window(
    offsets=np.searchsorted(rows, np.arange(4)),
    time=np.asarray(times, float)[order],
    item=np.asarray(items, np.int32)[order],
    identity=np.arange(1, len(rows) + 1),
  )


def _same(first, second):
  for leaf, other in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
    assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(strategies.data())
def test_events_in_any_order_and_batches_are_the_events_in_one_go(
  service, data
):
  rows = data.draw(
    strategies.lists(strategies.integers(0, 2), min_size=1, max_size=12)
  )
  # All times differ, so there is one right order.
  times = data.draw(strategies.permutations(range(11, 11 + len(rows))))
  items = data.draw(
    strategies.lists(
      strategies.integers(0, online_toys.ITEMS),
      min_size=len(rows),
      max_size=len(rows),
    )
  )
  batch = data.draw(
    strategies.lists(
      strategies.integers(0, 3), min_size=len(rows), max_size=len(rows)
    )
  )
  rows, times, items, batch = map(np.array, (rows, times, items, batch))
  stored = _begin(service)
  for number in range(4):
    mine = batch == number
    events = _window(rows[mine], times[mine], items[mine])
    stored = online_windows.play(service, stored, events, keep=12)
  order = np.argsort(times)
  whole = _window(rows[order], times[order], items[order])
  state = online.start(service, _USERS)
  expected = online.play(service, state, whole.offsets, whole.item)
  _same(stored.state, expected)
  np.testing.assert_array_equal(stored.window.item, whole.item)
  np.testing.assert_array_equal(stored.window.time, whole.time)


def test_a_window_that_forgets_still_leads_to_the_state(service):
  stored = _begin(service)
  generator = np.random.default_rng(0)
  items = generator.integers(1, 21, 40)
  for number, item in enumerate(items):
    events = _window([0], [11 + number], [item])
    stored = online_windows.play(service, stored, events, keep=5)
    count = np.diff(stored.window.offsets)
    assert count[0] == number + 1 if number < 10 else 5 <= count[0] <= 10
    assert not count[1:].any()
  gone = len(items) - count[0]
  # What came before the window can have no place in it, and nothing else.
  assert 11 + gone - 1 < stored.floor[0] <= 11 + gone
  np.testing.assert_array_equal(stored.floor[1:], [-np.inf, 10])
  assert stored.last_time[0] == 11 + 39
  again = online.play(
    service, stored.start, stored.window.offsets, stored.window.item
  )
  _same(stored.state, again)
  whole = _window([0] * 40, np.arange(40), items)
  state = online.start(service, _USERS)
  _same(again, online.play(service, state, whole.offsets, whole.item))


def test_a_batch_stays_in_the_window_whole(service):
  many = _window([0] * 30, np.arange(11, 41), np.ones(30))
  stored = online_windows.play(service, _begin(service), many, keep=2)
  assert len(stored.window.time) == 30
  one = _window([0], [50], [1])
  stored = online_windows.play(service, stored, one, keep=2)
  np.testing.assert_array_equal(stored.window.time, [40, 50])


def test_events_of_the_last_time_are_not_forgotten(service):
  stored = _begin(service)
  for number in range(9):
    events = _window([0], [11 + number // 6], [1])
    stored = online_windows.play(service, stored, events, keep=1)
  np.testing.assert_array_equal(stored.window.time, [12, 12, 12])
  assert 11 < stored.floor[0] <= 12


def test_events_without_times_come_after_what_was_there(service):
  stored = _begin(service)
  nothing = np.nan
  for time, item in ((12, 1), (nothing, 2), (14, 3), (13, 4)):
    events = _window([0], [time], [item])
    stored = online_windows.play(service, stored, events, keep=9)
  # The event of 13 is put before that of 14, and 2 stays behind 1.
  np.testing.assert_array_equal(stored.window.item, [1, 2, 4, 3])
  assert stored.last_time[0] == 14
