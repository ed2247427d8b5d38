"""Parquet and fast CSV give what the NumPy reader gives."""

import datetime
import sys

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from tests.data import table_files
from twotsrec import types
from twotsrec.data import tables

PLAIN = table_files.PLAIN
TIMED = table_files.TIMED
FULL = table_files.FULL
SMALL = table_files.SMALL


@pytest.fixture(name='polars')
def _polars():
  return pytest.importorskip('polars')


def assert_same(left: tables.Table, right: tables.Table, but=('path',)):
  for name in tables.Table._fields:
    if name in but:
      continue
    ours, theirs = getattr(left, name), getattr(right, name)
    if isinstance(ours, np.ndarray):
      np.testing.assert_array_equal(ours, theirs, strict=True)
    else:
      assert ours == theirs


def test_a_missing_extra_is_an_error_that_names_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'polars', None)
  path = tmp_path / 't.parquet'
  path.touch()
  with pytest.raises(types.UserError) as caught:
    tables.read_table(path, PLAIN)
  assert "pip install -e '.[data]'" in str(caught.value)
  assert '\n' not in str(caught.value)


def test_parquet_equals_the_same_table_in_csv(tmp_path, polars):
  frame = polars.DataFrame(
    {
      'user_id': ['ann', 'bob', 'é'],
      'item_id': [5, -6, 2**40],
      'timestamp': [1.5, 2.0, 3.25],
      'rating': [1.0, 2.5, 3.0],
      'behavior': ['view', 'buy', 'view'],
      'split': [0, 1, 2],
      'position': [3, 2, 1],
      'other': [None, None, None],
    },
    schema_overrides={
      'behavior': polars.Categorical,
      'rating': polars.Float32,
      'position': polars.UInt64,
    },
  )
  frame.write_parquet(tmp_path / 't.parquet')
  frame.write_csv(tmp_path / 't.csv')
  parquet = tables.read_table(tmp_path / 't.parquet', FULL)
  text = tables.read_table(tmp_path / 't.csv', FULL)
  assert_same(parquet, text, but=('path', 'lines'))
  # Rows of the one, lines after a header of the other.
  assert parquet.lines.tolist() == [1, 2, 3]
  assert text.lines.tolist() == [2, 3, 4]
  assert tables.column_names(tmp_path / 't.parquet') == frame.columns


def test_parquet_dates_are_unix_seconds(tmp_path, polars):
  moment = datetime.datetime(2021, 7, 1, 12, 30)
  seconds = moment.replace(tzinfo=datetime.UTC).timestamp()
  for unit in ('ms', 'us', 'ns'):
    frame = polars.DataFrame(
      {
        'user_id': [1],
        'item_id': [2],
        'timestamp': polars.Series([moment], dtype=polars.Datetime(unit)),
        'day': [moment.date()],
      }
    )
    path = tmp_path / 't.parquet'
    frame.write_parquet(path)
    table = tables.read_table(path, TIMED)
    assert table.time.tolist() == [seconds]
    assert table.time.dtype == np.int64
    table = tables.read_table(path, tables.Columns(time='day'))
    assert table.time.tolist() == [seconds - 12.5 * 3600]


def test_bad_rows_of_parquet_are_told_by_row(tmp_path, polars):
  path = tmp_path / 't.parquet'
  polars.DataFrame(
    {
      'user_id': [1, 2, None, 2**63],
      'item_id': [1, 2, 3, 4],
      'timestamp': [1.0, float('nan'), 2.0, 3.0],
    },
    schema_overrides={'user_id': polars.UInt64},
  ).write_parquet(path)
  with pytest.raises(types.UserError, match=r'row 2: timestamp .*not a time'):
    tables.read_table(path, TIMED)
  table = tables.read_table(path, TIMED, on_bad_rows='drop')
  assert table.user.tolist() == [1]
  assert table.dropped == {
    'user_id is empty': tables.Dropped(1, (3,)),
    'user_id does not fit a 64-bit integer': tables.Dropped(1, (4,)),
    'timestamp is not a time': tables.Dropped(1, (2,)),
  }


