import csv
import json
import pathlib

import numpy as np
import polars
import pytest

from twotsrec import types
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


def test_unwritable_place_is_a_user_error(tmp_path: pathlib.Path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(types.UserError, match='cannot write'):
    writers.write(str(tmp_path / 'file' / 'out.csv'), _chunks())
