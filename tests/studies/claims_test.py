import numpy as np
import pytest

from twotsrec.studies import claims
from twotsrec.studies import results


def _row(low, high, by_seed=(1.0,)):
  difference = None if low is None else (low + high) / 2
  return results.Difference(difference, low, high, tuple(by_seed))


@pytest.mark.parametrize(
  ('intervals', 'verdict'),
  [
    ([(0.1, 0.2)], claims.HOLDS),
    ([(0.1, 0.2), (0.3, 0.4)], claims.HOLDS),
    ([(0.1, 0.2), (-0.1, 0.4)], claims.OPEN),
    ([(0.1, 0.2), (0.0, 0.4)], claims.OPEN),
    ([(-0.1, 0.0)], claims.OPEN),
    ([(0.0, 0.0)], claims.OPEN),
    ([(0.1, 0.2), (-0.2, -0.1)], claims.FAILS),
    ([(-0.1, 0.2), (-0.2, -0.1)], claims.FAILS),
    ([(0.1, 0.2), (None, None)], claims.OPEN),
    ([(None, None)], claims.OPEN),
    ([(None, None), (-0.2, -0.1)], claims.FAILS),
  ],
)
def test_a_verdict_follows_the_intervals(intervals, verdict):
  assert claims.verdict([_row(*bounds) for bounds in intervals]) == verdict


@pytest.mark.parametrize(
  ('users', 'rests_on'),
  [
    ('groups', ['group 1', 'group 2', 'group 3']),
    ('first', ['group 1']),
    ('last', ['group 3']),
    ('all', ['all']),
  ],
)
def test_a_claim_is_judged_by_its_rows(users, rests_on):
  places = ['group 1', 'group 2', 'group 3', 'all', 'mean of groups']
  rows = {
    ('auc', place): _row(0.1, 0.2, (0.1, 0.2 - i / 10, None))
    for i, place in enumerate(places)
  }
  below = {('user_auc', place): _row(-0.2, -0.1) for place in places}
  measured = results.Measured({}, {'base': rows | below, 'ga': below})
  claim = claims.exceeds('better', 'ga_pn', 'base', 'auc', users)
  systems = {'ga_pn': measured, 'base': results.Measured({})}
  [judged] = claims.judge([claim], claims.Evidence(systems))
  assert [*judged.rows] == rests_on
  assert (judged.text, judged.verdict) == ('better', claims.HOLDS)
  # The second seed falls with the row, the third has no value.
  second = all(places.index(place) < 2 for place in rests_on)
  assert claims.seeds(judged) == (1 + second, 3)


def test_a_claim_without_finished_runs_has_no_verdict():
  claim = claims.exceeds('better', 'ga_pn', 'base', 'auc', 'all')
  for measured in (None, results.Measured({})):
    evidence = claims.Evidence({'ga_pn': measured, 'base': None})
    [judged] = claims.judge([claim], evidence)
    assert judged == claims.Judged('better')
    assert claims.seeds(judged) == (0, 0)


def test_a_claim_on_systems_that_are_not_planned_is_left_out():
  claim = claims.exceeds('better', 'ga_pn', 'base', 'auc', 'all')
  assert claims.judge([claim], claims.Evidence({'base': None})) == []


def test_who_is_last_is_known_once_all_are_trained():
  metrics = 'mrr', 'recall@10'
  above = lambda *bounds: results.Measured(
    {}, {'last': {results.key(metric): _row(*bounds) for metric in metrics}}
  )
  claim = claims.above('R', 'text', 'last', ('one', 'two'), where='below')
  place = claims.among_best('R', 'text', 'last', ('one', 'two'), places=2)
  for one, two, last, second in (
    (above(0.1, 0.2), above(0.2, 0.3), claims.HOLDS, claims.FAILS),
    (above(0.1, 0.2), None, claims.OPEN, claims.OPEN),
    (above(0.1, 0.2), above(-0.1, 0.3), claims.OPEN, claims.OPEN),
    (above(0.1, 0.2), above(-0.2, -0.1), claims.FAILS, claims.HOLDS),
    (above(-0.2, -0.1), None, claims.FAILS, claims.HOLDS),
    (None, None, None, None),
  ):
    evidence = claims.Evidence({'one': one, 'two': two})
    assert claim(evidence).verdict == last
    assert place(evidence).verdict == second


def test_a_difference_turned_round_has_its_ends_exchanged():
  row = _row(-0.1, 0.3, (0.2, None))
  assert row.negative() == results.Difference(
    difference=-row.difference, low=-0.3, high=0.1, by_seed=(-0.2, None)
  )
  assert row.negative().negative() == row
  tie = _row(0.0, 0.0).negative()
  assert not np.signbit([tie.difference, tie.low, tie.high]).any()
