"""The benchmark of the index, on few items."""

import json

import pytest

from tests.launch import scripts

pytest.importorskip('faiss', reason='faiss (ann) is not installed')


def test_more_probes_find_more(capsys, tmp_path):
  out = tmp_path / 'search.json'
  done = scripts.run(
    capsys,
    'benchmarks/search',
    f'--out={out}',
    '--items=4000',
    '--width=8',
    '--users=20',
    '--probes=1',
    '--probes=8',
    '--probes=102',
  )
  assert (done.code, done.err) == (0, '')
  found = json.loads(out.read_bytes())
  assert found['lists'] == 102  # 4000 items over 39
  recalls = [row['recall'] for row in found['searches']]
  assert recalls == sorted(recalls)
  assert recalls[0] < 1.0 and recalls[-1] == 1.0
  assert all(row['ms'] > 0 for row in found['searches'])
