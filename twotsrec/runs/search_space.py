"""What may be tried of a setting, as it is written in a flag or a file.

train.learning_rate  1e-4..1e-2:log   a number of the range, log-uniform
model.num_layers     1..3             a whole number where the setting is one
model.width          16,32,64         one of these values
"""

import ast
from collections.abc import Iterable, Mapping
import math
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types

_LOG = ':log'


class Range(NamedTuple):
  """Numbers from low to high; whole ones, or log-uniform ones."""

  low: float
  high: float
  log: bool
  whole: bool

  def suggest(self, trial: Any, path: str) -> int | float:
    """The value of an optuna trial."""
    if self.whole:
      low, high = int(self.low), int(self.high)
      return int(trial.suggest_int(path, low, high, log=self.log))
    return float(trial.suggest_float(path, self.low, self.high, log=self.log))

  def named(self, value: Any) -> Any:
    """How optuna knows a value; None if it is outside."""
    return value if self.low <= value <= self.high else None

  def value(self, named: Any) -> Any:
    """The value that optuna knows by a name: itself."""
    return named

  @property
  def ends(self) -> list[Any]:
    """The values at its ends."""
    kind = int if self.whole else float
    return [kind(self.low), kind(self.high)]


class Choice(NamedTuple):
  """Values by what optuna calls them."""

  values: dict[str, Any]

  def suggest(self, trial: Any, path: str) -> Any:
    """The value of an optuna trial."""
    return self.values[trial.suggest_categorical(path, [*self.values])]

  def named(self, value: Any) -> str | None:
    """How optuna knows a value; None if it is not among them."""
    names = [name for name, one in self.values.items() if one == value]
    return names[0] if names else None

  def value(self, named: str) -> Any:
    """The value that optuna knows by a name."""
    return self.values[named]

  @property
  def ends(self) -> list[Any]:
    """All values."""
    return [*self.values.values()]


Space = dict[str, Range | Choice]


def of_flags(given: Iterable[str]) -> dict[str, str]:
  """{'section.field': what may be tried} of texts 'section.field=...'.

  Raises:
    types.UserError: a text without both.
  """
  texts = {}
  for text in given:
    path, _, tried = text.partition('=')
    if not path or not tried:
      raise types.UserError(
        f'--vary={text!r} must be a setting and its values, such as'
        ' train.learning_rate=1e-4..1e-2:log'
      )
    texts[path] = tried
  return texts


def parse(config: config_lib.Config, texts: Mapping[str, str]) -> Space:
  """The space of settings that are written as above.

  Raises:
    types.UserError: no setting, none of that name, or values that it cannot
      have.
  """
  if not texts:
    raise types.UserError(
      'nothing to vary; give --vary=train.learning_rate=1e-4..1e-2:log, or'
      ' get_space() beside get_config() in the file of --config'
    )
  known = {path: value for path, _, value in fields.walk(config)}
  space: Space = {}
  for path, text in texts.items():
    fields.refuse_unknown('setting', path, known)
    usual = known[path]
    part = _range(path, text, usual) if '..' in text else _choice(text, usual)
    for value in part.ends:
      fields.refuse_values(config_lib.changed(config, {path: value}))
    space[path] = part
  return space


def _range(path, text, usual) -> Range:
  bounds = text.removesuffix(_LOG).split('..')
  log = text.endswith(_LOG)
  whole = isinstance(usual, int)
  try:
    low, high = (int(b) if whole else float(b) for b in bounds)
  except ValueError:
    low = high = math.nan
  if not low < high or (log and low <= 0) or isinstance(usual, bool):
    kind = 'whole numbers' if whole else 'numbers'
    raise types.UserError(
      f'{path}={text}: a range must be two {kind}, the smaller first, such as'
      ' 1..4, and positive ones before :log'
    )
  return Range(low, high, log, whole)


def _choice(text, usual) -> Choice:
  """Values between commas; names need no quotes."""
  words = {'true': True, 'false': False}
  if isinstance(usual, bool):
    one = lambda name: words.get(name.lower(), name)
  elif isinstance(usual, str):
    one = lambda name: name
  else:
    try:
      values = ast.literal_eval(f'({text},)')
      return Choice({repr(value): _like(value, usual) for value in values})
    except (ValueError, SyntaxError):
      one = lambda name: name  # refused, as no value of the setting
  names = [name.strip() for name in text.split(',')]
  return Choice({name: one(name) for name in names})


def _like(value, usual):
  """1 is a number of a setting that may be 1.5."""
  is_whole = isinstance(value, int) and not isinstance(value, bool)
  return float(value) if isinstance(usual, float) and is_whole else value
