"""`--track` of the scripts that train, on runs that have finished."""

import pathlib
import sys
from unittest import mock

import pytest
from tensorboardX.proto import event_pb2

from tests import finished
from tests import small_runs as runs
from tests.launch import scripts
from twotsrec.training import run_directory
from twotsrec.training import tracking

# ml_collections reads config files with a function that Python deprecates.
pytestmark = [
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
  pytest.mark.usefixtures('undone'),
]
QUICKSTART = scripts.ROOT / 'configs' / 'quickstart.py'


def track(capsys, workdir: pathlib.Path, kind='tensorboard') -> scripts.Ended:
  return scripts.run(
    capsys,
    'train',
    f'--config={QUICKSTART}',
    *runs.flags(),
    f'--workdir={workdir}',
    f'--track={kind}',
  )


def test_a_run_is_shown_by_its_command_and_once(capsys, tmp_path):
  workdir = finished.copy(tmp_path)
  for _ in range(2):
    ended = track(capsys, workdir)
    assert ended.code == 0, ended.err
  (path,) = (workdir / 'tensorboard').iterdir()
  events = map(event_pb2.Event.FromString, tracking._records(path))
  shown = {
    event.step: {one.tag: one.simple_value for one in event.summary.value}
    for event in events
    if event.HasField('summary')
  }
  records = run_directory.read_metrics(workdir)
  *steps, last = shown
  assert steps == [record['step'] for record in records]
  for record in records:
    values = shown[record['step']]
    for j, loss in enumerate(record['train_loss_by_part'], 1):
      assert values[f'train_loss_by_part/{j}'] == pytest.approx(loss)
    cosines = [name for name in values if name.startswith('diagnosis/')]
    assert cosines  # of the groups, as log_groups asks for
  report = runs.untimed_report(workdir)
  for j, group in enumerate(report['test']['groups'], 1):
    value = shown[last][f'test/ndcg@10_by_group/{j}']
    assert value == pytest.approx(group['ndcg@10']['value'])


def test_what_is_not_installed_is_a_line_and_leaves_nothing(capsys, tmp_path):
  with mock.patch.dict(sys.modules, {'wandb': None}):
    ended = track(capsys, tmp_path / 'run', 'wandb')
  assert ended.code == 2 and 'pip install wandb' in ended.err
  assert len(ended.err.splitlines()) == 1
  assert not (tmp_path / 'run').exists()


def test_kinds_are_those_that_there_are(capsys, tmp_path):
  ended = track(capsys, tmp_path, 'x')
  assert ended.code == 2 and '|'.join(tracking.KINDS) in ended.err
