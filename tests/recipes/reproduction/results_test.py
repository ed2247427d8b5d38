import numpy as np
import pytest

from tests.recipes import compare_test
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.recipes.reproduction import results

RESAMPLES = 200
GROUPS, KS = compare_test.GROUPS, compare_test.KS


def _write(folder, seed=0, shift=0.0):
  targets = compare_test.make_targets(seed, shift)
  return compare_test.write_run(folder, targets), targets


def _row(low, high, by_seed=(1.0,)):
  difference = None if low is None else (low + high) / 2
  return {
    'difference': difference, 'low': low, 'high': high, 'by_seed': [*by_seed]
  }  # fmt: skip


def test_a_cell_is_the_mean_over_seeds_with_an_interval_over_users(tmp_path):
  runs = [_write(tmp_path / str(seed), seed) for seed in range(3)]
  workdirs, targets = zip(*runs)
  cells = results.cells(workdirs, GROUPS, KS, RESAMPLES)
  mean = np.mean([t['user_auc'] for t in targets], axis=0)
  group = targets[0]['group']
  for row, chosen in enumerate(
    [*(group == g for g in range(GROUPS)), group >= 0]
  ):
    counts = chosen.astype(float)[:, None]
    low, high = bootstrap.intervals(
      mean[:, None] * counts, counts, RESAMPLES, 0
    )
    for metric in results.METRICS:
      assert cells[metric][row] == {
        'value': pytest.approx(mean[chosen].mean()),
        'low': pytest.approx(low[0]),
        'high': pytest.approx(high[0]),
      }


def test_a_group_without_users_has_no_value(tmp_path):
  workdir, _ = _write(tmp_path / 'run')
  cells = results.cells([workdir], GROUPS + 1, KS, RESAMPLES)
  unknown = dict.fromkeys(('value', 'low', 'high'))
  assert cells['auc'][GROUPS] == unknown != cells['auc'][GROUPS + 1]


def test_damaged_arrays_are_named(tmp_path):
  workdir, _ = _write(tmp_path / 'run')
  (tmp_path / 'run' / 'per_target.npz').write_bytes(b'no archive')
  with pytest.raises(types.UserError, match='per_target.npz is damaged'):
    results.cells([workdir], GROUPS, KS, RESAMPLES)


def test_seeds_that_two_systems_share_are_paired(tmp_path):
  place = lambda system, seed: _write(
    tmp_path / f'{system}{seed}', seed, 0.1 * (system != 'base')
  )[0]
  seeds = {'base': (0, 1, 2), 'a': (0, 1, 2), 'b': (1, 2), 'c': (2, 1), 'd': ()}
  workdirs = {
    system: {seed: place(system, seed) for seed in known}
    for system, known in seeds.items()
  }
  compared = results.comparisons(workdirs, 'base', 'abcde', RESAMPLES)
  assert [(r['seeds'], [*r['comparisons']]) for r in compared] == [
    ([0, 1, 2], ['a']), ([1, 2], ['b', 'c'])
  ]  # fmt: skip
  assert results.comparisons(workdirs, 'e', 'abc', RESAMPLES) == []
  by_seed = compared[1]['comparisons']['b']['auc'][0]['by_seed']
  for seed, difference in zip((1, 2), by_seed):
    base, other = (
      compare_test.make_targets(seed, shift)['placement_group'][::GROUPS]
      for shift in (0.0, 0.1)
    )
    assert difference == pytest.approx((other - base).mean())


@pytest.mark.parametrize(
  ('intervals', 'verdict'),
  [
    ([(0.1, 0.2)], results.HOLDS),
    ([(0.1, 0.2), (0.3, 0.4)], results.HOLDS),
    ([(0.1, 0.2), (-0.1, 0.4)], results.OPEN),
    ([(0.1, 0.2), (0.0, 0.4)], results.OPEN),
    ([(-0.1, 0.0)], results.OPEN),
    ([(0.0, 0.0)], results.OPEN),
    ([(0.1, 0.2), (-0.2, -0.1)], results.FAILS),
    ([(-0.1, 0.2), (-0.2, -0.1)], results.FAILS),
    ([(0.1, 0.2), (None, None)], results.OPEN),
    ([(None, None)], results.OPEN),
    ([(None, None), (-0.2, -0.1)], results.FAILS),
  ],
)
def test_a_verdict_follows_the_intervals(intervals, verdict):
  assert results.verdict([_row(*bounds) for bounds in intervals]) == verdict


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
    {'group': name, **_row(0.1, 0.2, (0.1, 0.2 - i / 10, None))}
    for i, name in enumerate(names)
  ]
  compared = [
    {'reference': 'ga', 'comparisons': {'ga_pn': {'auc': [], 'user_auc': []}}},
    {'reference': 'base', 'comparisons': {'ga': {'auc': [], 'user_auc': []}}},
    {'reference': 'base', 'comparisons': {'ga_pn': {'auc': shown}}},
  ]
  claim = results.Claim('better', 'ga_pn', 'base', 'auc', rows)
  actual = results.judge(claim, compared)
  assert [row['group'] for row in actual['rows']] == judged
  assert actual['verdict'] == results.HOLDS and actual['text'] == 'better'
  # The second seed falls with the row, the third has no value.
  second = all(names.index(name) < 2 for name in judged)
  assert (actual['seeds'], actual['seeds_with_it']) == (3, 1 + second)
  unknown = results.judge(claim._replace(other='pcgrad'), compared)
  assert (unknown['verdict'], unknown['rows'], unknown['seeds']) == (
    None,
    [],
    0,
  )


def test_a_curve_is_what_training_has_logged(tmp_path):
  log = tmp_path / 'metrics.jsonl'
  log.write_text(
    '{"epoch": 1, "validation": {"hr@1_by_group": [0.1, null]}}\n'
    '{"epoch": 2}\n'
    '{"epoch": 3, "validation": {"hr@1_by_group": [0.2, 0.3]}}\n'
  )
  assert results.curve(str(tmp_path), 'hr@1') == [[0.1, None], [0.2, 0.3]]
  with pytest.raises(types.UserError, match='has no hr@3_by_group'):
    results.curve(str(tmp_path), 'hr@3')
