"""The doctor describes any installation and never fails itself."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tomllib

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'launch'))

import doctor  # noqa: E402


def test_the_script_reports_machine_packages_and_devices():
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    [sys.executable, ROOT / 'launch' / 'doctor.py'],
    capture_output=True,
    text=True,
    env=environment,
    check=True,
  )
  assert sys.executable in done.stdout
  assert importlib.metadata.version('jax') in done.stdout
  assert jax.devices()[0].platform in done.stdout
  assert 'Traceback' not in done.stderr


def test_every_dependency_and_extra_of_the_project_is_listed():
  path = ROOT / 'pyproject.toml'
  project = tomllib.loads(path.read_text(encoding='utf-8'))['project']
  text = '\n'.join(doctor.describe_packages(project))
  for name in map(doctor.name_of, project['dependencies']):
    assert f'\n{name}' in text
  for extra in project['optional-dependencies']:
    assert f'extra {extra}' in text


def test_a_missing_package_comes_with_the_command_that_installs_it():
  project = {
    'name': 'no-such-package-a',
    'dependencies': ['numpy>=2,<3'],
    'optional-dependencies': {'data': ['no-such-package-b>=1']},
  }
  text = '\n'.join(doctor.describe_packages(project))
  assert "pip install -e '.'" in text
  assert 'missing: no-such-package-b' in text
  assert "pip install -e '.[data]'" in text


@pytest.mark.parametrize(
  ('requirement', 'name'),
  [
    ('numpy>=2,<3', 'numpy'),
    ('absl-py', 'absl-py'),
    ('jax[cuda12]>=0.10', 'jax-cuda12-plugin'),
    ('x ; python_version > "3"', 'x'),
  ],
)
def test_names_are_read_off_requirements(requirement, name):
  assert doctor.name_of(requirement) == name
