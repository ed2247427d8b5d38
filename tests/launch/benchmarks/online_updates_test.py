import pytest

import two_time_scale


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  for name, value in (
    ('_USERS', 7), ('_ITEMS', 9), ('_WIDTH', 4), ('_STEPS', 2), ('_BATCH', 5),
  ):  # fmt: skip
    monkeypatch.setattr(two_time_scale, name, value)


def test_online_updates_are_measured_in_batches(monkeypatch):
  monkeypatch.setattr(two_time_scale, '_PARTS', (two_time_scale.online,))
  measured = two_time_scale.measure(2)
  rows = {row['name']: row for row in measured['rows']}
  assert list(rows) == [
    'update, two networks',
    'update, one network',
    'query and update, two networks',
    'to bytes and back',
  ]
  for row in rows.values():
    assert 0 < row['per_second']['min'] <= row['per_second']['max']
  first = rows['update, two networks']
  assert first['over_first'] == {'median': 1, 'min': 1, 'max': 1}
  assert {row['part'] for row in rows.values()} == {'online', 'states'}
  assert rows['to bytes and back']['over_first'] is None
