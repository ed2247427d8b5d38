"""Reads numbers, lists, arrays and sparse matrices from pickled files.

A pickle is a program that may name any function to call. This reader knows the
few names that NumPy and SciPy write for arrays and matrices, and builds them
itself: it never imports or calls what a file names, and refuses a file that
names anything else. It reads protocols 0 to 5, files of Python 2 included.
"""

from collections.abc import Callable
import math
import os
import pathlib
import pickletools
import re
from typing import Any, NamedTuple
import warnings

import numpy as np

from twotsrec import types

_BUILTINS = ('builtins', '__builtin__')
_SPARSE = ('csr', 'csc', 'coo')
# What a file may name, and what this reader makes of it. NumPy 2 writes
# numpy._core, older ones numpy.core; SciPy before 1.8 has no underscore.
_NAMES = {
  ('numpy', 'ndarray'): 'ndarray',
  ('numpy', 'dtype'): 'dtype',
  ('_codecs', 'encode'): 'encode',
  ('copy_reg', '_reconstructor'): 'reconstructor',
  ('copyreg', '_reconstructor'): 'reconstructor',
  **{(module, 'object'): 'object' for module in _BUILTINS},
  **{(module, 'bytes'): 'bytes' for module in _BUILTINS},
  **{
    (f'numpy.{core}.{module}', name): kind
    for core in ('core', '_core')
    for module, name, kind in (
      ('multiarray', '_reconstruct', 'array'),
      ('multiarray', 'scalar', 'scalar'),
      ('numeric', '_frombuffer', 'buffer'),
    )
  },
  **{
    (f'scipy.sparse.{module}{form}', f'{form}_{kind}'): form
    for form in _SPARSE
    for module in ('_', '')
    for kind in ('matrix', 'array')
  },
}
_NUMERIC = re.compile(r'([<>=|]?)([biuf][1248])')
_MARK = object()
# What reading and building give when a file is not as it should be.
_FAULTS = (
  ArithmeticError, AttributeError, LookupError, TypeError, ValueError, Warning,
)  # fmt: skip


class Damaged(types.UserError):
  """A file that does not follow its own format."""


class Matrix(NamedTuple):
  """Stored entries of a sparse matrix, row by row, zeros included.

  Attributes:
    shape: rows, columns.
    row: i64[M], ascending.
    column: i64[M], in stored order inside a row.
    value: [M].
  """

  shape: tuple[int, int]
  row: np.ndarray
  column: np.ndarray
  value: np.ndarray


class _Name(NamedTuple):
  kind: str


class _Made:
  """An object between its creation and the state that comes later."""

  def __init__(self, kind: str, arguments: tuple[Any, ...] = ()):
    self.kind, self.arguments, self.state = kind, arguments, None


def read_matrix(path: str | os.PathLike) -> Matrix:
  """The sparse matrix of a file."""
  return _read(path, _matrix)


def read_lists(path: str | os.PathLike) -> list[list[int]]:
  """A list of integers, None or lists of integers, each as a list."""
  return _read(path, _lists)


def _read(path: str | os.PathLike, finish: Callable[[Any], Any]) -> Any:
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise types.UserError(f'cannot read {path}: {error.strerror}') from error
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('error')  # what only a damaged file gives
      return finish(_interpret(content))
  except Damaged as error:
    raise Damaged(
      f'{path} is damaged: {_shown(error)}; copy it again'
    ) from error
  except types.UserError as error:
    raise types.UserError(f'{path}: {_shown(error)}') from error
  except _FAULTS as error:
    raise Damaged(
      f'{path} is damaged or not a pickled matrix or list ({_shown(error)}); '
      'copy it again'
    ) from error


def _shown(error: Exception) -> str:
  """A message in one line; parts of a file in it may be of any length."""
  return ' '.join(str(error).split())[:200]


def _interpret(content: bytes) -> Any:
  stack, memo = [], {}
  for opcode, argument, _ in pickletools.genops(content):
    name = opcode.name
    if name in _IGNORED:
      continue
    if name in _LITERALS:
      stack.append(argument)
    elif name in _CONSTANTS:
      stack.append(_CONSTANTS[name]())
    elif name in _STEPS:
      _STEPS[name](stack, argument)
    elif name in _PUTS:
      memo[len(memo) if argument is None else argument] = stack[-1]
    elif name in _GETS:
      stack.append(memo[argument])
    elif name != 'STOP':
      raise types.UserError(
        f'the file uses {name}, which arrays and lists do not need; not read'
      )
  (value,) = stack
  return value


def _name(module: str, name: str) -> _Name:
  if (module, name) not in _NAMES:
    # The name is text of the file: shown escaped, and not at any length.
    shown = f'{module}.{name}'.encode('unicode_escape').decode()
    raise types.UserError(
      f'the file asks for {shown[:80]}, which is no array, matrix or list; '
      'nothing was run, and it is not read'
    )
  return _Name(_NAMES[module, name])


