import json
import pathlib

import pytest

from tests import runs as small
from tests.recipes.reproduction import copf_finished
from twotsrec import types
from twotsrec.data import settings
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_document
from twotsrec.recipes.reproduction import copf_results
from twotsrec.recipes.reproduction import training
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import loop

RESAMPLES = 200
DATASET = settings.SYNTHETIC_BEHAVIORS
SYSTEMS = ('copf', 'no_aggregation')
CHANGES = (
  ('data.split', 'leave_last_out'),
  ('data.users', 30),
  ('model.width', 4),
  ('behavior.samples', 2),
  ('groups.num_groups', 2),
  ('train.checkpoint_every', 0.0),
  ('evaluation.bootstrap', 20),
)


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """A table and a figure on the small built-in log, one epoch each."""
  made = copf_finished.settings(
    tmp_path_factory.mktemp('out'),
    datasets=(DATASET,),
    tables=('4', 'fig5'),
    variants=(*SYSTEMS, 'alpha_0.1'),
    seeds=(0,),
    epochs=1,
    changes=CHANGES,
  )
  told = []
  assert _train(made, quiet=True, tell=told.append)
  # A point of the figure is COPF itself.
  assert len(told) == len(SYSTEMS) == len(copf.runs(made))
  assert told[0].endswith(f'copf (1 of {len(SYSTEMS)} runs)')
  return made


def _train(settings, *arguments, **named):
  plans = [*copf.plans(settings).values()]
  return training.train(plans, *arguments, **named)


def _finished(settings, run):
  return training.finished(copf.plan(settings, run))


def _refuse(*arguments, **named):
  raise AssertionError('something is trained')


def test_what_is_finished_is_not_trained_again(settings, monkeypatch):
  monkeypatch.setattr(loop, 'fit', _refuse)
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  assert _train(settings, quiet=True, tell=_refuse)


def test_the_document_has_what_was_measured(settings):
  result = copf_results.collect(settings, RESAMPLES)
  path = copf_document.write(result, settings.out)
  text = path.read_text(encoding='utf-8')
  assert result['missing'] == 0
  assert f'{len(SYSTEMS)} runs took' in text and 'missing' not in text
  found = result['datasets'][DATASET]
  assert [part['name'] for part in found['parts']] == ['cart', 'view', 'new']
  assert set(found['rules']) == set(copf_finished.RULES)
  for system in SYSTEMS:
    report = _finished(settings, copf.Run(DATASET, 0, system))
    for by in copf_results.BY:
      rows = [*report['test'][by], report['test']['overall']]
      for metric in copf_results.METRICS:
        cells = found['systems'][system]['cells'][by][metric]
        assert [cell['value'] for cell in cells] == pytest.approx(
          [row[metric]['value'] for row in rows]
        )
  for rule, of_rule in found['rules'].items():
    part = report['baselines'][rule]
    assert (
      of_rule['parts']['hr@10'][1]['value']
      == (part['parts'][1]['hr@10']['value'])
    )


def test_a_stop_leaves_the_rest_for_the_next_time(settings, tmp_path):
  """One run is stopped in its midst, and goes on."""
  made = settings._replace(out=str(tmp_path))
  trained = []
  stop = lambda: len(trained) > 1
  assert not _train(made, stop, True, trained.append)
  runs = copf.runs(made)
  assert [bool(_finished(made, run)) for run in runs] == [
    True, False
  ]  # fmt: skip
  # The second was started: its state is there.
  assert pathlib.Path(copf.workdir(made, runs[1]), 'checkpoints').is_dir()
  assert _train(made, quiet=True, tell=trained.append)
  assert len(trained) == 3 and trained[1] == trained[2]
  for run in runs:
    once, again = (copf.workdir(one, run) for one in (settings, made))
    assert small.untimed_metrics(once) == small.untimed_metrics(again)


def test_other_settings_are_refused_before_anything_is_trained(
  settings, monkeypatch
):
  monkeypatch.setattr(loop, 'fit', _refuse)
  other = settings._replace(changes=(*CHANGES, ('train.learning_rate', 0.5)))
  with pytest.raises(types.UserError, match='train.learning_rate: .*0.5 here'):
    _train(other, quiet=True)
  with pytest.raises(types.UserError, match='train.learning_rate'):
    copf_results.collect(other, RESAMPLES)


def test_finished_runs_that_should_be_longer_are_missing(tmp_path):
  short = copf_finished.settings(
    tmp_path, seeds=(0,), changes=(('train.evaluate_every', 1),)
  )
  run = copf.Run('taobao-copf', 0, 'mmoe')
  copf_finished.write(short, run)
  assert _finished(short, run) is not None
  assert _finished(short._replace(epochs=5), run) is None
  with pytest.raises(types.UserError, match='train.epochs: 2 there, 1 here'):
    _finished(short._replace(epochs=1), run)


def test_a_run_of_other_settings_that_is_under_way_is_refused_at_once(
  tmp_path, monkeypatch
):
  made = copf_finished.settings(tmp_path, seeds=(0,))
  place = copf_finished.write(made, copf.Run('taobao-copf', 0, 'mmoe'))
  (place / 'report.json').unlink()
  config = json.loads((place / 'config.json').read_text())
  assert config['head']['name'] == 'mmoe'
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  other = made._replace(epochs=1)
  with pytest.raises(types.UserError, match='train.epochs: 2 there, 1 here'):
    _train(other, quiet=True)


def test_missing_data_show_before_anything_is_trained(tmp_path):
  made = copf_finished.settings(tmp_path, data_root=str(tmp_path / 'none'))
  with pytest.raises(types.UserError, match='no file'):
    _train(made, quiet=True, tell=_refuse)
  assert not list(tmp_path.iterdir())
