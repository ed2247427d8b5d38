"""Parquet and JSON lines give what the same table in CSV gives."""

import csv
import datetime
import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import polars
import pytest

from tests.data import table_files
from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import columnar
from twotsrec.data import ids
from twotsrec.data import tables

PLAIN = table_files.PLAIN
TIMED = table_files.TIMED
FULL = table_files.FULL
SMALL = table_files.SMALL


def assert_same(left: tables.Table, right: tables.Table, but=('path',)):
  for name in tables.Table._fields:
    if name in but:
      continue
    ours, theirs = getattr(left, name), getattr(right, name)
    if isinstance(ours, ids.Texts):
      ours, theirs = np.asarray(ours), np.asarray(theirs)
    if isinstance(ours, np.ndarray):
      np.testing.assert_array_equal(ours, theirs, strict=True)
    else:
      assert ours == theirs


def test_parquet_equals_the_same_table_in_csv(tmp_path):
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


def test_parquet_dates_are_unix_seconds(tmp_path):
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


def test_bad_rows_of_parquet_are_told_by_row(tmp_path):
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


def test_a_path_is_no_pattern(tmp_path):
  folder = tmp_path / 'a[1]'
  folder.mkdir()
  frame = polars.DataFrame({'user_id': [1], 'item_id': [2]})
  frame.write_parquet(folder / 't.parquet')
  frame.write_csv(folder / 't.csv')
  for name in ('t.parquet', 't.csv'):
    table = tables.read_table(folder / name, PLAIN)
    assert table.item.tolist() == [2]


def test_bad_parquet_files_are_errors(tmp_path):
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


# JSON lines.


def json_lines(frame: polars.DataFrame) -> bytes:
  return ''.join(json.dumps(row) + '\n' for row in frame.to_dicts()).encode()


TEXTS = st.text(
  st.characters(exclude_characters='\0', exclude_categories=['Cs'])
  | st.sampled_from('"\\,\n\r1'),
  min_size=1,
  max_size=6,
).filter(lambda text: cells.tidied(polars.Series([text]))[0] == text)


@SMALL
@given(
  rows=st.lists(
    st.tuples(
      st.integers(-(2**63), 2**63 - 1),
      TEXTS,
      st.integers(0, 10**10),
      st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=8,
  ),
  name=st.sampled_from(['t.jsonl', 't.ndjson.gz', 't.jsonl.zst']),
)
def test_json_lines_equal_the_same_table_in_csv(tmp_path, rows, name):
  columns = ('user_id', 'item_id', 'timestamp', 'rating')
  wanted = tables.Columns(time='timestamp', rating='rating')
  frame = polars.DataFrame(rows, schema=columns, orient='row')
  path = table_files.write(tmp_path, json_lines(frame), name)
  with (tmp_path / 't.csv').open('w', newline='') as file:
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([columns, *rows])
  forms = tables.Forms(time_unit='s', keep_ids=cells.MISSING_NAMES)
  json_table, text = (
    tables.read_table(file, wanted, id_type='string', forms=forms)
    for file in (path, tmp_path / 't.csv')
  )
  assert_same(json_table, text, but=('path', 'lines'))
  assert json_table.lines.tolist() == list(range(1, len(rows) + 1))
  assert tables.column_names(path) == list(columns)


BAD_LINES = '\n'.join([
  '{"user_id": 1, "item_id": 2, "x": [1, {"y": 2}]}',
  '',
  '{"item_id": "7", "user_id": "1"}',
  '{"user_id": 3}',
  '{"user_id": 4, "item_id": null}',
  'user_id: 5',
  '[6, 7]',
  '{"user_id": 7, "item_id": NaN}',
  '{"user_id": 8, "item_id": 1.5}',
  '{"user_id": 9, "item_id": 10}',
])  # fmt: skip


def test_bad_json_lines_are_counted_or_are_errors(tmp_path):
  path = table_files.write(tmp_path, BAD_LINES, 't.jsonl')
  table = tables.read_table(path, PLAIN, id_type='int', on_bad_rows='drop')
  assert table.user.tolist() == [1, 1, 9]
  assert table.item.tolist() == [2, 7, 10]
  assert table.lines.tolist() == [1, 3, 10]
  assert table.rows_read == 9
  assert table.dropped == {
    'not a JSON object': tables.Dropped(3, (6, 7, 8)),
    'item_id is empty': tables.Dropped(2, (4, 5)),
    'item_id is not an integer': tables.Dropped(1, (9,)),
  }
  assert "line 4: item_id '' is empty" in table_files.message(path)
  lines = BAD_LINES.splitlines()
  path = table_files.write(
    tmp_path, '\n'.join(lines[:3] + lines[5:]), 't.jsonl'
  )
  text = table_files.message(path)
  assert 'line 4: not a JSON object' in text
  assert '--bad_rows=drop' in text


@pytest.mark.parametrize(
  ('content', 'said'),
  [
    ('', 'is empty'),
    ('\n\n', 'is empty'),
    ('[1]\n', 'line 1: not a JSON object; every line is one'),
    ('\n1,2\n', 'line 2: not a JSON object'),
    ('{"user": 1, "item_id": 2}\n', 'columns are: user, item_id'),
    ('{"user_id": 1, "item_id": 2}\n\x00', 'line 2: a NUL byte'),
    (b'{"user_id": 1, "item_id": 2}\n\xe9', 'line 2: byte 0xe9 is not UTF-8'),
  ],
)
def test_bad_files_of_json_lines_are_errors(tmp_path, content, said):
  assert said in table_files.message(
    table_files.write(tmp_path, content, 't.jsonl')
  )


def test_blocks_of_json_lines_are_those_of_the_whole(tmp_path):
  path = table_files.write(tmp_path, BAD_LINES, 't.jsonl')
  wanted = dict.fromkeys(('user_id', 'item_id'), cells.ID)
  for block_bytes in (1, 50, 1 << 20):
    lines, users, ragged = [], [], []
    for block in columnar.read_json_lines(path, wanted, block_bytes):
      lines += block.lines.tolist()
      users += block.columns['user_id'].to_list()
      ragged += block.ragged_lines.tolist()
    assert lines == [1, 3, 4, 5, 9, 10]
    assert users == ['1', '1', '3', '4', '8', '9']
    assert ragged == [6, 7, 8]
