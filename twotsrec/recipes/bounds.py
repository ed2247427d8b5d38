"""Refuses values that a setting cannot have, whatever the others are."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import math
import numbers
import typing
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import unread

_KINDS = {
  int: (numbers.Integral, 'a whole number'),
  float: (numbers.Real, 'a number'),
  str: (str, "a name; quote each, as in \"'a','b'\""),
}


class Bounds(NamedTuple):
  """What settings may be, by dotted name; of several values, each of them.

  Attributes:
    at_least: smallest values.
    below_one: those that must be below 1.
    finite: those that must not be infinite or nan.
    known: words to choose from.
    positive: those that must be above 0.
  """

  at_least: Mapping[str, float]
  below_one: Iterable[str]
  finite: Iterable[str]
  known: Mapping[str, tuple[str, ...]]
  positive: Iterable[str]


def refuse(config: config_lib.Config, bounds: Bounds) -> None:
  """Refuses what is out of bounds.

  Raises:
    types.UserError: the value and what is allowed.
  """
  for path, low in bounds.at_least.items():
    _each(config, path, lambda v, low=low: v >= low, f'at least {low}')
  for path in bounds.below_one:
    _each(config, path, lambda v: v < 1, 'below 1')
  for path in bounds.finite:
    _each(config, path, math.isfinite, 'a finite number')
  for path, known in bounds.known.items():
    for value in _values(config, path):
      if value not in known:
        raise types.UserError(f'{path} {value!r}; known: {", ".join(known)}')
  for path in bounds.positive:
    _each(config, path, lambda v: v > 0, 'positive')


def refuse_kinds(config: config_lib.Config) -> None:
  """Refuses settings of several values with one of another kind.

  A flag takes whatever Python reads between its commas.

  Raises:
    types.UserError: the value and what is allowed.
  """
  for section in dataclasses.fields(config):
    options = getattr(config, section.name)
    for name, hint in typing.get_type_hints(type(options)).items():
      if typing.get_origin(hint) is tuple:
        path = f'{section.name}.{name}'
        _check_kind(path, getattr(options, name), typing.get_args(hint)[0])


def _check_kind(path: str, values: Any, kind: type) -> None:
  if not isinstance(values, tuple | list):
    raise types.UserError(
      f'{path} {values!r} must be several, as in ({values!r},)'
    )
  wanted, words = _KINDS[kind]
  for value in values:
    if not isinstance(value, wanted) or isinstance(value, bool):
      raise types.UserError(f'{path} {value!r} must be {words}')
    if kind is str and ',' in value:
      quoted = ','.join(f"'{part}'" for part in value.split(','))
      raise types.UserError(
        f'{path} {value!r} is one name with commas; quote each, as in'
        f' --config.{path}="{quoted}"'
      )


def _each(
  config: config_lib.Config, path: str, holds: Callable[[Any], bool], must: str
) -> None:
  for value in _values(config, path):
    if not holds(value):
      raise types.UserError(f'{path} {value} must be {must}')


def _values(config: config_lib.Config, path: str) -> Iterable[Any]:
  """The value under a dotted name; every one of several."""
  value = unread.at(config, path)
  return value if isinstance(value, tuple | list) else (value,)
