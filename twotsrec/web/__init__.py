"""A service over HTTP: lists, similar items, scores, and states that move."""

from typing import Any

from twotsrec import extras


def load() -> Any:
  """The module `service`, which needs the packages of the extra.

  Raises:
    types.UserError: one of them is not installed.
  """
  return extras.load('twotsrec.web.service', 'serve')
