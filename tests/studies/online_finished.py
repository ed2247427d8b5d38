"""Finished runs of 2TS without their models, as the document reads them."""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from tests.evaluation import online_toys
from tests.studies import papers
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.presets import two_time as presets
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.training import online_rows
from twotsrec.training import run_directory

USERS, ITEMS, THRESHOLD = 60, 41, 3
EPOCHS = 20  # of stage 1, as the reference has chosen
OPTIONS = online_report.Options(lists=30, edges=(2, 4), resamples=20)
POPULAR = 9  # places that popularity is below a system of `write`
CHANGES = {'two_time.threshold': THRESHOLD, 'two_time.window': 1}
_GROUP = {'group': 1, 'users': 9, 'min_activity': 0, 'max_activity': 14}


def plan(out: pathlib.Path, folders=(), **given) -> plans.Plan:
  """Both tables and Figs. 3 to 5 on ml-100k with two seeds.

  Args:
    out: folder of the runs.
    folders: more arguments of `study.ask`.
    **given: flags; `changes` are those of `study.ask`.
  """
  study = papers.load('two_time_scale')
  changes = given.pop('changes', CHANGES)
  every = {
    'table': ('comparison', 'ablation'),
    'figure': ('3', '4', '5'),
    'systems': study.systems,
    'seeds': (0, 1),
  }
  request = study_lib.ask(
    study, every | given, out, changes=changes, **dict(folders)
  )
  return plans.plan(study, request)


@functools.cache
def log() -> prepared_lib.Prepared:
  """The data of all runs."""
  return online_toys.log(np.random.default_rng(0), USERS, ITEMS)


def ranked(seed: int = 0, worse: int = 0, slower: float = 0.0) -> dict:
  """Rows of test events, `worse` places below those of another system.

  States of inactive users move by 2 - `slower`, those of active users by 1.
  """
  generator = np.random.default_rng(seed)
  data = log()
  event = online.held_out(data, prepared_lib.TEST)
  facts = online.describe(data, event)
  better = np.clip(generator.integers(4, 20, event.size) + worse, 0, ITEMS - 1)
  noise = 0.1 * generator.random(event.size)
  active = facts['train_count'] > THRESHOLD
  return {
    **facts,
    'movement': np.where(active, 1.0, 2.0 - slower) + noise,
    'norm': np.full(event.size, 4.0),
    'better': better,
    'tied': np.zeros_like(better),
    'num_negatives': np.full(event.size, ITEMS - 1),
    'better_without_past': better // 2,
    'tied_without_past': np.zeros_like(better),
    'num_negatives_without_past': np.full(event.size, ITEMS // 2),
  }


def of_users(rows: dict, number: int) -> dict:
  """Rows of the first so many users."""
  chosen = rows['user'] < number
  return {name: values[chosen] for name, values in rows.items()}


def write(
  made: plans.Plan, run: study_lib.Run, worse: int = 0, **more
) -> pathlib.Path:
  """A finished run.

  More: `slower` as in `ranked`, `digest` of its data, `lists` of its
  candidates, `users` who are ranked, the first so many.
  """
  slower, digest = more.get('slower', 0.0), more.get('digest', 'd' * 64)
  users = more.get('users', USERS)
  place = pathlib.Path(plans.workdir(made, run))
  place.mkdir(parents=True)
  online_rows.save(
    place,
    of_users(ranked(run.seed, worse, slower), users),
    {'popularity': of_users(ranked(worse=POPULAR), users)},
  )
  prepared_lib.save(log(), str(run_directory.ids_path(place)))
  single = run.system.startswith('single_stage')
  config = plans.config(made, run)
  (place / 'config.json').write_text(json.dumps(dataclasses.asdict(config)))
  report = _report(run, single, digest)
  shown = report['online']['model']['test']
  shown['lists_digest'] = more.get('lists', shown['lists_digest'])
  events = of_users(ranked(), users)['event'].size
  shown['rows'][0]['all']['events'] = events
  if run.system in presets.BASELINES:  # one phase, as of any sequence model
    del report['two_time']
  (place / 'report.json').write_text(json.dumps(report))
  return place


def _report(run, single, digest):
  phase = {'epochs': 4, 'seconds': 8.0 + run.seed}
  phases = {
    'stage1': {'epochs': 40, 'seconds': 4.0},
    'inactive_5': {'epochs': 7, 'seconds': 70.0},
    f'inactive_{EPOCHS}': phase,
    'active': phase,
  }
  return {
    'dataset': {'users': USERS, 'items': ITEMS, 'events': log().num_events},
    'test': {'groups': [_GROUP]},
    'protocol': {
      'split': run.place[1],
      'candidates': 'all',
      'order': 'online',
      'selection': 'validation mrr',
      'dataset_digest': digest,
    },
    'online': {'model': {'test': _online()}},
    'two_time': {
      'stage1_epochs': 0 if single else EPOCHS,
      'stage1_trials': {} if single else {'5': 0.25, str(EPOCHS): 0.5},
      'stage1_seconds': 0.0 if single else 2.0,
      'stage1_taken': False,
    },
    'training': {
      'phases': {'both': {'epochs': 2, 'seconds': 20.0}} if single else phases,
      'seconds': 100.0 + run.seed,
      'compile_seconds': 5.0,
      'evaluation_seconds': 10.0,
      'test_seconds': 2.0,
      'epochs': 50,
      'selected_epoch': None if single else EPOCHS,
    },
    'versions': {'device': 'cpu'},
  }


def _online():
  # A run without two kinds of users has no threshold in its report.
  events = online.held_out(log(), prepared_lib.TEST).size
  return {
    'options': OPTIONS._asdict() | {'threshold': None},
    'lists_digest': 'e' * 64,
    'rows': [{'all': {'events': events}}],
  }
