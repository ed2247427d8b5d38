import numpy as np
import pytest

from tests import jodie_toys as toys
from tests import worlds
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import timelines


@pytest.fixture(scope='module', params=['train', 'test'])
def line(request):
  until = prepared_lib.SPLITS.index(request.param)
  return timelines.make(toys.log(), until, toys.SPANS)


def test_events_are_in_order_of_time_with_what_was_before(line):
  data = toys.log()
  time = np.asarray(data.times)[line.event]
  assert np.all(np.diff(time) >= 0)
  last, of_user, of_item, gaps = {}, {}, {}, []
  for n, event in enumerate(line.event):
    user, item = data.event_users[event], data.items[event]
    assert (line.user[n], line.item[n]) == (user, item)
    assert line.previous[n] == last.get(user, 0)
    gaps.append(
      [
        time[n] - of_user.get(user, time[0]),
        time[n] - of_item.get(item, time[0]),
      ]
    )
    last[user], of_user[user], of_item[item] = item, time[n], time[n]
  gaps, train = np.array(gaps), data.split[line.event] == prepared_lib.TRAIN
  mean, deviation = gaps[train].mean(0), gaps[train].std(0)
  np.testing.assert_allclose(
    line.gaps, (gaps - mean) / deviation, rtol=1e-5, atol=1e-6
  )
  waited = [time[-1] - of_user.get(user, time[0]) for user in range(toys.USERS)]
  np.testing.assert_allclose(
    line.at_end,
    (np.array(waited) - mean[0]) / deviation[0],
    rtol=1e-5,
    atol=1e-6,
  )


def test_spans_are_equal_parts_of_the_time_of_training(line):
  data = toys.log()
  time = np.asarray(data.times)
  train = time[data.split == prepared_lib.TRAIN]
  length = (train.max() - time.min()) / toys.SPANS
  part = (time[line.event] - time.min()) // length
  assert line.span[0] == 0 and set(np.diff(line.span)) == {0, 1}
  for number in range(line.num_spans):
    assert len(set(part[line.span == number])) == 1
  assert np.bincount(line.span).max() <= 4 * -(-len(train) // toys.SPANS)
  for kind, first in zip((line.user, line.item), line.first, strict=True):
    for one, span in enumerate(first):
      mine = line.span[kind == one]
      assert span == (mine.min() if mine.size else line.num_spans)


def test_a_burst_is_cut_into_several_spans():
  data = toys.log()
  times = np.where(np.arange(data.num_events) == 0, 0, 10**6)
  moved = prepared_lib.Prepared(*data)._replace(times=times)
  line = timelines.make(moved, prepared_lib.TEST, 20)
  train = int(np.sum(data.split == prepared_lib.TRAIN))
  assert np.bincount(line.span).max() == 4 * -(-train // 20)


def test_the_layout_of_a_span_names_its_events(line):
  layout = timelines.lay_out(line, width=3)
  most = layout.events.shape[1]
  for number in range(line.num_spans):
    events = layout.events[number]
    mine = np.flatnonzero(line.span == number)
    assert events[: mine.size].tolist() == mine.tolist()
    assert np.all(events[mine.size :] == len(line.event))
    rows = layout.rows[number]
    assert sorted(rows[rows < most]) == list(range(mine.size))
    user, item, previous = layout.local[number, : mine.size].T
    assert np.array_equal(layout.users[number][user], line.user[mine])
    assert np.array_equal(layout.items[number][item], line.item[mine])
    assert np.array_equal(layout.items[number][previous], line.previous[mine])
    shape = layout.users.shape[1], layout.items.shape[1], layout.items.shape[1]
    assert np.all(layout.local[number, most] == shape)
    seen = (
      set(line.user[line.span < number]),
      set(line.item[line.span < number]),
    )
    for ids, new, before, size in (
      (layout.users[number], layout.new_users[number], seen[0], toys.USERS),
      (layout.items[number], layout.new_items[number], seen[1], toys.ITEMS + 1),
    ):
      real = ids < size
      assert len(set(ids[real])) == real.sum()
      assert new[real].tolist() == [one not in before for one in ids[real]]


def test_a_log_without_times_is_refused():
  prepared, _ = worlds.log()
  with pytest.raises(types.UserError, match='--time_column'):
    timelines.make(prepared, prepared_lib.TEST, 3)
