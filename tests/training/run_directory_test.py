"""One run, one configuration, one process per directory."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from twotsrec import types
from twotsrec.training import run_directory

CONFIG = {
  'model': {'name': 'din', 'hidden': (8, 4)},
  'train': {'learning_rate': 0.001, 'epochs': 2},
}


def with_train(**changes):
  return {**CONFIG, 'train': {**CONFIG['train'], **changes}}


def test_the_same_config_opens_the_run_again(tmp_path):
  workdir = tmp_path / 'a' / 'b'
  assert run_directory.open_run(workdir, CONFIG) == workdir
  before = run_directory.config_path(workdir).read_bytes()
  run_directory.open_run(workdir, CONFIG)
  assert run_directory.config_path(workdir).read_bytes() == before
  assert run_directory.read_config(workdir) == json.loads(json.dumps(CONFIG))


def test_another_config_is_refused_and_the_difference_shown(tmp_path):
  run_directory.open_run(tmp_path, CONFIG)
  changed = with_train(learning_rate=1e-4, patience=3)
  with pytest.raises(types.UserError) as raised:
    run_directory.open_run(tmp_path, changed)
  message = str(raised.value)
  assert 'train.learning_rate: 0.001 there, 0.0001 here' in message
  assert 'train.patience: absent there, 3 here' in message
  assert 'epochs' not in message
  assert '--workdir' in message
  assert run_directory.read_config(tmp_path)['train']['learning_rate'] == 0.001


def test_many_differences_are_counted(tmp_path):
  run_directory.open_run(tmp_path, {str(i): i for i in range(20)})
  with pytest.raises(types.UserError, match='and 14 more'):
    run_directory.open_run(tmp_path, {str(i): -1 for i in range(20)})


def test_settings_that_do_not_change_the_result_may_differ(tmp_path):
  run_directory.open_run(tmp_path, CONFIG)
  changed = with_train(checkpoint_every=1.0)
  run_directory.open_run(tmp_path, changed, {'train.checkpoint_every'})


def test_checkpoints_without_a_config_are_refused(tmp_path):
  run_directory.latest_path(tmp_path).mkdir(parents=True)
  with pytest.raises(types.UserError, match=r'no config\.json'):
    run_directory.open_run(tmp_path, CONFIG)


def test_a_folder_that_is_no_run_is_a_user_error(tmp_path):
  with pytest.raises(types.UserError, match='not a run directory'):
    run_directory.read_config(tmp_path / 'absent')
  run_directory.config_path(tmp_path).write_text('[1]')
  with pytest.raises(types.UserError, match='does not hold a config'):
    run_directory.read_config(tmp_path)


def test_a_file_in_place_of_the_workdir_is_a_user_error(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(types.UserError, match='cannot write .*file'):
    run_directory.open_run(tmp_path / 'file', CONFIG)


_HOLDER = """
import sys, time
from twotsrec.training import run_directory
with run_directory.locked(sys.argv[1]):
  print('held', flush=True)
  time.sleep(60)
"""


def test_a_second_process_is_kept_out_until_the_first_is_killed(tmp_path):
  pytest.importorskip('fcntl')
  holder = subprocess.Popen(
    [sys.executable, '-c', _HOLDER, str(tmp_path)], stdout=subprocess.PIPE
  )
  try:
    assert holder.stdout.readline() == b'held\n'
    with pytest.raises(types.UserError, match=f'pid {holder.pid}'):
      with run_directory.locked(tmp_path):
        pass
  finally:
    holder.kill()
    holder.wait()
    holder.stdout.close()
  with run_directory.locked(tmp_path):
    pass


def test_metrics_taken_back_to_a_checkpoint_repeat_byte_for_byte(tmp_path):
  records = [{'step': i, 'loss': 1 / (i + 1)} for i in range(4)]
  sizes = [run_directory.sync_metrics(tmp_path)]
  for record in records:
    run_directory.append_metrics(tmp_path, record)
    sizes.append(run_directory.sync_metrics(tmp_path))
  whole = run_directory.metrics_path(tmp_path).read_bytes()
  for i in range(4, -1, -1):
    run_directory.truncate_metrics(tmp_path, sizes[i])
    assert run_directory.read_metrics(tmp_path) == records[:i]
  for record in records:
    run_directory.append_metrics(tmp_path, record)
  assert run_directory.metrics_path(tmp_path).read_bytes() == whole


def test_half_a_line_is_not_read_and_is_taken_back(tmp_path):
  run_directory.append_metrics(tmp_path, {'step': 1})
  size = run_directory.sync_metrics(tmp_path)
  with open(run_directory.metrics_path(tmp_path), 'ab') as file:
    file.write(b'{"step": 2, "lo')
  assert run_directory.read_metrics(tmp_path) == [{'step': 1}]
  run_directory.truncate_metrics(tmp_path, size)
  run_directory.append_metrics(tmp_path, {'step': 2})
  assert run_directory.read_metrics(tmp_path) == [{'step': 1}, {'step': 2}]


def test_lost_lines_are_reported(tmp_path, caplog):
  run_directory.append_metrics(tmp_path, {'step': 1})
  size = run_directory.sync_metrics(tmp_path)
  with caplog.at_level(logging.WARNING, 'twotsrec'):
    run_directory.truncate_metrics(tmp_path, size + 1)
  assert 'lines were lost' in caplog.text
  assert run_directory.sync_metrics(tmp_path) == size


def test_undefined_metrics_are_null(tmp_path):
  run_directory.append_metrics(tmp_path, {'auc': np.float32('nan')})
  text = run_directory.metrics_path(tmp_path).read_text(encoding='utf-8')
  assert text == '{"auc": null}\n'


def test_a_run_without_metrics_has_none(tmp_path):
  assert run_directory.read_metrics(tmp_path) == []
