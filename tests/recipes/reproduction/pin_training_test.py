import dataclasses
import pathlib

import pytest

from tests import runs as small
from tests.recipes.reproduction import finished
from twotsrec import types
from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import pin_document
from twotsrec.recipes.reproduction import pin_results
from twotsrec.recipes.reproduction import training
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import tables
from twotsrec.training import loop

RESAMPLES = 200


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """Everything on the small built-in log, one epoch each."""
  start = small.config(aggregator__name='joint', train__log_groups=False)
  start = dataclasses.replace(
    start, evaluation=dataclasses.replace(start.evaluation, bootstrap=20)
  )
  made = finished.settings(
    tmp_path_factory.mktemp('out'),
    datasets=('synthetic',),
    models=('din',),
    seeds=(0,),
    epochs=1,
    stage2_epochs=1,
    start=start,
  )
  told = []
  assert _train(made, quiet=True, tell=told.append)
  assert len(told) == len(pin.SYSTEMS)
  assert told[0].endswith(f'base (1 of {len(pin.SYSTEMS)} runs)')
  return made


def _train(settings, *arguments, **named):
  plans = [*pin.plans(settings).values()]
  return training.train(plans, *arguments, **named)


def _finished(settings, run):
  return training.finished(pin.plan(settings, run))


def _refuse(*arguments, **named):
  raise AssertionError('something is trained')


def test_what_is_finished_is_not_trained_again(settings, monkeypatch):
  monkeypatch.setattr(loop, 'fit', _refuse)
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  assert _train(settings, quiet=True, tell=_refuse)


def test_the_document_has_every_cell(settings):
  result = pin_results.collect(settings, RESAMPLES)
  path = pin_document.write(result, settings.out)
  text = path.read_text(encoding='utf-8')
  assert path.name == 'pin.md' and result['missing'] == 0
  assert f'{len(pin.SYSTEMS)} runs took' in text and 'missing' not in text
  assert (path.parent / 'pin.json').is_file()
  found = result['datasets']['synthetic']
  systems = found['models']['din']['systems']
  for system, measured in systems.items():
    run = pin.Run('synthetic', 'din', 0, system)
    report = _finished(settings, run)
    parts = [*report['test']['groups'], report['test']['overall']]
    for metric in ('auc', 'user_auc'):
      cells = [cell['value'] for cell in measured['cells'][metric]]
      assert cells == pytest.approx([part[metric]['value'] for part in parts])
  (curve,) = found['models']['din']['curves']
  assert len(curve['by_epoch']) == 2
  assert all(len(epoch) == 3 for epoch in curve['by_epoch'])
  claims = found['models']['din']['claims']
  assert len(claims) == len(pin_results.CLAIMS)
  assert all(claim['verdict'] for claim in claims)


def test_runs_work_like_any_other(settings):
  run = pin.Run('synthetic', 'din', 0, 'ga_pn')
  report = _finished(settings, run)
  assert report['protocol']['plugin'] == 'light'
  assert 'din' in tables.of_report(report)


def test_a_stop_leaves_the_rest_for_the_next_time(settings, tmp_path):
  """One run is stopped in its midst, and goes on."""
  made = settings._replace(out=str(tmp_path), tables=('fig4',))
  trained = []
  stop = lambda: len(trained) > 1
  assert not _train(made, stop, True, trained.append)
  runs = pin.runs(made)
  assert [bool(_finished(made, run)) for run in runs] == [
    True, False
  ]  # fmt: skip
  # The second was started: its state is there.
  assert pathlib.Path(pin.workdir(made, runs[1]), 'checkpoints').is_dir()
  assert _train(made, quiet=True, tell=trained.append)
  assert len(trained) == 3 and trained[1] == trained[2]
  for run in runs:
    once, again = (pin.workdir(one, run) for one in (settings, made))
    assert small.untimed_metrics(once) == small.untimed_metrics(again)


def test_other_settings_are_refused_before_anything_is_trained(
  settings, monkeypatch
):
  monkeypatch.setattr(loop, 'fit', _refuse)
  other = settings._replace(epochs=2)
  with pytest.raises(types.UserError, match='train.epochs: 1 there, 2 here'):
    _train(other, quiet=True)
  with pytest.raises(types.UserError, match='train.epochs'):
    pin_results.collect(other, RESAMPLES)


def test_a_run_of_other_settings_that_is_under_way_is_refused_at_once(
  tmp_path, monkeypatch
):
  made = finished.settings(tmp_path, models=('din',), seeds=(0,))
  place = finished.write(made, pin.Run('ml-1m', 'din', 0, 'base_long'))
  (place / 'report.json').unlink()
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  other = made._replace(stage2_epochs=0)
  with pytest.raises(types.UserError, match='train.epochs: 3 there, 2 here'):
    _train(other, quiet=True)


def test_missing_data_show_before_anything_is_trained(tmp_path):
  made = finished.settings(tmp_path, data_root=str(tmp_path / 'none'))
  with pytest.raises(types.UserError, match='no file'):
    _train(made, quiet=True, tell=_refuse)
  assert not list(tmp_path.iterdir())
