"""Files on disk that are wholly the old ones or wholly the new ones.

A name appears only after its bytes are on the disk (temporary name, fsync,
rename), so a process killed at any moment leaves nothing half-written under a
name that somebody reads. JSON is strict: NaN and infinities have no place in
it and become null.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import json
import math
import os
import pathlib
from typing import Any, BinaryIO

import numpy as np

from twotsrec import types

try:
  import fcntl
except ImportError:  # Windows has no flock; two writers are not noticed there
  fcntl = None

_WAYS_OUT = {
  errno.ENOSPC: 'free some space or choose another folder',
  errno.EDQUOT: 'free some space or choose another folder',
  errno.EFBIG: 'raise the file size limit or choose another folder',
  errno.ENOTDIR: 'a file stands where a folder is needed',
  errno.ENOENT: 'check the name',
}


@contextlib.contextmanager
def explained(path: str | os.PathLike, action: str) -> Iterator[None]:
  """Turns an OSError inside into a UserError.

  Args:
    path: named if the error does not name a file itself.
    action: what was tried, 'read' or 'write'.
  """
  try:
    yield
  except OSError as error:
    way_out = _WAYS_OUT.get(
      error.errno or 0, f'choose a folder you can {action}'
    )
    raise types.UserError(
      f'cannot {action} {error.filename or path}: '
      f'{error.strerror or error}; {way_out}'
    ) from error


def fsync(path: str | os.PathLike) -> None:
  """Forces a file or a folder's list of names to the disk."""
  path = pathlib.Path(path)
  if os.name == 'nt' and path.is_dir():
    return  # Windows cannot open a folder, and writes names through
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Yields a file that takes the name `path` once it is complete.

  If writing fails, the old file stays and the new one goes. Of two processes
  that write the same file, one has the last word, and nobody reads a mixture.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.tmp-{os.getpid()}-{path.name}')
  try:
    with open(temporary, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync(path.parent)
  finally:  # nothing is left of it if it has its name by now
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)


def flock(descriptor: int, wait: bool) -> bool:
  """Locks an open file; the lock dies with the process.

  Returns:
    False if another process holds it. True where files cannot be locked.
  """
  if fcntl is None:
    return True
  mode = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
  try:
    fcntl.flock(descriptor, mode)
  except BlockingIOError:
    return False
  except OSError:  # some network file systems have no locks at all
    return True
  return True


def jsonable(value: Any) -> Any:
  """`value` in the types of strict JSON.

  NumPy scalars and arrays become numbers and lists, tuples lists, paths and
  keys strings; NaN and infinities (an undefined metric) become None.
  """
  if isinstance(value, Mapping):
    return {str(name): jsonable(entry) for name, entry in value.items()}
  if isinstance(value, list | tuple):
    return [jsonable(entry) for entry in value]
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if hasattr(value, '__array__'):  # NumPy and JAX arrays, NumPy scalars
    return jsonable(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes one JSON document, indented, in place of the old one."""
  text = json.dumps(jsonable(value), indent=2, allow_nan=False)
  with explained(path, 'write'), replacing(path) as file:
    file.write(text.encode() + b'\n')


def read_json(path: str | os.PathLike) -> Any:
  """Reads a JSON document; a missing or damaged one is a UserError."""
  with explained(path, 'read'):
    content = pathlib.Path(path).read_bytes()
  try:
    return json.loads(content)
  except ValueError as error:  # not UTF-8, or not JSON
    raise types.UserError(
      f'{path} is not valid JSON ({error}); restore it from a copy, or start '
      'over in an empty folder'
    ) from error
