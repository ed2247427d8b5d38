"""Reads numbers, lists, arrays and sparse matrices from pickled files.

A pickle is a program that may name any function to call. This reader lets a
file name nothing but the classes of NumPy arrays and SciPy matrices, and gives
it stand-ins for them that only hold what the file says; the arrays are built
afterwards. It reads protocols 0 to 5, files of Python 2 included.
"""

from collections.abc import Callable
import io
import math
import os
import pathlib
import pickle
import re
import struct
from typing import Any, NamedTuple
import warnings

import numpy as np
from scipy import sparse

from twotsrec import types

_NUMERIC = re.compile(r'([<>=|]?)([biuf][1248])')
# What reading and building give when a file is not as it should be.
_FAULTS = (
  ArithmeticError, AssertionError, AttributeError, EOFError, LookupError,
  MemoryError, RecursionError, TypeError, ValueError, Warning,
  pickle.UnpicklingError, struct.error,
)  # fmt: skip


class Matrix(NamedTuple):
  """Stored entries of a sparse matrix, row by row, zeros included."""

  shape: tuple[int, int]  # rows, columns
  row: np.ndarray  # i64[M], ascending
  column: np.ndarray  # i64[M], in stored order inside a row
  value: np.ndarray  # [M]


class _Made:
  """Stands in for an object of the file; holds its arguments and its state.

  All that a file can name are such classes: what else it may ask for, setting
  attributes for example, fails on a class.
  """

  kind = ''
  arguments: tuple[Any, ...] = ()
  state: Any = None

  def __new__(cls, *arguments: Any):
    made = super().__new__(cls)
    made.arguments = arguments
    return made

  def __init__(self, *arguments: Any):
    del arguments  # kept by __new__, which is all that some protocols call

  def __setstate__(self, state: Any) -> None:
    self.state = state


def _stand_in(name: str) -> type[_Made]:
  return type(name, (_Made,), {'kind': name})


_ARRAY, _BUFFER, _DTYPE, _SCALAR = map(
  _stand_in, ('array', 'buffer', 'dtype', 'scalar')
)
_OBJECT = _stand_in('object')


class _Encode(_Made):
  """Makes bytes, as Python 3 writes them for Python 2."""

  def __new__(cls, text: str, codec: str):
    if codec not in ('latin1', 'latin-1'):
      raise ValueError(f'it has bytes in {codec!r}')
    return text.encode('latin-1')


class _NoBytes(_Made):
  """Makes empty bytes."""

  def __new__(cls):
    return b''


class _Reconstructor(_Made):
  """Makes an object of protocols 0 and 1, whose state comes later."""

  def __new__(cls, kind: Any, base: Any, state: Any):
    if kind not in _MATRICES.values():
      raise ValueError('it makes no matrix')
    return kind()


_MATRICES = {form: _stand_in(form) for form in ('csr', 'csc', 'coo')}
# What a file may name, and what stands in for it. NumPy 2 writes numpy._core,
# older ones numpy.core; SciPy before 1.8 has no underscore.
_NAMES = {
  ('numpy', 'ndarray'): _OBJECT,
  ('numpy', 'dtype'): _DTYPE,
  ('_codecs', 'encode'): _Encode,
  ('copy_reg', '_reconstructor'): _Reconstructor,
  ('copyreg', '_reconstructor'): _Reconstructor,
  **{
    (module, name): stand_in
    for module in ('builtins', '__builtin__')
    for name, stand_in in (('object', _OBJECT), ('bytes', _NoBytes))
  },
  **{
    (f'numpy.{core}.{module}', name): stand_in
    for core in ('core', '_core')
    for module, name, stand_in in (
      ('multiarray', '_reconstruct', _ARRAY),
      ('multiarray', 'scalar', _SCALAR),
      ('numeric', '_frombuffer', _BUFFER),
    )
  },
  **{
    (f'scipy.sparse.{module}{form}', f'{form}_{kind}'): _MATRICES[form]
    for form in _MATRICES
    for module in ('_', '')
    for kind in ('matrix', 'array')
  },
}


class _Unpickler(pickle._Unpickler):
  """Knows the names of `_NAMES` and no other.

  It is the one in Python: that in C reserves as much memory as a number in a
  damaged file says.
  """

  def find_class(self, module: str, name: str) -> Any:
    """The stand-in of a name, which is never imported."""
    if (module, name) not in _NAMES:
      # The name is text of the file: shown escaped, and not at any length.
      escaped = f'{module}.{name}'.encode('unicode_escape').decode()
      raise types.UserError(
        f'the file asks for {escaped[:80]}, which is no array, matrix or list; '
        'nothing was run, and it is not read'
      )
    return _NAMES[module, name]


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
    raise types.UserError(
      f'cannot read {path}: {error.strerror}; check its permissions'
    ) from error
  # Text of Python 2 is bytes, which latin-1 keeps; names stay as they are
  # written, so that errors show them so.
  reader = _Unpickler(io.BytesIO(content), fix_imports=False, encoding='latin1')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('error')  # what only a damaged file gives
      return finish(reader.load())
  except types.UserError as error:
    raise types.UserError(
      f'{path}: {_shown(error)}; copy it again, or write matrices of SciPy and '
      'lists of integers'
    ) from error
  except _FAULTS as error:
    raise types.UserError(
      f'{path} is damaged or not a pickled matrix or list ({_shown(error)}); '
      'copy it again'
    ) from error


def _shown(error: BaseException) -> str:
  """A message in one line; parts of a file in it may be of any length."""
  return ' '.join(str(error).split())[:200]


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
    raise ValueError(f'a byte order is {order!r}')
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
      raise ValueError('an array of objects is no list')
    return raw
  raw = _bytes(raw)
  if math.prod(shape) * dtype.itemsize != len(raw):
    raise ValueError(f'an array of shape {shape} has {len(raw)} bytes')
  flat = np.frombuffer(raw, dtype) if raw else np.zeros(0, dtype)
  native = flat.astype(dtype.newbyteorder('='))
  return native.reshape(shape, order='F' if by_column else 'C')


def _matrix(made: Any) -> Matrix:
  _require_kind(made, *_MATRICES)
  state = made.state
  height, width = state.get('_shape', state.get('shape'))
  shape = _integer(height), _integer(width)
  value = _vector(state['data'])
  if made.kind == 'coo':
    places = state.get('coords') or (state['row'], state['col'])
    entries = sparse.coo_array((value, tuple(map(_vector, places))), shape)
  else:
    lines = _vector(state['indices']), _vector(state['indptr'])
    make = sparse.csr_array if made.kind == 'csr' else sparse.csc_array
    compressed = make((value, *lines), shape)
    compressed.check_format()  # offsets ascend, entries are inside
    entries = compressed.tocoo()
  row, column = (place.astype(np.int64) for place in entries.coords)
  by_row = np.argsort(row, kind='stable')
  return Matrix(shape, row[by_row], column[by_row], entries.data[by_row])


def _vector(made: Any) -> np.ndarray:
  array = _array(made)
  if not isinstance(array, np.ndarray) or array.ndim != 1:
    raise ValueError('a matrix needs vectors of numbers')
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
    held = getattr(made, 'kind', type(made).__name__)
    raise types.UserError(f'the file holds a {held}, no {" or ".join(kinds)}')
