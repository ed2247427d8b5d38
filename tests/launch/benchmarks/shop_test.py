import re

import numpy as np
import polars as pl

from tests.launch import scripts


def _written(capsys, path, *flags):
  done = scripts.run(capsys, 'benchmarks/shop', f'--out={path}', *flags)
  assert (done.code, done.err) == (0, '')
  return path.read_bytes()


def test_a_shop_has_sessions_in_time_and_repeats(capsys, tmp_path):
  size = ('--events=3000', '--items=300')
  first = _written(capsys, tmp_path / 'a.csv', *size)
  assert first == _written(capsys, tmp_path / 'b.csv', *size)
  assert first != _written(capsys, tmp_path / 'c.csv', *size, '--seed=1')
  table = pl.read_csv(tmp_path / 'a.csv')
  assert table.columns == ['user', 'item', 'event', 'time']
  assert len(table) == 3000 and table['item'].n_unique() > 150
  times = table['time'].str.to_datetime('%Y-%m-%dT%H:%M:%SZ', strict=True)
  assert times.is_sorted() and (times.max() - times.min()).days < 181
  # A quarter to three quarters of last events are of items the user had.
  again = [
    items[-1] in items[:-1]
    for items in table.group_by('user').agg('item')['item'].to_list()
    if len(items) > 1
  ]
  assert 0.25 < np.mean(again) < 0.75
  # Whatever is put into a cart was viewed before.
  rows = list(zip(table['user'], table['item'], table['event']))
  viewed = set()
  for user, item, event in rows:
    if event == 'view':
      viewed.add((user, item))
    elif event == 'cart':
      assert (user, item) in viewed
  assert set(table['event']) == {'view', 'cart', 'purchase'}


def test_a_messy_table_is_the_same_shop(capsys, tmp_path):
  size = ('--events=3000', '--items=300')
  _written(capsys, tmp_path / 'shop.csv', *size)
  _written(capsys, tmp_path / 'messy.csv', *size, '--broken=0.01')
  columns = [f'--{role}_column' for role in ('user', 'item', 'time')]
  reports = []
  for path, names, flags in (
    ('shop.csv', ('user', 'item', 'time'), []),
    ('messy.csv', ('customer', 'sku', 'created_at'), ['--bad_rows=drop']),
  ):
    named = [f'{flag}={name}' for flag, name in zip(columns, names)]
    flags = [f'--table={tmp_path / path}', *named, *flags]
    out = f'--out={tmp_path / path}.data'
    ended = scripts.run(capsys, 'prepare', *flags, out)
    assert ended.code == 0, ended.err
    reports.append(ended.out)
  (kept,) = re.findall(r'kept +([0-9,]+)', reports[1])
  assert 2950 <= int(kept.replace(',', '')) < 2990
  days = [re.findall(r'times +(\S+) .* to (\S+) ', text) for text in reports]
  assert days[0] == days[1]  # zones are understood
  assert len(re.findall('  dropped', reports[1])) == 5
