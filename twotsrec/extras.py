"""Packages of the extras in pyproject.toml, imported where they are used."""

import importlib
from typing import Any

from twotsrec import types


def load(module: str, extra: str, instead: str = '') -> Any:
  """A module that is of an extra, or stands on packages of it.

  Args:
    module: its whole name.
    extra: that brings what is missing.
    instead: what else would help, as in 'take --format=md'.
  Raises:
    types.UserError: a package is not installed.
  """
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    if (error.name or '').startswith('twotsrec'):
      raise
    raise types.UserError(
      f"{error.name} is not installed; run: pip install -e '.[{extra}]'"
      + (f', or {instead}' if instead else '')
    ) from error
