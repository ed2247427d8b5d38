"""Finished runs without their models, as documents read them."""

import dataclasses
import json
import pathlib

import numpy as np

from tests.runs import compare_test
from tests.studies import papers
from twotsrec import config
from twotsrec.evaluation import report as report_lib
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

GROUPS = 3
PARTS = ('cart', 'view', 'new')
_EVALUATION = config.EvaluationConfig(ks=tuple(compare_test.KS), bootstrap=20)
RULES = {'buy_popularity': 12, 'cart_reminder': 2, 'view_reminder': 0}
SHORT = {
  'pin': {'seeds': (0, 1), 'epochs': 2, 'stage2_epochs': 1},
  'copf': {'seeds': (0, 1), 'epochs': 2},
}
PIN_USERS, COPF_USERS = 60, 90
_TRAINING = {
  'seconds': 100.0,
  'evaluation_seconds': 10.0,
  'epochs': 2,
  'selected_epoch': 1,
  'selected_value': 0.1,
}


def plan(name: str, out: pathlib.Path, folders=(), **given) -> plans.Plan:
  """Two seeds of a study with all tables, on its own dataset.

  Args:
    name: of a paper.
    out: folder of the runs.
    folders: more arguments of `study.ask`.
    **given: flags; `changes` are those of `study.ask`.
  """
  study = papers.load(name)
  more = {'changes': given.pop('changes', None), **dict(folders)}
  request = study_lib.ask(study, SHORT[name] | given, out, **more)
  return plans.plan(study, request)


def run(
  *place: str, seed: int = 0, setting: str = study_lib.OWN
) -> study_lib.Run:
  """A run by its place and, last, its system."""
  *at, system = place
  return study_lib.Run(tuple(at), seed, system, setting)


def write_pin(
  made: plans.Plan,
  run: study_lib.Run,
  shift: float = 0.0,
  curve=((0.1, 0.2, 0.3),),
) -> pathlib.Path:
  """A finished run whose AUC differs by about `shift` from those without."""
  targets = compare_test.make_targets(run.seed, 0.0, PIN_USERS)
  for name in ('user_auc', 'placement_group', 'placement_all'):
    targets[name] = np.clip(targets[name] + shift, 0, 1)
  activity = np.arange(100)
  built = report_lib.build(targets, activity, GROUPS, _EVALUATION)
  for part in (built['overall'], *built['groups']):
    part['hr@1'] = {'value': 0.25}
  place = _write(
    made, run, targets, built, PIN_USERS, {'popularity': built}, _TRAINING
  )
  lines = [{'validation': {'hr@1_by_group': list(row)}} for row in curve]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (place / 'metrics.jsonl').write_text(text)
  return place


def write_copf(
  made: plans.Plan,
  run: study_lib.Run,
  worse: int = 0,
  value: float = 0.1,
  **protocol,
) -> pathlib.Path:
  """A finished run whose held-out items stand `worse` ranks below others'.

  It was selected by `value` on validation.
  """
  targets = _with_parts(run.seed, worse)
  rules = {rule: _built(_with_parts(0, down)) for rule, down in RULES.items()}
  training = {
    **_TRAINING,
    'seconds': 100.0 + run.seed,
    'selected_epoch': 1 + run.seed,
    'selected_value': value,
  }
  protocol = {'candidates': 'unbought', 'split': 'given'} | protocol
  built = _built(targets)
  return _write(
    made, run, targets, built, COPF_USERS, rules, training, **protocol
  )


def _with_parts(seed, worse):
  targets = compare_test.make_targets(seed, users=COPF_USERS)
  targets['better'] = np.maximum(targets['better'] + worse, 0)
  targets['part'] = targets['user'] // GROUPS % len(PARTS)
  return targets


def _built(targets):
  activity = np.arange(COPF_USERS)
  return report_lib.build(targets, activity, GROUPS, _EVALUATION, PARTS)


def _write(made, run, targets, built, users, rules, training, **protocol):
  place = pathlib.Path(plans.workdir(made, run))
  place.parent.mkdir(parents=True, exist_ok=True)
  compare_test.write_run(place, targets, built, **protocol)
  path = place / 'report.json'
  report = {
    **json.loads(path.read_text()),
    'dataset': {'users': users, 'items': 41, 'events': 1234},
    'validation': built,
    'baselines': rules,
    'training': training,
    'versions': {'device': 'cpu'},
  }
  path.write_text(json.dumps(report))
  config = dataclasses.asdict(plans.config(made, run))
  (place / 'config.json').write_text(json.dumps(config))
  return place
