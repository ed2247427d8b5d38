"""A service over HTTP: lists, similar items, scores, and states that move."""

import importlib
from typing import Any

from twotsrec import types


def load() -> Any:
  """The module `service`, which needs the packages of the extra.

  Raises:
    types.UserError: one of them is not installed.
  """
  try:
    return importlib.import_module('twotsrec.web.service')
  except ModuleNotFoundError as error:
    if (error.name or '').startswith('twotsrec'):
      raise
    raise types.UserError(
      f"{error.name} is not installed; run: pip install -e '.[serve]'"
    ) from error
