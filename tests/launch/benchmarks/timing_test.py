import time

import timing


def _clock(seconds):
  """A clock that moves by these seconds from one reading to the next but one.

  Every measured turn reads it twice.
  """
  readings = []
  for duration in seconds:
    begin = readings[-1] if readings else 0.0
    readings += [begin, begin + duration]
  return iter(readings).__next__


def _measure(monkeypatch, works, seconds):
  monkeypatch.setitem(timing.CLOCKS, 'wall', _clock(seconds))
  return timing.measure(works, timing.PER_SECOND, repeats=2)['rows']


def test_rates_count_units_and_ratios_compare_turns_of_a_round(monkeypatch):
  first, second = {'name': 'slow'}, {'name': 'fast'}
  works = [
    timing.Work(first, lambda: None, 10, {'over': None}),
    timing.Work(second, lambda: None, 60, {'over': first}),
  ]
  # A round: slow; then slow again, right before fast.
  warm, one, two = [9.0] * 3, [1.0, 1.0, 2.0], [2.0, 2.0, 3.0]
  slow, fast = _measure(monkeypatch, works, [*warm, *one, *two])
  assert slow['over'] is None and slow['compile_seconds'] is None
  assert slow['per_second'] == {'median': 7.5, 'min': 5.0, 'max': 10.0}
  assert fast['per_second'] == {'median': 25.0, 'min': 20.0, 'max': 30.0}
  assert fast['over'] == {'median': 3.5, 'min': 3.0, 'max': 4.0}


def test_a_base_of_itself_is_the_unit_and_runs_once(monkeypatch):
  works = timing.same_work('part', {'a': lambda: None, 'b': lambda: None}, 1.0)
  rows = _measure(
    monkeypatch, works, [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 2.0]
  )
  assert [row['over_first']['median'] for row in rows] == [1.0, 0.5]
  (alone,) = timing.same_work('part', {'a': lambda: None}, 1.0)
  assert alone.bases == {'over_first': None}


def test_a_table_has_a_cell_for_every_column():
  works = [
    timing.Work({'name': 'a'}, lambda: time.sleep(1e-4), 1, {'over': None}),
    timing.Work(
      {'name': 'b'}, lambda: None, 1, {'over': {'name': 'a'}}, compile_seconds=1
    ),
  ]
  measured = timing.measure(works, timing.MILLISECONDS, repeats=1)
  head, first, second = timing.table(measured)
  assert head == ['name', 'milliseconds', '', 'over', '', 'compile seconds']
  assert first[0] == 'a' and first[3:] == ['', '', '']
  assert second[0] == 'b' and second[-1] == '1' and ' to ' in second[2]
