"""Declares a setting in one line: its default, what it may be, who reads it.

    rate: float = above(0, 1e-2, read_if('train.method', 'fish'))  # source

A configuration is a dataclass of sections, and a section one of settings.
`refuse_values` and `refuse_unread` hold for all of them, under any recipe.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import copy
import dataclasses
import fnmatch
import math
import numbers
import operator
import typing
from typing import Any, NamedTuple

from twotsrec import types

_KINDS = {
  int: (numbers.Integral, 'a whole number'),
  float: (numbers.Real, 'a number'),
  bool: (bool, 'True or False'),
  str: (str, 'a text'),
}
_LIMITS: dict[str, Callable[[Any, float], bool]] = {
  'at least': operator.ge,
  'above': operator.gt,
  'at most': operator.le,
  'below': operator.lt,
}
_FEW = 4  # names that a way out lists


class Condition(NamedTuple):
  """That a setting has one of some values, or none of them.

  Attributes:
    path: of the setting, as in 'head.name'.
    values: to compare with.
    has_one: whether it must have one of them, or none.
    way_out: words for a user who wants it to hold; '' names the values.
    among: whether one of several values is enough; else all are compared.
  """

  path: str
  values: tuple[Any, ...]
  has_one: bool
  way_out: str = ''
  among: bool = False


# Alternatives, in each of which all conditions hold.
Read = tuple[tuple[Condition, ...], ...]
ALWAYS: Read = ((),)


class Setting(NamedTuple):
  """What a field declares, under 'setting' in its metadata.

  Attributes:
    limits: ('at least', 1) and the like, for each value.
    names: to choose from; () for any value.
    read: when a recipe that reads the setting does so.
    idle: values that may stay where `read` does not hold, as the default may.
  """

  limits: tuple[tuple[str, float], ...] = ()
  names: tuple[str, ...] = ()
  read: Read = ALWAYS
  idle: tuple[Any, ...] = ()


class Reads(NamedTuple):
  """Settings that a recipe reads.

  Attributes:
    settings: patterns with blanks between them, as in 'data.* train.seed'.
    but: patterns of exceptions.
    read: when it reads them.
  """

  settings: str
  but: str = ''
  read: Read = ALWAYS


def at_least(
  low: float, default: Any, read: Read = ALWAYS, idle: float | None = None
) -> Any:
  """A number from `low`, or several; `idle` may stay where not read."""
  more, limits = () if idle is None else (idle,), (('at least', low),)
  return _declare(default, limits=limits, read=read, idle=more)


def above(low: float, default: Any, read: Read = ALWAYS) -> Any:
  """A number larger than `low`, or several such numbers."""
  return _declare(default, limits=(('above', low),), read=read)


def below(high: float, default: Any, read: Read = ALWAYS) -> Any:
  """A number from 0 to `high`, which it does not reach."""
  limits = (('at least', 0), ('below', high))
  return _declare(default, limits=limits, read=read)


def inside(low: float, high: float, default: Any, read: Read = ALWAYS) -> Any:
  """A number between `low` and `high`, neither of which it reaches."""
  limits = (('above', low), ('below', high))
  return _declare(default, limits=limits, read=read)


def within(low: float, high: float, default: Any, read: Read = ALWAYS) -> Any:
  """A number above `low`, up to `high`."""
  limits = (('above', low), ('at most', high))
  return _declare(default, limits=limits, read=read)


def between(low: float, high: float, default: Any, read: Read = ALWAYS) -> Any:
  """A number from `low` to `high`."""
  limits = (('at least', low), ('at most', high))
  return _declare(default, limits=limits, read=read)


def one_of(*names: str, read: Read = ALWAYS, idle: str | None = None) -> Any:
  """One of the names, the first by default; `idle` may stay where not read."""
  more = () if idle is None else (idle,)
  return _declare(names[0], names=names, read=read, idle=more)


def some_of(*names: str, read: Read = ALWAYS) -> Any:
  """Any of the names, none by default."""
  return _declare((), names=names, read=read)


def free(default: Any, read: Read = ALWAYS) -> Any:
  """A switch, a text or any finite number, or several.

  Names of parts are such a text: the package that makes a part lists those it
  has. So is 'file.py:make', a part in a file of the user (`is_own`).
  """
  return _declare(default, read=read)


def _declare(default, **options):
  metadata = {'setting': Setting(**options)}
  return dataclasses.field(default=default, metadata=metadata)


def section(kind: type, way_out: str = '') -> Any:
  """A section of a configuration; `way_out` says which recipe reads it."""
  return dataclasses.field(default_factory=kind, metadata={'way_out': way_out})


def read_if(path: str, *values: Any, way_out: str = '') -> Read:
  """Where the setting `path` has one of the values."""
  return ((Condition(path, values, True, way_out),),)


def read_with(path: str, *names: str) -> Read:
  """Where the setting `path`, which has several names, has one of these."""
  way_out = f'add {" or ".join(map(repr, names))} to {path}'
  return ((Condition(path, names, True, way_out, among=True),),)


def read_unless(path: str, *values: Any) -> Read:
  """Where the setting `path` has none of the values."""
  return ((Condition(path, values, False),),)


def all_of(*reads: Read) -> Read:
  """Where all of them hold."""
  made = ALWAYS
  for read in reads:
    made = tuple(x + y for x in made for y in read)
  return made


def any_of(*reads: Read) -> Read:
  """Where one of them holds; never, without any."""
  return sum(reads, ())


def refuse_unknown(what: str, name: str, known: Iterable[str]) -> None:
  """Refuses a name that is not among those there are.

  Raises:
    types.UserError: the name; the message lists the known ones.
  """
  known = tuple(known)
  if name not in known:
    raise types.UserError(
      f'{what} {name!r} is unknown; known: {", ".join(known)}'
    )


def refuse_options(
  options: Any, name: str, taken: Sequence[str], besides: Sequence[str] = ()
) -> None:
  """Refuses settings that the part a section names does not have.

  Args:
    options: the section; its `name` is that of the part.
    name: of the section.
    taken: settings that the part has.
    besides: settings that something else reads, whatever the part.
  Raises:
    types.UserError: a changed setting that would change nothing.
  """
  for path, field, value in _walk_section(options, name):
    read = field.name in ('name', *taken, *besides)
    if not read and _plain(value) != field.default:
      declare = ', or name it in its `reads`' if is_own(options.name) else ''
      raise types.UserError(
        f'{path} is {value}, but {options.name} has no such option; it takes'
        f' {", ".join(taken) or "none"}; leave it at {field.default!r}{declare}'
      )


def is_own(value: Any) -> bool:
  """Whether a name is that of a part in a file of the user, 'file.py:make'."""
  file, _, function = str(value).rpartition(':')
  return file.endswith('.py') and function.isidentifier()


def walk(config: Any) -> Iterator[tuple[str, dataclasses.Field, Any]]:
  """Yields path, field and value of every setting."""
  for part in dataclasses.fields(config):
    yield from _walk_section(getattr(config, part.name), part.name)


def _walk_section(options, name):
  for field in dataclasses.fields(options):
    yield f'{name}.{field.name}', field, getattr(options, field.name)


def refuse_values(config: Any) -> None:
  """Refuses values that a setting cannot have, whatever the others are.

  Raises:
    types.UserError: the value and what is allowed.
  """
  for part in dataclasses.fields(config):
    refuse_section(getattr(config, part.name), part.name)


def refuse_section(options: Any, name: str) -> None:
  """Refuses values as `refuse_values`, in the section of that name."""
  for path, field, value in _walk_section(options, name):
    kind, several = field.type, typing.get_origin(field.type) is tuple
    if several:
      kind = typing.get_args(kind)[0]
      if not isinstance(value, tuple | list):
        raise types.UserError(
          f'{path} {value!r} must be several, as in ({value!r},)'
        )
    for one in value if several else (value,):
      _refuse_kind(path, one, kind, several)
      _refuse_value(path, one, field.metadata['setting'])


def _refuse_kind(path, value, kind, several):
  # A flag of several values takes whatever Python reads between its commas.
  wanted, words = _KINDS[kind]
  if several and kind is str:
    words = "a name; quote each, as in \"'a','b'\""
  if not isinstance(value, wanted) or isinstance(value, bool) != (kind is bool):
    raise types.UserError(f'{path} {value!r} must be {words}')
  if several and kind is str and ',' in value:
    quoted = ','.join(f"'{part}'" for part in value.split(','))
    raise types.UserError(
      f'{path} {value!r} is one name with commas; quote each, as in'
      f' --config.{path}="{quoted}"'
    )


def _refuse_value(path, value, setting):
  if isinstance(value, numbers.Real) and not math.isfinite(value):
    raise types.UserError(f'{path} {value} must be a finite number')
  for words, limit in setting.limits:
    if not _LIMITS[words](value, limit):
      must = f'{words} {limit}'.replace('above 0', 'positive')
      raise types.UserError(f'{path} {value} must be {must}')
  if setting.names and value not in setting.names:
    known = ', '.join(setting.names)
    raise types.UserError(f'{path} {value!r}; known: {known}')


def refuse_unread(config: Any, reads: Sequence[Reads], recipe: str) -> None:
  """Refuses settings that nothing reads: recorded, they would mislead.

  Args:
    config: the settings.
    reads: what the recipe reads.
    recipe: its words in a message, as in 'model.name=din'.
  Raises:
    types.UserError: the value, why nothing reads it, and the ways out.
    ValueError: a pattern of `reads` that matches no setting.
  """
  paths = [path for path, _, _ in walk(config)]
  for pattern in ' '.join(f'{r.settings} {r.but}' for r in reads).split():
    if not fnmatch.filter(paths, pattern):
      raise ValueError(f'{pattern!r} is no setting, but a recipe reads it')
  for path, blamed, way_out in _unread(config, reads):
    refuse_changed(config, (path,), f'with {blamed or recipe}', way_out)


def only_read(config: Any, reads: Sequence[Reads]) -> Any:
  """A copy where what `refuse_unread` would refuse is at its default."""
  made, default = copy.deepcopy(config), type(config)()
  for path, _, _ in _unread(config, reads):
    part, name = path.split('.')
    setattr(getattr(made, part), name, getattr(getattr(default, part), name))
  return made


def refuse_changed(
  config: Any, paths: Iterable[str], why: str, way_out: str = ''
) -> None:
  """Refuses to change settings that are not read.

  Args:
    config: the settings.
    paths: of those that are not read.
    why: what follows 'changes nothing'.
    way_out: besides the default.
  Raises:
    types.UserError: the value, why nothing reads it, and the ways out.
  """
  for path, field, value in walk(config):
    if path in paths and _plain(value) != field.default:
      more = f', or {way_out}' if way_out else ''
      raise types.UserError(
        f'{path} {value!r} changes nothing {why}; leave it at'
        f' {field.default!r}{more}'
      )


def _plain(value):
  """The same value, a tuple where JSON makes a list."""
  return tuple(value) if isinstance(value, list) else value


def _unread(config, reads):
  """Yields (path, what is blamed, way out) of changed settings not read.

  Blamed is '' where the recipe does not read a setting whatever the others are.
  """
  settings = {path: (field, value) for path, field, value in walk(config)}
  for path, (field, value) in settings.items():
    if _plain(value) == field.default:
      continue
    by_recipe = any_of(*(r.read for r in reads if _covers(r, path)))
    if not by_recipe:
      part = type(config).__dataclass_fields__[path.split('.')[0]]
      yield path, '', part.metadata['way_out']
      continue
    setting = field.metadata['setting']
    failed = [
      [c for c in conditions if not _holds(c, settings[c.path][1])]
      for conditions in all_of(by_recipe, setting.read)
    ]
    if [] not in failed and value not in setting.idle:
      first = failed[0][0]
      field, value = settings[first.path]
      yield path, f'{first.path}={value}', _way_out(first, field)


def _covers(reads, path):
  matches = lambda patterns: any(
    fnmatch.fnmatchcase(path, pattern) for pattern in patterns.split()
  )
  return matches(reads.settings) and not matches(reads.but)


def _holds(condition, value):
  if is_own(value):
    return True  # a part in a file may read what it likes
  value = _plain(value)
  each = isinstance(value, tuple) and value != ()
  compare = any if condition.among else all
  has_one = value in condition.values or (
    each and compare(one in condition.values for one in value)
  )
  return has_one == condition.has_one


def _way_out(condition, field):
  """How the condition would hold, for a setting that has a value."""
  values, names = condition.values, field.metadata['setting'].names
  if not condition.has_one:
    values = [name for name in names if name not in values]
  if condition.way_out:
    return condition.way_out
  if all(values) and 0 < len(values) <= _FEW:
    return f'use {condition.path}={" or ".join(map(str, values))}'
  if condition.has_one and field.default in values:
    return f'leave {condition.path} at {field.default!r}'
  return f'change {condition.path}'