def _global(stack: list[Any], argument: str) -> None:
  module, _, name = argument.partition(' ')
  stack.append(_name(module, name))


def _stack_global(stack: list[Any], argument: None) -> None:
  name, module = stack.pop(), stack.pop()
  stack.append(_name(module, name))


def _reduce(stack: list[Any], argument: None) -> None:
  arguments, callee = stack.pop(), stack.pop()
  if not isinstance(callee, _Name) or not isinstance(arguments, tuple):
    raise Damaged('it calls a value')
  if callee.kind == 'encode':
    text, codec = arguments
    if codec not in ('latin1', 'latin-1'):
      raise Damaged(f'it has bytes in {codec!r}')
    stack.append(text.encode('latin-1'))
  elif callee.kind == 'bytes' and not arguments:
    stack.append(b'')
  elif callee.kind == 'reconstructor' and arguments[0].kind in _SPARSE:
    stack.append(_Made(arguments[0].kind))
  elif callee.kind in ('array', 'dtype', 'scalar', 'buffer'):
    stack.append(_Made(callee.kind, arguments))
  else:
    raise Damaged(f'it calls {callee.kind}')


def _new_object(stack: list[Any], argument: None) -> None:
  arguments, made = stack.pop(), stack.pop()
  if made.kind not in _SPARSE or arguments != ():
    raise Damaged(f'it makes {made.kind}')
  stack.append(_Made(made.kind))


def _build(stack: list[Any], argument: None) -> None:
  state = stack.pop()
  if not isinstance(stack[-1], _Made):
    raise Damaged('it sets the state of a value')
  stack[-1].state = state


def _since_mark(stack: list[Any]) -> list[Any]:
  values = []
  while (value := stack.pop()) is not _MARK:
    values.append(value)
  return values[::-1]


def _append(stack: list[Any], argument: None) -> None:
  value = stack.pop()
  _list_on_top(stack).append(value)


def _appends(stack: list[Any], argument: None) -> None:
  values = _since_mark(stack)
  _list_on_top(stack).extend(values)


def _list_on_top(stack: list[Any]) -> list[Any]:
  if not isinstance(stack[-1], list):
    raise Damaged('it appends to what is no list')
  return stack[-1]


def _set_item(stack: list[Any], argument: None) -> None:
  value, key = stack.pop(), stack.pop()
  _set(stack, [key, value])


def _set(stack: list[Any], pairs: list[Any]) -> None:
  if not isinstance(stack[-1], dict):
    raise Damaged('it sets an item of what is no dictionary')
  stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))


def _set_items(stack: list[Any], argument: None) -> None:
  _set(stack, _since_mark(stack))


def _dictionary(stack: list[Any], argument: None) -> None:
  pairs = _since_mark(stack)
  stack.append({})
  _set(stack, pairs)


def _tuple_of(count: int) -> Callable[[list[Any], None], None]:
  def make(stack, argument):
    if len(stack) < count:
      raise Damaged('a value is missing')
    values = tuple(stack[-count:])
    stack[-count:] = [values]

  return make


_IGNORED = ('PROTO', 'FRAME')
_LITERALS = (
  'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4',
  'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING', 'SHORT_BINSTRING',
  'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8',
  'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8',
)  # fmt: skip
_CONSTANTS = {
  'NONE': lambda: None,
  'NEWTRUE': lambda: True,
  'NEWFALSE': lambda: False,
  'EMPTY_LIST': list,
  'EMPTY_DICT': dict,
  'EMPTY_TUPLE': tuple,
  'MARK': lambda: _MARK,
}
_PUTS = ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE')
_GETS = ('GET', 'BINGET', 'LONG_BINGET')
_STEPS = {
  'GLOBAL': _global,
  'STACK_GLOBAL': _stack_global,
  'REDUCE': _reduce,
  'NEWOBJ': _new_object,
  'BUILD': _build,
  'APPEND': _append,
  'APPENDS': _appends,
  'SETITEM': _set_item,
  'SETITEMS': _set_items,
  'LIST': lambda stack, argument: stack.append(_since_mark(stack)),
  'DICT': _dictionary,
  'TUPLE': lambda stack, argument: stack.append(tuple(_since_mark(stack))),
  'TUPLE1': _tuple_of(1),
  'TUPLE2': _tuple_of(2),
  'TUPLE3': _tuple_of(3),
  'POP': lambda stack, argument: stack.pop(),
  'POP_MARK': lambda stack, argument: _since_mark(stack),
  'DUP': lambda stack, argument: stack.append(stack[-1]),
}


