import numpy as np
import pytest

from tests.data import table_files
from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import raw_rows
from twotsrec.data import tables

PARSERS = {'a': cells.parse_order, 'b': cells.parse_texts}


@pytest.mark.parametrize('block_bytes', [1, 7, 1 << 20])
def test_bad_rows_are_dropped_for_their_first_cause_and_counted(
  tmp_path, block_bytes
):
  path = table_files.write(tmp_path, 'a,b\n1,x\nz,\n3,\n4,y,5\n,\n5,z\n\nw,t\n')
  blocks = delimited.read(
    path, list(PARSERS), delimiter=',', block_bytes=block_bytes
  )
  a, b, lines, rows_read, dropped = [], [], [], 0, {}
  for rows in raw_rows.parse(blocks, PARSERS):
    a += rows.columns['a'].tolist()
    b += rows.columns['b'].tolist()
    lines += rows.lines.tolist()
    rows_read += rows.rows_read
    dropped = raw_rows.add(dropped, rows.dropped)
  assert (a, b, lines, rows_read) == ([1, 5], ['x', 'z'], [2, 7], 7)
  assert dropped == {
    'a is not an integer': tables.Dropped(2, (3, 9)),
    'a is empty': tables.Dropped(1, (6,)),
    'b is empty': tables.Dropped(1, (4,)),
    'wrong number of fields': tables.Dropped(1, (5,)),
  }


def test_rows_dropped_later_are_counted_with_their_lines():
  rows = raw_rows.Rows({'a': np.arange(4)}, np.arange(4) + 10, 4, {})
  rows = raw_rows.drop(rows, rows.columns['a'] % 2 == 0, 'even')
  assert rows.columns['a'].tolist() == [1, 3]
  assert rows.dropped == {'even': tables.Dropped(2, (10, 12))}
  assert raw_rows.drop(rows, np.zeros(2, bool), 'none') == rows


def test_files_are_found_in_the_root_or_in_their_folder(tmp_path):
  (tmp_path / 'known').mkdir()
  for place in (tmp_path / 'f.csv.gz', tmp_path / 'known' / 'f.csv'):
    place.write_bytes(b'')
    assert raw_rows.find(tmp_path, 'known', 'f.csv') == place
  with pytest.raises(types.UserError, match=r'g\.csv is in DIR or in DIR/k'):
    raw_rows.find(tmp_path, 'known', 'g.csv')
  with pytest.raises(types.UserError, match='--data_root=DIR'):
    raw_rows.find('', 'known', 'f.csv')


def test_a_file_of_which_nothing_is_left_is_told(tmp_path):
  dropped = {'strange': tables.Dropped(3, (1,))}
  with pytest.raises(
    types.UserError, match=r'no row is left of 3 \(strange: 3'
  ):
    raw_rows.table(tmp_path, 3, dropped, user=np.zeros(0), item=np.zeros(0))
