import hypothesis
from hypothesis import strategies
import polars
import pytest

from tests.data import table_files
from twotsrec import types
from twotsrec.data import feature_files

ALL = ('kind:categorical', 'tags:multivalued', 'price:dense')
TEXT = 'item_id,kind,tags,price\n7,a,x|y,1.5\n3,,,-2\n9,b, y |x|x,1e3\n'


def check_rows(rows):
  assert rows.items.tolist() == [7, 3, 9]
  assert rows.categorical['kind'].tolist() == ['a', '', 'b']
  row, value = rows.multivalued['tags']
  assert list(zip(row.tolist(), value.tolist(), strict=True)) == [
    (0, 'x'),
    (0, 'y'),
    (2, 'y'),
    (2, 'x'),
  ]
  assert rows.dense['price'].tolist() == [1.5, -2.0, 1e3]


def test_columns_of_every_kind_are_read(tmp_path):
  path = table_files.write(tmp_path, TEXT)
  check_rows(feature_files.read(path, ALL))
  path = table_files.write(tmp_path, TEXT.replace(',', '\t'), 't.tsv.gz')
  check_rows(feature_files.read(path, ALL))


def test_parquet_gives_the_same(tmp_path):
  frame = polars.DataFrame(
    {
      'item_id': [7, 3, 9],
      'kind': ['a', None, 'b'],
      'tags': ['x|y', '', ' y |x|x'],
      'price': [1.5, -2.0, 1000.0],
    }
  )
  frame.write_parquet(tmp_path / 't.parquet')
  check_rows(feature_files.read(tmp_path / 't.parquet', ALL))


@pytest.mark.parametrize('named', ['parts', 'parts/*.csv', 'a,b'])
def test_rows_of_all_files_are_read(tmp_path, named):
  header, *lines = TEXT.splitlines()
  (tmp_path / 'parts').mkdir()
  parts = [tmp_path / 'parts' / name for name in ('a.csv', 'b.csv')]
  for part, rows in zip(parts, (lines[:1], lines[1:]), strict=True):
    part.write_text('\n'.join([header, *rows, '']))
  path = ','.join(map(str, parts)) if named == 'a,b' else tmp_path / named
  check_rows(feature_files.read(path, ALL))


def test_text_ids_keep_their_zeros(tmp_path):
  path = table_files.write(tmp_path, 'id;c\n007;1\n')
  rows = feature_files.read(
    path, ['c:categorical'], item_column='id', delimiter=';', text_ids=True
  )
  assert rows.items.tolist() == ['007']


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(
  strategies.lists(
    strategies.lists(strategies.sampled_from(['a', 'b c', '7'])), max_size=6
  )
)
def test_dividing_undoes_joining_but_for_repeats(lists):
  row, value = feature_files.divide(['::'.join(v) for v in lists], '::')
  for number, values in enumerate(lists):
    expected = list(dict.fromkeys(values))
    assert value[row == number].tolist() == expected


@pytest.mark.parametrize(
  ('text', 'columns', 'message'),
  [
    (
      TEXT,
      ['prize:dense'],
      "no column 'prize'; the columns are: item_id, kind",
    ),
    (TEXT, ['price'], "'price' is not a name and a kind; write NAME:KIND"),
    (TEXT, ['price:number'], 'KIND is one of categorical, multivalued, dense'),
    (TEXT, ['price:dense', 'price:dense'], "'price' is given twice"),
    (TEXT, [], 'no feature columns are named'),
    (TEXT, ['item_id:dense'], 'is the column of item ids and a feature'),
    (TEXT, ['kind:dense'], "line 2: kind 'a' is not a finite number; correct"),
    ('item_id,p\n1,\n', ['p:dense'], "line 2: p '' is empty"),
    ('item_id,p\nx,1\n', ['p:dense'], "line 2: item_id 'x' is not an integer"),
    (
      'item_id,p\n1,2,3\n',
      ['p:dense'],
      'line 2: wrong number of fields, 3 instead of 2; correct',
    ),
    ('item_id,p\n', ['p:dense'], 'a header but no rows'),
  ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, text, columns, message):
  path = table_files.write(tmp_path, text)
  with pytest.raises(types.UserError, match=message) as caught:
    feature_files.read(path, columns)
  assert str(caught.value).count('\n') <= 1


def test_a_missing_file_and_an_empty_separator_are_told(tmp_path):
  with pytest.raises(types.UserError, match='no such file'):
    feature_files.read(tmp_path / 'none.csv', ALL)
  path = table_files.write(tmp_path, TEXT)
  with pytest.raises(types.UserError, match='separator'):
    feature_files.read(path, ALL, separator='')
