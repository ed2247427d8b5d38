import dataclasses
import json
import signal
import time

import jax
import pytest

from tests import finished
from tests import small_runs as runs
from tests import two_time_toys
from tests.launch import scripts
from twotsrec import types
from twotsrec.recipes import pin
from twotsrec.runs import compare
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run
from twotsrec.runs import systems
from twotsrec.runs import tables
from twotsrec.training import files

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


def three_runs(workdir, **changes):
  """Three finished runs, as if they had been trained by this command."""
  config = runs.config(**changes)
  for name, settings in pin.systems(config, str(workdir)).items():
    place = finished.copy(workdir).rename(workdir / name)
    config = json.dumps(dataclasses.asdict(settings))
    (place / 'config.json').write_text(config, encoding='utf-8')
  return workdir


@pytest.fixture
def workdir(tmp_path):
  return three_runs(tmp_path)


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


def test_seeds_are_trained_apart_and_compared_by_their_means(run_pin, tmp_path):
  for seed in (3, 5):
    (tmp_path / f'seed{seed}').mkdir()
    three_runs(tmp_path / f'seed{seed}', train__seed=seed)
  ended = run_pin(f'--workdir={tmp_path}', '--seeds=3,5')
  assert ended.code == 0 and ended.err == ''
  places = {
    name: [str(tmp_path / f'seed{seed}' / folder) for seed in (3, 5)]
    for folder, name in pin.SYSTEMS.items()
  }
  *shown, hint = ended.out.splitlines()
  assert shown == compare.run(places).splitlines()
  assert hint.endswith('--runs=' + ','.join(map('+'.join, places.values())))
  ended = run_pin(f'--workdir={tmp_path}', '--seeds=3,-5')
  assert ended.code == 2 and "'-5' is no whole number" in ended.err


def test_another_setting_for_the_same_runs_is_refused(run_pin, workdir):
  ended = run_pin(f'--workdir={workdir}', '--config.plugin.ratio=0.25')
  scripts.assert_refused(ended, 'plugin.ratio: 0.5 there, 0.25 here', lines=2)


def test_a_base_model_that_fails_beside_the_others_stops_them(
  run_pin, monkeypatch, tmp_path
):
  def train(config, place, should_stop, quiet):
    if place.endswith('base'):
      raise types.UserError('the base model fails')
    end = time.monotonic() + 60
    while not should_stop():
      assert time.monotonic() < end
      time.sleep(0.01)

  monkeypatch.setattr(run, 'train', train)
  ended = run_pin(f'--workdir={tmp_path}', '--beside')
  assert ended.code == 2 and ended.out == ''
  assert ended.err.splitlines()[-1].endswith('the base model fails')


def test_stopped_it_says_how_to_go_on(run_pin, monkeypatch, tmp_path):
  monkeypatch.setattr(systems, 'train', lambda *arguments: None)
  ended = run_pin(f'--workdir={tmp_path}')
  assert ended.code == 128 + signal.SIGTERM == 143
  assert 'the same command resumes' in ended.out


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--config.plugin.name=lite', 'known: light, naive, film'),
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
  scripts.assert_refused(ended, message)
  assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named(run_pin):
  ended = run_pin()
  assert ended.code == 2 and '--workdir is missing' in ended.err


# ---- 2TS, whose plugins stand in the network of inactive users


@pytest.fixture
def run_two_time(capsys, tmp_path_factory):
  """Runs the script on the small log of 2TS."""
  path = tmp_path_factory.mktemp('config') / 'two_time.py'
  path.write_text(CONFIG, encoding='utf-8')

  def run(*flags, variant='2ts'):
    made = two_time_toys.settings(two_time__variant=variant)
    made['data.prepared'] = two_time_toys.prepared_path()
    small = [f'--config.{name}={value}' for name, value in made.items()]
    with two_time_toys.small_programs():
      return scripts.run(
        capsys, 'pin', f'--config={path}', '--quiet', *small, *flags
      )

  return run


def test_three_systems_of_2ts_are_shown_in_one_table(run_two_time, tmp_path):
  ended = run_two_time(f'--workdir={tmp_path}')
  assert ended.code == 0 and ended.err == ''
  names = ('base', '+GA', '+GA+PN')
  places = [tmp_path / name for name in pin.SYSTEMS]
  reports = [files.read_json(place / 'report.json') for place in places]
  table = tables.of_reports(dict(zip(names, reports)))
  assert ended.out.splitlines()[:-1] == table.splitlines()
  assert all(name in table.split() for name in names)
  told = [
    (report['protocol']['aggregator'], report['protocol']['plugin'])
    for report in reports
  ]
  assert told == [
    ('joint', 'none'),
    ('backdoor', 'none'),
    ('backdoor', 'light'),
  ]
  trained = [set(report['training']['phases']) for report in reports]
  assert trained[0] == trained[1] == trained[2] - {'inactive_plugins'}
  assert 'inactive_plugins' in trained[2]
  _, params = experiment_lib.load(str(places[-1]))
  plugins = params.net['networks']['inactive']['plugins']
  assert {len(leaf) for leaf in jax.tree.leaves(plugins)} == {3}  # groups
  values = [report['test']['overall'] for report in reports]
  assert values[0] != values[1] != values[2] != values[0]
  again = run_two_time(f'--workdir={tmp_path}')
  assert again == ended


@pytest.mark.parametrize('variant', ['one_gru', 'single_stage', 'ccf'])
def test_a_variant_without_their_network_is_one_line_and_leaves_nothing(
  run_two_time, tmp_path, variant
):
  ended = run_two_time(f'--workdir={tmp_path / "runs"}', variant=variant)
  scripts.assert_refused(ended, 'network', variant)
  assert not list(tmp_path.iterdir())
