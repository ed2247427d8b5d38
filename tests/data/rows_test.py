"""Bad rows are counted by cause, whatever blocks a file is read in."""

import pathlib

import numpy as np
import pytest

from tests.data import table_files
from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import rows as rows_lib
from twotsrec.data import times

PARSERS = {'a': ('a', cells.parse_order), 'b': ('b', cells.parse_texts)}
TEXT = 'a,b\n1,x\nz,\n3,\n4,y,5\n,\n5,z\n\nw,t\n'


def blocks(folder: pathlib.Path, block_bytes: int = 1 << 20):
  path = table_files.write(folder, TEXT)
  return delimited.read(
    path, list(PARSERS), delimiter=',', block_bytes=block_bytes
  )


@pytest.mark.parametrize('block_bytes', [1, 7, 1 << 20])
def test_bad_rows_are_dropped_for_their_first_cause_and_counted(
  tmp_path, block_bytes
):
  parts = [
    rows_lib.parse(block, PARSERS) for block in blocks(tmp_path, block_bytes)
  ]
  rows = rows_lib.join(parts)
  assert rows.columns['a'].tolist() == [1, 5]
  assert rows.columns['b'].to_list() == ['x', 'z']
  assert (rows.lines.tolist(), rows.rows_read) == ([2, 7], 7)
  assert rows.dropped == {
    'a is not an integer': rows_lib.Dropped(2, (3, 9)),
    'a is empty': rows_lib.Dropped(1, (6,)),
    'b is empty': rows_lib.Dropped(1, (4,)),
    'wrong number of fields': rows_lib.Dropped(1, (5,)),
  }
  assert rows_lib.causes({'c': rows_lib.Dropped(2, ())}) == 'c: 2'


def test_without_leave_to_drop_the_first_bad_row_is_described(tmp_path):
  (block,) = blocks(tmp_path)
  remedy = lambda fault: f'; mend {fault.name}'
  told = "t.csv, line 3: a 'z' is not an integer; mend a$"
  with pytest.raises(types.UserError, match=told):
    rows_lib.parse(block, PARSERS, remedy)


def test_one_column_may_have_two_uses(tmp_path):
  (block,) = blocks(tmp_path)
  parsers = {'id': ('a', cells.parse_order), 'time': ('a', times.parse)}
  rows = rows_lib.parse(block, parsers)
  assert rows.columns['id'].tolist() == rows.columns['time'].tolist()
  assert rows.rows_read == 7


def test_rows_dropped_later_are_counted_with_their_lines():
  rows = rows_lib.Rows({'a': np.arange(4)}, np.arange(4) + 10, 4, {})
  rows = rows_lib.drop(rows, rows.columns['a'] % 2 == 0, 'even')
  assert rows.columns['a'].tolist() == [1, 3]
  assert rows.dropped == {'even': rows_lib.Dropped(2, (10, 12))}
  assert rows_lib.drop(rows, np.zeros(2, bool), 'none') == rows
