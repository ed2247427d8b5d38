"""What functions of runs refuse, and what they advise."""

import dataclasses
import pathlib
import types as python_types
from unittest import mock

import numpy as np
import pytest

from tests import configured
from tests import small_runs
from tests import two_time_toys
from tests import worlds
from tests.advice import following
from tests.advice.following import Call
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import recipes
from twotsrec.data import pipeline
from twotsrec.data import tables
from twotsrec.recipes import pin
from twotsrec.recipes.two_time import stage1
from twotsrec.recipes.two_time import threshold
from twotsrec.runs import compared_runs
from twotsrec.runs import event_checks
from twotsrec.runs import more_epochs
from twotsrec.runs import new_events
from twotsrec.runs import online
from twotsrec.runs import online_batches
from twotsrec.runs import run as run_lib
from twotsrec.runs import systems
from twotsrec.theory import estimates
from twotsrec.training import files
from twotsrec.training import run_directory

# Runs.


def more(folder: pathlib.Path, name: str):
  """Asks a run of three epochs, judged every second, for more of them."""
  run = folder / 'run'
  run.mkdir(exist_ok=True)
  settings = small_runs.config(train__evaluate_every=2)
  saved = dataclasses.asdict(settings)
  run_directory.write_json(run_directory.config_path(run), saved)
  lines = ''.join(f'{{"epoch": {n}}}\n' for n in (1, 2, 3))
  run_directory.metrics_path(run).write_text(lines)
  settings.train.epochs = 5
  return more_epochs.wanted(settings, str(folder / name))


def started_from(folder: pathlib.Path, params: float, name: str = ''):
  """Begins a phase with parameters, where another began with ones."""
  origin = pin.origin(np.ones(2))
  files.write_json(folder / run_lib._ORIGIN, origin)
  now = pin.origin(np.full(2, params))
  run_lib._check_origin(folder / name, now)


def of_ease() -> config_lib.Config:
  return configured.by(model__name='ease')


def new_rows(folder: pathlib.Path, bad_rows: str):
  """Reads new events of behaviors, one of which a run does not know."""
  rows = [f'{u},{i},{"buy" if i else "view"}' for u in 'ab' for i in range(5)]
  log, new = folder / 'log.csv', folder / 'new.csv'
  log.write_text('\n'.join(['user_id,item_id,kind', *rows, '']))
  new.write_text('user_id,item_id,kind\na,1,view\na,2,gift\na,3,buy\n')
  reading = pipeline.TableOptions(columns=tables.Columns(behavior='kind'))
  options = pipeline.Options(
    table=str(log), reading=reading, behaviors=('view', 'buy')
  )
  given = pipeline.TableOptions(bad_rows=bad_rows)
  return new_events.read(pipeline.prepare(options), str(new), given)


def played(late: str):
  rules = online_batches.Rules(late=late)
  options = online.Options('events.csv', '', 'states.db', rules=rules)
  online._check(options)


def in_parts(by: str):
  run = compared_runs.Run('run', {}, {'parts': [{'name': 'new'}]}, True)
  return compared_runs.part_names(run, by)


RUNS = [
  Call(
    'was judged after its last epoch, {}, as a run of',
    lambda folder: more(folder, 'run'),
    'Use another --workdir',
    lambda folder: more(folder, 'another'),
  ),
  Call(
    'was started from other parameters than these',
    lambda folder: started_from(folder, 2.0),
    'restore them',
    lambda folder: started_from(folder, 1.0),
  ),
  Call(
    'was started from other parameters than these',
    lambda folder: started_from(folder, 2.0),
    'or use another --workdir',
    lambda folder: started_from(folder, 2.0, 'another'),
  ),
  Call(
    'has no +GA and +GA+PN; train it with',
    lambda folder: systems.train(of_ease(), str(folder), quiet=True),
    'train it with launch/train.py',
    lambda folder: recipes.check(of_ease()),
  ),
  Call(
    'is not one of the run, which has {}; --bad_rows',
    lambda folder: new_rows(folder, 'error'),
    '--bad_rows=(drop) leaves such rows out',
    new_rows,
  ),
  *(
    Call(
      '--late is {}; allowed: {}',
      lambda folder: played('soon'),
      f'allowed: .*({name})',
      lambda folder, name: played(name),
    )
    for name in event_checks.LATE
  ),
  *(
    Call(
      'by is {}; known: {}',
      lambda folder: in_parts('users'),
      f'known: .*({name})',
      lambda folder, name: in_parts(name),
    )
    for name in compared_runs.BY
  ),
]

# A trunk, or a stage 1, of another run.