def _dtype(made: Any) -> np.dtype | None:
  """The number type; None for Python objects."""
  _require_kind(made, 'dtype')
  code = _text(made.arguments[0])
  if code in ('O', 'O4', 'O8'):
    return None
  numeric = _NUMERIC.fullmatch(code)
  if not numeric:
    raise types.UserError(f'an array holds {code!r}, which are no numbers')
  order = _text(made.state[1]) if made.state else numeric[1]
  if order not in ('', '<', '>', '=', '|'):
    raise Damaged(f'a byte order is {order!r}')
  return np.dtype(numeric[2]).newbyteorder(order or '=')


def _array(made: Any) -> np.ndarray | list[Any]:
  """An array of numbers in native byte order, or a list of objects."""
  if isinstance(made, _Made) and made.kind == 'buffer':
    raw, number_type, shape, order = made.arguments
    by_column = order == 'F'
  else:
    _require_kind(made, 'array')
    _, shape, number_type, by_column, raw = made.state
  dtype = _dtype(number_type)
  if dtype is None:
    if not isinstance(raw, list) or shape != (len(raw),):
      raise Damaged('an array of objects is no list')
    return raw
  raw = _bytes(raw)
  if math.prod(shape) * dtype.itemsize != len(raw):
    raise Damaged(f'an array of shape {shape} has {len(raw)} bytes')
  flat = np.frombuffer(raw, dtype) if raw else np.zeros(0, dtype)
  native = flat.astype(dtype.newbyteorder('='))
  return native.reshape(shape, order='F' if by_column else 'C')


def _matrix(made: Any) -> Matrix:
  _require_kind(made, *_SPARSE)
  state = made.state
  shape = state.get('_shape', state.get('shape'))
  shape = tuple(_integer(size) for size in shape)
  value = _vector(state['data'])
  if made.kind == 'coo':
    places = state.get('coords') or (state['row'], state['col'])
    row, column = (_vector(place).astype(np.int64) for place in places)
  else:
    starts = _vector(state['indptr']).astype(np.int64)
    minor = _vector(state['indices']).astype(np.int64)
    by_row = made.kind == 'csr'
    counts = np.diff(starts)
    lines = shape[0] if by_row else shape[1]
    if len(counts) != lines or np.any(counts < 0) or starts[0] != 0:
      raise Damaged('the matrix has wrong row offsets')
    # Entries after the last offset are room that SciPy has not given back.
    minor, value = minor[: starts[-1]], value[: starts[-1]]
    if len(minor) != starts[-1]:
      raise Damaged('the matrix has fewer entries than its row offsets say')
    major = np.repeat(np.arange(lines), counts)
    row, column = (major, minor) if by_row else (minor, major)
  if not len(row) == len(column) == len(value):
    raise Damaged('the matrix has rows, columns and values of other lengths')
  for place, size in zip((row, column), shape, strict=True):
    if len(place) and (np.min(place) < 0 or np.max(place) >= size):
      raise Damaged(f'the matrix of shape {shape} has entries outside of it')
  by_row = np.argsort(row, kind='stable')
  return Matrix(shape, row[by_row], column[by_row], value[by_row])


def _vector(made: Any) -> np.ndarray:
  array = _array(made)
  if not isinstance(array, np.ndarray) or array.ndim != 1:
    raise Damaged('a matrix needs vectors of numbers')
  return array


def _lists(value: Any) -> list[list[int]]:
  return [_integers(entry) for entry in _elements(value)]


def _elements(value: Any) -> Any:
  if isinstance(value, _Made) and value.kind in ('array', 'buffer'):
    value = _array(value)
  value = value.tolist() if isinstance(value, np.ndarray) else value
  if not isinstance(value, list | tuple):
    raise types.UserError('the file holds no list')
  return value


def _integers(entry: Any) -> list[int]:
  if entry is None:
    return []
  many = isinstance(entry, list | tuple) or (
    isinstance(entry, _Made) and entry.kind in ('array', 'buffer')
  )
  return [_integer(one) for one in (_elements(entry) if many else [entry])]


def _integer(value: Any) -> int:
  if isinstance(value, _Made):
    _require_kind(value, 'scalar')
    dtype = _dtype(value.arguments[0])
    raw = _bytes(value.arguments[1])
    value = np.frombuffer(raw, dtype, count=1)[0].item()
  if isinstance(value, bool) or not isinstance(value, int):
    raise types.UserError(f'an entry is a {type(value).__name__}, no integer')
  return value


def _bytes(raw: Any) -> bytes:
  # Python 2 has text for bytes.
  return raw.encode('latin-1') if isinstance(raw, str) else bytes(raw)


def _text(raw: Any) -> str:
  return raw.decode('latin-1') if isinstance(raw, bytes) else str(raw)


def _require_kind(made: Any, *kinds: str) -> None:
  if not isinstance(made, _Made) or made.kind not in kinds:
    held = made.kind if isinstance(made, _Made | _Name) else type(made).__name__
    raise types.UserError(f'the file holds a {held}, no {" or ".join(kinds)}')
