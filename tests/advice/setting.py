"""Settings as the flags of a case, and ways that change them."""

import ast
import re

from tests import configured
from tests.advice import following
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib


def refusal(call, *arguments) -> str:
  """What a call is refused with, or ''."""
  try:
    call(*arguments)
  except types.UserError as error:
    return str(error)
  return ''


def config(asked: list[str]) -> config_lib.Config:
  """The configuration with settings, 'section.field=value' in Python."""
  pairs = (one.partition('=') for one in asked)
  return configured.by(
    {path: ast.literal_eval(value) for path, _, value in pairs}
  )


def checked(asked: list[str]) -> str:
  """What the settings are refused with before anything is read."""
  return refusal(lambda: recipes.check(config(asked)))


def verified(asked: list[str]) -> str:
  """What a run of the settings is refused with before its first update."""

  def call():
    made = config(asked)
    recipes.check(made)
    run_lib.first_phase(made, experiment_lib.make(made, _data(made)))

  return refusal(call)


_DRAWN = {}


def _data(made):
  """The data of a configuration; a built-in log is drawn once."""
  key = repr(made.data)
  if made.data.prepared or key not in _DRAWN:
    _DRAWN[key] = experiment_lib.load_data(made)
  return _DRAWN[key]


def to(path: str, value: object, says: str) -> following.Way:
  """Gives a setting a value that the message names.

  Args:
    path: of the setting.
    value: of it; ... is what the group of the pattern says.
    says: a pattern.
  """

  def way(text, asked, folder):
    match = re.search(says, text)
    assert match, f'{says!r} is not said: {text}'
    put = ast.literal_eval(match[1]) if value is ... else value
    left = [one for one in asked if not one.startswith(f'{path}=')]
    return [*left, f'{path}={put!r}']

  return way


def default(path: str, says: str = 'leave') -> following.Way:
  """Leaves a setting as it was."""

  def way(text, asked, folder):
    assert re.search(says, text), f'{says!r} is not said: {text}'
    left = [one for one in asked if not one.startswith(f'{path}=')]
    assert len(left) < len(asked)
    return left

  return way
