import json

import numpy as np
import pytest

from twotsrec.evaluation import comparison
from twotsrec.recipes import benchmark_two_time
from twotsrec.training import offer_steps


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  for name, value in (
    ('_USERS', 20), ('_ITEMS', 15), ('_EVENTS', 9000), ('_WIDTH', 4),
  ):  # fmt: skip
    monkeypatch.setattr(benchmark_two_time, name, value)


def test_stage_1_is_measured_with_optimizers_and_pools(monkeypatch):
  monkeypatch.setattr(offer_steps, 'BY_ROWS', ())  # fewer to compile
  monkeypatch.setattr(
    benchmark_two_time, '_PARTS', (benchmark_two_time.stage1,)
  )
  said = []
  measured = benchmark_two_time.measure(2, 'wall', said.append)
  names = [row['name'] for row in measured['rows']]
  assert names == ['adam, event', 'adam, shared']
  for row in measured['rows']:
    assert row['unit'] == 'events' and row['compile_seconds'] > 0
    assert row['part'] == 'stage 1' and row['base'] == names[0]
    for found in (row['per_second'], row['over_base']):
      assert 0 < found['min'] <= found['median'] <= found['max']
  assert measured['rows'][0]['over_base'] == {'median': 1, 'min': 1, 'max': 1}
  assert said[-3:] == ['warming up', 'round 1/2', 'round 2/2']
  assert json.loads(json.dumps(measured)) == measured
  shown = comparison.aligned(benchmark_two_time.table(measured)).splitlines()
  assert len(shown) == 1 + len(names)


def test_made_up_ids_are_in_range():
  feed = benchmark_two_time._made_up_events()
  assert {len(column) for column in feed} == {9000}
  assert 0 <= np.min(feed.user) and np.max(feed.user) < 20
  assert 1 <= np.min(feed.item) and np.max(feed.item) <= 15


def test_a_rate_counts_units_and_ratios_compare_turns():
  work = lambda name, amount, base='': benchmark_two_time.Work(
    'part', name, 'things', amount, lambda: None, base
  )
  works = [work('slow', 10), work('fast', 60, 'slow')]
  seconds = {('part', 'slow'): [1.0, 2.0], ('part', 'fast'): [2.0, 3.0]}
  slow, fast = (benchmark_two_time._shown(w, works, seconds) for w in works)
  assert slow['over_base'] is None and slow['compile_seconds'] is None
  assert slow['per_second'] == {'median': 7.5, 'min': 5.0, 'max': 10.0}
  assert fast['over_base'] == {'median': 3.5, 'min': 3.0, 'max': 4.0}
