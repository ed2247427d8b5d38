"""Histories by a table and by the run, beside a loop over their rows."""

import numpy as np
import pytest

from tests.data import small_logs
from twotsrec.data import tables
from twotsrec.runs import histories
from twotsrec.runs import new_events


def _expected(prepared, rows, disliked, alone, timed):
  """{user: (items, seen)} by external ids, row by row."""
  people = {}
  offsets = prepared.user_offsets
  for name in {row[0] for row in rows} | {row[0] for row in disliked}:
    place = np.flatnonzero(prepared.user_ids == name)
    old = []
    if len(place) and not alone:
      events = slice(*offsets[place[0] : place[0] + 2])
      items = prepared.item_ids[prepared.items[events] - 1]
      old = list(zip(items.tolist(), prepared.times[events].tolist()))
    catalog = set(prepared.item_ids.tolist())
    new = [row[1:] for row in rows if row[0] == name and row[1] in catalog]
    if timed:
      new = [row for row in new if row not in old]
      history = sorted(old + new, key=lambda row: row[1])  # stable
    else:
      history = old + new
    bad = {row[1] for row in disliked if row[0] == name} & catalog
    items = [item for item, _ in history]
    people[name] = items, sorted({*items, *bad})
  return people


@pytest.mark.parametrize('timed', [True, False])
@pytest.mark.parametrize('alone', [True, False])
@pytest.mark.parametrize('seed', range(8))
def test_a_table_and_the_run_are_one_history(seed, alone, timed):
  rng = np.random.default_rng(seed)
  prepared = small_logs.make([4, 1, 6], num_items=9, seed=seed)

  def draw(count):
    # Users 100 to 102 are known, items 1000 to 1008; times are those of the
    # run and more.
    users, items = rng.integers(99, 105, count), rng.integers(999, 1011, count)
    return list(zip(*(x.tolist() for x in (users, items)),
                    rng.integers(-2, 14, count).tolist()))  # fmt: skip

  rows, disliked = draw(20), draw(4)
  # Some are rows of the run itself.
  for event in rng.integers(0, 11, 4):
    user = 100 + np.searchsorted(prepared.user_offsets, event, 'right') - 1
    item = prepared.item_ids[prepared.items[event] - 1]
    rows.append((int(user), int(item), int(prepared.times[event])))

  def table(of):
    user, item, time = map(np.array, zip(*of))
    columns = {'time': time} if timed else {}
    return tables.make('new.csv', user=user, item=item, **columns)

  events = new_events.NewEvents(table(rows), table(disliked))
  made = histories.join(prepared, events, alone)
  expected = _expected(prepared, rows, disliked, alone, timed)
  assert made.ids.tolist() == sorted(expected)
  catalog = prepared.item_ids
  for place, name in enumerate(made.ids.tolist()):
    history = made.items[made.offsets[place] : made.offsets[place + 1]]
    seen = slice(*made.seen.offsets[place : place + 2])
    assert catalog[history - 1].tolist() == expected[name][0]
    assert catalog[made.seen.items[seen] - 1].tolist() == expected[name][1]
    known = name in prepared.user_ids and not alone
    assert (made.user[place] >= 0) == known
  strange = sum(row[1] not in catalog for row in rows)
  assert made.unknown_items == strange
  kept = sum(len(items) for items, _ in expected.values())
  old = sum(
    np.diff(prepared.user_offsets)[name - 100]
    for name in expected
    if name in prepared.user_ids and not alone
  )
  assert made.repeated == old + len(rows) - strange - kept
