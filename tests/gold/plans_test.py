import json

import pytest

from tests.gold import plans

KNOWN = json.loads(plans.RECORD.read_text())


@pytest.fixture(scope='module')
def now():
  return plans.record()


def test_the_record_has_every_run():
  counts = {name: len(digests) for name, digests in KNOWN.items()}
  papers = ('pin', 'copf', 'two_time_scale')
  assert [counts[name] for name in papers] == [252, 620, 206]


@pytest.mark.parametrize('name', KNOWN)
def test_runs_are_those_of_the_record(now, name):
  """In their order: configuration, directory, command."""
  assert list(now[name].items()) == list(KNOWN[name].items())