def experiment(**changes) -> contracts.Experiment:
  return contracts.Experiment(small_runs.config(**changes), *worlds.log())


def on_trunk(theirs: dict, **ours):
  """Begins stage 2 on a run of other settings."""
  pin._check_trunk(
    experiment(plugin__name='light', plugin__trunk='runs/base', **ours),
    experiment(**theirs),
  )


def three_systems(trunk: str):
  config = small_runs.config(plugin__name='light', plugin__trunk=trunk)
  return pin.systems(config, 'runs/pin')


ON_TEST = {'train__select_on': 'test'}
SEPARATE = {'train__method': 'separate', 'train__log_groups': False}
HELD = {'two_time__window': 2}


def taken(folder: pathlib.Path, theirs: dict, snapshot: bool, **ours):
  """Takes stage 1 over from a run, which has kept its parameters or not."""
  report = dict(stage1_epochs=1, stage1_trials={'1': 0.5}, stage1_seconds=2.0)
  files.write_json(run_directory.report_path(folder), {'two_time': report})
  if snapshot:
    place = run_directory.snapshot_path(str(folder / stage1.FOLDER), 1)
    pathlib.Path(place).mkdir(parents=True, exist_ok=True)
  ours = {'two_time__stage1': str(folder), **ours}
  other = two_time_toys.experiment(**theirs)
  work = two_time_toys.work(folder)._replace(load=lambda run: (other, None))
  return stage1.taken(two_time_toys.experiment(**ours), work)


def estimated(variance: float):
  """What the theorem makes of stage 1, by the variance it estimates."""
  numbers = dict.fromkeys(estimates.Estimates._fields, 1.0)
  numbers |= {'variance': variance, 'threshold': 6 if variance > 0 else None}
  made = estimates.Estimates(**numbers)
  fake = python_types.SimpleNamespace
  fit = lambda *parts: fake(params=None)
  stage = mock.MagicMock()
  with (
    mock.patch.object(threshold.stage1, 'make', lambda experiment: stage),
    mock.patch.object(threshold.stage1, 'vectors', lambda *_: fake(item=0)),
    mock.patch.object(threshold, '_inside', lambda *_: fake(fit=fit)),
    mock.patch.object(threshold.starts, 'estimate', lambda *_: made),
    mock.patch.object(threshold.stages, 'train', lambda *_: None),
  ):
    ours = two_time_toys.experiment(two_time__threshold_rule='theory')
    return threshold._by_theory(ours, None)


TRUNKS = [
  Call(
    'stage 1 is trained here; leave it out, or train',
    lambda folder: three_systems('runs/base'),
    'leave it out',
    lambda folder: three_systems(''),
  ),
  Call(
    'stage 1 is trained here; leave it out, or train',
    lambda folder: three_systems('runs/base'),
    'train stage 2 alone with launch/train.py',
    lambda folder: on_trunk({}),
  ),
  Call(
    'has parameters for every group already; give a',
    lambda folder: on_trunk(SEPARATE),
    'give a run of one model for all users',
    lambda folder: on_trunk({}),
  ),
  Call(
    'was selected on the test items, and nothing in',
    lambda folder: on_trunk(ON_TEST),
    r'set train\.select_on=(test)',
    lambda folder, part: on_trunk(ON_TEST, train__select_on=part),
  ),
  Call(
    'was selected on the test items, and nothing in',
    lambda folder: on_trunk(ON_TEST),
    'or train another trunk',
    lambda folder: on_trunk({}),
  ),
  Call(
    'events out of stage 1 ({}), this run leaves',
    lambda folder: taken(folder, HELD, True),
    'name a run that leaves the same out',
    lambda folder: taken(folder, {}, True),
  ),
  Call(
    'events out of stage 1 ({}), this run leaves',
    lambda folder: taken(folder, HELD, True),
    'or train another stage 1',
    lambda folder: taken(folder, HELD, True, two_time__stage1=''),
  ),
  Call(
    'has no stage 1 of its own (it was taken from',
    lambda folder: taken(folder, {}, False),
    'name a run that trained one',
    lambda folder: taken(folder, {}, True),
  ),
  *(
    Call(
      says,
      lambda folder: estimated(-1.0),
      'use two_time.threshold_rule=(given) in a new --workdir',
      lambda folder, rule: recipes.check(
        two_time_toys.config(two_time__threshold_rule=rule)
      ),
    )
    for says in (
      'two_time.threshold_rule theory: {}; use',
      'by no more than the noise of their vectors',
    )
  ),
]

CASES = [*RUNS, *TRUNKS]


@pytest.mark.parametrize('call', CASES, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
