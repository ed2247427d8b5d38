import dataclasses
import json
import signal

import pytest

from tests import finished
from tests import small_runs as runs
from tests.launch import scripts
from twotsrec.recipes import pin
from twotsrec.runs import tables

# ml_collections reads config files with a function that Python deprecates.
pytestmark = pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)
CONFIG = 'from twotsrec import config\nget_config = config.Config\n'


@pytest.fixture(autouse=True)
def signals():
  """Puts back who listens to SIGTERM."""
  kept = signal.getsignal(signal.SIGTERM)
  yield
  signal.signal(signal.SIGTERM, kept)


@pytest.fixture
def run_pin(capsys, tmp_path_factory):
  """Runs the script on the small experiment."""
  path = tmp_path_factory.mktemp('config') / 'small.py'
  path.write_text(CONFIG, encoding='utf-8')
  small = (f'--config={path}', '--quiet', *runs.flags())
  return lambda *flags: scripts.run(capsys, 'pin', *small, *flags)


@pytest.fixture
def workdir(tmp_path):
  """Three finished runs, as if they had been trained by this command."""
  for name, settings in pin.systems(runs.config(), str(tmp_path)).items():
    place = finished.copy(tmp_path).rename(tmp_path / name)
    config = json.dumps(dataclasses.asdict(settings))
    (place / 'config.json').write_text(config, encoding='utf-8')
  return tmp_path


def test_three_systems_are_shown_in_one_table(run_pin, workdir):
  ended = run_pin(f'--workdir={workdir}')
  assert ended.code == 0 and ended.err == ''
  report = runs.untimed_report(finished.run())
  names = ('base', '+GA', '+GA+PN')
  table = tables.of_reports(dict.fromkeys(names, report))
  *shown, hint = ended.out.splitlines()
  assert shown == table.splitlines()
  assert all(name in table.split() for name in names)
  places = ','.join(str(workdir / name) for name in ('base', 'ga', 'ga_pn'))
  assert hint.endswith(f'python launch/compare.py --runs={places}')


def test_another_setting_for_the_same_runs_is_refused(run_pin, workdir):
  ended = run_pin(f'--workdir={workdir}', '--config.plugin.ratio=0.25')
  assert ended.code == 2 and ended.out == ''
  assert 'plugin.ratio: 0.5 there, 0.25 here' in ended.err
  assert len(ended.err.splitlines()) <= 2


def test_stopped_it_says_how_to_go_on(run_pin, monkeypatch, tmp_path):
  monkeypatch.setattr(pin, 'train', lambda *arguments: None)
  ended = run_pin(f'--workdir={tmp_path}')
  assert ended.code == 128 + signal.SIGTERM == 143
  assert 'the same command resumes' in ended.out


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--config.plugin.name=lite', 'known plugins: light, naive, film'),
    ('--config.plugin.select=mine', 'known: global, per_group'),
    ('--config.plugin.trunk=runs/ga', 'stage 1 is trained here'),
    ('--config.aggregator.name=mean', 'known: joint, backdoor'),
    ('--config.routing.mode=random', 'known: frozen, dynamic, soft'),
  ],
)
def test_a_wrong_setting_is_one_line_and_leaves_nothing(
  run_pin, tmp_path, flag, message
):
  ended = run_pin(f'--workdir={tmp_path / "runs"}', flag)
  assert ended.code == 2 and ended.out == ''
  assert message in ended.err
  assert len(ended.err.splitlines()) == 1
  assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named(run_pin):
  ended = run_pin()
  assert ended.code == 2 and '--workdir is missing' in ended.err
