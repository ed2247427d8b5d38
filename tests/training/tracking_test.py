"""What is sent to TensorBoard, and to stand-ins of MLflow and W&B."""

import json
import sys
import types as python_types
from unittest import mock

import pytest
from tensorboardX.proto import event_pb2

from twotsrec import types
from twotsrec.training import files
from twotsrec.training import run_directory
from twotsrec.training import tracking


def record(epoch):
  return {
    'epoch': epoch,
    'step': 10 * epoch,
    'train_loss': 1.0 / epoch,
    'train_loss_by_part': [0.5, None],
    'validation': {'ndcg@10': 0.125, 'ndcg@10_by_group': [0.25, None]},
  }


EXPECTED = {
  'epoch': 1.0,
  'step': 10.0,
  'train_loss': 1.0,
  'train_loss_by_part/1': 0.5,
  'validation/ndcg@10': 0.125,
  'validation/ndcg@10_by_group/1': 0.25,
}
CELL = {'ndcg@10': {'value': 0.75, 'low': 0.5, 'high': 1.0, 'count': 9}}
REPORT = {
  'test': {'overall': CELL, 'groups': [{'group': 1, 'users': 9, **CELL}]},
  'training': {'epochs': 2, 'steps': 20},
}
OF_REPORT = {
  'epoch': 2.0,
  'test/ndcg@10': 0.75,
  'test/ndcg@10_by_group/1': 0.75,
}


def add(folder, *epochs):
  folder.mkdir(exist_ok=True)
  for epoch in epochs:
    run_directory.append_metrics(folder, record(epoch))


def shown(folder):
  """[(step, {tag: value})] in the event files of a folder, oldest first."""
  found = []
  for path in sorted((folder / 'tensorboard').iterdir()):
    for one in tracking._records(path):
      event = event_pb2.Event.FromString(one)
      if event.HasField('summary'):
        values = {v.tag: v.simple_value for v in event.summary.value}
        found.append((event.step, values))
  return found


def follow(workdir, kind='tensorboard'):
  return tracking.beside(kind, str(workdir), lambda: 7)


def test_lines_are_shown_as_they_come_and_once(tmp_path):
  run = tmp_path / 'run'
  with follow(run) as stop:
    assert stop() == 7
    add(run, 1)
    stop()
    assert shown(run) == [(10, EXPECTED)]
    stop()
    add(run, 2)
  assert [step for step, _ in shown(run)] == [10, 20]
  with follow(run) as stop:  # the command again
    stop()
  # What was logged after the last checkpoint is taken back, and comes again.
  lines = run_directory.metrics_path(run).read_bytes().splitlines(True)
  run_directory.truncate_metrics(run, len(lines[0]))
  with follow(run) as stop:
    stop()
    add(run, 2, 3)
    files.write_json(run_directory.report_path(run), REPORT)
  steps = [step for step, _ in shown(run)]
  assert steps == [10, 20, 30]  # the report of 20 steps is older than 30


def test_the_report_comes_last(tmp_path):
  add(tmp_path / 'run', 1, 2)
  files.write_json(run_directory.report_path(tmp_path / 'run'), REPORT)
  for _ in range(2):
    with follow(tmp_path / 'run') as stop:
      stop()
  *_, last = shown(tmp_path / 'run')
  assert last == (21, OF_REPORT) and len(shown(tmp_path / 'run')) == 3


def test_what_was_cut_off_by_a_kill_is_shown_once_whole(tmp_path):
  run = tmp_path / 'run'
  add(run, 1, 2)
  with follow(run) as stop:
    stop()
  (path,) = (run / 'tensorboard').iterdir()
  content = path.read_bytes()
  for cut in (1, 20, 100):
    path.write_bytes(content[:-cut])
    with follow(run) as stop:
      stop()
    assert [step for step, _ in shown(run)] == [10, 20]
    (other,) = set((run / 'tensorboard').iterdir()) - {path}
    other.unlink()


def test_runs_and_phases_below_are_shown_apart(tmp_path):
  places = ['ga', 'seed0/ga', 'seed0/base/stage1']
  with follow(tmp_path) as stop:
    for number, place in enumerate(places, 1):
      (tmp_path / place).mkdir(parents=True)
      add(tmp_path / place, number)
      stop()
  for number, place in enumerate(places, 1):
    assert [step for step, _ in shown(tmp_path / place)] == [10 * number]


