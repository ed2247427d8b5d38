import numpy as np
import pytest

from tests.recipes import compare_test
from twotsrec.studies import claims

RESAMPLES = 200
GROUPS = compare_test.GROUPS
METRICS = ('auc', 'user_auc')


def _row(low, high, by_seed=(1.0,)):
  difference = None if low is None else (low + high) / 2
  return claims.Difference(1, difference, low, high, tuple(by_seed))


def test_seeds_that_two_systems_share_are_paired(tmp_path):
  place = lambda system, seed: compare_test.write_run(
    tmp_path / f'{system}{seed}',
    compare_test.make_targets(seed, 0.1 * (system != 'base')),
  )
  seeds = {'base': (0, 1, 2), 'a': (0, 1, 2), 'b': (1, 2), 'c': (2, 1), 'd': ()}
  workdirs = {
    system: {seed: place(system, seed) for seed in known}
    for system, known in seeds.items()
  }
  compared = claims.compare_pairs(workdirs, 'base', 'abcde', RESAMPLES, METRICS)
  assert [(c.seeds, [*c.result['comparisons']]) for c in compared] == [
    ([0, 1, 2], ['a']), ([1, 2], ['b', 'c'])
  ]  # fmt: skip
  nothing = claims.compare_pairs(workdirs, 'e', 'abc', RESAMPLES, METRICS)
  assert nothing == []
  by_seed = claims.differences(compared, 'b', 'base', 'auc')[0].by_seed
  for seed, difference in zip((1, 2), by_seed):
    base, other = (
      compare_test.make_targets(seed, shift)['placement_group'][::GROUPS]
      for shift in (0.0, 0.1)
    )
    assert difference == pytest.approx((other - base).mean())


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
  ('rows', 'judged'),
  [
    ('groups', [1, 2, 3]),
    ('first', [1]),
    ('last', [3]),
    ('all', ['all']),
  ],
)
def test_a_claim_is_judged_by_its_rows(rows, judged):
  names = [1, 2, 3, 'all', 'mean of groups']
  shown = [
    _row(0.1, 0.2, (0.1, 0.2 - i / 10, None))._asdict() | {'group': name}
    for i, name in enumerate(names)
  ]
  nothing = {'auc': [], 'user_auc': []}
  compared = [
    claims.Compared('groups', [0], {'reference': base, 'comparisons': of})
    for base, of in (
      ('ga', {'ga_pn': nothing}),
      ('base', {'ga': nothing}),
      ('base', {'ga_pn': {'auc': shown}}),
    )
  ]
  claim = claims.Claim('better', 'ga_pn', 'base', 'auc', rows)
  actual = claims.judge(claim, compared)
  assert [row.row for row in actual.rows] == judged
  assert actual.verdict == claims.HOLDS and actual.claim == claim
  # The second seed falls with the row, the third has no value.
  second = all(names.index(name) < 2 for name in judged)
  assert (actual.seeds, actual.seeds_with_it) == (3, 1 + second)
  other = claim._replace(other='pcgrad')
  assert claims.judge(other, compared) == claims.Judged(other)


def test_a_difference_turned_round_has_its_ends_exchanged():
  row = _row(-0.1, 0.3, (0.2, None))
  assert row.negative() == claims.Difference(
    row=1, difference=-row.difference, low=-0.3, high=0.1, by_seed=(-0.2, None)
  )
  assert row.negative().negative() == row
  tie = _row(0.0, 0.0).negative()
  assert not np.signbit([tie.difference, tie.low, tie.high]).any()
