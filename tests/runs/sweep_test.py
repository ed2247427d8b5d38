"""Sweeps: of EASE and a small model as they are, and of made-up curves."""

import json
import pathlib
import runpy
import statistics
import sys
from unittest import mock

import optuna
import pytest

from tests import small_runs as runs
from twotsrec import types
from twotsrec.runs import compare
from twotsrec.runs import run as run_lib
from twotsrec.runs import search_space
from twotsrec.runs import sweep
from twotsrec.runs import sweep_result
from twotsrec.training import files
from twotsrec.training import run_directory


def task(config, texts, **changes):
  space = search_space.parse(config, texts)
  return sweep.Task(
    **{'config': config, 'space': space, 'trials': 4, **changes}
  )


def ease(**changes):
  config = runs.config(
    model__name='ease',
    data__history_length=50,
    model__width=32,
    model__hidden=(128, 64),
    aggregator__name='joint',
    train__epochs=20,
    train__batch_size=512,
    train__learning_rate=1e-3,
    train__log_groups=False,
    train__checkpoint_every=60.0,
    plugin__epochs=20,
  )
  return task(config, {'closed_form.l2': '0.1..1000:log'}, **changes)


# ---- A model in closed form


@pytest.fixture(scope='module')
def tried(tmp_path_factory):
  """Directory and result; leave it as it is."""
  workdir = tmp_path_factory.mktemp('sweep')
  return workdir, sweep.train(ease(), str(workdir), quiet=True)


def test_every_trial_is_a_run_judged_by_its_validation(tried):
  workdir, result = tried
  assert json.loads((workdir / 'sweep.json').read_text('utf-8')) == result
  assert result['metric'] == 'ndcg@10' and len(result['trials']) == 4
  places = [one['workdir'] for one in result['trials']]
  for one, place in zip(result['trials'], places, strict=True):
    report = files.read_json(run_directory.report_path(place))
    part = report['validation']
    assert one['overall'] == part['overall']['ndcg@10']['value']
    assert one['group1'] == part['groups'][0]['ndcg@10']['value']
    config = run_directory.typed_config(place)
    assert one['settings'] == {'closed_form.l2': config.closed_form.l2}
  assert result['trials'][0]['settings'] == {'closed_form.l2': 500.0}
  values = [one['overall'] for one in result['trials']]
  assert [values[index] for index in result['best']] == [
    max(values) for _ in result['best']
  ]
  assert compare.compare({'a': places[:1], 'b': places[1:2]}, ('ndcg@10',))


def test_the_best_is_a_configuration(tried):
  workdir, result = tried
  made = runpy.run_path(str(workdir / 'best.py'))
  for index in result['best']:
    config = made['get_config'](str(index))
    there = run_directory.typed_config(result['trials'][index]['workdir'])
    assert config == there
  assert made['get_config']() == made['get_config'](str(result['best'][0]))
  with pytest.raises(types.UserError, match='known'):
    made['get_config']('17')
  text = sweep_result.format(result, str(workdir))
  assert f'--config={workdir}/best.py' in text
  assert len(text.splitlines()[0].split()) >= 5


def test_it_goes_on_and_tries_what_it_would_have_tried(tried, tmp_path):
  _, whole = tried
  train = run_lib.train
  calls = []

  def dies(*arguments, **named):
    calls.append(arguments)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return train(*arguments, **named)

  with mock.patch.object(run_lib, 'train', dies):
    with pytest.raises(KeyboardInterrupt):
      sweep.train(ease(), str(tmp_path), quiet=True)
    again = sweep.train(ease(trials=3), str(tmp_path), quiet=True)
    more = sweep.train(ease(), str(tmp_path), quiet=True)
  assert len(calls) == 5  # one was begun twice
  without = lambda result: [
    {k: v for k, v in one.items() if k != 'workdir'} for one in result['trials']
  ]
  assert without(more) == without(whole)
  assert without(again) == without(whole)[:3]
  with mock.patch.object(run_lib, 'train', dies):
    assert sweep.train(ease(), str(tmp_path), quiet=True) == more
  assert len(calls) == 5
  with pytest.raises(types.UserError, match='sweep.seed: 0 there, 1 here'):
    sweep.train(ease(seed=1), str(tmp_path), quiet=True)


