"""Small runs of every kind end as they did, to the bit on the same machine."""

import json

import pytest

from tests.gold import runs as gold

RECORD = json.loads(gold.PATH.read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
  return gold.measure(tmp_path_factory.mktemp('gold'))


def test_every_run_is_recorded(measured):
  assert set(measured) == set(RECORD['runs'])


@pytest.mark.parametrize('name', sorted(RECORD['runs']))
def test_a_run_ends_as_recorded(measured, name):
  expected = RECORD['runs'][name]
  if gold.machine() == RECORD['machine']:
    assert measured[name] == expected
    return
  # Elsewhere sums have another order: the kinds of files and rough figures.
  assert set(measured[name]['checkpoints']) == set(expected['checkpoints'])
  assert measured[name]['report'].keys() == expected['report'].keys()
  for metric, value in expected['figures'].items():
    assert measured[name]['figures'][metric] == pytest.approx(value, abs=0.1)
