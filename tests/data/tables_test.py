"""Reading tables: what is accepted, and how each bad input is told."""

import csv
import gzip
import io
import pathlib

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import tables

PLAIN = tables.Columns()
TIMED = tables.Columns(time='timestamp')
RATED = tables.Columns(rating='rating')
FULL = tables.Columns(
  time='timestamp',
  rating='rating',
  behavior='behavior',
  split='split',
  order='position',
)
SMALL = settings(
  max_examples=40,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write(folder: pathlib.Path, content: str | bytes, name='t.csv'):
  path = folder / name
  data = content.encode() if isinstance(content, str) else content
  path.write_bytes(gzip.compress(data) if name.endswith('.gz') else data)
  return path


def message(path, columns=PLAIN, **options) -> str:
  """The text of the user error, which must name the file."""
  with pytest.raises(types.UserError) as caught:
    tables.read_table(path, columns, **options)
  text = str(caught.value)
  assert str(path) in text
  assert text.count('\n') <= 1
  return text


# Accepted input.


@pytest.mark.parametrize(
  ('name', 'content', 'options'),
  [
    ('t.csv', 'user_id,item_id\n1,10\n2,20\n', {}),
    ('t.CSV', 'user_id,item_id\n1,10\n2,20\n', {}),
    ('t.csv.gz', 'user_id,item_id\n1,10\n2,20\n', {}),
    ('t.tsv', 'user_id\titem_id\n1\t10\n2\t20\n', {}),
    ('t.tsv.gz', 'user_id\titem_id\n1\t10\n2\t20\n', {}),
    ('t.txt', 'item_id|x|user_id\n10|a|1\n20|b|2\n', {}),
    ('t.txt', 'user_id::item_id\n1::10\n2::20\n', {}),
    ('t.dat', 'user_id::item_id\n1::10\n2::20\n', {'delimiter': '::'}),
    ('t.dat', 'user_id\titem_id\n1\t10\n2\t20\n', {'delimiter': '\\t'}),
    ('t.csv', 'user_id¦item_id\n1¦10\n2¦20\n', {'delimiter': '¦'}),
    ('t.csv', 'user_id item_id\n1 10\n2 20\n', {'delimiter': ' '}),
    ('t.csv', '1,x,10\n2,y,20\n', {'column_names': ('user_id', '', 'item_id')}),
    ('t.csv', '\ufeffuser_id,item_id\r\n1,10\r\n2,20\r\n', {}),
    ('t.csv', '\ufeff"user_id","item_id"\r\n"1","10"\r\n2,"20"', {}),
    ('t.csv', '\n\nuser_id,item_id\n\n1,10\n\n2,20\n\n', {}),
    ('t.csv', 'user_id,item_id\r1,10\r2,20\r', {}),
    ('t.csv', 'user_id,"a ""b"", \n c",item_id\n1,"x,\ny",10\n2,,20\n', {}),
  ],
)
def test_layouts_of_delimited_text_are_read_the_same(
  tmp_path, name, content, options
):
  table = tables.read_table(write(tmp_path, content, name), PLAIN, **options)
  np.testing.assert_array_equal(table.user, [1, 2])
  np.testing.assert_array_equal(table.item, [10, 20])
  assert table.user.dtype == table.item.dtype == np.int64
  assert (table.rows_read, table.dropped, table.time) == (2, {}, None)


def test_all_columns_are_read_with_their_types(tmp_path):
  path = write(
    tmp_path,
    'user_id,item_id,timestamp,rating,behavior,split,position\n'
    'ann,7,5,3.5,view,train,1\nbob,8,6,4,buy,test,-2\n',
  )
  table = tables.read_table(path, FULL)
  assert table.user.tolist() == ['ann', 'bob']
  assert table.item.tolist() == [7, 8]
  assert table.time.tolist() == [5, 6]
  assert table.time.dtype == np.int64
  assert table.rating.tolist() == [3.5, 4.0]
  assert table.behavior.tolist() == ['view', 'buy']
  assert table.split.tolist() == ['train', 'test']
  assert table.order.tolist() == [1, -2]
  assert table.path == str(path)


def test_a_gzip_file_is_known_by_its_bytes(tmp_path):
  path = write(tmp_path, gzip.compress(b'user_id,item_id\n1,2\n'))
  assert tables.read_table(path, PLAIN).item.tolist() == [2]


def test_ids_with_leading_zeros_stay_distinct_text(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n007,1\n7,2\n')
  assert tables.read_table(path, PLAIN).user.tolist() == ['007', '7']


def test_kept_rows_know_their_lines(tmp_path):
  # Blank lines, a bad row and a line end inside quotes move the lines.
  content = '\nuser_id,item_id\n1,2\n\n3,\n"a\nb",4\n5,6\n'
  table = tables.read_table(
    write(tmp_path, content), PLAIN, id_type='string', on_bad_rows='drop'
  )
  assert table.user.tolist() == ['1', 'a\nb', '5']
  assert table.lines.tolist() == [3, 6, 8]
  headerless = tables.read_table(
    write(tmp_path, '1,2\n3,4\n'), PLAIN, column_names=('user_id', 'item_id')
  )
  assert headerless.lines.tolist() == [1, 2]


@pytest.mark.parametrize(
  ('name', 'content', 'delimiter'),
  [
    ('t.csv', '\ufeff"a, b",ts,c\n1,2,3\n', None),
    ('t.tsv.gz', '\na, b\tts\tc\n', None),
    ('t.txt', 'a, b\tts\tc', None),
    ('t.dat', 'a, b::ts::c\n', '::'),
  ],
)
def test_the_header_names_all_columns(tmp_path, name, content, delimiter):
  path = write(tmp_path, content, name)
  assert tables.column_names(path, delimiter) == ['a, b', 'ts', 'c']


# Bad files.


def test_an_empty_file_is_an_error(tmp_path):
  for name in ('t.csv', 't.csv.gz'):
    for content in ('', '\n\n', '\ufeff'):
      assert 'is empty' in message(write(tmp_path, content, name))


def test_a_file_of_zero_bytes_named_gz_is_an_error(tmp_path):
  path = tmp_path / 't.csv.gz'
  path.touch()
  assert 'is empty' in message(path)


def test_a_header_without_rows_is_an_error(tmp_path):
  for content in ('user_id,item_id', 'user_id,item_id\n\n'):
    assert 'a header but no rows' in message(write(tmp_path, content))


def test_a_missing_column_is_an_error_that_lists_the_columns(tmp_path):
  text = message(write(tmp_path, 'uid,item_id,when\n1,2,3\n'))
  assert "no column 'user_id'" in text
  assert 'uid, item_id, when' in text
  assert '--user_column' in text
  assert '--column_names' in text


def test_a_duplicate_column_name_is_an_error(tmp_path):
  text = message(write(tmp_path, 'user_id,item_id,item_id\n1,2,3\n'))
  assert "column 'item_id' occurs 2 times" in text


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
  text = message(tmp_path / 'none.csv')
  assert 'no such file' in text
  assert f'looked in {tmp_path}' in text
  assert 'a folder' in message(tmp_path)
  path = write(tmp_path, 'x')
  assert 'no such file' in message(path / 'deeper.csv')


def test_an_unreadable_file_is_an_error(tmp_path, monkeypatch):
  path = write(tmp_path, 'user_id,item_id\n1,2\n')

  def refuse(self, *unused):
    raise PermissionError(13, 'Permission denied', str(self))

  monkeypatch.setattr(pathlib.Path, 'open', refuse)
  text = message(path)
  assert 'Permission denied' in text
  assert 'permissions' in text


def test_an_unknown_extension_is_an_error_that_lists_the_known(tmp_path):
  text = message(write(tmp_path, 'user_id,item_id\n1,2\n', 't.xlsx'))
  assert "'.xlsx'" in text
  assert '.csv' in text
  assert '--delimiter' in text


def test_a_truncated_gzip_is_an_error_wherever_it_is_cut(tmp_path):
  rows = ''.join(f'{i},{i * i}\n' for i in range(500))
  data = gzip.compress(('user_id,item_id\n' + rows).encode())
  for size in (5, len(data) // 2, len(data) - 1):
    path = tmp_path / 't.csv.gz'
    path.write_bytes(data[:size])
    text = message(path, on_bad_rows='drop')
    assert 'truncated' in text
    assert 'again' in text


def test_a_damaged_gzip_is_an_error(tmp_path):
  data = bytearray(gzip.compress(b'user_id,item_id\n1,2\n'))
  data[-6] ^= 1  # in the checksum
  path = tmp_path / 't.csv.gz'
  path.write_bytes(data)
  assert 'damaged' in message(path)


def test_a_plain_file_named_gz_is_an_error(tmp_path):
  path = tmp_path / 't.csv.gz'
  path.write_bytes(b'user_id,item_id\n1,2\n')
  text = message(path)
  assert 'not a gzip file' in text
  assert 'rename' in text


def test_text_that_is_not_utf8_is_an_error_with_its_line(tmp_path):
  content = 'user_id,item_id\r\na,1\r\nJosé,2\r\n'
  text = message(write(tmp_path, content.encode('latin-1')))
  assert ', line 3:' in text
  assert '0xe9 is not UTF-8' in text
  assert 'iconv' in text
  assert 'not UTF-8' in message(write(tmp_path, content.encode('utf-16')))


def test_a_nul_byte_is_an_error_with_its_line(tmp_path):
  text = message(write(tmp_path, 'user_id,item_id\n1,2\n3,\x004\n'))
  assert ', line 3:' in text
  assert 'NUL' in text


def test_an_open_quote_is_an_error_even_if_bad_rows_are_dropped(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n3,"4\n' + '5,6\n' * 9)
  for on_bad_rows in ('error', 'drop'):
    text = message(path, on_bad_rows=on_bad_rows)
    assert ', line 3:' in text
    assert 'not closed' in text
  path = write(tmp_path, 'user_id,item_id\n1,2\n3,"4\n' + '5,6\n' * 99999)
  assert ', line 3: a quoted field is not closed' in message(path)


def test_an_open_quote_in_the_header_is_an_error(tmp_path):
  assert ', line 1:' in message(write(tmp_path, '"user_id,item_id\n1,2\n'))


def test_names_for_a_file_with_a_header_are_an_error(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n')
  text = message(path, column_names=('user_id', 'item_id'))
  assert 'leave out --column_names' in text


def test_too_few_names_are_an_error(tmp_path):
  text = message(
    write(tmp_path, '1,2,3\n'), column_names=('user_id', 'item_id')
  )
  assert '3 fields' in text
  assert '2 names' in text


def test_a_delimiter_that_cannot_delimit_is_an_error(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n')
  for delimiter in ('"', '\n', ''):
    with pytest.raises(types.UserError, match='delimiter'):
      tables.read_table(path, PLAIN, delimiter=delimiter)
  assert 'no delimiter' in message(write(tmp_path, 'user_id\n1\n', 't.txt'))


def test_unknown_options_are_errors_that_list_the_known(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n')
  for option in ('id_type', 'on_bad_rows', 'engine'):
    with pytest.raises(types.UserError, match='x is unknown; allowed: '):
      tables.read_table(path, PLAIN, **{option: 'x'})
  assert 'two columns' in message(path, tables.Columns(user='item_id'))


# Bad rows: the same file is an error, or is read with the row counted.

BAD_ROWS = [
  (PLAIN, '{},2', '', 'user_id is empty', "user_id '' is empty"),
  (PLAIN, '{}', '1', 'wrong number of fields', 'fields, 1 instead of 2'),
  (PLAIN, '{}', '1,2,3', 'wrong number of fields', 'fields, 3 instead of 2'),
  (PLAIN, '1,{}', 'x7', 'item_id is not an integer', "'x7' is not an integer"),
  (PLAIN, '1,{}', '07', 'item_id is not an integer', 'mixed types'),
  (PLAIN, '1,{}', '1.0', 'item_id is not an integer', '--id_type=string'),
  (
    PLAIN,
    '1,{}',
    str(2**63),
    'item_id does not fit a 64-bit integer',
    '--id_type=string',
  ),
  (
    PLAIN,
    '{},2',
    '-' + '9' * 30,
    'user_id does not fit a 64-bit integer',
    '99',
  ),
  (TIMED, '1,2,{}', '', 'timestamp is empty', "timestamp ''"),
  (TIMED, '1,2,{}', '-3', 'timestamp is negative', "timestamp '-3'"),
  (TIMED, '1,2,{}', '-0.5', 'timestamp is negative', 'Unix seconds from 0'),
  (TIMED, '1,2,{}', '1969-12-31', 'timestamp is negative', '1969'),
  (TIMED, '1,2,{}', 'nan', 'timestamp is not a time', "'nan'"),
  (TIMED, '1,2,{}', 'inf', 'timestamp is not a time', "'inf'"),
  (TIMED, '1,2,{}', '1e999', 'timestamp is not a time', "'1e999'"),
  (TIMED, '1,2,{}', 'noon', 'timestamp is not a time', '2021-07-01'),
  (TIMED, '1,2,{}', '2021-02-30', 'timestamp is not a time', '2021-02-30'),
  (
    TIMED,
    '1,2,{}',
    '9' * 20,
    'timestamp does not fit a 64-bit integer',
    '9999',
  ),
  (RATED, '1,2,{}', '', 'rating is empty', "rating ''"),
  (RATED, '1,2,{}', 'NaN', 'rating is not a finite number', "'NaN'"),
  (RATED, '1,2,{}', 'good', 'rating is not a finite number', "'good'"),
  (RATED, '1,2,{}', '1_0', 'rating is not a finite number', "'1_0'"),
  (RATED, '"1"x,2,{}', '3', 'broken quotes', 'double the quotes'),
]


@pytest.mark.parametrize(('columns', 'row', 'cell', 'cause', 'said'), BAD_ROWS)
def test_a_bad_row_is_an_error_or_is_counted(
  tmp_path, columns, row, cell, cause, said
):
  header = ','.join(name for name in columns if name)
  good = '5,6,7' if len(header.split(',')) == 3 else '5,6'
  bad = row.format(cell)
  # The blank line counts as a line, not as a row.
  content = f'{header}\n{good}\n\n{bad}\n{good}\n{bad}\n'
  path = write(tmp_path, content)
  text = message(path, columns)
  assert ', line 4:' in text
  assert said in text
  assert '--bad_rows=drop' in text
  table = tables.read_table(path, columns, on_bad_rows='drop')
  assert table.dropped == {cause: tables.Dropped(2, (4, 6))}
  assert table.rows_read == 4
  assert table.user.tolist() == [5, 5]
  assert table.item.tolist() == [6, 6]


def test_text_ids_are_the_way_out_of_mixed_types_and_overflow(tmp_path):
  cells = ['5', 'x7', '07', str(2**63)]
  path = write(
    tmp_path, 'user_id,item_id\n' + ''.join(f'{c},1\n' for c in cells)
  )
  table = tables.read_table(path, PLAIN, id_type='string')
  assert table.user.tolist() == cells
  assert table.item.tolist() == ['1'] * 4


def test_integer_ids_can_be_demanded(tmp_path):
  path = write(tmp_path, 'user_id,item_id\nann,1\n')
  assert tables.read_table(path, PLAIN).user.tolist() == ['ann']
  assert "user_id 'ann' is not an integer" in message(path, id_type='int')


def test_an_overlong_id_is_a_bad_row(tmp_path):
  path = write(tmp_path, 'user_id,item_id\na,1\n' + 'b' * 257 + ',2\n')
  text = message(path)
  assert ', line 3:' in text
  assert 'longer than 256 bytes' in text
  assert len(text) < 400


def test_the_first_bad_line_is_told_whatever_its_cause(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n3,x\n4\n')
  assert ', line 3:' in message(path)
  path = write(tmp_path, 'user_id,item_id\n1,2\n4\n3,x\n')
  assert ', line 3:' in message(path)


def test_a_row_with_two_faults_is_counted_once(tmp_path):
  path = write(tmp_path, 'user_id,item_id,timestamp\n1,2,3\n,x,-1\n')
  table = tables.read_table(path, TIMED, on_bad_rows='drop')
  assert table.dropped == {'user_id is empty': tables.Dropped(1, (3,))}


def test_at_most_five_lines_are_kept_of_a_cause(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n' + '3,\n' * 9)
  table = tables.read_table(path, PLAIN, on_bad_rows='drop')
  cause = 'item_id is empty'
  assert table.dropped[cause] == tables.Dropped(9, tuple(range(3, 8)))


def test_dropping_every_row_is_an_error(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,\n2,\n')
  text = message(path, on_bad_rows='drop')
  assert 'no row is left, 2 of 2' in text
  assert 'item_id is empty: 2' in text


# Properties.

INTEGERS = st.integers(-(2**63), 2**63 - 1)
# Any text that UTF-8 can write, with what needs quoting drawn often.
TEXTS = st.text(
  st.characters(exclude_characters='\0', exclude_categories=['Cs'])
  | st.sampled_from('",\n\r; \'1'),
  min_size=1,
  max_size=12,
)


def csv_bytes(header, rows, line_end, quoting, bom) -> bytes:
  buffer = io.StringIO(newline='')
  writer = csv.writer(buffer, lineterminator=line_end, quoting=quoting)
  writer.writerow(header)
  writer.writerows(rows)
  return buffer.getvalue().encode('utf-8-sig' if bom else 'utf-8')


@SMALL
@given(
  rows=st.lists(st.tuples(INTEGERS, INTEGERS), min_size=1, max_size=30),
  line_end=st.sampled_from(['\n', '\r\n']),
  quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
  bom=st.booleans(),
  name=st.sampled_from(['t.csv', 't.csv.gz']),
)
def test_integers_read_back_equal(tmp_path, rows, line_end, quoting, bom, name):
  data = csv_bytes(('item_id', 'user_id'), rows, line_end, quoting, bom)
  table = tables.read_table(write(tmp_path, data, name), PLAIN)
  assert (
    list(zip(table.item.tolist(), table.user.tolist(), strict=True)) == rows
  )
  assert table.rows_read == len(rows)


@SMALL
@given(
  rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=20),
  # The csv module quotes a lone CR only if told to, or if lines end in CRLF.
  style=st.sampled_from(
    [
      ('\r\n', csv.QUOTE_MINIMAL),
      ('\r\n', csv.QUOTE_ALL),
      ('\n', csv.QUOTE_ALL),
    ]
  ),
  bom=st.booleans(),
)
def test_texts_read_back_equal(tmp_path, rows, style, bom):
  header = ('user_id', 'a "title", long', 'item_id')
  data = csv_bytes(header, rows, *style, bom)
  table = tables.read_table(write(tmp_path, data), PLAIN, id_type='string')
  assert table.user.tolist() == [row[0] for row in rows]
  assert table.item.tolist() == [row[2] for row in rows]


@SMALL
@given(
  rows=st.lists(
    st.sampled_from(['5', '', 'x', '-7', '1.5', '"q""', '1e3', '9' * 25])
    | st.text('0123456789,."-e \r', max_size=8),
    max_size=30,
  ).map(lambda cells: [f'8,9,{cell}' for cell in cells])
)
def test_kept_and_dropped_rows_add_up(tmp_path, rows):
  # The quotes are balanced per line or broken, never open at the end.
  rows = [row if row.count('"') % 2 == 0 else row + '"' for row in rows]
  content = '\n'.join(['user_id,item_id,timestamp', '8,9,1', *rows])
  table = tables.read_table(write(tmp_path, content), TIMED, on_bad_rows='drop')
  dropped = sum(fault.count for fault in table.dropped.values())
  assert len(table.user) + dropped == table.rows_read
  assert len(table.user) == len(table.item) == len(table.time)
  assert np.all(table.user == 8)
  assert np.all(np.isfinite(table.time) & (table.time >= 0))
  for fault in table.dropped.values():
    assert len(fault.first_lines) == min(fault.count, 5)
