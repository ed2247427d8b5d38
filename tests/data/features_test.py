import json

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest
from sklearn import preprocessing

from tests.data import small_logs
from tests.data import table_files
from twotsrec import types
from twotsrec.data import feature_files
from twotsrec.data import features
from twotsrec.data import prepared

IDS = np.array([3, 5, 8])


def rows_of(items, kind=None, tags=(), price=None):
  items = np.asarray(items)
  row = np.array([n for n, _ in tags], np.int64)
  return feature_files.Rows(
    items=items,
    categorical={'kind': np.array(kind or ['a'] * len(items))},
    multivalued={'tags': (row, np.array([value for _, value in tags], str))},
    dense={'price': np.arange(len(items)) + 1.0 if price is None else price},
    path='f.csv',
  )


def test_rows_are_put_in_the_order_of_items_and_values_numbered():
  made = features.build(
    rows_of(
      [8, 3, 5],
      kind=['b', 'a', ''],
      tags=[(0, 'z'), (0, 'x'), (2, 'y')],
      price=np.array([4.0, 2.0, 6.0]),
    ),
    IDS,
  )
  assert made.categorical['kind'].tolist() == [0, 1, 0, 2]
  assert made.vocabularies['kind'].tolist() == ['a', 'b']
  assert made.multivalued['tags'].tolist() == [[0, 0], [0, 0], [2, 0], [1, 3]]
  assert made.vocabularies['tags'].tolist() == ['x', 'y', 'z']
  deviation = np.sqrt(8 / 3)  # of 2, 4, 6
  np.testing.assert_allclose(
    made.dense[:, 0], [0, -2 / deviation, 2 / deviation, 0], rtol=1e-6
  )
  assert made.mean.tolist() == [4.0]


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(
  strategies.lists(
    strategies.tuples(strategies.integers(-50, 50), strategies.just(7.25)),
    min_size=2,
    max_size=12,
  )
)
def test_dense_columns_are_standardized_as_by_sklearn(values):
  values = np.array(values)
  items = np.arange(len(values))
  rows = rows_of(items)._replace(dense={'a': values[:, 0], 'b': values[:, 1]})
  made = features.build(rows, items)
  expected = preprocessing.StandardScaler().fit_transform(values)
  np.testing.assert_allclose(made.dense[1:], expected, rtol=1e-5, atol=1e-6)
  assert made.dense_names == ('a', 'b')
  assert np.all(made.dense[0] == 0)


def test_missing_and_extra_rows_can_be_allowed():
  rows = rows_of([3, 9], kind=['x', 'y'], tags=[(1, 'q'), (0, 'p')])
  made = features.build(rows, IDS, missing='zero', extra='drop')
  assert made.categorical['kind'].tolist() == [0, 1, 0, 0]
  assert made.vocabularies['kind'].tolist() == ['x']  # of these items alone
  assert made.multivalued['tags'].tolist() == [[0], [1], [0], [0]]
  assert np.all(np.isfinite(made.dense))


@pytest.mark.parametrize(
  ('items', 'options', 'message'),
  [
    (
      [3, 5],
      {},
      r'1 items \(8\) of the data have no row; .*missing_features=zero',
    ),
    (
      [3, 5, 8, 9],
      {},
      r'1 items \(9\) are not in the data; .*extra_features=drop',
    ),
    ([3, 5, 8, 3], {}, r'1 items \(3\) have several rows'),
    ([1, 2, 4, 6], {'missing': 'zero'}, r'4 items \(1, 2, 4, \.\.\.\) are not'),
    (
      [1],
      {'missing': 'zero', 'extra': 'drop'},
      'no item of the data has a row',
    ),
    (
      [3],
      {'missing': 'skip'},
      "missing features are 'skip'; allowed are error",
    ),
  ],
)
def test_rows_that_do_not_fit_are_one_clear_line(items, options, message):
  with pytest.raises(types.UserError, match=message) as caught:
    features.build(rows_of(items), IDS, **options)
  assert str(caught.value).count('\n') == 0


def test_a_file_is_read_with_the_kind_of_the_ids(tmp_path):
  path = table_files.write(tmp_path, 'item_id,c\n07,1\n8,2\n')
  made = features.read(path, np.array(['07', '8']), ['c:categorical'])
  assert made.categorical['c'].tolist() == [0, 1, 2]
  with pytest.raises(types.UserError, match='is not an integer'):
    features.read(path, np.array([7, 8]), ['c:categorical'])


@pytest.fixture
def saved(tmp_path):
  data = prepared.save(
    small_logs.make([5, 6], num_items=3), str(tmp_path / 'd')
  )
  made = features.build(rows_of(data.item_ids, tags=[(1, 'y')]), data.item_ids)
  features.save(made, data)
  return data, made


def test_saved_features_are_loaded_equal(saved):
  data, made = saved
  loaded = features.load(data)
  for kind in ('categorical', 'multivalued', 'vocabularies'):
    assert list(getattr(loaded, kind)) == list(getattr(made, kind))
    for name, column in getattr(made, kind).items():
      np.testing.assert_array_equal(getattr(loaded, kind)[name], column)
  np.testing.assert_array_equal(loaded.dense, made.dense)
  assert loaded.dense_names == made.dense_names
  features.save(made, data)  # again, in place of the old
  assert features.load(data) is not None


def test_data_without_features_have_none(tmp_path):
  assert features.load(small_logs.make([5])) is None
  assert (
    features.load(prepared.save(small_logs.make([5]), str(tmp_path / 'd')))
    is None
  )


def test_damaged_or_strange_features_are_errors(saved):
  data, _ = saved
  other = small_logs.make([5, 6], num_items=4)._replace(path=data.path)
  with pytest.raises(types.UserError, match='is of other items'):
    features.load(other)
  folder = f'{data.path}/{features.FOLDER}'
  path = f'{folder}/{features.MANIFEST}'
  with open(path) as file:
    manifest = json.load(file)
  with open(path, 'w') as file:
    json.dump({**manifest, 'version': features.VERSION + 1}, file)
  with pytest.raises(types.UserError, match='this program reads'):
    features.load(data)
  with open(path, 'w') as file:
    json.dump(manifest, file)
  with open(f'{folder}/dense.npy', 'wb') as file:
    file.write(b'nothing')
  with pytest.raises(types.UserError, match='is damaged'):
    features.load(data)
