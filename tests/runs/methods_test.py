"""Stage 1 trained by another method than one model for all users."""

import csv

import pytest

from tests import finished
from tests import small_runs as runs
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory

GROUPS = 3


def check_finite(report):
  """Metrics of both splits, of everybody and by group, lie in 0..1."""
  for part in (report['validation'], report['test']):
    for row in (part['overall'], *part['groups']):
      for name in ('auc', 'user_auc', 'hr@10', 'mrr'):
        assert 0 <= row[name]['value'] <= 1


def test_separate_models_serve_their_own_groups(tmp_path):
  workdir = finished.run('separate')
  report = files.read_json(run_directory.report_path(workdir))
  protocol = report['protocol']
  assert protocol['method'] == 'separate'
  assert protocol['selection'] == 'validation loss by group'
  assert protocol['routing']['mode'] == 'frozen'
  assert len(report['training']['selected_epoch']) == GROUPS
  experiment, params = experiment_lib.load(str(workdir))
  assert len(params) == GROUPS
  for group, own in enumerate(params):
    ranker = experiment_lib.ranker(experiment, [own] * GROUPS)
    part = reports.evaluate(experiment, ranker, 'test', quiet=True).part
    part = files.jsonable(part)
    for other in range(GROUPS):
      same = part['groups'][other] == report['test']['groups'][other]
      assert same == (other == group)
  out = tmp_path / 'top.csv'
  recommend.run(str(workdir), str(out), recommend.Options(k=3), quiet=True)
  with open(out, encoding='utf-8') as file:
    assert len(list(csv.DictReader(file))) == 25 * 3


@pytest.mark.parametrize(
  'changes',
  [
    {'train__penalty': 'irm'},
    {'train__penalty': 'fishr', 'train__penalty_weight': 10.0},
    {'train__method': 'grad_transfer', 'aggregator__name': 'joint'},
  ],
  ids=lambda changes: next(iter(changes.values())),
)
def test_penalties_and_sequential_methods_run_through(tmp_path, changes):
  config = runs.config(
    train__log_groups=False,
    train__checkpoint_every=60.0,
    train__epochs=1,
    train__select_metric='none',
    **changes,
  )
  run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  _check_trained(tmp_path / 'run', config)


@pytest.mark.parametrize('name', ['vrex', 'fish'])
def test_so_do_those_that_are_recorded(name):
  workdir = finished.run(name)
  _check_trained(workdir, run_directory.typed_config(workdir))


def _check_trained(workdir, config):
  report = files.read_json(run_directory.report_path(workdir))
  check_finite(report)
  protocol = report['protocol']
  assert protocol['method'] == config.train.method
  assert protocol['penalty'] == config.train.penalty
  assert protocol['aggregator'] == config.aggregator.name
  lines = run_directory.read_metrics(workdir)
  assert len(lines) == config.train.epochs
  assert all(0 < line['train_loss'] < 1 for line in lines)
