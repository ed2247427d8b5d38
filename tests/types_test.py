"""Pyright, in its basic mode, has nothing to say about the package."""

import importlib.util
import json
import os
import pathlib
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
