import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import polars
import pytest

from twotsrec import types
from twotsrec.serving import reasons
from twotsrec.serving import writers


def _chunks():
  item_ids = np.array(['a,b', 'say "x"', 'é', 'plain'])
  ids = np.array([[2, 1], [4, 0]])
  scores = np.array([[1.5, 0.1], [-2.0, -np.inf]], np.float32)
  yield writers.to_rows(np.array([7, 8]), item_ids, ids, scores)
  yield writers.to_rows(np.array([9]), item_ids, ids[:1, ::-1], scores[:1])


_EXPECTED = [
  (7, 'say "x"', 1, 1.5),
  (7, 'a,b', 2, 0.1),
  (8, 'plain', 1, -2.0),
  (9, 'a,b', 1, 1.5),
  (9, 'say "x"', 2, 0.1),
]


def _typed(rows):
  return [
    (int(user), item, int(rank), pytest.approx(float(score), rel=1e-7))
    for user, item, rank, score in rows
  ]


def _explained():
  """A chunk with two reasons an item, and one where nothing is a reason."""
  item_ids = np.array(['a,b', 'say "x"', 'plain'])
  ids, scores = np.array([[2, 1], [3, 0]]), np.ones((2, 2), np.float32)
  why = reasons.Reasons(
    np.array([[[3, 1], [2, 0]], [[0, 0], [1, 1]]], np.int32),
    np.array([[[0.1, -2], [5, 0]], [[0, 0], [1, 1]]], np.float32),
  )
  yield writers.to_rows(np.array([7, 8]), item_ids, ids, scores, why)
  nothing = reasons.none(ids, 2)
  yield writers.to_rows(np.array([9, 10]), item_ids, ids, scores, nothing)


@pytest.mark.parametrize('ending', ['csv', 'jsonl', 'parquet'])
def test_reasons_are_columns_of_every_format(tmp_path, ending):
  path = str(tmp_path / f'out.{ending}')
  names = (*writers.COLUMNS, *writers.reasons(2))
  assert names[4:] == ('reason_1', 'weight_1', 'reason_2', 'weight_2')
  assert writers.write(path, _explained(), names) == 6
  read = {
    'csv': polars.read_csv,
    'jsonl': polars.read_ndjson,
    'parquet': polars.read_parquet,
  }[ending]
  found = read(path)
  assert tuple(found.columns) == names
  near = lambda weight: pytest.approx(weight, rel=1e-7)
  nothing = (None,) * 4
  assert found.select(names[4:]).rows() == [
    ('plain', near(0.1), 'a,b', near(-2)),
    ('say "x"', near(5), None, None),
    *[nothing] * 4,
  ]
  writers.write(path, iter(()), names)
  assert ending != 'parquet' or tuple(read(path).columns) == names


def test_csv_reads_back_with_quotes_and_accents(tmp_path: pathlib.Path):
  path = tmp_path / 'new' / 'out.csv'
  assert writers.write(str(path), _chunks()) == 5
  with path.open(newline='', encoding='utf-8') as file:
    head, *rows = csv.reader(file)
  assert tuple(head) == writers.COLUMNS
  assert _typed(rows) == _EXPECTED
  assert [entry.name for entry in path.parent.iterdir()] == ['out.csv']


def test_jsonl_reads_back_with_types(tmp_path: pathlib.Path):
  path = tmp_path / 'out.jsonl'
  writers.write(str(path), _chunks())
  rows = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
  assert [tuple(row) for row in rows] == [writers.COLUMNS] * 5
  assert isinstance(rows[0]['user_id'], int)
  assert _typed(row.values() for row in rows) == _EXPECTED


def test_parquet_reads_back_in_order(tmp_path: pathlib.Path):
  path = tmp_path / 'out.parquet'
  assert writers.write(str(path), _chunks()) == 5
  frame = polars.read_parquet(path)
  assert tuple(frame.columns) == writers.COLUMNS
  assert _typed(frame.rows()) == _EXPECTED
  assert [entry.name for entry in tmp_path.iterdir()] == ['out.parquet']


