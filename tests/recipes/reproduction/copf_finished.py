"""Finished runs of COPF without their models, as the document reads them."""

import dataclasses
import json
import pathlib

import numpy as np

from tests.recipes import compare_test
from twotsrec.evaluation import report as report_lib
from twotsrec.recipes.reproduction import copf

GROUPS, USERS = 3, 90
PARTS = ('cart', 'view', 'new')
RULES = {'buy_popularity': 12, 'cart_reminder': 2, 'view_reminder': 0}
_ACTIVITY = np.arange(USERS)


def settings(out: pathlib.Path, **changes) -> copf.Settings:
  """All tables on taobao-copf with two seeds."""
  made = copf.Settings(
    tables=tuple(copf.TABLES),
    datasets=('taobao-copf',),
    variants=copf.SYSTEMS,
    seeds=(0, 1),
    epochs=2,
    data_root='',
    cache_dir='data',
    out=str(out),
  )
  return made._replace(**changes)


def write(
  made: copf.Settings, run: copf.Run, worse: int = 0, **protocol
) -> pathlib.Path:
  """A finished run whose held-out items stand `worse` ranks below others'."""
  targets = _targets(run.seed, worse)
  place = pathlib.Path(copf.workdir(made, run))
  place.parent.mkdir(parents=True, exist_ok=True)
  protocol = {'candidates': 'unbought', 'split': 'given'} | protocol
  compare_test.write_run(place, targets, _built(targets), **protocol)
  path = place / 'report.json'
  report = {
    **json.loads(path.read_text()),
    'dataset': {'users': USERS, 'items': 41, 'events': 1234},
    'baselines': {
      rule: _built(_targets(0, down)) for rule, down in RULES.items()
    },
    'training': {
      'seconds': 100.0 + run.seed,
      'evaluation_seconds': 10.0,
      'epochs': 2,
      'selected_epoch': 1 + run.seed,
    },
    'versions': {'device': 'cpu'},
  }
  path.write_text(json.dumps(report))
  config = dataclasses.asdict(copf.config(made, run))
  (place / 'config.json').write_text(json.dumps(config))
  return place


def _targets(seed, worse):
  targets = compare_test.make_targets(seed, users=USERS)
  targets['rank'] = np.maximum(targets['rank'] + worse, 1.0)
  targets['part'] = targets['user'] // GROUPS % len(PARTS)
  return targets


def _built(targets):
  ks = compare_test.KS
  return report_lib.build(targets, _ACTIVITY, GROUPS, ks, 20, part_names=PARTS)
