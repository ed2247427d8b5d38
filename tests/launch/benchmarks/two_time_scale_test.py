import json

import numpy as np
import pytest

import timing
import two_time_scale
from twotsrec import config as config_lib
from twotsrec.evaluation import comparison


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  for name, value in (
    ('_USERS', 20), ('_ITEMS', 15), ('_EVENTS', 9000), ('_WIDTH', 4),
  ):  # fmt: skip
    monkeypatch.setattr(two_time_scale, name, value)


def test_stage_1_is_measured_with_optimizers_and_pools(monkeypatch):
  # Fewer to compile.
  monkeypatch.setattr(config_lib, 'TABLE_OPTIMIZERS', ('adam',))
  monkeypatch.setattr(two_time_scale, '_PARTS', (two_time_scale.stage1,))
  said = []
  measured = two_time_scale.measure(2, 'wall', said.append)
  names = [row['name'] for row in measured['rows']]
  assert names == ['adam, event', 'adam, shared']
  for row in measured['rows']:
    assert row['unit'] == 'events' and row['compile_seconds'] > 0
    assert row['part'] == 'stage 1' and row['over_first']
    for figure in (row['per_second'], row['over_first']):
      assert 0 < figure['min'] <= figure['median'] <= figure['max']
  assert measured['rows'][0]['over_first'] == {'median': 1, 'min': 1, 'max': 1}
  assert said[-3:] == ['warming up', 'round 1/2', 'round 2/2']
  assert json.loads(json.dumps(measured)) == measured
  shown = comparison.aligned(timing.table(measured)).splitlines()
  assert len(shown) == 1 + len(names)


def test_made_up_ids_are_in_range():
  feed = two_time_scale._made_up_events()
  assert {len(column) for column in feed} == {9000}
  assert 0 <= np.min(feed.user) and np.max(feed.user) < 20
  assert 1 <= np.min(feed.item) and np.max(feed.item) <= 15