def test_what_is_written_before_a_failure_is_not_lost(tmp_path):
  run = tmp_path / 'run'
  with pytest.raises(types.UserError), follow(run) as stop:
    add(run, 1)
    stop()
    raise types.UserError('not finite')
  assert [step for step, _ in shown(run)] == [10]


# ---- Stand-ins, which hold what they are sent


def mlflow_of(runs):
  """A module with as much of MLflow as is called, on a dict of runs."""

  class Client:
    def get_experiment_by_name(self, name):
      assert name == 'twotsrec'
      known = python_types.SimpleNamespace(experiment_id='e')
      return known if runs else None

    def create_experiment(self, name):
      return 'e'

    def create_run(self, experiment, run_name):
      assert experiment == 'e'
      run_id = f'id{len(runs)}'
      runs[run_id] = {'name': run_name, 'params': {}, 'lines': []}
      info = python_types.SimpleNamespace(run_id=run_id)
      return python_types.SimpleNamespace(info=info)

    def log_param(self, run_id, name, value):
      runs[run_id]['params'][name] = value

    def get_metric_history(self, run_id, name):
      return [
        m for line in runs[run_id]['lines'] for m in line if m.key == name
      ]

    def log_batch(self, run_id, metrics):
      assert all('@' not in metric.key for metric in metrics)
      runs[run_id]['lines'].append(metrics)

    def set_terminated(self, run_id):
      runs[run_id]['ended'] = True

  def metric(key, value, timestamp, step):
    return python_types.SimpleNamespace(key=key, value=value, step=step)

  module = python_types.ModuleType('mlflow')
  module.MlflowClient = Client
  module.entities = python_types.SimpleNamespace(Metric=metric)
  return module


def wandb_of(runs):
  """The same of W&B offline, where a run does not know its earlier lines."""

  class Run:
    step = 0

    def __init__(self, lines):
      self._lines = lines

    def log(self, values, step):
      self._lines.append((step, dict(values)))

    def finish(self):
      pass

  def init(*, project, id, name, config, resume, **more):
    assert project == 'twotsrec' and resume == 'allow'
    kept = runs.setdefault(id, {'name': name, 'params': config, 'lines': []})
    return Run(kept['lines'])

  module = python_types.ModuleType('wandb')
  module.init = init
  return module


def lines_of(kind, run):
  if kind == 'wandb':
    return run['lines']
  return [
    (line[0].step, {m.key.replace('_at_', '@'): m.value for m in line})
    for line in run['lines']
  ]


@pytest.mark.parametrize('kind', ['mlflow', 'wandb'])
def test_others_are_sent_the_same_and_once(kind, tmp_path):
  runs, run = {}, tmp_path / 'run'
  add(run, 1)
  config = {'train': {'epochs': 3, 'seed': 0}}
  run_directory.config_path(run).write_text(json.dumps(config))
  module = {'mlflow': mlflow_of, 'wandb': wandb_of}[kind](runs)
  with mock.patch.dict(sys.modules, {kind: module}):
    for _ in range(2):
      with follow(run, kind) as stop:
        stop()
    add(run, 2)
    files.write_json(run_directory.report_path(run), REPORT)
    with follow(run, kind) as stop:
      stop()
  (told,) = runs.values()
  assert told['name'] == 'run'
  assert {k: str(v) for k, v in told['params'].items()} == {'train.epochs': '3'}
  lines = lines_of(kind, told)
  assert [step for step, _ in lines] == [10, 20, 21]
  assert lines[0][1] == EXPECTED and lines[2][1] == OF_REPORT


@pytest.mark.parametrize(
  ('kind', 'absent', 'way'),
  [
    ('tensorboard', 'tensorboardX', r"install -e '\.\[track\]'"),
    ('mlflow', 'mlflow', 'pip install mlflow'),
    ('wandb', 'wandb', 'pip install wandb'),
  ],
)
def test_what_is_absent_is_named_before_anything_trains(
  kind, absent, way, tmp_path
):
  with mock.patch.dict(sys.modules, {absent: None}):
    with pytest.raises(types.UserError, match=way):
      with follow(tmp_path, kind):
        raise AssertionError('not reached')


def test_nothing_is_looked_at_where_nothing_is_tracked(tmp_path):
  add(tmp_path / 'run', 1)
  with follow(tmp_path, 'none') as stop:
    assert stop() == 7
  assert [p.name for p in (tmp_path / 'run').iterdir()] == ['metrics.jsonl']
