import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests import finished
from tests import small_runs as runs
from tests.launch import scripts
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.runs import tables

# ml_collections reads config files with a function that Python deprecates.
pytestmark = pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)
QUICKSTART = scripts.ROOT / 'configs' / 'quickstart.py'


@pytest.fixture(autouse=True)
def signals():
  """Puts back who listens to SIGTERM and Ctrl-C."""
  kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
  yield
  for number, handler in kept.items():
    signal.signal(number, handler)


# ---- Killed at any moment


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Starts the real command, which compiles where and as this process does."""
  folder = tmp_path_factory.mktemp('elsewhere')
  environment = {
    **os.environ,
    'PYTHONPATH': str(scripts.ROOT),
    'JAX_PLATFORMS': 'cpu',
  }
  # A shell's background jobs, and what they start, ignore Ctrl-C.
  heeding = (
    'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);'
    ' os.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
  )
  command = [
    *(sys.executable, '-c', heeding),
    str(scripts.LAUNCH / 'train.py'),
    f'--config={QUICKSTART}',
    *runs.flags(),
    '--config.train.epochs=16',
    '--config.train.patience=0',
    '--config.train.log_groups=False',
  ]

  def begin(workdir):
    return subprocess.Popen(
      [*command, f'--workdir={workdir}'],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
      cwd=folder,
    )

  return begin


def _finish(process):
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def _wait_for_more(process, workdir: pathlib.Path, epochs: int):
  """Waits until some more epochs are logged, or the process has ended."""
  log = workdir / 'metrics.jsonl'
  lines = lambda: log.read_bytes().count(b'\n') if log.exists() else 0
  goal = lines() + epochs
  while process.poll() is None and lines() < goal:
    time.sleep(0.005)


def test_killed_at_random_moments_it_ends_as_if_never_interrupted(
  start, tmp_path
):
  """kill -9, Ctrl-C and SIGTERM, against a run in this process."""
  workdir = tmp_path / 'run'
  generator = random.Random(0)
  process = start(workdir)
  _wait_for_more(process, workdir, 2)
  time.sleep(generator.uniform(0.0, 0.2))
  process.kill()
  code, _, _ = _finish(process)
  assert code == -signal.SIGKILL
  assert not (workdir / 'report.json').exists()
  for number in (signal.SIGINT, signal.SIGTERM):
    process = start(workdir)
    _wait_for_more(process, workdir, 1)
    process.send_signal(number)
    code, out, err = _finish(process)
    assert code == 128 + number
    assert 'the same command resumes, with --finish' in out
    assert 'Traceback' not in err
  assert code == 143 and 'Ctrl-C' not in err
  code, out, err = _finish(start(workdir))
  assert code == 0, err
  whole = tmp_path / 'whole'
  config = runs.config(
    train__epochs=16, train__patience=0, train__log_groups=False
  )
  run_lib.train(config, str(whole), quiet=True)
  assert runs.untimed_report(workdir) == runs.untimed_report(whole)
  assert runs.untimed_metrics(workdir) == runs.untimed_metrics(whole)
  (_, resumed), (_, never) = map(experiment_lib.load, (workdir, whole))
  runs.assert_same_arrays(resumed, never)
  expected = tables.of_report(runs.untimed_report(whole))
  assert out == expected + '\n'


# ---- The command line


def _train(capsys, *flags, config=QUICKSTART):
  return scripts.run(capsys, 'train', f'--config={config}', '--quiet', *flags)


def test_a_finished_run_shows_its_table_again(capsys):
  ended = _train(capsys, f'--workdir={finished.run()}', *runs.flags())
  table = tables.of_report(runs.untimed_report(finished.run()))
  assert ended == (0, table + '\n', '')


def test_another_setting_in_the_directory_of_a_run_is_refused(capsys):
  ended = _train(
    capsys,
    f'--workdir={finished.run()}',
    *runs.flags(),
    '--config.train.seed=9',
  )
  scripts.assert_refused(ended, 'train.seed: 0 there, 9 here', lines=2)


def test_a_loss_that_is_not_finite_is_an_error_with_its_step(capsys, tmp_path):
  ended = _train(
    capsys,
    f'--workdir={tmp_path / "run"}',
    *runs.flags(),
    '--config.train.learning_rate=1e30',
    '--noconfig.train.log_groups',
  )
  scripts.assert_refused(
    ended,
    'not finite at step',
    'lower train.learning_rate (now 1e+30;',
    lines=2,
  )
  assert not (tmp_path / 'run' / 'report.json').exists()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--config.train.epoch=1'], "no field 'epoch'; known: method, objective"),
    (['--config.trains.epochs=1'], "no field 'trains'; known: data, groups"),
    (['--config.train.epochs=0'], 'train.epochs 0 must be at least 1'),
    (['--config.train.epochs=few'], 'few'),
    (['--config.train.epochs=1.5'], '1.5'),
    (['--config.model.name=dim'], 'known models: din'),
    (['--config.aggregator.name=mean'], 'known: joint, backdoor'),
    (['--config.train.batch_size=4'], 'below the 5 groups'),
    (['--config.model.name=sasrec', '--config.model.num_heads=5'], 'divide'),
    (['--config.model.dropout=0.1'], 'it takes width, compute_dtype, hidden'),
    (['--data_root=DIR', '--config.data.dataset=ml-1m'], 'no file DIR/ml-1m'),
    (['--data_root=DIR'], 'nothing reads it with data.dataset=synthetic'),
    (
      ['--data_root=DIR', '--config.data.prepared=mine'],
      'nothing reads it with data.prepared=mine',
    ),
    (['--epochs=3'], "Unknown command line flag 'epochs'"),
    (['extra'], "unexpected argument 'extra'"),
  ],
  ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_a_wrong_command_is_two_lines_and_leaves_nothing(
  capsys, tmp_path, flags, message
):
  fill = lambda text: text.replace('DIR', str(tmp_path))
  ended = _train(
    capsys,
    f'--workdir={tmp_path / "run"}',
    '--config.data.users=25',
    *map(fill, flags),
  )
  scripts.assert_refused(ended, fill(message), lines=2)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (None, 'none.py'),
    (
      'from ml_collections import config_dict\n'
      'get_config = config_dict.ConfigDict',
      'not a twotsrec.config.Config',
    ),
    ('x = (', '--config, line 1: SyntaxError'),
    ('\nimport nowhere', '--config, line 2: ModuleNotFoundError'),
    (
      'def get_config():\n  return 1 / 0',
      '--config, line 2: ZeroDivisionError: division by zero',
    ),
    ('def get_config():\n  raise ValueError("no")', 'none.py: no; see --help'),
  ],
)
def test_a_config_file_that_is_none_is_named(capsys, tmp_path, text, message):
  path = tmp_path / 'none.py'
  if text:
    path.write_text(text, encoding='utf-8')
  for flags in ([], ['--config.train.epochs=3']):
    workdir = f'--workdir={tmp_path / "run"}'
    ended = _train(capsys, workdir, *flags, config=path)
    assert ended.code == 2
    # A field is changed before it is known what was made.
    assert message in ended.err or (flags and 'ConfigDict' in text)
    assert len(ended.err.splitlines()) <= 2
  ended = _train(capsys, '--config.train.epochs=3', config='')
  assert ended.code == 2 and 'an empty string; name a file' in ended.err
  assert not (tmp_path / 'run').exists()


def test_a_run_is_finished_without_its_config(capsys):
  ended = scripts.run(
    capsys, 'train', f'--workdir={finished.run()}', '--finish', '--quiet'
  )
  table = tables.of_report(runs.untimed_report(finished.run()))
  assert ended == (0, table + '\n', '')


def test_what_is_missing_is_named(capsys, tmp_path):
  ended = scripts.run(capsys, 'train', f'--workdir={tmp_path / "run"}')
  assert ended.code == 2 and '--config is missing' in ended.err
  ended = _train(capsys)
  assert ended.code == 2 and '--workdir is missing' in ended.err
  assert not list(tmp_path.iterdir())


def test_flags_change_the_configuration(capsys, monkeypatch, tmp_path):
  seen = []
  monkeypatch.setattr(
    run_lib, 'train', lambda config, *rest, **options: seen.append(config)
  )
  ended = _train(
    capsys,
    f'--workdir={tmp_path}',
    '--data_root=there',
    '--config.data.dataset=ml-1m',
    '--config.data.cache_dir=~/cache',
    '--config.model.hidden=(7,)',
    '--config.evaluation.ks=(1,3)',
    '--config.aggregator.prior=(0.5,0.25,0.25)',
    '--config.train.learning_rate=1e-4',
    '--config.model.causal',
  )
  assert ended.code == 143  # `train` said it was stopped
  (config,) = seen
  assert config.data.data_root == 'there'
  assert config.data.cache_dir == os.path.expanduser('~/cache')
  assert config.model.hidden == (7,) and config.model.causal is True
  assert config.evaluation.ks == (1, 3)
  assert config.aggregator.prior == (0.5, 0.25, 0.25)
  assert config.train.learning_rate == 1e-4