def test_a_front_has_what_nothing_is_better_than_in_both(tmp_path):
  result = sweep.train(ease(objective='both'), str(tmp_path), quiet=True)
  values = [(one['overall'], one['group1']) for one in result['trials']]
  beaten = lambda mine: any(
    all(a >= b for a, b in zip(other, mine)) and other != mine
    for other in values
  )
  front = [i for i, mine in enumerate(values) if not beaten(mine)]
  assert sorted(result['best']) == front
  variants = runpy.run_path(str(tmp_path / 'best.py'))['_TRIALS']
  assert list(variants) == [str(index) for index in result['best']]


# ---- Curves


# Learning rate -> ndcg@10 of group 1 after each epoch; those of the others are
# the other way round.
RATES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
CURVES = {
  0.01: [0.1, 0.2, 0.3, 0.4],
  0.02: [0.2, 0.3, 0.4, 0.5],
  0.03: [0.3, 0.4, 0.5, 0.6],
  0.04: [0.2, 0.2, 0.2, 0.2],
  0.05: [0.3, 0.3, 0.3, 0.9],
  0.06: [0.4, 0.5, 0.6, 0.7],
}


def curve_of(config, workdir, should_stop, quiet):
  """In place of a training."""
  place, values = pathlib.Path(workdir), CURVES[config.train.learning_rate]
  place.mkdir(exist_ok=True)
  done = len(run_directory.read_metrics(workdir))
  for epoch, value in list(enumerate(values, 1))[done:]:
    by_group = [value, 1 - value, None]
    judged = {'ndcg@10': 0.5, 'ndcg@10_by_group': by_group}
    record = {'epoch': epoch, 'validation': judged}
    run_directory.append_metrics(workdir, record)
    if should_stop():
      return None
  cell = lambda value: {'ndcg@10': {'value': value}}
  groups = [cell(values[-1]), cell(1 - values[-1]), cell(None)]
  return {'validation': {'overall': cell(0.5), 'groups': groups}}


def curves(**changes):
  config = runs.config(train__epochs=4, train__learning_rate=RATES[0])
  texts = {'train.learning_rate': ','.join(map(str, RATES))}
  named = {'trials': 14, 'objective': 'group1', **changes}
  return task(config, texts, **named)


def test_a_curve_below_the_median_of_those_before_ends(monkeypatch, tmp_path):
  monkeypatch.setattr(run_lib, 'train', curve_of)
  result = sweep.train(curves(), str(tmp_path))
  before, pruned = [], 0
  for one in result['trials']:
    values = CURVES[one['settings']['train.learning_rate']]
    reached = len(run_directory.read_metrics(one['workdir']))
    expected = len(values)
    if len(before) >= 4:
      ends = [
        epoch
        for epoch in range(1, len(values) + 1)
        if max(values[:epoch])
        < statistics.median(curve[epoch - 1] for curve in before)
      ]
      expected = min(ends, default=len(values))
    assert reached == expected
    ended = one['state'] == 'pruned'
    assert ended == (expected < 4) or reached == 4
    pruned += ended
    if not ended:
      before.append(values)
      assert one['group1'] == values[-1] and one['overall'] == 0.5
  assert pruned >= 1
  best = result['trials'][result['best'][0]]
  assert best['group1'] == max(values[-1] for values in before)


@pytest.mark.parametrize('changes', [{'prune': False}, {'objective': 'both'}])
def test_nothing_ends_early_where_it_must_not(monkeypatch, tmp_path, changes):
  monkeypatch.setattr(run_lib, 'train', curve_of)
  result = sweep.train(curves(**changes), str(tmp_path))
  assert {one['state'] for one in result['trials']} == {'complete'}


