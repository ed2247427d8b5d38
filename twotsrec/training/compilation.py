"""Compiled programs on disk, so that a second command need not compile again.

jax writes a file per program and reads it by a key of the program, versions,
flags and machine. This module adds what jax leaves open: where the folder is,
how large it may grow, and what becomes of half a file.

Two commands may share the folder. One may read what the other is just writing:
then it compiles. A file that a killed command left unfinished is deleted by the
next command that starts.
"""

from collections.abc import Mapping
import os
import pathlib
import time
import warnings
import zlib

import jax

from twotsrec import types

VARIABLE = 'TWOTSREC_COMPILE_CACHE'
OFF = 'off'
MOST_BYTES = 2**30
_WRITING = 60.0  # seconds: whatever is older is not being written any more
_CHECKED = 'checked'  # a file whose time says up to when programs are whole


def keep(asked: str = '', environment: Mapping[str, str] = os.environ) -> None:
  """Reads and keeps compiled programs from now on.

  Args:
    asked: a folder, or `off`; if empty, the variable TWOTSREC_COMPILE_CACHE.
      Without either, jax's own JAX_COMPILATION_CACHE_DIR counts, and last
      `twotsrec/compiled` in the user's cache folder.
    environment: variables of the process.
  Raises:
    types.UserError: the folder that was asked for cannot be written.
  """
  asked = asked or environment.get(VARIABLE, '')
  if asked == OFF:
    jax.config.update('jax_enable_compilation_cache', False)
    return
  if not asked and environment.get('JAX_COMPILATION_CACHE_DIR'):
    return
  folder = pathlib.Path(asked) if asked else default_folder(environment)
  try:
    # Programs are run as they are: nobody else may put one there.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    tidy(folder)
  except OSError as error:
    if not asked:  # a home that cannot be written; nothing depends on the cache
      return
    raise types.UserError(
      f'--compile_cache (or {VARIABLE}) {asked!r}: {error.strerror}; name a'
      f' folder that can be written, or {OFF}'
    ) from error
  # An entry that cannot be read or written costs a compilation, nothing else.
  warnings.filterwarnings('ignore', 'Error .* persistent compilation cache')
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def default_folder(environment: Mapping[str, str]) -> pathlib.Path:
  """`twotsrec/compiled` in the user's cache folder (XDG base directories)."""
  base = environment.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'twotsrec' / 'compiled'


def tidy(folder: pathlib.Path, most_bytes: int = MOST_BYTES) -> None:
  """Deletes unfinished programs, and the oldest ones beyond `most_bytes`.

  A program is read once to see whether it is whole.

  Args:
    folder: of compiled programs.
    most_bytes: what may stay.
  """
  settled, marker = time.time() - _WRITING, folder / _CHECKED
  checked = marker.stat().st_mtime if marker.exists() else 0.0
  programs = []
  for path in folder.glob('*-cache'):
    try:
      status = path.stat()
      if checked <= status.st_mtime < settled and not _is_whole(path):
        path.unlink()
        continue
    except FileNotFoundError:  # another command tidies up too
      continue
    used = max(status.st_mtime, status.st_atime)
    programs.append((used, status.st_size, path))
  marker.touch()
  os.utime(marker, (settled, settled))
  excess = sum(size for _, size, _ in programs) - most_bytes
  for _, size, path in sorted(programs):
    if excess <= 0:
      break
    path.unlink(missing_ok=True)
    excess -= size


def _is_whole(path):
  """Whether a compressed program ends where it should, with its checksum."""
  content = path.read_bytes()
  if content[:1] != b'\x78':  # not zlib's: jax may find another compressor
    return bool(content)
  try:
    zlib.decompress(content)
  except zlib.error:
    return False
  return True
