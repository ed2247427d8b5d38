import pytest

from twotsrec.recipes import benchmark_two_time


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  for name, value in (
    ('_USERS', 7), ('_ITEMS', 9), ('_WIDTH', 4), ('_STEPS', 2), ('_BATCH', 5),
  ):  # fmt: skip
    monkeypatch.setattr(benchmark_two_time, name, value)


def test_online_updates_are_measured_in_batches(monkeypatch):
  monkeypatch.setattr(
    benchmark_two_time, '_PARTS', (benchmark_two_time.online,)
  )
  measured = benchmark_two_time.measure(2)
  rows = {row['name']: row for row in measured['rows']}
  assert list(rows) == [
    'update, two networks',
    'update, one network',
    'query and update, two networks',
    'to bytes and back',
  ]
  for row in rows.values():
    assert row['part'] == 'online' and row['unit'] == 'events'
    assert 0 < row['per_second']['min'] <= row['per_second']['max']
  assert rows['update, one network']['base'] == 'update, two networks'
  assert rows['to bytes and back']['over_base'] is None
