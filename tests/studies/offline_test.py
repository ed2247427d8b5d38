import numpy as np
import pytest

from tests.runs import compare_test
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.studies import offline
from twotsrec.studies import results

RESAMPLES = 200
GROUPS = compare_test.GROUPS
METRICS = ('auc', 'user_auc')
PLACES = ('a', 'b', 'c')


def _write(folder, seed=0, shift=0.0):
  targets = compare_test.make_targets(seed, shift)
  return compare_test.write_run(folder, targets), targets


def test_a_cell_is_the_mean_over_seeds_with_an_interval_over_users(tmp_path):
  runs = [_write(tmp_path / str(seed), seed) for seed in range(3)]
  workdirs, targets = zip(*runs)
  cells = offline.means(workdirs, PLACES, METRICS, resamples=RESAMPLES)
  mean = np.mean([t['user_auc'] for t in targets], axis=0)
  group = targets[0]['group']
  for row, chosen in enumerate(
    [*(group == g for g in range(GROUPS)), group >= 0]
  ):
    counts = chosen.astype(float)[:, None]
    low, high = bootstrap.intervals(
      mean[:, None] * counts, counts, RESAMPLES, 0
    )
    for metric in METRICS:
      expected = (mean[chosen].mean(), low[0], high[0])
      assert cells[metric, (*PLACES, 'all')[row]] == pytest.approx(expected)


def test_a_group_without_users_has_no_value(tmp_path):
  workdir, _ = _write(tmp_path / 'run')
  cells = offline.means([workdir], (*PLACES, 'empty'), METRICS)
  unknown = results.Cell(None, None, None)
  assert cells['auc', 'empty'] == unknown != cells['auc', 'all']


def test_damaged_arrays_are_named(tmp_path):
  workdir, _ = _write(tmp_path / 'run')
  (tmp_path / 'run' / 'per_target.npz').write_bytes(b'no archive')
  with pytest.raises(types.UserError, match='per_target.npz is damaged'):
    offline.means([workdir], PLACES, METRICS)


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
  compared = offline.compare_pairs(
    workdirs, 'base', 'abcde', RESAMPLES, METRICS
  )
  assert [(c.seeds, [*c.result['comparisons']]) for c in compared] == [
    ([0, 1, 2], ['a']), ([1, 2], ['b', 'c'])
  ]  # fmt: skip
  nothing = offline.compare_pairs(workdirs, 'e', 'abc', RESAMPLES, METRICS)
  assert nothing == []
  against = offline.differences(compared, 'b')['base']
  by_seed = against['auc', 'group 1'].by_seed
  for seed, difference in zip((1, 2), by_seed):
    base, other = (
      compare_test.make_targets(seed, shift)['placement_group'][::GROUPS]
      for shift in (0.0, 0.1)
    )
    assert difference == pytest.approx((other - base).mean())


def test_a_curve_is_what_training_has_logged(tmp_path):
  log = tmp_path / 'metrics.jsonl'
  log.write_text(
    '{"epoch": 1, "validation": {"hr@1_by_group": [0.1, null]}}\n'
    '{"epoch": 2}\n'
    '{"epoch": 3, "validation": {"hr@1_by_group": [0.2, 0.3]}}\n'
  )
  assert offline.curve(str(tmp_path), 'hr@1') == [[0.1, None], [0.2, 0.3]]
  with pytest.raises(types.UserError, match='has no hr@3_by_group'):
    offline.curve(str(tmp_path), 'hr@3')
