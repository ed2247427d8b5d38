"""What a request for a paper's tables is refused with, followed."""

import json
import pathlib
import shutil
from unittest import mock

import numpy as np
import pytest

from tests import finished
from tests import worlds
from tests.advice import following
from tests.advice.following import Call
from tests.advice.following import Case
from tests.advice.following import given
from tests.advice.setting import refusal
from tests.studies import directories
from tests.studies import online_finished
from tests.studies import papers
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.studies import chapters
from twotsrec.studies import offline
from twotsrec.studies import online
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.studies import trade_off
from twotsrec.training import online_rows
from twotsrec.training import run_directory

STUDY = papers.module('pin').STUDY
ASKED = [
  Case(says, asked, [way])
  for says, asked, way in (
    (
      'study.py: --{}: unknown {}; known',
      ['--models=din,best'],
      given('models', says=r'known: (din)'),
    ),
    (
      'study.py: --{} is empty; known',
      ['--models='],
      given('models', says=r'known: (din)'),
    ),
    (
      '--seeds: {} is not a whole number from 0',
      ['--seeds=one'],
      given('seeds', says='write (0,1,2)'),
    ),
    (
      '--seeds is empty; write',
      ['--seeds='],
      given('seeds', says='write (0,1,2)'),
    ),
  )
]


def attempt(asked) -> str:
  flags = [flag.lstrip('-').split('=', 1) for flag in asked]
  values = {name: value.split(',') if value else [] for name, value in flags}
  return refusal(study_lib.ask, STUDY, values, 'out')


@pytest.mark.parametrize('case', ASKED, ids=lambda case: case.name)
def test_tables_are_asked_for_as_advised(case, tmp_path):
  following.follow(case, attempt, tmp_path)


# Documents of finished runs.


def asked(**given: list[str]) -> study_lib.Request:
  return study_lib.ask(papers.load('copf'), given, 'out')


def asked_of(directory: pathlib.Path, number: int) -> study_lib.Request:
  return asked(prepared=[directories.make(directory, number)])


def plan_of(folder: pathlib.Path, *systems: str) -> plans.Plan:
  return online_finished.plan(
    folder, systems=systems, table=('comparison',), figure=(), seeds=(0,)
  )


def collected(folder: pathlib.Path, finished: bool):
  plan = plan_of(folder, '2ts')
  if finished:
    online_finished.write(plan, plans.runs(plan)[0])
  return chapters.collect(plan, resamples=20)


def damaged(folder: pathlib.Path):
  plan = plan_of(folder, '2ts')
  online_finished.write(plan, plans.runs(plan)[0])
  path = run_directory.report_path(plans.workdir(plan, plans.runs(plan)[0]))
  whole = path.read_text()
  path.with_suffix('.copy').write_text(whole)
  path.write_text(json.dumps({**json.loads(whole), 'training': {}}))
  return chapters.collect(plan)


def restored(folder: pathlib.Path, path: str):
  shutil.copyfile(pathlib.Path(path).with_suffix('.copy'), path)
  return chapters.collect(plan_of(folder, '2ts'), resamples=20)


def curve(folder: pathlib.Path, metric: str):
  folder.mkdir(exist_ok=True)
  line = {'validation': {f'{metric}_by_group': [0.5]}}
  run_directory.metrics_path(folder).write_text(json.dumps(line) + '\n')
  return offline.curve(str(folder), 'auc')


def trained_on(folder: pathlib.Path, *digests: str, of: str = 'digest'):
  """The chapter of runs with these digests of the data, or `of` the lists."""
  plan = plan_of(folder, '2ts', 'ccf')
  for run, digest in zip(plans.runs(plan), digests, strict=True):
    online_finished.write(plan, run, **{of: digest})
  return chapters.collect(plan, resamples=20)


def seeds_of(folder: pathlib.Path, *shifts: int):
  """Runs of one system whose held-out events are shifted."""
  workdirs = {}
  for seed, shift in enumerate(shifts):
    place = folder / f'{seed}{shift}'
    place.mkdir()
    rows = online_finished.ranked(seed)
    rows['event'] = np.asarray(rows['event']) + shift
    online_rows.save(place, rows, {'popularity': rows})
    workdirs[seed] = str(place)
  options = online_finished.OPTIONS._replace(threshold=3)
  return online.of_runs(workdirs, options)


