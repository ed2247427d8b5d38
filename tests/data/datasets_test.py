"""Named datasets hold what their descriptions say."""

import gzip

import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import tables

BEHAVIORAL = [
  name for name, known in datasets.DATASETS.items() if known.behaviors
]


@pytest.mark.parametrize('name', list(datasets.DATASETS))
def test_counts_are_those_of_the_description(shared_data, name):
  dataset = datasets.DATASETS[name]
  table = datasets.load(name, shared_data)
  rows = dataset.rows + dataset.test_rows
  assert table.rows_read == len(table.user) == rows
  assert len(np.unique(table.user)) == dataset.users
  assert len(np.unique(table.item)) == dataset.items
  assert not table.dropped


@pytest.mark.parametrize(
  'name',
  [
    'ml-1m',
    'ml-1m-sas',
    'amazon-beauty-5core',
    'amazon-games',
    'wikipedia-edits',
  ],
)
def test_positions_number_the_rows_of_every_user(shared_data, name):
  table = datasets.load(name, shared_data)
  rows = np.lexsort((table.order, table.user))
  _, first, counts = np.unique(
    table.user[rows], return_index=True, return_counts=True
  )
  expected = np.arange(len(rows)) - np.repeat(first, counts)
  np.testing.assert_array_equal(table.order[rows], expected)


def test_days_of_beauty_never_run_against_its_positions(shared_data):
  table = datasets.load('amazon-beauty-5core', shared_data)
  rows = np.lexsort((table.order, table.user))
  same_user = np.diff(table.user[rows]) == 0
  assert np.all(np.diff(table.time[rows])[same_user] >= 0)


def test_ml_1m_in_another_order_has_the_same_ratings(shared_data):
  """Items with fewer than five ratings are left out; ties are in another order.

  Of the common items the last one is the same for 4,493 users (its
  description).
  """
  plain, other = (
    datasets.load(name, shared_data) for name in ('ml-1m', 'ml-1m-sas')
  )
  numbers = lambda table: table.user * 10_000 + table.item
  pairs = [set(numbers(table).tolist()) for table in (plain, other)]
  items, counts = np.unique(plain.item, return_counts=True)
  rare = np.isin(plain.item, items[counts < 5])
  assert pairs[0] - pairs[1] == set(numbers(plain)[rare].tolist())
  assert pairs[1] < pairs[0]

  def last(table):
    rows = np.lexsort((table.order, table.user))
    rows = rows[np.isin(table.item[rows], other.item)]
    ends = np.append(np.diff(table.user[rows]) > 0, True)
    return table.item[rows][ends]

  assert np.sum(last(plain) == last(other)) == 4493


def test_edits_with_times_are_those_without(shared_data):
  """Users and items have other numbers, and as many events."""
  plain, timed = (
    datasets.load(name, shared_data)
    for name in ('wikipedia-edits', 'wikipedia-timed')
  )
  for side in ('user', 'item'):
    degrees = [
      np.sort(np.unique(getattr(table, side), return_counts=True)[1])
      for table in (plain, timed)
    ]
    np.testing.assert_array_equal(*degrees)
  assert np.all(np.diff(timed.time) >= 0) and timed.time[0] == 0
  assert timed.order is None and timed.split is None


def test_books_carry_their_own_split_and_nothing_else(shared_data):
  known = datasets.DATASETS['amazon-book-kgat']
  table = datasets.load('amazon-book-kgat', shared_data)
  test = table.split == 'test'
  assert np.sum(test) == known.test_rows and set(table.split[~test]) == {
    'train'
  }
  pair = table.user.astype(np.int64) * 100_000 + table.item
  assert len(np.unique(pair)) == len(pair)  # no test pair is a train pair
  for column in (table.time, table.order, table.rating, table.behavior):
    assert column is None


@pytest.mark.parametrize('name', ['ml-100k', 'ml-latest-small-2016'])
def test_ratings_are_half_stars(shared_data, name):
  table = datasets.load(name, shared_data)
  assert set(table.rating.tolist()) <= {half / 2 for half in range(1, 11)}
  assert table.order is None


@pytest.mark.parametrize('name', BEHAVIORAL)
def test_the_test_part_is_of_the_target_and_comes_last(shared_data, name):
  dataset = datasets.DATASETS[name]
  table = datasets.load(name, shared_data)
  test = table.split == 'test'
  assert np.sum(test) == dataset.test_rows
  assert set(table.behavior[test].tolist()) == {dataset.behaviors[-1]}
  assert set(table.behavior.tolist()) == set(dataset.behaviors)
  assert table.time is None
  if dataset.columns.time:
    assert np.max(table.order[~test]) < np.min(table.order[test])
  else:
    assert table.order is None


