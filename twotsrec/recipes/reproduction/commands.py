"""Command lines that a document shows: what it was made with."""

from collections.abc import Mapping
import shlex
from typing import Any


def train_flags(
  config_file: str, settings: Any, workdir: str, changes: Mapping[str, Any]
) -> list[str]:
  """What launch/train.py takes for a run.

  Args:
    config_file: below configs/, with what follows a colon.
    settings: with `data_root` and `cache_dir`.
    workdir: of the run.
    changes: {field: value} besides the file.
  """
  return [
    f'--config=configs/{config_file}',
    f'--data_root={settings.data_root}',
    f'--config.data.cache_dir={settings.cache_dir}',
    f'--workdir={workdir}',
    *(f'--config.{name}={_text(value)}' for name, value in changes.items()),
  ]


def named_root(settings: Any) -> Any:
  """The settings with something to read where there is no folder of data."""
  return settings._replace(data_root=settings.data_root or 'DIR')


def train(flags: list[str]) -> str:
  """The line that trains one run."""
  return shlex.join(['python', 'launch/train.py', *flags])


def reproduce(script: str, given: Mapping[str, Any]) -> str:
  """The line of a script in launch/reproduce; empty lists are left out."""
  arguments = [
    f'--{name}={_listed(value)}' for name, value in given.items() if value != ()
  ]
  return shlex.join(['python', f'launch/reproduce/{script}', *arguments])


def _listed(value):
  if isinstance(value, tuple):
    return ','.join(map(str, value))
  return str(value)


def _text(value):
  """A field of a configuration; a comma tells a tuple of one."""
  if isinstance(value, tuple):
    return ''.join(f'{one},' for one in value)
  return str(value)
