import dataclasses
import json
import pathlib
import re
import shutil

import pytest

from tests.recipes.reproduction import two_time_finished as finished
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import online_report
from twotsrec.recipes.reproduction import training
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_results
from twotsrec.recipes.reproduction import two_time_training
from twotsrec.recipes.two_time import shared as two_time_shared
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.training import files
from twotsrec.training import loop

DATASET, SPLIT = 'synthetic', 'global_time'
# The network of inactive users is compiled once for all of them.
SYSTEMS = ('2ts', 'ccf', 'frozen_user')
CHANGES = (
  ('data.users', 60),
  ('model.width', 4),
  ('groups.num_groups', 2),
  ('two_time.threshold', 30),
  ('two_time.window', 4),
  ('two_time.stage1_epochs', (1, 2)),
  ('two_time.stage1_batch', 512),
  ('two_time.negatives', 2),
  ('two_time.evaluation_lists', 19),
  ('evaluation.bootstrap', 20),
)


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """Three systems on the small built-in log."""
  made = finished.settings(
    tmp_path_factory.mktemp('out'),
    datasets=(DATASET,),
    systems=SYSTEMS,
    seeds=(0,),
    changes=CHANGES,
  )
  told = []
  assert two_time_training.train(made, quiet=True, tell=told.append)
  places = [line.split(' (')[0].rpartition('/')[2] for line in told]
  assert places == list(SYSTEMS)
  assert told[0].endswith('2ts (1 of 3 runs)')
  assert re.search(r'\(3 of 3 runs, about \d+ min left\)$', told[2])
  return made


def _run(system):
  return two_time.Run(DATASET, SPLIT, 0, system)


def _report(settings, system):
  return training.finished(two_time.plan(settings, _run(system)))


def _refuse(*arguments, **named):
  raise AssertionError('something is trained')


def test_stage_1_is_trained_once_for_the_events_it_sees(settings):
  phases = {s: _report(settings, s)['training']['phases'] for s in SYSTEMS}
  assert {*phases['2ts']} == {'stage1', 'inactive_1', 'inactive_2', 'active'}
  assert {*phases['ccf']} == {'stage1'}
  assert {*phases['frozen_user']} == {'inactive'}
  chosen = _report(settings, '2ts')['two_time']['stage1_epochs']
  for system in ('ccf', 'frozen_user'):
    told = _report(settings, system)['two_time']
    assert told['stage1_epochs'] == chosen
    assert told['stage1_taken'] == (system == 'frozen_user')
    assert told['stage1_seconds'] > 0


def test_what_is_taken_over_is_what_would_have_been_trained(settings, tmp_path):
  """Bit for bit; only the trials of the other lengths are left out."""
  planned = two_time.plan(settings, _run('2ts'))
  config = dataclasses.replace(
    planned.config,
    two_time=dataclasses.replace(
      planned.config.two_time, stage1=planned.workdir
    ),
  )
  report = runs_lib.train(config, str(tmp_path / 'run'), quiet=True)
  first = _report(settings, '2ts')
  for part in ('validation', 'test', 'online'):
    assert report[part] == first[part]
  assert {*report['training']['phases']} == {'inactive', 'active'}
  assert (
    report['two_time']['stage1_trials'] == (first['two_time']['stage1_trials'])
  )
  # The run may be resumed without it, or with another place of it.
  assert runs_lib.train(planned.config, str(tmp_path / 'run')) == report


def test_what_is_finished_is_not_trained_again(settings, monkeypatch):
  monkeypatch.setattr(loop, 'fit', _refuse)
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  assert two_time_training.train(settings, quiet=True, tell=_refuse)


def test_the_document_has_what_was_measured(settings):
  result = two_time_results.collect(settings, 200)
  assert result['missing'] == 0
  found = result['datasets'][f'{DATASET}, {SPLIT}']
  for system in SYSTEMS:
    mine = found['systems'][system]['report']['rows'][0]
    there = _report(settings, system)['online']['model']['test']['rows'][0]
    for part in online_report.PARTS:
      assert files.jsonable(mine[part]['expected']) == there[part]['expected']
  popular = _report(settings, '2ts')['online']['popularity']['test']['rows'][0]
  mine = found['popularity']['report']['rows'][0]
  assert files.jsonable(mine['all']['all']) == popular['all']['all']
  verdicts = [claim['verdict'] for claim in found['claims']]
  assert verdicts[0] is not None and verdicts[2] is None


