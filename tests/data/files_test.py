"""Files as they are published: packed, typed, in pieces, out of a pipe."""

import bz2
import gzip
import io
import lzma
import os
import threading
import zipfile

import numpy as np
import polars
import pytest

from tests.data import table_files
from twotsrec.data import tables

PLAIN, TIMED = table_files.PLAIN, table_files.TIMED
CONTENT = 'user_id,item_id\n' + ''.join(f'{n},{n + 9}\n' for n in range(400))


def zipped(data: bytes, *names: str) -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name in names or ('folder/', 'folder/log.csv'):
      archive.writestr(name, b'' if name.endswith('/') else data)
  return buffer.getvalue()


PACKED = {
  'gzip': gzip.compress,
  'bzip2': bz2.compress,
  'xz': lzma.compress,
  'zip': zipped,
}


@pytest.mark.parametrize('kind', PACKED)
@pytest.mark.parametrize('name', ['t.csv', 't.csv.bz2'])
def test_a_packed_file_is_known_by_its_bytes(tmp_path, kind, name):
  path = tmp_path / name
  path.write_bytes(PACKED[kind](CONTENT.encode()))
  table = tables.read_table(path, PLAIN)
  assert table.item.tolist() == list(range(9, 409))
  for cut in (len(path.read_bytes()) // 2, -3):
    path.write_bytes(path.read_bytes()[:cut])
    text = table_files.message(path, on_bad_rows='drop')
    assert f'the {kind} file is' in text and 'again' in text


def test_a_zip_file_of_several_files_says_which(tmp_path):
  path = tmp_path / 't.zip'
  path.write_bytes(zipped(CONTENT.encode(), 'a.csv', 'b.csv'))
  text = table_files.message(path, delimiter=',')
  assert 'holds 2 files (a.csv, b.csv)' in text


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-be'])
def test_an_encoding_is_known_by_its_mark(tmp_path, encoding):
  content = 'user_id,item_id\né,1\n日,2\n'
  mark = '\ufeff' if encoding == 'utf-16-be' else ''
  path = tmp_path / 't.csv'
  path.write_bytes((mark + content).encode(encoding))
  assert tables.read_table(path, PLAIN).user.tolist() == ['é', '日']


def test_typed_headers_of_recbole_are_names(tmp_path):
  path = tmp_path / 'log.inter'
  path.write_text('user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3.5\n')
  table = tables.read_table(path, TIMED)
  assert (table.user.tolist(), table.time.tolist()) == ([1], [3.5])
  assert tables.column_names(path) == ['user_id', 'item_id', 'timestamp']
  typed = tables.Columns('user_id:token', 'item_id:token')
  assert tables.read_table(path, typed).item.tolist() == [2]


def test_names_of_columns_may_have_blanks_around_them(tmp_path):
  path = tmp_path / 't.csv'
  path.write_text('user_id, item_id\n1, 2\n')
  assert tables.read_table(path, PLAIN).item.tolist() == [2]


def test_a_key_of_json_lines_may_come_late(tmp_path):
  path = tmp_path / 'reviews.json'
  lines = [
    '{"user_id": 1, "item_id": 2}',
    '{"user_id": 3, "item_id": 4, "t": 5}',
  ]
  for order in (lines, lines[::-1]):
    path.write_text('\n'.join(order))
    table = tables.read_table(
      path, tables.Columns(time='t'), on_bad_rows='drop'
    )
    assert (table.user.tolist(), table.time.tolist()) == ([3], [5])
    assert table.dropped['t is empty'].rows == 1
  assert "no column 'x'" in table_files.message(path, tables.Columns(time='x'))


def pieces(folder, suffix):
  """Three files and the rows of all of them."""
  folder.mkdir()
  (folder / '_SUCCESS').touch()
  frames = [
    polars.DataFrame({'user_id': [n, n + 1], 'item_id': [5 * n, 7]})
    for n in range(3)
  ]
  for n, frame in enumerate(frames):
    path = folder / f'part-{n}{suffix}'
    (frame.write_parquet if suffix == '.parquet' else frame.write_csv)(path)
  return polars.concat(frames)


@pytest.mark.parametrize('suffix', ['.parquet', '.csv'])
def test_a_folder_a_pattern_and_a_list_are_one_table(tmp_path, suffix):
  folder = tmp_path / 'log'
  frame = pieces(folder, suffix)
  listed = ','.join(str(folder / f'part-{n}{suffix}') for n in range(3))
  for path in (folder, folder / f'part-*{suffix}', listed):
    table = tables.read_table(path, PLAIN)
    np.testing.assert_array_equal(table.user, frame['user_id'])
    np.testing.assert_array_equal(table.item, frame['item_id'])
    assert table.rows_read == 6 and table.lines is None
    assert tables.column_names(path) == ['user_id', 'item_id']


def test_a_bad_row_of_several_files_is_told_with_its_file(tmp_path):
  folder = tmp_path / 'log'
  pieces(folder, '.csv')
  (folder / 'part-1.csv').write_text('user_id,item_id\n1,2\n\n,3\n')
  text = table_files.message(folder, PLAIN)
  assert 'part-1.csv, line 4: user_id' in text
  # Text in one of them makes all of them text.
  (folder / 'part-2.csv').write_text('user_id,item_id\n1,2\nx,3\n')
  table = tables.read_table(folder, PLAIN, on_bad_rows='drop')
  assert table.user.tolist() == ['0', '1', '1', '1', 'x']
  (folder / 'other.txt').touch()
  assert 'files of several kinds (.csv, .txt)' in table_files.message(folder)


@pytest.mark.parametrize('content', [CONTENT, '{"user_id": 1, "item_id": 9}\n'])
def test_what_can_be_read_once_is_read_as_often_as_needed(tmp_path, content):
  pipe = tmp_path / f'pipe{len(content)}'
  os.mkfifo(pipe)
  writer = threading.Thread(target=pipe.write_text, args=(content,))
  writer.start()
  for _ in range(2):
    assert tables.column_names(pipe) == ['user_id', 'item_id']
    assert tables.read_table(pipe, PLAIN).item.tolist()[0] == 9
  writer.join()


def test_damaged_parquet_files_are_one_line(tmp_path):
  path = tmp_path / 't.parquet'
  frame = polars.DataFrame({'user_id': range(99), 'item_id': range(99)})
  frame.write_parquet(path)
  whole = path.read_bytes()
  generator = np.random.default_rng(0)
  for place in generator.integers(0, len(whole), 60).tolist():
    for data in (
      whole[:place],
      whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :],
    ):
      path.write_bytes(data)
      try:
        tables.read_table(path, PLAIN, on_bad_rows='drop')
      except tables.types.UserError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize('cell', ['3,5', '3.5', '"3,5"'])
