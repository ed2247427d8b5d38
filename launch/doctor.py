"""Shows what is installed, which devices there are, and what is missing.

    python launch/doctor.py

It runs in a checkout, before anything is installed too.
"""

from collections.abc import Iterator
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import sys
import tomllib

try:
  import cli
except ImportError:  # then the report says which package is missing
  cli = None

_PROJECT = pathlib.Path(__file__).resolve().parents[1] / 'pyproject.toml'
_MARKS = {
  # The package that an extra of jax adds.
  'jax[cuda12]': 'jax-cuda12-plugin',
  'jax[tpu]': 'libtpu',
}


def name_of(requirement: str) -> str:
  """The package that a line like 'jax[cuda12]>=0.10' wants installed."""
  name = re.split(r'[<>=!~; ]', requirement, maxsplit=1)[0]
  return _MARKS.get(name, name)


def version_of(package: str) -> str | None:
  """Its installed version, None if it is missing."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def describe_machine() -> Iterator[str]:
  """Lines on the computer itself."""
  yield f'python      {platform.python_version()} ({sys.executable})'
  yield f'system      {platform.platform()}'
  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count()
  yield f'cores       {cores}'
  if 'SC_PHYS_PAGES' in getattr(os, 'sysconf_names', {}):
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    yield f'memory      {memory / 2**30:.1f} GiB'
  free = shutil.disk_usage(pathlib.Path.cwd()).free
  yield f'free disk   {free / 2**30:.1f} GiB here'


def describe_devices() -> Iterator[str]:
  """One line per device that jax sees."""
  try:
    import jax
  except ImportError as error:
    yield f'devices     unknown: {error}'
    return
  try:
    devices = jax.devices()
  # A backend that is asked for and absent; one without a plugin says nothing.
  except (RuntimeError, AssertionError) as error:
    asked = os.environ.get('JAX_PLATFORMS', '')
    why = (str(error) or f'JAX_PLATFORMS={asked} is not installed').splitlines()
    yield f'devices     unknown: {why[0]}'
    return
  for device in devices:
    yield f'device      {device.id}: {device.platform}, {device.device_kind}'


def describe_packages(project: dict) -> Iterator[str]:
  """Lines on the package, on what it needs and on what it can use.

  Args:
    project: the [project] table of pyproject.toml.
  """
  missing = []
  for name in [project['name'], *map(name_of, project['dependencies'])]:
    version = version_of(name)
    yield f'{name:<20}{version or "missing"}'
    missing += [] if version else [name]
  if missing:
    yield "  install with: pip install -e '.'"
  yield ''
  for extra, requirements in project['optional-dependencies'].items():
    versions = {name: version_of(name) for name in map(name_of, requirements)}
    if all(versions.values()):
      found = ', '.join(f'{name} {v}' for name, v in versions.items())
      yield f'extra {extra:<14}{found}'
    else:
      absent = ', '.join(name for name, v in versions.items() if not v)
      yield (
        f'extra {extra:<14}missing: {absent}; '
        f"install with: pip install -e '.[{extra}]'"
      )


def main() -> int:
  """Prints the report; what is missing is no failure."""
  project = tomllib.loads(_PROJECT.read_text(encoding='utf-8'))['project']
  lines = [*describe_machine(), *describe_devices(), '']
  lines += describe_packages(project)
  print('\n'.join(lines))
  return 0


if __name__ == '__main__':
  if cli is None:
    sys.exit(main())
  cli.run(main, compiles=False)
