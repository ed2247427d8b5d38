import numpy as np
import pytest

from tests.studies import online_finished as finished
from twotsrec import types
from twotsrec.evaluation import online_report
from twotsrec.studies import online
from twotsrec.studies import results
from twotsrec.training import online_rows

OPTIONS = finished.OPTIONS._replace(threshold=finished.THRESHOLD)
RESAMPLES = 200


def _values(arrays):
  return online_report.target_metrics(arrays, OPTIONS.lists, OPTIONS.k)


@pytest.fixture(scope='module')
def systems(tmp_path_factory):
  """Two seeds of a system and of one six places below it, and popularity."""
  workdirs = {}
  for name, worse in (('good', 0), ('bad', 6)):
    workdirs[name] = {}
    for seed in (0, 1):
      place = tmp_path_factory.mktemp(f'{name}{seed}')
      ranked = finished.ranked(seed, worse)
      online_rows.save(place, ranked, {'popularity': finished.ranked(worse=9)})
      workdirs[name][seed] = str(place)
  return {
    **{k: online.of_runs(places, OPTIONS) for k, places in workdirs.items()},
    'popularity': online.of_runs(workdirs['good'], OPTIONS, popularity=True),
  }


def test_seeds_are_averaged_before_events_are(systems):
  per_seed = [_values(finished.ranked(seed)) for seed in (0, 1)]
  good = systems['good']
  arrays = finished.ranked()
  kinds = {'inactive': arrays['train_count'] <= finished.THRESHOLD}
  kinds |= {
    'active': ~kinds['inactive'],
    'all': np.ones_like(kinds['inactive']),
  }
  for kind, chosen in kinds.items():
    for rule, metric in online.COLUMNS:
      # Items that users had do not rank without the past.
      of_seeds = [np.nanmean(v[rule, metric][chosen]) for v in per_seed]
      key = results.key(metric, rule, kind)
      cell = good.cells[key]
      assert cell.value == pytest.approx(np.mean(of_seeds))
      assert cell.low <= cell.value <= cell.high
      assert good.spread[key] == pytest.approx(of_seeds)


def test_popularity_is_read_beside_the_model(systems):
  value = _values(finished.ranked(worse=9))['expected', 'mrr'].mean()
  cell = systems['popularity'].cells[results.key('mrr')]
  assert cell.value == pytest.approx(value)
  assert not systems['popularity'].states['movement'].any()


def test_differences_are_those_of_the_means(systems):
  found = online.differences(systems, 'good', RESAMPLES)
  assert set(found) == {'bad', 'popularity'}
  kinds = ('inactive', 'active', 'all')
  rows = {k: found['bad'][results.key('mrr', place=k)] for k in kinds}
  active = finished.ranked()['train_count'] > finished.THRESHOLD
  by_seed = [
    _values(finished.ranked(seed, 6))['expected', 'mrr']
    - _values(finished.ranked(seed))['expected', 'mrr']
    for seed in (0, 1)
  ]
  for name, chosen in (('inactive', ~active), ('active', active)):
    each = [x[chosen].mean() for x in by_seed]
    assert rows[name].by_seed == pytest.approx(each)
    assert rows[name].difference == pytest.approx(np.mean(each))
    assert rows[name].high < 0


def test_systems_without_a_common_seed_are_left_out(systems):
  one = systems['bad']._replace(tables={1: systems['bad'].tables[1]})
  other = systems['good']._replace(tables={0: systems['good'].tables[0]})
  found = online.differences(
    {'good': systems['good'], 'bad': one}, 'good', RESAMPLES
  )
  assert {len(row.by_seed) for row in found['bad'].values()} == {1}
  alone = {'good': other, 'bad': one}
  assert online.differences(alone, 'good', RESAMPLES) == {}


def test_the_gain_of_a_kind_of_users_is_its_difference(systems):
  found = online.gain_difference(
    systems['good'], systems['bad'], 'mrr', RESAMPLES
  )
  minus = online.differences(systems, 'good', RESAMPLES)['bad']
  rows = {k: minus[results.key('mrr', place=k)] for k in results.KINDS}
  for kind in results.KINDS:
    assert getattr(found, kind) == pytest.approx(-rows[kind].difference)
  between = found.inactive - found.active
  assert found.minus.difference == pytest.approx(between)
  assert found.minus.low <= between <= found.minus.high


@pytest.mark.parametrize('relative', [False, True])
def test_movement_is_a_mean_over_users(systems, relative):
  states = systems['good'].states
  means = {}
  for user in np.unique(states['user']):
    mine = states['user'] == user
    moved = states['movement'][mine] / np.where(
      relative, states['norm'][mine], 1.0
    )
    active = states['train_count'][mine][0] > finished.THRESHOLD
    means.setdefault(results.KINDS[int(active)], []).append(moved.mean())
  found = online.movement_difference(
    systems['good'], finished.THRESHOLD, RESAMPLES, relative
  )
  for kind, values in means.items():
    assert getattr(found, kind) == pytest.approx(np.mean(values))
  # One from the other by 1, or by a quarter of it.
  minus = found.minus
  assert minus.low == pytest.approx(0.25 if relative else 1.0, abs=0.05)
  assert 0 < minus.low <= minus.difference <= minus.high


def test_without_one_kind_of_users_nothing_is_between(systems):
  found = online.movement_difference(systems['good'], 10_000, RESAMPLES)
  assert found.active is None and found.minus.difference is None
  assert found.minus.low is None and found.inactive > 0


def test_runs_on_other_events_are_refused(tmp_path):
  ranked = finished.ranked()
  for name, cut in (('one', 0), ('other', 1)):
    (tmp_path / name).mkdir()
    some = {k: v[cut:] for k, v in ranked.items()}
    online_rows.save(tmp_path / name, some, {'popularity': some})
  workdirs = {0: str(tmp_path / 'one'), 1: str(tmp_path / 'other')}
  with pytest.raises(types.UserError, match='other events than the runs besid'):
    online.of_runs(workdirs, OPTIONS)