def test_a_comma_may_be_the_decimal_sign(tmp_path, cell):
  path = tmp_path / 't.csv'
  path.write_text(f'user_id;item_id;rating\n1;2;{cell}\n')
  wanted = tables.Columns(rating='rating')
  forms = tables.Forms(decimal=',')
  table = tables.read_table(path, wanted, delimiter=';', forms=forms)
  assert table.rating.tolist() == [3.5]


def test_only_the_rows_of_some_values_are_read(tmp_path):
  path = tmp_path / 't.csv'
  path.write_text(
    'user_id,item_id,event,shop\n1,2, buy,a\n,2,view,a\n1,3,cart,a\n1,4,buy,b\n'
  )
  read = lambda *where: tables.read_table(
    path, PLAIN, forms=tables.Forms(where=where)
  )
  table = read('event=buy,cart')
  assert table.item.tolist() == [2, 3, 4]
  cause = 'event is not buy or cart (--where)'
  # A row that is not wanted may be as bad as it likes.
  assert table.dropped == {cause: tables.Dropped(1, (3,))}
  assert table.rows_read == 4
  assert read('event=buy', 'shop=b').item.tolist() == [4]
  for where, said in (
    (['event=bought'], "no row has 'bought'; the column has buy, cart, view"),
    (['event'], 'is no condition'),
    (['evnt=buy'], "no column 'evnt'"),
    (['shop=a', 'shop=b'], 'twice'),
  ):
    assert said in table_files.message(
      path, forms=tables.Forms(where=tuple(where))
    )
