import collections

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import tables
from twotsrec.data import taobao

ROWS = strategies.lists(
  strategies.tuples(
    strategies.integers(1, 3),
    strategies.integers(1, 4),
    strategies.integers(1, 3),
    strategies.sampled_from(['pv', 'buy', 'cart', 'fav', 'like']),
    strategies.one_of(
      strategies.integers(taobao.FIRST - 1, taobao.FIRST + 1),
      strategies.integers(taobao.LAST - 1, taobao.LAST + 1),
      strategies.sampled_from([-2_134_949_234, 0, 2_122_867_355]),
    ),
  ),
  max_size=20,
)


def write(folder, rows):
  text = ''.join(','.join(map(str, row)) + '\n' for row in rows)
  (folder / taobao.FILE).write_text(text)


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(ROWS, strategies.booleans(), strategies.integers(1, 200))
def test_the_log_equals_a_literal_reading(
  tmp_path_factory, rows, behaviors, block_bytes
):
  folder = tmp_path_factory.mktemp('taobao')
  rows = [*rows, (9, 9, 9, 'pv', taobao.FIRST)]  # one good row
  write(folder, rows)
  raw = taobao.load(str(folder), behaviors, block_bytes)
  timely = [row for row in rows if taobao.FIRST <= row[4] <= taobao.LAST]
  good = [row for row in timely if row[3] in taobao.BEHAVIORS]
  assert raw.table.user.tolist() == [row[0] for row in good]
  assert raw.table.item.tolist() == [row[1] for row in good]
  assert raw.table.time.tolist() == [row[4] for row in good]
  if behaviors:
    names = {'pv': 'view', 'fav': 'collect', 'cart': 'cart', 'buy': 'buy'}
    assert raw.table.behavior.tolist() == [names[row[3]] for row in good]
  else:
    assert raw.table.behavior is None
  count = lambda cause: raw.table.dropped.get(cause, tables.Dropped(0, ())).rows
  assert count(taobao.OUTSIDE) == len(rows) - len(timely)
  assert count(taobao.STRANGE) == len(timely) - len(good)
  assert raw.table.rows_read == len(rows)
  seen = collections.defaultdict(collections.Counter)
  for _, item, category, _, _ in good:
    seen[item][category] += 1
  # The most frequent category, and of these the smallest.
  best = {i: min(c, key=lambda k: (-c[k], k)) for i, c in seen.items()}
  found = zip(
    raw.features.items.tolist(),
    raw.features.categorical['category'].tolist(),
    strict=True,
  )
  assert dict(found) == best
  conflicts = sum(len(c) > 1 for c in seen.values())
  assert raw.notes == {taobao.CONFLICT: conflicts}


def test_the_nine_days_are_those_of_china():
  day = np.timedelta64(1, 'D')
  zone = np.timedelta64(8, 'h')
  first = np.datetime64(taobao.FIRST, 's') + zone
  last = np.datetime64(taobao.LAST, 's') + zone
  assert first == np.datetime64('2017-11-25T00:00:00')
  assert last + np.timedelta64(1, 's') == first + 9 * day


def test_bad_rows_are_counted_and_another_file_is_told(tmp_path):
  good = (1, 2, 3, 'pv', taobao.FIRST)
  write(tmp_path, [good, (1, 'x', 3, 'pv', taobao.FIRST)])
  table = taobao.load(str(tmp_path)).table
  assert table.dropped == {'item is not an integer': tables.Dropped(1, (2,))}
  write(tmp_path, [(1, 2, 3, 'pv', 5)])
  with pytest.raises(types.UserError, match='no row is left of 1'):
    taobao.load(str(tmp_path))
  write(tmp_path, [(1, 2, 3)])
  with pytest.raises(types.UserError, match='3 fields'):
    taobao.load(str(tmp_path))