def test_it_stops_when_asked_and_goes_on_within_a_trial(monkeypatch, tmp_path):
  monkeypatch.setattr(run_lib, 'train', curve_of)
  whole = sweep.train(curves(), str(tmp_path / 'whole'))
  asked = iter([False] * 7 + [True] * 9)
  stop = lambda: next(asked)
  workdir = str(tmp_path / 'parts')
  assert sweep.train(curves(), workdir, stop) is None
  assert len(run_directory.read_metrics(tmp_path / 'parts/trial1')) == 4
  parts = sweep.train(curves(), workdir)
  told = lambda result: [
    (one['state'], one['settings'], one['group1']) for one in result['trials']
  ]
  assert told(parts) == told(whole)


def test_a_trial_that_fails_is_told_and_the_others_go_on(monkeypatch, tmp_path):
  def train(config, *rest):
    if config.train.learning_rate > 0.03:
      raise types.UserError('it is not finite')
    return curve_of(config, *rest)

  monkeypatch.setattr(run_lib, 'train', train)
  result = sweep.train(curves(), str(tmp_path))
  for one in result['trials']:
    too_fast = one['settings']['train.learning_rate'] > 0.03
    assert (one['state'] == 'fail') == too_fast == bool(one['reason'])
  assert 'failed: it is not finite' in sweep_result.format(result, 'x')


@pytest.mark.parametrize('by_disk', [True, False])
def test_it_ends_where_all_fail_and_where_the_disk_does(
  monkeypatch, tmp_path, by_disk
):
  calls = []

  def train(*arguments):
    calls.append(arguments)
    cause = OSError('disk full') if by_disk else None
    raise types.UserError('it cannot be') from cause

  monkeypatch.setattr(run_lib, 'train', train)
  with pytest.raises(types.UserError, match='it cannot be'):
    sweep.train(curves(), str(tmp_path))
  assert len(calls) == (1 if by_disk else 5)


# ---- What a training writes


def test_the_curve_of_a_training_is_read(tmp_path):
  config = runs.config(
    model__name='gru4rec',
    model__hidden=(128, 64),
    aggregator__name='joint',
    train__epochs=2,
    train__log_groups=False,
  )
  asked = task(
    config, {'train.learning_rate': '0.001,0.01'}, trials=1, objective='group1'
  )
  result = sweep.train(asked, str(tmp_path), quiet=True)
  (one,) = result['trials']
  assert one['settings'] == {'train.learning_rate': 0.01}  # as it is
  there = run_directory.typed_config(one['workdir'])
  assert there.train.select_metric == 'group_ndcg@10'
  curve = dict(sweep._curve(one['workdir'], 'ndcg@10', 'group1'))
  assert list(curve) == [1, 2]
  report = files.read_json(run_directory.report_path(one['workdir']))
  epoch = report['training']['selected_epoch']
  assert curve[epoch] == pytest.approx(one['group1'], abs=1e-9)
  study = optuna.load_study(
    study_name='sweep', storage=f'sqlite:///{tmp_path / "sweep.db"}'
  )
  assert study.trials[0].intermediate_values == pytest.approx(curve)


def test_a_metric_that_is_lower_for_better_models_is_refused(tmp_path):
  for metric in ('log_loss', 'hr@7'):
    with pytest.raises(types.UserError, match=f"'{metric}'.*known: .*auc"):
      sweep.train(ease(metric=metric), str(tmp_path / 'x'))
  assert not (tmp_path / 'x').exists()


def test_it_says_what_to_install(tmp_path):
  with mock.patch.dict(sys.modules, {'optuna': None}):
    with pytest.raises(types.UserError, match=r"install -e '\.\[tune\]'"):
      sweep.train(ease(), str(tmp_path / 'x'))
  assert not (tmp_path / 'x').exists()