def trained(folder: pathlib.Path, *written: str) -> None:
  """Trains the missing runs, none of which leaves a report."""
  plan = plan_of(folder, '2ts', 'ccf')
  for run in plans.runs(plan):
    if run.system in written:
      online_finished.write(plan, run)
  with (
    mock.patch.object(run_lib, 'train', lambda *_, **__: {}),
    mock.patch.object(experiment_lib, 'load_data', lambda config: None),
  ):
    assert plans.train(plan, quiet=True)


def curves_of(same):
  """Rankers for curves, of a run on the data that are measured or others."""
  workdir = str(finished.run())
  experiment, _ = experiment_lib.load(workdir)
  if not same:
    experiment = experiment._replace(prepared=worlds.log()[0])
  return trade_off.rankers(experiment, [], {'run': workdir})


CALLS = [
  Call(
    '--runs: {} was trained on other data',
    lambda folder: curves_of(same=False),
    'give a run on the same',
    lambda folder: curves_of(same=True),
  ),
  *(
    Call(
      'has any of --{}={}; leave one of them out',
      lambda folder: asked(table=['3'], variants=['mmoe']),
      'no --table=3 .* leave one of them out',
      lambda folder, left=left: asked(**left),
    )
    for left in ({'table': ['3']}, {'variants': ['mmoe']})
  ),
  Call(
    '--prepared: the behaviors of {} are {}',
    lambda folder: asked_of(folder / 'log', 0),
    'prepare the log with --behavior_column and --behaviors$',
    lambda folder: asked_of(folder / 'again', 2),
  ),
  Call(
    'takes {} behavior at most',
    lambda folder: study_lib.ask(
      papers.load('pin'),
      {'prepared': [directories.make(folder / 'log', 2)]},
      'out',
    ),
    'prepare the log with --where=COLUMN=VALUE for one of them$',
    lambda folder: study_lib.ask(
      papers.load('pin'),
      {'prepared': [directories.make(folder / 'again', 0)]},
      'out',
    ),
  ),
  Call(
    '--prepared: {} would be called {}',
    lambda folder: asked_of(folder / 'taobao-copf', 2),
    '^--prepared: (.*) would be .*; rename it$',
    lambda folder, path: asked(
      prepared=[str(pathlib.Path(path).rename(folder / 'mine'))]
    ),
  ),
  Call(
    'no run of these settings has finished in {}',
    lambda folder: collected(folder, finished=False),
    'leave out --report_only to train them',
    lambda folder: collected(folder, finished=True),
  ),
  Call(
    'plans.py: {} is damaged or of another version',
    damaged,
    r'^(\S+) is damaged .* restore it from a copy',
    restored,
  ),
  Call(
    'offline.py: {} has no {}; train again in an',
    lambda folder: curve(folder / 'run', 'loss'),
    'train again in an empty --out',
    lambda folder: curve(folder / 'new', 'auc'),
  ),
  Call(
    '(dataset_digest differs), so they cannot be',
    lambda folder: trained_on(folder / 'runs', 'a' * 64, 'b' * 64),
    'train them on the same',
    lambda folder: trained_on(folder / 'again', 'a' * 64, 'a' * 64),
  ),
  Call(
    '(lists_digest differs), so they cannot be',
    lambda folder: trained_on(folder / 'runs', 'a', 'b', of='lists'),
    'the same two_time.evaluation_lists and evaluation.seed',
    lambda folder: trained_on(folder / 'again', 'a', 'a', of='lists'),
  ),
  Call(
    'holds out other events than the runs beside it',
    lambda folder: seeds_of(folder, 0, 1),
    'train them on the same data',
    lambda folder: seeds_of(folder, 2, 2),
  ),
  Call(
    'waits for a run beside it that has no report',
    trained,
    r'train that first',
    lambda folder: trained(folder, '2ts'),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_documents_are_made_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
