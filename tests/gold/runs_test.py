"""Small runs of every kind end as they did, to the bit on the same machine."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import compiling
from tests.gold import runs as gold
from twotsrec.training import compilation

RECORD = json.loads(gold.PATH.read_text(encoding='utf-8'))
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def now(tmp_path_factory):
  """What they come to in a process that compiles as the record's did."""
  path = tmp_path_factory.mktemp('gold') / 'runs.json'
  environment = compiling.to_the_bit()
  environment['TWOTSREC_TEST_CACHE'] = os.environ[compilation.VARIABLE]
  subprocess.run(
    [sys.executable, '-m', 'tests.gold.runs', f'--write={path}'],
    cwd=ROOT,
    env=environment,
    check=True,
  )
  return json.loads(path.read_text(encoding='utf-8'))['runs']


def test_every_run_is_recorded():
  assert set(gold.everything()) == set(RECORD['runs'])


@pytest.mark.parametrize('name', gold.everything())
def test_a_run_ends_as_recorded(now, name):
  measured, expected = now[name], RECORD['runs'][name]
  if gold.machine() == RECORD['machine']:
    assert measured == expected
    return
  # Elsewhere sums have another order: the kinds of files and rough figures.
  assert set(measured['checkpoints']) == set(expected['checkpoints'])
  assert measured['report'].keys() == expected['report'].keys()
  for metric, value in expected['figures'].items():
    assert measured['figures'][metric] == pytest.approx(value, abs=0.1)
