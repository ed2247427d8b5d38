"""Every command that the README prints runs as it is printed.

Flags and configurations are the printed ones, read by the scripts themselves.
The log is small and models train for an epoch; what trains for hours, in
reproduce/, is planned by its script, and no more.
"""

import importlib.util
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest

from tests.launch import scripts
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.runs import run as run_lib
from twotsrec.runs import systems

# ml_collections reads config files with a function that Python deprecates.
pytestmark = [
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
  pytest.mark.usefixtures('undone'),
]

README = (scripts.ROOT / 'README.md').read_text(encoding='utf-8')
_SMALL = {
  'quickstart': {'data.users': 25, 'train.epochs': 1},
  'own': {'train.epochs': 1, 'train.min_epochs': 0},
  'ml100k': {
    'two_time.epochs': 1,
    'two_time.stage1_epochs': (1,),
    'two_time.threshold': 8,
    'two_time.window': 4,
  },
}


def _commands() -> list[list[str]]:
  """All printed commands as words, in their order."""
  fences = re.DOTALL | re.MULTILINE
  blocks = re.findall(r'^```(\w*)\n(.*?)^```', README, fences)
  lines = '\n'.join(text for language, text in blocks if not language)
  lines = lines.replace('\\\n', ' ').splitlines()
  words = [shlex.split(line, comments=True) for line in lines]
  return [one for one in words if one and one[0] in ('python', 'bash', 'pip')]


COMMANDS = _commands()
PYTHON = [one for one in COMMANDS if one[0] == 'python']
PLANNED = [one for one in PYTHON if 'reproduce/' in one[1]]
RUN = [one for one in PYTHON if one not in PLANNED]
SHELL = [one for one in COMMANDS if one[0] == 'bash']


def _shown(words) -> str:
  return ' '.join(words[1:3])


def _run(capsys, words) -> scripts.Ended:
  name = words[1].removeprefix('launch/').removesuffix('.py')
  return scripts.run(capsys, name, *words[2:])


def test_no_command_is_left_out():
  assert sorted([*RUN, *PLANNED, *SHELL]) == sorted(COMMANDS)
  assert (len(RUN), len(PLANNED), len(SHELL)) == (12, 3, 2)
  # None hides in a sentence, but for what installs an extra.
  inline = set(re.findall(r'`(?:python|bash|pip) [^`]*`', README))
  assert inline == {"`pip install -e '.[plots]'`"}
  project = (scripts.ROOT / 'pyproject.toml').read_text(encoding='utf-8')
  assert '\nplots = [' in project


@pytest.fixture
def checkout(tmp_path, monkeypatch):
  """A folder with the scripts, tables of a user and an aggregator's file."""
  for name in ('launch', 'configs'):
    (tmp_path / name).symlink_to(scripts.ROOT / name)
  draw = np.random.default_rng(0)
  rows = [
    (f'u{user}', f'i{item}', 1_700_000_000 + 86_400 * day + user)
    for user in range(40)
    for day, item in enumerate(draw.permutation(20)[: 6 + user % 12])
  ]

  def write(name, rows):
    lines = ['user,item,ts', *(','.join(map(str, row)) for row in rows)]
    (tmp_path / name).write_text('\n'.join(lines) + '\n')

  write('events.csv', rows)
  last = max(row[2] for row in rows) + 86_400
  write('today.csv', [('u1', 'i3', last), ('somebody', 'i4', last + 1)])
  write('tomorrow.csv', [('u2', 'i5', last + 90_000), ('u1', 'i9', last - 7)])
  write('new.csv', [('somebody', 'i4', last), ('u1', 'i3', last + 1)])
  (program,) = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  (tmp_path / 'my_file.py').write_text(program)
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.fixture
def small(monkeypatch):
  """Every training is an epoch; gives the settings that were asked for."""
  whole, asked = run_lib.train, []

  def train(settings, workdir, *how, **more):
    asked.append(workdir)
    name = {'runs/my_own': 'quickstart', 'runs/2ts': 'ml100k'}
    changes = _SMALL[name.get(workdir, 'own')]
    config_lib.change(settings, changes)
    return whole(settings, workdir, *how, **more)

  monkeypatch.setattr(run_lib, 'train', train)
  return asked


def test_a_reader_who_types_them_all_is_served(capsys, checkout, small):
  for words in RUN:
    if 'draw.py' in words[1] and not importlib.util.find_spec('matplotlib'):
      continue
    ended = _run(capsys, words)
    assert ended.code == 0, (words, ended.err)
  assert small == ['runs/mine', 'runs/ga', 'runs/2ts', 'runs/my_own']
  written = {path.name for path in checkout.iterdir() if path.is_file()}
  assert {'top.csv', 'new.jsonl', 'states.db'} <= written


@pytest.mark.parametrize('words', PLANNED, ids=_shown)
def test_what_takes_hours_is_planned(capsys, checkout, trained, words):
  ended = _run(capsys, words)
  # The first runs are planned, and what stands on a finished one is missing.
  missing = ('no run of these settings', 'waits for a run beside it')
  assert ended.code == 2 and any(one in ended.err for one in missing)
  assert int(re.search(r'1 of (\d+) runs', ended.out)[1]) > 5
  assert trained and all(
    workdir.startswith('runs/reproduce/') for workdir in trained
  )


@pytest.mark.parametrize('words', SHELL, ids=_shown)
def test_a_shell_script_can_be_read(words):
  subprocess.run(['bash', '-n', words[1]], check=True, cwd=scripts.ROOT)


def test_what_the_quickstart_starts_trains_three_systems(
  capsys, checkout, monkeypatch
):
  text = pathlib.Path('launch/quickstart.sh').read_text(encoding='utf-8')
  (flags,) = re.findall(r'^"\$python" launch/pin\.py (.*)$', text, re.MULTILINE)
  seen = []

  def plan(config, workdir, *how):
    seen.append((config.model.name, workdir))
    raise types.UserError('that much is planned')

  monkeypatch.setattr(systems, 'train', plan)
  ended = scripts.run(capsys, 'pin', *shlex.split(flags))
  assert ended.code == 2 and 'that much is planned' in ended.err
  assert seen == [('din', 'runs/quickstart')]