def test_a_path_is_no_pattern(tmp_path, polars):
  folder = tmp_path / 'a[1]'
  folder.mkdir()
  frame = polars.DataFrame({'user_id': [1], 'item_id': [2]})
  frame.write_parquet(folder / 't.parquet')
  frame.write_csv(folder / 't.csv')
  for name in ('t.parquet', 't.csv'):
    table = tables.read_table(folder / name, PLAIN, engine='polars')
    assert table.item.tolist() == [2]


def test_bad_parquet_files_are_errors(tmp_path, polars):
  path = tmp_path / 't.parquet'
  path.write_bytes(b'user_id,item_id\n1,2\n')
  with pytest.raises(types.UserError, match='not a Parquet file'):
    tables.read_table(path, PLAIN)
  polars.DataFrame({'user_id': [1.5], 'item_id': [2]}).write_parquet(path)
  with pytest.raises(types.UserError, match="'user_id' has type Float64"):
    tables.read_table(path, PLAIN)
  polars.DataFrame({'user': [1], 'item_id': [2]}).write_parquet(path)
  with pytest.raises(types.UserError, match='columns are: user, item_id'):
    tables.read_table(path, PLAIN)
  polars.DataFrame(
    schema={'user_id': polars.Int64, 'item_id': polars.Int64}
  ).write_parquet(path)
  with pytest.raises(types.UserError, match='no rows'):
    tables.read_table(path, PLAIN)


LINES = st.lists(
  st.sampled_from([
    '1,2,3', '007,2,3', 'x,2,3', '1,,3', '1,2', '1,2,3,4', '', '1,"2",3',
    '1,"a,b",3', '1,2,-3', '1,2,2021-07-01', '1,é,3', '1,2,1.5', 'a"b,2,3',
    '1,"2\n\n",3', '1, 2,3', '1,2,nan', '"1"x,2,3', '1,2,',
  ]),
  min_size=1,
  max_size=6,
)  # fmt: skip


@SMALL
@given(
  lines=LINES | st.lists(st.just('1,2,3') | st.just('4,-5,6'), min_size=1),
  line_end=st.sampled_from(['\n', '\r\n']),
  header=st.booleans(),
  bom=st.booleans(),
  on_bad_rows=st.sampled_from(['error', 'drop']),
)
def test_both_engines_give_the_same(
  tmp_path, polars, lines, line_end, header, bom, on_bad_rows
):
  del polars
  names = ('user_id', 'item_id', 'timestamp')
  path = tmp_path / 't.csv'
  text = line_end.join([','.join(names)] * header + lines)
  path.write_bytes(text.encode('utf-8-sig' if bom else 'utf-8'))
  options = {
    'on_bad_rows': on_bad_rows,
    'column_names': None if header else names,
  }
  try:
    table = tables.read_table(path, TIMED, **options)
  except types.UserError as error:
    with pytest.raises(types.UserError) as caught:
      tables.read_table(path, TIMED, engine='polars', **options)
    assert str(caught.value) == str(error)
  else:
    fast = tables.read_table(path, TIMED, engine='polars', **options)
    assert_same(fast, table)


@pytest.mark.parametrize(
  'text',
  [
    'user_id,item_id,x\n1,2,3\n4,5,6\n',
    'user_id,item_id,x\n1,2,"a\nb"\n4,5,6\n',
    'user_id,"a\nb",item_id\n1,2,3\n4,5,6\n',
    '\n\nuser_id,item_id,x\n1,2,3\n4,5,6\n',
    '\ufeff\r\nuser_id,item_id,x\r\n1,2,3\r\n',
    'user_id,item_id,x\n\n1,2,3\n\n4,5,6\n',
    'user_id,item_id,x\r\n1,2,3\r\n\r\n4,5,6\r\n',
  ],
)
def test_the_fast_engine_tells_lines_of_the_file(tmp_path, polars, text):
  del polars
  path = tmp_path / 't.csv'
  path.write_bytes(text.encode())
  fast = tables.read_table(path, PLAIN, engine='polars')
  assert_same(fast, tables.read_table(path, PLAIN))


def test_the_fast_engine_leaves_a_header_given_by_mistake(tmp_path, polars):
  del polars
  path = tmp_path / 't.csv'
  path.write_text('user_id,item_id\n1,2\n')
  with pytest.raises(types.UserError, match='leave out --column_names'):
    tables.read_table(
      path, PLAIN, engine='polars', column_names=('user_id', 'item_id')
    )
