"""What scripts of development refuse, and those who do as they say."""

import functools
import json
import pathlib
import subprocess
import sys
import tomllib
from unittest import mock

import pytest

import group_updates
from tests.advice import following
from tests.advice.following import Call
from tests.advice.following import Case
from tests.advice.following import dropped
from tests.advice.following import given
from tests.launch import scripts
from twotsrec.report import drawings

BENCHMARKS = [
  Case(
    '--{} changes nothing in suite {}; leave it out',
    ['--suite=train', '--only=pcgrad', '--out=@/t.json'],
    [way],
  )
  for way in (dropped('only', 'leave it out'), given('suite'))
]
SETTINGS = [
  Case(
    'is not what config.py says; run:',
    ['--check'],
    [dropped('check', 'run: python launch/document_settings.py$')],
  )
]
RESULTS = 'launch/reproduce/results/n.json'
NUMBERS = json.dumps({'tables': {'of': {'columns': [], 'rows': []}}})


def page(named: str) -> str:
  return f'<!-- table: {named} -->\n<!-- /table -->\n'


def renamed(says: str):
  """Names the file or table in a page that a message lists."""
  return following.written('README.md', page('n/of'), says)


PAGES = [
  Case(says, asked, [way], {'README.md': page(named), RESULTS: NUMBERS})
  for says, named, asked, way in (
    (
      'is not drawn from its numbers; run:',
      'n/of',
      ['--check'],
      dropped('check', 'run: python launch/reproduce/render.py$'),
    ),
    ('{}.json has no {}; it has {}', 'n/on', [], renamed('it has of')),
    (
      'no {}.json in {}; name one that is there',
      'm/of',
      [],
      renamed('in launch/reproduce/results or .*; name one that is there'),
    ),
  )
]


def attempt(name: str, capsys, folder: pathlib.Path, asked: list[str]) -> str:
  """What a script says of flags, with pages in a folder; '' if it goes on."""
  load, begun = scripts.load, subprocess.CompletedProcess([], 3)

  def elsewhere(name):
    module = load(name)
    module.ROOT, module.PAGE = folder, folder / 'settings.md'
    return module

  with (
    mock.patch.object(scripts, 'load', elsewhere),
    mock.patch.object(subprocess, 'run', lambda command: begun),
  ):
    ended = scripts.run(capsys, name, *asked)
  assert ended.code in (0, 2, 3), ended
  return ended.err.removeprefix('error: ').strip() if ended.code == 2 else ''


@pytest.mark.parametrize(
  ('name', 'case'),
  [
    *(('benchmarks/run', case) for case in BENCHMARKS),
    *(('document_settings', case) for case in SETTINGS),
    *(('reproduce/render', case) for case in PAGES),
  ],
  ids=lambda value: getattr(value, 'name', ''),
)
def test_tools_go_on_as_advised(name, case, capsys, tmp_path):
  following.follow(
    case, functools.partial(attempt, name, capsys, tmp_path), tmp_path
  )


def without_matplotlib(folder):
  del folder
  absent = dict.fromkeys(('matplotlib', 'matplotlib.figure'))
  with scripts.forgotten(), mock.patch.dict(sys.modules, absent):
    scripts.load('draw').draw({}, pathlib.Path('g.svg'))


def reported_without_matplotlib(folder):
  del folder
  with mock.patch.dict(sys.modules, {'matplotlib': None}):
    drawings.picture(lambda axis: None, 'nothing')


def described_without_pdoc(folder):
  with mock.patch.dict(sys.modules, {'pdoc': None}):
    sys.path.insert(0, str(scripts.LAUNCH))
    try:
      with scripts.forgotten():
        scripts.load('document_api').write(folder)
    finally:
      sys.path.remove(str(scripts.LAUNCH))


def installed_with(extra: str, name: str) -> None:
  """Installing the package with an extra brings another package."""
  text = (scripts.ROOT / 'pyproject.toml').read_text(encoding='utf-8')
  wanted = tomllib.loads(text)['project']['optional-dependencies'][extra]
  assert any(one.startswith(f'{name}>') for one in wanted)


CALLS = [
  Call(
    'no row {}; known: {}',
    lambda folder: group_updates.select(['mean']),
    r'known: (\w+)',
    lambda folder, name: group_updates.select([name]),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    without_matplotlib,
    r"pip install -e '\.\[(\w+)\]'",
    lambda folder, extra: installed_with(extra, 'matplotlib'),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    described_without_pdoc,
    r"pip install -e '\.\[(\w+)\]'",
    lambda folder, extra: installed_with(extra, 'pdoc'),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    reported_without_matplotlib,
    r"pip install -e '\.\[(\w+)\]'",
    lambda folder, extra: installed_with(extra, 'matplotlib'),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
