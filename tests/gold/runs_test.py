"""Small runs of every kind end as they did, to the bit on the same machine."""

import json

import pytest

from tests import finished
from tests.gold import runs as gold

RECORD = json.loads(gold.PATH.read_text(encoding='utf-8'))


def test_every_run_is_recorded():
  assert set(gold.everything()) == set(RECORD['runs'])


@pytest.mark.parametrize('name', gold.everything())
def test_a_run_ends_as_recorded(name):
  measured, expected = finished.measured(name), RECORD['runs'][name]
  if gold.machine() == RECORD['machine']:
    assert measured == expected
    return
  # Elsewhere sums have another order: the kinds of files and rough figures.
  assert set(measured['checkpoints']) == set(expected['checkpoints'])
  assert measured['report'].keys() == expected['report'].keys()
  for metric, value in expected['figures'].items():
    assert measured['figures'][metric] == pytest.approx(value, abs=0.1)
