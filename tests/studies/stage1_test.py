import dataclasses
import pathlib
import re
import shutil

import pytest

from tests.studies import finished
from tests.studies import papers
from twotsrec import contracts
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes.two_time import stage1
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.studies import document
from twotsrec.studies import online
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.training import files

DATASET, SPLIT = 'synthetic', 'global_time'
# The network of inactive users is compiled once for all of them.
SYSTEMS = ('2ts', 'ccf', 'frozen_user')
CHANGES = {
  'data.users': 60,
  'model.width': 4,
  'groups.num_groups': 2,
  'two_time.threshold': 30,
  'two_time.window': 4,
  'two_time.stage1_epochs': (1, 2),
  'two_time.stage1_batch': 512,
  'two_time.negatives': 2,
  'two_time.evaluation_lists': 19,
  'evaluation.bootstrap': 20,
}


def _plan(out, systems=SYSTEMS):
  """Both tables on the small built-in log."""
  study = papers.load('two_time_scale')
  axes = study.axes | {'datasets': study_lib.Choice((DATASET,))}
  study = study._replace(axes=axes)
  given = {
    'table': ('comparison', 'ablation'), 'systems': systems, 'seeds': (0,)
  }  # fmt: skip
  request = study_lib.ask(study, given, out, changes=CHANGES)
  return plans.plan(study, request)


pytestmark = pytest.mark.usefixtures('small_programs')


@pytest.fixture(scope='module')
def plan(tmp_path_factory):
  """Three systems, trained."""
  made, said = _plan(tmp_path_factory.mktemp('out')), []
  assert plans.train(made, quiet=True, tell=said.append)
  places = [line.split(' (')[0].rpartition('/')[2] for line in said]
  assert places == list(SYSTEMS)
  assert said[0].endswith('2ts (1 of 3 runs)')
  assert re.search(r'\(3 of 3 runs, about \d+ min left\)$', said[2])
  return made


def _run(system):
  return finished.run(DATASET, SPLIT, system)


def _reference(plan):
  """Configuration and directory of the run of 2TS."""
  run = _run('2ts')
  return plans.config(plan, run), plans.workdir(plan, run)


def _report(plan, system):
  return plans.report(plan, _run(system))


def test_stage_1_is_trained_once_for_the_events_it_sees(plan):
  phases = {s: _report(plan, s)['training']['phases'] for s in SYSTEMS}
  assert {*phases['2ts']} == {'stage1', 'inactive_1', 'inactive_2', 'active'}
  assert {*phases['ccf']} == {'stage1'}
  assert {*phases['frozen_user']} == {'inactive'}
  chosen = _report(plan, '2ts')['two_time']['stage1_epochs']
  for system in ('ccf', 'frozen_user'):
    told = _report(plan, system)['two_time']
    assert told['stage1_epochs'] == chosen
    assert told['stage1_taken'] == (system == 'frozen_user')
    assert told['stage1_seconds'] > 0


def test_what_is_taken_over_is_what_would_have_been_trained(plan, tmp_path):
  """Bit for bit; only the trials of the other lengths are left out."""
  own, workdir = _reference(plan)
  options = dataclasses.replace(own.two_time, stage1=workdir)
  config = dataclasses.replace(own, two_time=options)
  report = runs_lib.train(config, str(tmp_path / 'run'), quiet=True)
  first = _report(plan, '2ts')
  for part in ('validation', 'test', 'online'):
    assert report[part] == first[part]
  assert {*report['training']['phases']} == {'inactive', 'active'}
  assert (
    report['two_time']['stage1_trials'] == (first['two_time']['stage1_trials'])
  )
  # The run may be resumed without it, or with another place of it.
  assert runs_lib.train(own, str(tmp_path / 'run')) == report


def _is_part(there, mine) -> bool:
  """The document divides users where a report of few users does not."""
  here = files.jsonable({key: mine[key] for key in there})
  return bool(there) and here == files.jsonable(there)


def test_the_document_has_what_was_measured(plan):
  page = document.collect(plan, 200)
  assert document.missing(page) == 0
  chapter = page.chapters[f'{DATASET}, {SPLIT}']
  for system in SYSTEMS:
    mine = chapter.blocks[''].systems[system].cells
    there = _report(plan, system)['online']['model']['test']
    assert _is_part(online.cells(there), mine)
  popular = _report(plan, '2ts')['online']['popularity']['test']
  mine = chapter.rules['popularity'].cells
  assert _is_part(online.cells(popular), mine)
  verdicts = [claim.verdict for claim in chapter.blocks[''].claims]
  assert verdicts[0] is not None and verdicts[2] is None


def test_a_run_that_waits_is_trained_after_the_reference(plan, tmp_path):
  """The reference has finished, the run that waits for it has not."""
  made = _plan(tmp_path, systems=('ccf',))
  first = plans.workdir(made, _run('2ts'))
  shutil.copytree(plans.workdir(plan, _run('2ts')), first)
  said = []
  assert not plans.train(made, lambda: True, True, said.append)
  assert not said
  assert plans.train(made, quiet=True, tell=said.append)
  assert [line.endswith('ccf (2 of 2 runs)') for line in said] == [True]
  assert _report(made, 'ccf')['test'] == _report(plan, 'ccf')['test']


# ---- Stage 1 of another run


@pytest.fixture
def config(plan):
  """The reference, with its own stage 1 named."""
  made, workdir = _reference(plan)
  made.two_time.stage1 = workdir
  return made


def _find(config):
  recipes.check(config)
  data = experiment_lib.load_data(config)
  work = contracts.Work(
    fit=None, load=experiment_lib.load, workdir=pathlib.Path()
  )
  return stage1.taken(experiment_lib.make(config, data), work)


def test_the_choice_is_taken_over(config, plan):
  found = _find(config)
  told = _report(plan, '2ts')['two_time']
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
    ('two_time.stage1_epochs', (2,), r'stage1_epochs \(1, 2\), this run has'),
    ('groups.balance', 'samples', "trained with groups.balance 'users'"),
    ('data.seed', 5, 'was trained on other data'),
    ('two_time.window', 2, 'left 40 events .*window 4'),
    ('two_time.holdout', 'none', 'this run leaves 0 .*holdout none'),
    ('two_time.variant', 'ccf', 'this run leaves 0 .*variant ccf'),
    ('two_time.variant', 'single_stage', 'changes nothing with .*=single_s'),
    ('two_time.threshold_rule', 'theory', 'nothing with .*rule=theory.*=given'),
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


def test_a_run_without_a_stage_1_of_its_own_is_refused(plan):
  run = _run('frozen_user')
  config = plans.config(plan, run)
  config.two_time.stage1 = plans.workdir(plan, run)
  with pytest.raises(types.UserError, match='it was taken from .*ccf'):
    _find(config)