@pytest.mark.parametrize('name', ['retailrocket-mb', 'tmall-mbgmn-noview'])
def test_training_rows_are_ordered_by_their_times(shared_data, name):
  dataset = datasets.DATASETS[name]
  train = tables.read_table(shared_data / dataset.file, dataset.columns)
  order = datasets.load(name, shared_data).order[: len(train.time)]
  by_time = np.argsort(train.time, kind='stable')
  np.testing.assert_array_equal(np.argsort(order, kind='stable'), by_time)
  np.testing.assert_array_equal(
    np.diff(order[by_time]) > 0, np.diff(train.time[by_time]) > 0
  )


def test_a_global_split_of_ml_1m_goes_by_its_marker_and_coarse_times(
  shared_data,
):
  table = datasets.load('ml-1m', shared_data, 'global_time')
  plain = datasets.load('ml-1m', shared_data)
  assert plain.split is None
  np.testing.assert_array_equal(plain.item, table.item)
  path = shared_data / 'ml-1m' / 'interactions.csv.gz'
  early = tables.read_table(path, tables.Columns(order='first80')).order == 1
  np.testing.assert_array_equal(table.split == 'test', ~early)
  share = np.sum(table.split == 'validation') / np.sum(early)
  assert abs(share - 1 / 8) < 1e-3  # but for equal times
  timed = tables.read_table(
    path, tables.Columns(time='timestamp_approx'), on_bad_rows='drop'
  )
  label = table.split[np.searchsorted(table.lines, timed.lines)]
  last = np.max(timed.time[label == 'train'])
  assert last < np.min(timed.time[label == 'validation'])
  # The split never runs backwards inside a user.
  rows = np.lexsort((table.order, table.user))
  code = np.select([table.split == 'train', table.split == 'test'], [0, 2], 1)
  same_user = np.diff(table.user[rows]) == 0
  assert np.all(np.diff(code[rows])[same_user] >= 0)


def test_a_split_by_time_leaves_an_untimed_test_part_out(shared_data):
  known = datasets.DATASETS['retailrocket-mb']
  table = datasets.load('retailrocket-mb', shared_data, 'per_user_time')
  assert table.split is None and table.time is not None
  assert len(table.user) == known.rows
  assert table.rows_read == known.rows + known.test_rows
  assert table.dropped[datasets.UNTIMED].rows == known.test_rows


def test_a_test_file_with_other_rows_is_not_the_dataset(tmp_path, monkeypatch):
  known = datasets.Dataset(
    'a.csv', tables.Columns(), 1, 1, rows=1, test_file='b.csv', test_rows=2
  )
  monkeypatch.setitem(datasets.DATASETS, 'tiny', known)
  for name in ('a.csv', 'b.csv'):
    (tmp_path / name).write_text('user_id,item_id\n1,2\n')
  with pytest.raises(types.UserError, match=r'b\.csv: 1 rows, but tiny has 2'):
    datasets.load('tiny', tmp_path)
  (tmp_path / 'b.csv').unlink()
  with pytest.raises(types.UserError, match=r'DIR/b\.csv is the file'):
    datasets.load('tiny', tmp_path)


def test_an_unknown_name_lists_the_known():
  with pytest.raises(types.UserError) as caught:
    datasets.load('ml-2m', 'anywhere')
  for name in ("'ml-2m'", *datasets.DATASETS):
    assert name in str(caught.value)


def test_a_missing_root_says_how_to_pass_it():
  with pytest.raises(types.UserError, match='--data_root=DIR'):
    datasets.load('ml-1m', '')


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
  with pytest.raises(types.UserError) as caught:
    datasets.load('ml-1m', tmp_path)
  expected = tmp_path / 'ml-1m' / 'interactions.csv.gz'
  assert str(expected) in str(caught.value)
  assert '--data_root' in str(caught.value)


def test_a_file_with_other_rows_is_not_the_dataset(tmp_path):
  path = tmp_path / 'amazon-games' / 'interactions.csv.gz'
  path.parent.mkdir()
  path.write_bytes(gzip.compress(b'user_id,item_id,position\n1,2,0\n'))
  with pytest.raises(types.UserError, match='1 rows, but amazon-games has'):
    datasets.load('amazon-games', tmp_path)
