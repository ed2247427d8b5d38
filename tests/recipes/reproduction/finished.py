"""Finished runs without their models, as the document reads them."""

import dataclasses
import json
import pathlib

import numpy as np

from tests.recipes import compare_test
from twotsrec.evaluation import report as report_lib
from twotsrec.recipes.reproduction import pin

GROUPS, USERS = 3, 60
ACTIVITY = np.arange(100)


def settings(out: pathlib.Path, **changes) -> pin.Settings:
  """All tables on ml-1m with two seeds."""
  made = pin.Settings(
    tables=tuple(pin.TABLES),
    datasets=('ml-1m',),
    models=tuple(pin.MODELS),
    seeds=(0, 1),
    epochs=2,
    stage2_epochs=1,
    data_root='',
    cache_dir='data',
    out=str(out),
  )
  return made._replace(**changes)


def write(
  made: pin.Settings, run: pin.Run, shift: float = 0.0, curve=((0.1, 0.2, 0.3),)
) -> pathlib.Path:
  """A finished run whose AUC differs by about `shift` from those without."""
  targets = compare_test.make_targets(run.seed, 0.0, USERS)
  for name in ('user_auc', 'placement_group', 'placement_all'):
    targets[name] = np.clip(targets[name] + shift, 0, 1)
  built = report_lib.build(targets, ACTIVITY, GROUPS, compare_test.KS, 20)
  for part in (built['overall'], *built['groups']):
    part['hr@1'] = {'value': 0.25}
  place = pathlib.Path(pin.workdir(made, run))
  place.parent.mkdir(parents=True, exist_ok=True)
  compare_test.write_run(place, targets, built)
  path = place / 'report.json'
  report = {
    **json.loads(path.read_text()),
    'dataset': {'users': USERS, 'items': 41, 'events': 1234},
    'validation': built,
    'baselines': {'popularity': built},
    'training': {
      'seconds': 100.0,
      'evaluation_seconds': 10.0,
      'epochs': 2,
      'selected_epoch': 1,
    },
    'versions': {'device': 'cpu'},
  }
  path.write_text(json.dumps(report))
  config = dataclasses.asdict(pin.config(made, run))
  (place / 'config.json').write_text(json.dumps(config))
  lines = [{'validation': {'hr@1_by_group': list(row)}} for row in curve]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (place / 'metrics.jsonl').write_text(text)
  return place
