"""What the script refuses that trains a run, followed."""

import atexit
import runpy
import shutil

import pytest

from tests.advice.copies import followed
from tests.advice.copies import without_report
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import written
from twotsrec.runs import run as run_lib
from twotsrec.training import files

A = '--workdir=%runs/a'
EASE = ['--config=%configs/closed_form.py', '--config.groups.num_groups=2']
EASE += ['--config.data.prepared=%runs/data', '--config.evaluation.ks=(1,3)']
EASE += ['--config.evaluation.bootstrap=20', '--config.closed_form.l2=9.0']
TRAIN = [
  Case(
    'holds a run with another config',
    [*EASE, A],
    [given('workdir', '@/other', says='another --(workdir)')],
  ),
  Case(
    'has checkpoints but no config.json',
    [*EASE, '--workdir=@/run'],
    [given('workdir', '@/other', says='another --(workdir)')],
    {'run/checkpoints/x': ''},
  ),
  Case(
    '--{} is missing; see --help',
    EASE,
    [given('workdir', '@/other', says='--(workdir)')],
  ),
  Case(
    '{}: nothing reads it/them {}',
    [*EASE, '--workdir=@/run', '--data_root=x'],
    [dropped('data_root')],
  ),
]


def locked(path, runs):
  """Another process trains there."""
  path.mkdir()
  file = open(path / '.lock', 'a+', encoding='utf-8')
  assert files.flock(file.fileno(), wait=False)
  atexit.register(file.close)  # it stays locked until then


TRAIN += [
  Case(
    'is training in {}; wait for it or use',
    [*EASE, '--workdir=@/run'],
    [given('workdir', '@/other', says='another --(workdir)')],
    {'run': locked},
  ),
]
OTHER = '--workdir=@/other'
MINE = """import pathlib

from twotsrec import config

HERE = pathlib.Path(__file__).parent


def get_config():
  made = config.Config()
  made.model.name, made.groups.num_groups = 'ease', 2
  made.data.prepared = str(HERE / 'data')
  made.evaluation.bootstrap = 20
  return made
"""


def first_the_file(text, asked, folder):
  assert 'give --config first' in text
  return sorted(asked, key=lambda flag: not flag.startswith('--config='))


CONFIG = [
  Case(says, [*EASE, OTHER, asked], [way])
  for says, asked, way in (
    (
      'name a file, as in --config=configs/',
      '--config=%configs/clsoed_form.py',
      given('config', '%configs/closed_form.py', says='(name a file)'),
    ),
    (
      "no field 'nmae'; known",
      '--config.model.nmae=ease',
      dropped('config.model.nmae', 'known: name, '),
    ),
    (
      "no field 'modle'; known",
      '--config.modle.name=ease',
      dropped('config.modle.name', 'known: data, .*model'),
    ),
    (
      '--config.groups.num_groups',
      '--config.groups.num_groups=few',
      given('config.groups.num_groups', '2', says='(int)'),
    ),
  )
]
CONFIG[0] = CONFIG[0]._replace(
  asked=[CONFIG[0].asked[-1], *EASE[1:], OTHER],
  ways=[*CONFIG[0].ways, first_the_file],
)
CONFIG.append(
  Case(
    'settings follow --config=FILE; give --config first',
    [*EASE[1:], EASE[0], OTHER],
    [first_the_file],
  )
)
CONFIG.append(
  Case(
    'get_config() gives a {}, not a',
    ['--config=@/mine.py', OTHER],
    [written('mine.py', MINE, 'not a twotsrec.config.Config; see configs/')],
    {
      'mine.py': MINE.replace('return made', 'return 3'),
      'data': lambda path, runs: shutil.copytree(runs / 'data', path),
    },
  )
)


def begun_on_other_data(path, runs):
  """Trains without a report; what it was trained on is changed then."""
  config = runpy.run_path(str(path.parent / 'mine.py'))['get_config']()
  run_lib.train(config, str(path), lambda: 0, quiet=True)
  without_report(path)
  shutil.move(path.parent / 'data', path.parent / 'right')
  shutil.copytree(runs / 'plain', path.parent / 'data')


def restored(folder):
  shutil.rmtree(folder / 'data')
  shutil.move(folder / 'right', folder / 'data')


TRAIN += [
  Case(
    'the data have changed since the run in {} was',
    ['--config=@/mine.py', '--workdir=@/run'],
    [way],
    {
      'mine.py': MINE,
      'data': lambda path, runs: shutil.copytree(runs / 'data', path),
      'run': begun_on_other_data,
    },
  )
  for way in (
    done(restored, 'restore them'),
    given('workdir', '@/other', says='another --(workdir)'),
  )
]

TRAIN += [
  Case(
    'cli.py: --{}: {}',
    ['--config=@/mien.py', '--workdir=@/run'],
    [given('config', '@/mine.py', says='name a (file)')],
    {
      'mine.py': MINE,
      'data': lambda path, runs: shutil.copytree(runs / 'data', path),
    },
  )
]


@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize('case', [*TRAIN, *CONFIG], ids=lambda case: case.name)
def test_runs_are_trained_as_advised(case, runs, capsys, tmp_path, undone):
  followed('train', case, runs, capsys, tmp_path)
