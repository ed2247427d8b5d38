"""Reading tables: what is accepted, and how bad files are told."""

import gzip
import pathlib

import numpy as np
import pytest

from tests.data import table_files
from twotsrec import types
from twotsrec.data import tables

PLAIN = table_files.PLAIN
TIMED = table_files.TIMED
FULL = table_files.FULL
write = table_files.write
message = table_files.message


# Accepted input.


@pytest.mark.parametrize(
  ('name', 'content', 'options'),
  [
    ('t.csv', 'user_id,item_id\n1,10\n2,20\n', {}),
    ('t.CSV', 'user_id,item_id\n1,10\n2,20\n', {}),
    ('t.csv.gz', 'user_id,item_id\n1,10\n2,20\n', {}),
    ('t.tsv', 'user_id\titem_id\n1\t10\n2\t20\n', {}),
    ('t.tsv.gz', 'user_id\titem_id\n1\t10\n2\t20\n', {}),
    ('t.tsv.zst', '\ufeffuser_id\titem_id\r\n\n1\t10\r\n2\t20', {}),
    ('t.csv', 'x^,user_id,item_id\nx^,1,10\nx^,2,20\n', {}),
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
  (tmp_path / 'empty').mkdir()
  assert 'a folder without a file' in message(tmp_path / 'empty')
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


def test_a_damaged_zstd_is_an_error(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n' + '1,2\n' * 99, 't.csv.zst')
  data = path.read_bytes()
  for content in (data[:-5], data[:7] + b'\xff' + data[8:]):
    path.write_bytes(content)
    text = message(path, on_bad_rows='drop')
    assert 'the zstd file is truncated or damaged' in text
  for content in (b'user_id,item_id\na,\xe9\n', b'user_id,item_id\n1,\x002\n'):
    text = message(write(tmp_path, content, 't.csv.zst'))
    assert 'is no UTF-8 text' in text


def test_a_plain_file_is_read_whatever_its_name_says(tmp_path):
  for name in ('t.csv.gz', 't.csv.zst', 't.csv.zip'):
    path = tmp_path / name
    path.write_bytes(b'user_id,item_id\n1,2\n')
    assert tables.read_table(path, PLAIN).item.tolist() == [2]


def test_text_that_is_not_utf8_is_an_error_with_its_line(tmp_path):
  content = 'user_id,item_id\r\na,1\r\nJosé,2\r\n'
  text = message(write(tmp_path, content.encode('latin-1')))
  assert ', line 3:' in text
  assert '0xe9 is not UTF-8' in text
  assert 'iconv' in text
  table = tables.read_table(write(tmp_path, content.encode('utf-16')), PLAIN)
  assert table.user.tolist() == ['a', 'José']


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


def test_text_over_integers_is_a_header_unless_it_has_a_number(tmp_path):
  names = ('user_id', 'item_id', 'timestamp')
  read = lambda first: tables.read_table(
    write(tmp_path, f'{first}\n1,2,3\n'), TIMED, column_names=names
  )
  with pytest.raises(types.UserError, match='looks like a header') as error:
    read('who,"wh\nat",when')
  assert len(str(error.value).splitlines()) == 1
  assert len(read('who,what,9').user) == 2
  for first in ('007,what,when', 'who,1e3,when'):
    with pytest.raises(types.UserError, match="timestamp 'when' is not a time"):
      read(first)


@pytest.mark.parametrize(
  ('content', 'columns'),
  [
    ('"a\nb",c\n1,2\n', PLAIN),
    ('user_id,item_id,timestamp\n1,2,"no\non"\n', TIMED),
    ('user_id,item_id\n"x\ny",\n', PLAIN),
  ],
)
def test_a_line_end_in_a_name_or_cell_ends_no_line_of_a_message(
  tmp_path, content, columns
):
  text = message(write(tmp_path, content), columns)
  assert len(text.splitlines()) == 1


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
  for option in ('id_type', 'on_bad_rows'):
    with pytest.raises(types.UserError, match='x is unknown; allowed: '):
      tables.read_table(path, PLAIN, **{option: 'x'})
  assert 'two columns' in message(path, tables.Columns(user='item_id'))
