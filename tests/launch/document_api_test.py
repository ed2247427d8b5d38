"""Pages of the modules: all are there, without a warning, and links lead on."""

import html
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

from tests.launch import scripts

ROOT = scripts.ROOT
MODULES = [
  path.relative_to(ROOT).with_suffix('')
  for path in sorted((ROOT / 'twotsrec').rglob('*.py'))
]
NEEDED = ('pdoc', 'fastapi', 'prometheus_client', 'uvicorn')
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]
_TARGET = re.compile(r'<[a-z1-6]+ [^>]*?\b(id|href)="([^"]*)"')


@pytest.fixture(scope='module')
def pages(tmp_path_factory) -> dict[pathlib.Path, str]:
  """All pages by path, made by a process in which a warning is an error."""
  if ABSENT:
    pytest.skip(f"not installed: {', '.join(ABSENT)}; pip install -e '.[docs]'")
  out = tmp_path_factory.mktemp('docs')
  strict = [*('-W', 'error::UserWarning'), *('-W', 'error::RuntimeWarning')]
  script = str(scripts.LAUNCH / 'document_api.py')
  done = subprocess.run(
    [sys.executable, *strict, script, f'--out={out}'],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert f'{len(MODULES)} modules are described in {out}' in done.stdout
  return {
    path.relative_to(out): path.read_text(encoding='utf-8')
    for path in out.rglob('*.html')
  }


def test_every_module_has_a_page(pages):
  package = [path for path in MODULES if path.name != '__init__']
  folders = [path.parent for path in MODULES if path.name == '__init__']
  wanted = {path.with_suffix('.html') for path in [*package, *folders]}
  assert set(pages) == wanted | {pathlib.Path('index.html')}
  assert 'url=./twotsrec.html' in pages[pathlib.Path('index.html')]


def test_the_recipes_are_in_front(pages):
  front = pages[pathlib.Path('twotsrec.html')]
  text = (scripts.LAUNCH / 'README.md').read_text(encoding='utf-8')
  outside = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
  for title in re.findall(r'^## (.*)$', outside, re.MULTILINE):
    assert re.search(rf'<h2 id="[\w-]+">{re.escape(title)}</h2>', front), title
  plain = html.unescape(re.sub(r'<[^>]+>', '', front))
  for line in re.findall(r'^python launch/.*$', text, re.MULTILINE):
    assert line in plain


def test_every_link_leads_somewhere(pages):
  found = {path: _TARGET.findall(text) for path, text in pages.items()}
  anchors = {
    path: {value for name, value in targets if name == 'id'}
    for path, targets in found.items()
  }
  count, lost = 0, []
  for path, targets in found.items():
    for link in {value for name, value in targets if name == 'href'}:
      if re.match(r'\w+:|#_', link):  # outside; a private base, not shown
        continue
      count += 1
      place, _, anchor = urllib.parse.unquote(html.unescape(link)).partition(
        '#'
      )
      there = os.path.normpath(path.parent / place) if place else path
      there = pathlib.Path(there)
      if there not in pages or (anchor and anchor not in anchors[there]):
        lost.append((path.as_posix(), link))
  assert lost == [] and count > 1000


def test_records_say_what_stands_beside_their_fields(pages):
  for path, text in pages.items():
    assert 'Alias for field number' not in text, path
    assert 'Create new instance of' not in text, path
    assert 'jaxlib' not in re.sub(r'<[^>]+>', '', text), path
  losses = re.sub(r'<[^>]+>', '', pages[pathlib.Path('twotsrec/losses.html')])
  assert 'margin: jax.Array' in losses
  columns = pages[pathlib.Path('twotsrec/data/tables.html')]
  assert 'of impressions: 1 for a click, 0 for none' in columns
  settings = pages[pathlib.Path('twotsrec/config.html')]
  assert 'a prepared directory; overrides dataset' in settings


def test_no_page_knows_the_machine_it_was_made_on(pages):
  for path, text in pages.items():
    assert str(ROOT) not in text and str(pathlib.Path.home()) not in text, path


@pytest.mark.parametrize(
  ('given', 'code', 'says'),
  [
    ([], 2, 'usage: bash launch/docs.sh OUT'),
    (['--help'], 2, 'usage: bash launch/docs.sh OUT'),
    (['a b'], 0, 'launch/document_api.py --out=@/a b'),
    (['/x'], 0, 'launch/document_api.py --out=/x'),
  ],
)
def test_the_shell_script_makes_an_environment_and_keeps_the_folder(
  tmp_path, given, code, says
):
  launch, here = tmp_path / 'checkout' / 'launch', tmp_path / 'here'
  launch.mkdir(parents=True)
  here.mkdir()
  script = (scripts.LAUNCH / 'docs.sh').read_text(encoding='utf-8')
  (launch / 'docs.sh').write_text(script)
  (launch / 'environment.sh').write_text(
    'prepare_environment() { echo "extra $1"; python=echo; }\n'
  )
  done = subprocess.run(
    ['bash', launch / 'docs.sh', *given],
    cwd=here,
    capture_output=True,
    text=True,
  )
  assert done.returncode == code, done
  assert says.replace('@', str(here)) in (
    done.stdout if not code else done.stderr
  )
  assert ('extra docs' in done.stdout) == (not code)
