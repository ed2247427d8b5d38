"""Parts that stand in a file of one's own: `model.name=my_file.py:make`.

Wherever a configuration names a part (a model, an aggregator, a plugin, a
fusion, a recipe), a Python file and a name in it can stand instead. The file is
read once; nothing else of it is touched.
"""

from collections.abc import Callable, Mapping
import functools
import hashlib
import importlib.machinery
import importlib.util
import inspect
import pathlib
import sys
from typing import Any

from twotsrec import fields
from twotsrec import types

# What a file may do wrong while it is read.
_FAULTS = (
  SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError,
  LookupError, ArithmeticError, AssertionError, RuntimeError, OSError,
)  # fmt: skip


def split(name: str) -> tuple[pathlib.Path, str]:
  """The file and the name in it that `file.py:name` stands for."""
  path, _, attribute = name.rpartition(':')
  return pathlib.Path(path), attribute


def short(name: str) -> str:
  """What a table shows of a setting's value: an own part without its folder."""
  if not fields.is_own(name):
    return name
  path, attribute = split(name)
  return f'{path.name}:{attribute}'


def load(name: str, setting: str) -> Any:
  """What a setting names in a file of one's own.

  Args:
    name: `file.py:name`.
    setting: that has this value, for messages.
  Raises:
    types.UserError: no such file, one that fails, or no such name in it.
  """
  path, attribute = split(name)
  what = f'{setting} {name}'
  module = _run(str(path.resolve()), digest(name, what), what)
  if not hasattr(module, attribute):
    public = [
      word
      for word, value in vars(module).items()
      if not word.startswith('_') and not inspect.ismodule(value)
    ]
    raise types.UserError(
      f'{setting} {name}: {path.name} has no {attribute!r}; it has'
      f' {", ".join(public) or "nothing"}'
    )
  return getattr(module, attribute)


def part(
  name: str,
  setting: str,
  kind: type,
  makers: Mapping[str, Callable[..., Any]],
  *arguments: Any,
  also: str = '',
) -> Any:
  """What a setting names: a part of the package, or one in a file.

  Args:
    name: of `makers`, or `file.py:name` of a function.
    setting: that has this value, for messages.
    kind: what the function is to return.
    makers: functions of the package by their names.
    *arguments: of the function.
    also: what else a user may want, for messages.
  Raises:
    types.UserError: as `load`, an unknown name, or a function that returns
      something else.
  """
  if fields.is_own(name):
    return _made(load(name, setting), f'{setting} {name}', kind, arguments)
  if name not in makers:
    raise types.UserError(
      f'{setting} {name!r} is unknown; known: {", ".join(makers)}, or one of'
      f' your own as my_file.py:make{also}'
    )
  return makers[name](*arguments)


def _made(maker, what, kind, arguments):
  """What a function of a file returns, or the part itself."""
  if isinstance(maker, kind):
    return maker
  if not callable(maker):
    raise types.UserError(
      f'{what} is a {type(maker).__name__}; name a function that returns a'
      f' {kind.__name__}'
    )
  made = maker(*arguments)
  if not isinstance(made, kind):
    raise types.UserError(
      f'{what} returns a {type(made).__name__}; it must return a'
      f' twotsrec.types.{kind.__name__}'
    )
  return made


def name_of(part: Callable[..., Any] | Any) -> str:
  """The `file.py:name` of a function that a program has at hand.

  Raises:
    types.UserError: it stands in no file, or not at the top of one.
  """
  try:
    path = inspect.getsourcefile(part)
  except TypeError:
    path = None
  name = getattr(part, '__qualname__', '')
  if not path or not pathlib.Path(path).is_file() or '<' in name:
    raise types.UserError(
      f'{part!r} does not stand at the top of a file, so a run could not be'
      ' loaded again; write it into a file of its own'
    )
  return f'{path}:{name}'


def digest(name: str, what: str = '') -> str:
  """Of the content of the file that `file.py:name` stands in.

  Args:
    name: `file.py:name`.
    what: what it is, for messages.
  Raises:
    types.UserError: no such file.
  """
  path, _ = split(name)
  try:
    return hashlib.sha256(path.read_bytes()).hexdigest()
  except OSError as error:
    raise types.UserError(
      f'{what or name}: cannot read {path}: {error.strerror}; give the path'
      ' from the folder you are in'
    ) from error


def is_same(first: Any, second: Any) -> bool:
  """Whether two values of a setting mean the same part.

  Copies of a file are the same, wherever they lie.
  """
  if first == second:
    return True
  if not (fields.is_own(first) and fields.is_own(second)):
    return False
  same_name = split(first)[1] == split(second)[1]
  return same_name and digest(first) == digest(second)


@functools.cache
def _run(path, content_digest, what):
  """The file as a module; the same content is run once."""
  name = f'twotsrec_own_{content_digest[:16]}'
  loader = importlib.machinery.SourceFileLoader(name, path)
  spec = importlib.machinery.ModuleSpec(name, loader, origin=path)
  module = importlib.util.module_from_spec(spec)
  module.__file__ = path
  sys.modules[name] = module  # as classes of the file expect
  try:
    loader.exec_module(module)
  except _FAULTS as error:
    del sys.modules[name]
    why = (str(error) or 'without a message').splitlines()[0]
    raise types.UserError(
      f'{what}: {pathlib.Path(path).name}{_line_of(error, path)} fails:'
      f' {type(error).__name__}: {why}; correct it'
    ) from error
  return module


def _line_of(error, path):
  """', line N' of the file where it failed."""
  if isinstance(error, SyntaxError):
    return f', line {error.lineno}'
  lines, trace = [], error.__traceback__
  while trace is not None:
    if trace.tb_frame.f_code.co_filename == path:
      lines.append(trace.tb_lineno)
    trace = trace.tb_next
  return f', line {lines[-1]}' if lines else ''
