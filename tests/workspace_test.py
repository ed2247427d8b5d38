"""The checkout looks as its map says, and the code as the house style wants."""

import ast
import fnmatch
import functools
import pathlib
import re
import subprocess

from twotsrec.runs import run as runs

ROOT = pathlib.Path(__file__).resolve().parents[1]

TOP_LEVEL = {
  '.ci',
  '.gitignore',
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'WORKSPACE.md',
  'configs',
  'launch',
  'pyproject.toml',
  'tests',
  'twotsrec',
}


def tracked_top_level() -> set[str]:
  """First parts of the paths under version control; all there is without."""
  try:
    listed = subprocess.run(
      ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True
    )
  except FileNotFoundError:
    listed = None
  if listed and listed.returncode == 0 and listed.stdout:
    paths = listed.stdout.rstrip('\0').split('\0')
    return {path.split('/')[0] for path in paths}
  ignored = [
    line.strip('/')
    for line in (ROOT / '.gitignore').read_text(encoding='utf-8').splitlines()
    if line and not line.startswith('#')
  ]
  return {
    entry.name
    for entry in ROOT.iterdir()
    if entry.name != '.git'
    and not any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored)
  }


def python_files(*folders: str) -> list[str]:
  return sorted(
    path.relative_to(ROOT).as_posix()
    for folder in folders
    for path in (ROOT / folder).rglob('*.py')
    if '.ipynb_checkpoints' not in path.parts
  )


@functools.cache
def parse(path: str) -> ast.Module:
  return ast.parse((ROOT / path).read_text(encoding='utf-8'))


def undocumented(tree: ast.Module) -> list[str]:
  """Public functions, classes and methods without a docstring."""
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  found = []
  for node in tree.body:
    if not isinstance(node, kinds) or node.name.startswith('_'):
      continue
    members = node.body if isinstance(node, ast.ClassDef) else []
    for entry in [node, *members]:
      if (
        isinstance(entry, kinds)
        and not entry.name.startswith('_')
        and not ast.get_docstring(entry)
      ):
        found.append(f'{entry.name}, line {entry.lineno}')
  return found


def unwanted(tree: ast.Module) -> list[str]:
  """Prints, bare asserts and handlers that catch everything."""
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Assert):
      found.append(f'assert, line {node.lineno}')
    elif isinstance(node, ast.ExceptHandler):
      caught = ast.unparse(node.type) if node.type else 'BaseException'
      if {'Exception', 'BaseException'} & set(caught.strip('()').split(', ')):
        found.append(f'except {caught}, line {node.lineno}')
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == 'print':
      found.append(f'print, line {node.lineno}')
  return found


def test_the_top_level_is_what_the_map_says():
  assert tracked_top_level() == TOP_LEVEL


def test_the_license_is_whole():
  text = (ROOT / 'LICENSE').read_text(encoding='utf-8')
  assert 'Apache License' in text
  assert 'END OF TERMS AND CONDITIONS' in text


def test_a_module_says_what_it_is():
  silent = lambda path: not ast.get_docstring(parse(path))
  assert [*filter(silent, python_files('twotsrec', 'configs', 'launch'))] == []


def by_file(problems, paths: list[str]) -> dict[str, list]:
  """What `problems` lists for the syntax tree of a file, where it does."""
  listed = {path: problems(parse(path)) for path in paths}
  return {path: lines for path, lines in listed.items() if lines}


def test_public_names_are_documented():
  assert by_file(undocumented, python_files('twotsrec')) == {}


def test_the_package_does_not_print_assert_or_catch_everything():
  assert by_file(unwanted, python_files('twotsrec')) == {}


def named_tests(tree: ast.Module) -> list[str]:
  return [
    node.name
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef) and node.name.startswith('test_')
  ]


def test_tests_are_in_files_that_pytest_collects():
  others = [p for p in python_files('tests') if not p.endswith('_test.py')]
  assert by_file(named_tests, others) == {}


def test_code_is_not_wider_than_the_page_nor_longer_than_a_chapter():
  long = {}
  for path in python_files('twotsrec', 'launch', 'configs'):
    lines = (ROOT / path).read_text(encoding='utf-8').splitlines()
    wide = [n for n, line in enumerate(lines, 1) if len(line) > 80]
    if wide or len(lines) > 450:
      long[path] = len(lines), wide
  assert long == {}


def test_missing_docstrings_are_found():
  source = (
    'def a():\n  "documented"\n'
    'def b(): pass\n'
    'def _c(): pass\n'
    'class D:\n  "documented"\n  def e(self): pass\n  def _f(self): pass\n'
  )
  assert undocumented(ast.parse(source)) == ['b, line 3', 'e, line 7']


def test_unwanted_statements_are_found():
  source = (
    'print(1)\n'
    'assert True\n'
    'try: pass\nexcept: pass\n'
    'try: pass\nexcept (OSError, Exception): pass\n'
    'try: pass\nexcept OSError: pass\n'
  )
  assert len(unwanted(ast.parse(source))) == 4


def test_the_map_names_what_may_differ_when_a_run_resumes():
  text = (ROOT / 'WORKSPACE.md').read_text(encoding='utf-8')
  _, told = text.split('**Config fields that only say', 1)
  told, _ = told.split('\n* ', 1)
  assert set(re.findall(r'`(\w+\.\w+)`', told)) == set(runs.MAY_DIFFER)
