import numpy as np
import pytest

from twotsrec.ops import tbatches


def _events(seed, count=120, users=9, items=7, spans=3):
  generator = np.random.default_rng(seed)
  user, item = generator.integers(users, size=count), np.zeros(count, int)
  previous, last = np.zeros(count, int), {}
  for n in range(count):
    item[n] = 1 + generator.integers(items)
    previous[n] = last.get(user[n], 0)
    last[user[n]] = item[n]
  span = np.sort(generator.integers(spans, size=count))
  return tuple(x.astype('i4') for x in (user, item, previous, span))


def _waits(events, early, late):
  """Whether the later event touches what the earlier one moves, or reads."""
  (user, item, previous), (i, j) = events[:3], (early, late)
  moves = user[i] == user[j] or item[i] in (item[j], previous[j])
  return moves or previous[i] == item[j]


@pytest.mark.parametrize('seed', range(3))
def test_an_event_waits_for_what_it_touches_and_for_nothing_else(seed):
  events = _events(seed)
  batch, span = tbatches.of_events(*events), events[3]
  assert batch.min() == 1 and len(set(batch)) == batch.max()
  for late in range(len(batch)):
    mine = [e for e in range(late) if span[e] == span[late]]
    before = max(
      (batch[e] for e in range(late) if span[e] < span[late]), default=0
    )
    waited = [batch[e] for e in mine if _waits(events, e, late)]
    assert batch[late] == 1 + max([before, *waited])


def test_users_and_items_of_a_batch_are_unique():
  user, item, previous, span = _events(5)
  batch = tbatches.of_events(user, item, previous, span)
  sizes = []
  for number in range(1, batch.max() + 1):
    mine = batch == number
    sizes.append(mine.sum())
    assert len(set(user[mine])) == len(set(item[mine])) == mine.sum()
    others = set(item[mine])
    for event in np.flatnonzero(mine):
      assert previous[event] not in others - {item[event]}
  assert max(sizes) > 1


@pytest.mark.parametrize('width', [1, 2, 5])
def test_rows_have_every_event_once_and_those_of_one_batch(width):
  batch = tbatches.of_events(*_events(1))
  order, row, column = tbatches.in_rows(batch, width)
  assert sorted(order) == list(range(len(batch)))
  assert np.all(column < width) and np.all(np.diff(batch[order]) >= 0)
  assert len(set(zip(row, column, strict=True))) == len(batch)
  fullest = sum(-(-n // width) for n in np.bincount(batch)[1:])
  assert set(row) == set(range(fullest))
  for number in set(row):
    assert len(set(batch[order][row == number])) == 1


def test_no_events_have_no_batches():
  nothing = np.zeros(0, np.int32)
  assert tbatches.of_events(nothing, nothing, nothing, nothing).size == 0