@pytest.mark.parametrize('ending', ['csv', 'jsonl', 'parquet'])
def test_no_rows_still_give_a_file(tmp_path: pathlib.Path, ending: str):
  path = tmp_path / f'out.{ending}'
  assert writers.write(str(path), iter([])) == 0
  assert path.is_file()


def test_float32_scores_survive_the_text(tmp_path: pathlib.Path):
  scores = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
  ids = np.ones((50, 4), np.int64)
  rows = writers.to_rows(np.arange(50), np.array([1]), ids, scores)
  path = tmp_path / 'out.csv'
  writers.write(str(path), [rows])
  text = path.read_text().splitlines()[1:]
  read = np.array([line.split(',')[3] for line in text], np.float32)
  np.testing.assert_array_equal(read, scores.ravel())


@pytest.mark.parametrize('ending', ['csv', 'parquet'])
def test_a_failure_on_the_way_leaves_the_old_file(
  tmp_path: pathlib.Path, ending: str
):
  path = tmp_path / f'out.{ending}'
  path.write_text('old')

  def broken():
    yield next(_chunks())
    raise types.UserError('stopped')

  with pytest.raises(types.UserError, match='stopped'):
    writers.write(str(path), broken())
  assert path.read_text() == 'old'
  assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_unknown_ending_lists_the_known_ones():
  with pytest.raises(types.UserError, match=r'\.csv, \.jsonl, \.parquet'):
    writers.check_path('out.xlsx')


@pytest.mark.skipif(os.name == 'nt', reason='no such limit')
@pytest.mark.parametrize('ending', ['csv', 'jsonl', 'parquet'])
def test_no_room_is_a_user_error_in_every_format(
  tmp_path: pathlib.Path, ending: str
):
  # A process of its own, whose files may have 4 KiB and no more.
  script = f"""
import resource, numpy as np
from twotsrec import types
from twotsrec.serving import writers
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
ids = np.random.default_rng(0).integers(1, 10**6, (500, 20))
users = np.arange(500)
rows = writers.to_rows(users, np.arange(10**6), ids, np.float32(1 / ids))
try:
  writers.write({str(tmp_path / 'out.')!r} + {ending!r}, [rows] * 3)
except types.UserError as error:
  print(error)
"""
  done = subprocess.run(
    [sys.executable, '-c', script],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    check=True,
  )
  path = tmp_path / f'out.{ending}'
  assert done.stdout == (
    f'cannot write {path}: File too large; choose a folder with room and write'
    ' permission\n'
  )
  assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_the_file_is_refused_before_work(tmp_path):
  (tmp_path / 'top.csv').mkdir()
  with pytest.raises(types.UserError, match='is a folder; name a file in it'):
    writers.check_path(str(tmp_path / 'top.csv'))
  writers.check_path(str(tmp_path / 'top.csv' / 'top.csv'))
  (tmp_path / 'file').write_text('')
  with pytest.raises(types.UserError, match='no folder that can be written'):
    writers.check_path(str(tmp_path / 'file' / 'a' / 'top.csv'))


def test_text_with_any_line_end_is_one_cell(tmp_path: pathlib.Path):
  names = np.array(['a\rb', 'c\nd', 'e\r\nf', ' g'])
  rows = writers.to_rows(
    names, names, np.array([[1], [2], [3], [4]]), np.ones((4, 1), np.float32)
  )
  path = tmp_path / 'out.csv'
  writers.write(str(path), [rows])
  with path.open(newline='', encoding='utf-8') as file:
    _, *read = csv.reader(file)
  assert [row[:2] for row in read] == [[name, name] for name in names]


def test_unwritable_place_is_a_user_error(tmp_path: pathlib.Path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(types.UserError, match='cannot write'):
    writers.write(str(tmp_path / 'file' / 'out.csv'), _chunks())