def test_a_stop_leaves_the_rest_for_the_next_time(settings, tmp_path):
  """The reference has finished, the run that waits for it has not."""
  made = settings._replace(out=str(tmp_path), systems=('ccf',))
  first = two_time.workdir(made, _run('2ts'))
  shutil.copytree(two_time.workdir(settings, _run('2ts')), first)
  trained = []
  assert not two_time_training.train(made, lambda: True, True, trained.append)
  assert not trained
  assert two_time_training.train(made, quiet=True, tell=trained.append)
  assert [line.endswith('ccf (2 of 2 runs)') for line in trained] == [True]
  assert _report(made, 'ccf')['test'] == _report(settings, 'ccf')['test']


def test_other_settings_are_refused_before_anything_is_trained(
  settings, monkeypatch
):
  monkeypatch.setattr(loop, 'fit', _refuse)
  changes = (*CHANGES, ('two_time.rate', 0.5))
  with pytest.raises(types.UserError, match='two_time.rate: 0.002 there, 0.5'):
    two_time_training.train(settings._replace(changes=changes), quiet=True)


# ---- Stage 1 of another run


@pytest.fixture
def config(settings):
  """The reference, with its own stage 1 named."""
  planned = two_time.plan(settings, _run('2ts'))
  planned.config.two_time.stage1 = planned.workdir
  return planned.config


def _find(config):
  return two_time_shared.find(config, experiment_lib.load_data(config))


def test_the_choice_is_taken_over(config, settings):
  found = _find(config)
  told = _report(settings, '2ts')['two_time']
  assert found.epochs == told['stage1_epochs'] in (1, 2)
  assert {str(k): v for k, v in found.trials.items()} == told['stage1_trials']
  config.two_time.stage1 = ''
  assert _find(config) is None


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('train.seed', 3, 'trained with train.seed 0, this run has 3'),
    ('model.width', 8, 'trained with model.width 4, this run has 8'),
    ('two_time.stage1_rate', 0.5, 'trained with two_time.stage1_rate 0.005'),
    ('two_time.stage1_epochs', (2,), r'stage1_epochs \[1, 2\], this run has'),
    ('groups.balance', 'samples', 'trained with groups.balance "users"'),
    ('data.seed', 5, 'was trained on other data'),
    ('two_time.window', 2, 'left 40 events .*window 4'),
    ('two_time.holdout', 'none', 'this run leaves 0 .*holdout none'),
    ('two_time.variant', 'ccf', 'this run leaves 0 .*variant ccf'),
    ('two_time.variant', 'single_stage', 'which has no stage 1; leave it out'),
    ('two_time.threshold_rule', 'theory', 'use given, or leave it out'),
    ('two_time.stage1', 'nowhere', 'nowhere is not a run directory'),
  ],
)
def test_another_stage_1_is_refused(config, field, value, message):
  section, name = field.split('.')
  setattr(getattr(config, section), name, value)
  if 'left' in message:
    options = config.two_time
    counts = prepared_lib.train_counts(experiment_lib.load_data(config))
    active = int((counts > options.threshold).sum())
    message = message.replace('left 40', f'left {4 * active}')
  with pytest.raises(types.UserError, match=message) as error:
    _find(config)
  assert '\n' not in str(error.value)


def test_a_run_without_a_stage_1_of_its_own_is_refused(settings):
  planned = two_time.plan(settings, _run('frozen_user'))
  planned.config.two_time.stage1 = planned.workdir
  with pytest.raises(types.UserError, match='it was taken from .*ccf'):
    _find(planned.config)


def _copy(config, folder, section, field, value):
  """The run in `two_time.stage1` with another setting, unfinished."""
  source = pathlib.Path(config.two_time.stage1)
  theirs = json.loads((source / 'config.json').read_text())
  theirs[section][field] = value
  (folder / 'config.json').write_text(json.dumps(theirs))
  config.two_time.stage1 = str(folder)
  return source


@pytest.mark.parametrize(
  ('section', 'field', 'value', 'message'),
  [
    ('model', 'name', 'din', 'is a run of model.name din; name one of two_ti'),
    ('two_time', 'threshold_rule', 'validation', 'a stage 1 for every thresho'),
    ('two_time', 'variant', 'single_stage', 'which has no stage 1; name anoth'),
  ],
)
def test_a_run_of_another_kind_is_refused(
  config, tmp_path, section, field, value, message
):
  source = _copy(config, tmp_path, section, field, value)
  with pytest.raises(types.UserError, match='has not finished'):
    _find(config)
  report = json.loads((source / 'report.json').read_text())
  if value == 'single_stage':
    report['two_time']['stage1_epochs'] = 0
  (tmp_path / 'report.json').write_text(json.dumps(report))
  with pytest.raises(types.UserError, match=message):
    _find(config)
