"""Pyright, in its basic mode, has nothing to say about the package."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.skipif(
  importlib.util.find_spec('pyright') is None,
  reason="pyright is not installed; it is part of the extra 'test'",
)
def test_pyright_finds_no_error():
  run = subprocess.run(
    (
      sys.executable, '-m', 'pyright', '--outputjson', '--pythonpath',
      sys.executable, str(ROOT / 'twotsrec'),
    ),
    cwd=ROOT,
    # Or it would ask the network for a newer version of itself.
    env={**os.environ, 'PYRIGHT_PYTHON_IGNORE_WARNINGS': '1'},
    capture_output=True,
    text=True,
  )  # fmt: skip
  assert run.returncode in (0, 1), run.stderr or run.stdout
  report = json.loads(run.stdout)
  assert report['summary']['filesAnalyzed'] > 100
  errors = []
  for found in report['generalDiagnostics']:
    path = pathlib.Path(found['file']).relative_to(ROOT / 'twotsrec')
    if found['severity'] == 'error':
      line = found['range']['start']['line'] + 1
      errors.append(f'{path}:{line}: {found["message"]}')
  assert not errors, '\n'.join(errors)


def test_who_installs_the_package_has_its_types(tmp_path):
  pytest.importorskip('setuptools', reason='setuptools is not installed')
  for name in ('pyproject.toml', 'README.md'):
    shutil.copy(ROOT / name, tmp_path)
  own = shutil.ignore_patterns('__pycache__')
  shutil.copytree(ROOT / 'twotsrec', tmp_path / 'twotsrec', ignore=own)
  built = tmp_path / 'built'
  subprocess.run(
    [
      *(sys.executable, '-c', 'import setuptools; setuptools.setup()'),
      *('--quiet', 'build_py', f'--build-lib={built}'),
    ],
    cwd=tmp_path,
    check=True,
    capture_output=True,
  )
  names = {
    path.relative_to(built) for path in built.rglob('*') if path.is_file()
  }
  source = {
    path.relative_to(tmp_path)
    for path in (tmp_path / 'twotsrec').rglob('*')
    if path.is_file()
  }
  assert pathlib.Path('twotsrec/py.typed') in names and names == source
