"""Named datasets hold what their descriptions say."""

import gzip

import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import datasets


@pytest.mark.parametrize('name', list(datasets.DATASETS))
def test_counts_are_those_of_the_description(shared_data, name):
  dataset = datasets.DATASETS[name]
  table = datasets.load(name, shared_data)
  assert table.rows_read == len(table.user) == dataset.rows
  assert len(np.unique(table.user)) == dataset.users
  assert len(np.unique(table.item)) == dataset.items
  assert not table.dropped


@pytest.mark.parametrize(
  'name', ['ml-1m', 'amazon-beauty-5core', 'amazon-games', 'wikipedia-edits']
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


@pytest.mark.parametrize('name', ['ml-100k', 'ml-latest-small-2016'])
def test_ratings_are_half_stars(shared_data, name):
  table = datasets.load(name, shared_data)
  assert set(table.rating.tolist()) <= {half / 2 for half in range(1, 11)}
  assert table.order is None


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
