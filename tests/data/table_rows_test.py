"""Rows of tables: bad ones are told or counted, good ones read back."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import polars
import pytest

from tests.data import table_files
from twotsrec.data import cells
from twotsrec.data import tables

PLAIN = table_files.PLAIN
TIMED = table_files.TIMED
RATED = table_files.RATED
SMALL = table_files.SMALL
write = table_files.write
message = table_files.message


# Bad rows: the same file is an error, or is read with the row counted.

BAD_ROWS = [
  (PLAIN, '{},2', '', 'user_id is empty', "user_id '' is empty"),
  (PLAIN, '{}', '1', 'wrong number of fields', 'fields, 1 instead of 2'),
  (PLAIN, '{}', '1,2,3', 'wrong number of fields', 'fields, 3 instead of 2'),
  (PLAIN, '1,{}', 'NA', 'item_id stands for a missing value', '--keep_ids=NA '),
  (PLAIN, 'user_id,item_id{}', '', 'the header again', 'the header again'),
  (PLAIN, '{}, 3', ' ', 'user_id is empty', "user_id ' ' is empty"),
  (TIMED, '1,2,{}', '', 'timestamp is empty', "timestamp ''"),
  (TIMED, '1,2,{}', '-3', 'timestamp is negative', "timestamp '-3'"),
  (TIMED, '1,2,{}', '-0.5', 'timestamp is negative', 'Unix seconds from 0'),
  (TIMED, '1,2,{}', '1969-12-31', 'timestamp is negative', '1969'),
  (TIMED, '1,2,{}', 'nan', 'timestamp stands for a missing value', "'nan'"),
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
  (RATED, '1,2,{}', 'NaN', 'rating stands for a missing value', "'NaN'"),
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


@pytest.mark.parametrize(
  ('cell', 'cause'),
  [
    ('x7', 'item_id is not an integer'),
    ('07', 'item_id is not an integer'),
    ('1.0', 'item_id is not an integer'),
    (str(2**63), 'item_id does not fit a 64-bit integer'),
    ('-' + '9' * 30, 'item_id does not fit a 64-bit integer'),
  ],
)
def test_one_id_that_is_no_integer_makes_all_text_or_is_a_bad_row(
  tmp_path, cell, cause
):
  rows = ['5,6', f'5,{cell}', '5,7']
  for order in (rows, rows[::-1], [rows[1], rows[0], rows[2]]):
    path = write(tmp_path, '\n'.join(['user_id,item_id', *order, '']))
    table = tables.read_table(path, PLAIN)
    assert table.user.tolist() == [5, 5, 5]
    assert table.item.tolist() == [row[2:] for row in order]
    (note,) = (note for note in table.notes if 'no integers' in note)
    assert repr(cell) in note and table.notes[note] == 1
    line = 2 + order.index(rows[1])
    text = message(path, id_type='int')
    assert f', line {line}: {cause.split()[0]} {cell!r}' in text
    assert '--id_type=string' in text
    table = tables.read_table(path, PLAIN, id_type='int', on_bad_rows='drop')
    assert table.dropped == {cause: tables.Dropped(1, (line,))}


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
  # Nor does it widen the array of those that are kept.
  table = tables.read_table(path, PLAIN, on_bad_rows='drop')
  assert np.asarray(table.user).dtype == np.dtype('<U1')


def test_the_first_bad_line_is_told_whatever_its_cause(tmp_path):
  path = write(tmp_path, 'user_id,item_id\n1,2\n3,\n4\n')
  assert ', line 3:' in message(path)
  path = write(tmp_path, 'user_id,item_id\n1,2\n4\n3,\n')
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
).filter(lambda text: cells.tidied(polars.Series([text]))[0] == text)


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
  spared = tables.Forms(keep_ids=cells.MISSING_NAMES)
  table = tables.read_table(
    write(tmp_path, data), PLAIN, id_type='string', forms=spared
  )
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
  table = tables.read_table(
    write(tmp_path, content), TIMED, id_type='int', on_bad_rows='drop'
  )
  dropped = sum(fault.rows for fault in table.dropped.values())
  assert len(table.user) + dropped == table.rows_read
  assert len(table.user) == len(table.item) == len(table.time)
  assert np.all(table.user == 8)
  assert np.all(np.isfinite(table.time) & (table.time >= 0))
  for fault in table.dropped.values():
    assert len(fault.first_lines) == min(fault.rows, 5)
