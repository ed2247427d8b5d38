import numpy as np
import pytest

from tests import jodie_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import snapshots

NUMBER = 4


def _train_pairs():
  """{(user, item): time of the first train event}."""
  data, found = toys.log(), {}
  for event in np.flatnonzero(np.asarray(data.split) == prepared_lib.TRAIN):
    pair = int(data.event_users[event]), int(data.items[event])
    time = int(data.times[event])
    found[pair] = min(time, found.get(pair, time))
  return found


def test_the_graph_has_the_train_pairs_in_both_directions():
  first, users = snapshots.first(toys.log(), NUMBER), toys.USERS
  assert first.shape == (users + toys.ITEMS,) * 2
  np.testing.assert_array_equal(first, first.T)
  user, item = np.nonzero(first[:users] < NUMBER)
  assert set(zip(user.tolist(), (item - users + 1).tolist())) == set(
    _train_pairs()
  )
  assert np.all(first[users:, users:] == NUMBER)


def test_snapshots_grow_by_as_many_edges_in_order_of_time():
  first, pairs = snapshots.first(toys.log(), NUMBER), _train_pairs()
  came = {p: first[p[0], toys.USERS + p[1] - 1] for p in pairs}
  counts = np.bincount(list(came.values()), minlength=NUMBER)
  assert counts.max() - counts.min() <= 1 and counts.size == NUMBER
  for one, other in zip(pairs, list(pairs)[1:]):
    if pairs[one] < pairs[other]:
      assert came[one] <= came[other]
    if pairs[one] > pairs[other]:
      assert came[one] >= came[other]


@pytest.mark.parametrize('number', [2, 100])
def test_what_never_comes_is_after_the_last_snapshot(number):
  first = snapshots.first(toys.log(), number)
  assert first.min() == 0 and first.max() == number
