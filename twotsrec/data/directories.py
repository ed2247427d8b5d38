"""Directories of arrays that appear whole or not at all.

A directory is written under a temporary name beside its place, then renamed.
It holds a `.npy` file per array and a JSON file that describes them.
"""

from collections.abc import Callable, Mapping
import hashlib
import json
import os
import pathlib
import re
import shutil
import time
from typing import Any
import uuid

import numpy as np

from twotsrec import types

_STALE_SECONDS = 3600


def write(target: pathlib.Path, fill: Callable[[pathlib.Path], None]) -> None:
  """Lets `fill` write into an empty directory, which then becomes `target`.

  An old directory there is replaced.

  Raises:
    OSError: nothing has changed then.
  """
  _sweep(target)
  temporary = target.parent / f'.{target.name}.{uuid.uuid4().hex}'
  try:
    temporary.mkdir(parents=True)
    fill(temporary)
    _replace(temporary, target)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def holds_data(target: pathlib.Path) -> bool:
  """Whether anything but an empty directory is there."""
  return target.exists() and not (
    target.is_dir() and next(target.iterdir(), None) is None
  )


def cannot_write(target: pathlib.Path, error: OSError) -> types.UserError:
  """The user error for a place that the system does not let us write."""
  return types.UserError(
    f'cannot write {target}: {error.strerror or error}; choose a folder '
    'with room and write permission'
  )


def describe(array: np.ndarray) -> dict[str, Any]:
  """Type, shape and digest of an array, as JSON values."""
  contiguous = np.ascontiguousarray(array)
  # Unicode arrays do not export a buffer; their bytes do.
  content = hashlib.sha256(contiguous.reshape(-1).view(np.uint8).data)
  return {
    'dtype': contiguous.dtype.str,
    'shape': list(contiguous.shape),
    'sha256': content.hexdigest(),
  }


def save(
  folder: pathlib.Path,
  arrays: Mapping[str, np.ndarray | None],
  manifest: str,
  value: Any,
) -> None:
  """Writes arrays by name and a JSON file through to the disk.

  An array that is mapped in the folder already stays; None is no array.
  """
  for name, array in arrays.items():
    path = folder / f'{name}.npy'
    if isinstance(array, np.memmap) and path.exists():
      array.flush()
    elif array is not None:
      with open(path, 'xb') as file:
        np.save(file, array, allow_pickle=False)
        _flush(file)
  with open(folder / manifest, 'xb') as file:
    file.write(json_bytes(value))
    _flush(file)


def json_bytes(value: Any) -> bytes:
  """The one way to write a JSON value, so that equal ones have equal bytes."""
  text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
  # A path may hold bytes that are no text.
  return (text + '\n').encode(errors='backslashreplace')


def load(
  path: pathlib.Path,
  version: int,
  keys: tuple[str, ...],
  again: str,
  verify: bool = False,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """The JSON object of a directory, and its arrays, memory-mapped.

  Args:
    path: of the JSON file.
    version: of the format, that of the object must be the same.
    keys: that the object must have beside 'arrays'.
    again: how to make the directory again, for errors.
    verify: also recompute every digest, which reads all data.
  Raises:
    types.UserError: a file that cannot be read, is damaged or of another
      version.
    FileNotFoundError: there is no JSON file.
  """
  try:
    value = json.loads(path.read_bytes())
    for key in ('arrays', 'version', *keys):
      value[key]
  except FileNotFoundError:
    raise
  except OSError as error:
    raise types.UserError(
      f'cannot read {path}: {error.strerror}; check its permissions'
    ) from error
  except (ValueError, KeyError, TypeError) as error:
    raise damaged(path, 'it is not a manifest', again) from error
  if value['version'] != version:
    raise types.UserError(
      f'{path.parent} has format version {value["version"]}, this program '
      f'reads {version}; {again}'
    )
  arrays = {}
  for name, described in value['arrays'].items():
    file = path.parent / f'{name}.npy'
    arrays[name] = _load_array(file, described, again)
    if verify and describe(arrays[name]) != described:
      raise damaged(file, 'its content has changed', again)
  return value, arrays


def damaged(path: pathlib.Path, reason: str, again: str) -> types.UserError:
  """The user error for a file of a directory that is not as it was written."""
  return types.UserError(
    f'{path} is damaged: {reason}; delete {path.parent} and {again}'
  )


def _load_array(
  path: pathlib.Path, described: dict[str, Any], again: str
) -> np.ndarray:
  try:
    # An empty array cannot be mapped.
    mode = 'r' if np.prod(described['shape']) else None
    array = np.load(path, mmap_mode=mode, allow_pickle=False)
  except FileNotFoundError as error:
    raise damaged(path, 'it is missing', again) from error
  except (OSError, ValueError, EOFError) as error:
    reason = 'its size is wrong or it is not an array'
    raise damaged(path, reason, again) from error
  wanted = [described['dtype'], described['shape']]
  if [array.dtype.str, list(array.shape)] != wanted:
    raise damaged(path, f'it should be {wanted[0]}{wanted[1]}', again)
  return array


def _flush(file: Any) -> None:
  file.flush()
  os.fsync(file.fileno())


def _replace(temporary: pathlib.Path, target: pathlib.Path) -> None:
  """Renames `temporary` to `target`, setting an old directory aside first."""
  if not target.exists():
    temporary.rename(target)
    return
  aside = temporary.with_name(temporary.name + '.old')
  target.rename(aside)
  try:
    temporary.rename(target)
  except OSError:
    aside.rename(target)
    raise
  shutil.rmtree(aside, ignore_errors=True)


def _sweep(target: pathlib.Path) -> None:
  """Removes what killed writers of `target` left beside it.

  Old data set aside stay while there is no target: they may be the only copy.
  """
  ours = re.compile(rf'\.{re.escape(target.name)}\.[0-9a-f]{{32}}(\.old)?')
  for path in target.parent.glob('.*'):
    match = ours.fullmatch(path.name)
    if not match or (match[1] and not target.exists()):
      continue
    try:
      written = max(file.stat().st_mtime for file in (path, *path.iterdir()))
    except OSError:
      continue  # another process removed it, or it is no folder of ours
    if time.time() - written > _STALE_SECONDS:
      shutil.rmtree(path, ignore_errors=True)
