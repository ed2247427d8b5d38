"""All states of a store in one file, a .npz archive of arrays, and back."""

from collections.abc import Iterator
import contextlib
import logging
import os
import pathlib
import zipfile
import zlib

import jax
import numpy as np

from twotsrec import types
from twotsrec.runs import state_sqlite
from twotsrec.serving import online
from twotsrec.serving import online_bytes
from twotsrec.serving import online_windows
from twotsrec.training import files

_LOGGER = logging.getLogger('twotsrec')
_NAMES = ('user_ids', 'last_times', 'states')
# Files of earlier versions have no events; each of these stands for its column.
_EVENTS = ('offsets', 'time', 'item', 'identity')
_MORE = ('floors', 'starts', *(f'event_{name}' for name in _EVENTS))
ENDING = '.npz'
_MAGIC = b'PK'  # what an archive begins with


def is_archive(path: str) -> bool:
  """Whether a file is one of this module: by its first bytes, or its name."""
  try:
    with open(path, 'rb') as file:
      start = file.read(len(state_sqlite.MAGIC))
  except OSError:
    start = b''
  if start == state_sqlite.MAGIC:
    return False
  return start.startswith(_MAGIC) or path.endswith(ENDING)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
  """Nobody else who asks writes files in the folder of `path` meanwhile.

  For a file that is read, changed and replaced.
  """
  if os.name == 'nt':  # where a folder cannot be opened, nor locked
    yield
    return
  folder = pathlib.Path(path).absolute().parent
  with files.explained(path, 'write'):
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
  try:
    if not files.flock(descriptor, wait=False):
      _LOGGER.warning('waiting for another process that writes in %s', folder)
      files.flock(descriptor, wait=True)
    yield
  finally:
    os.close(descriptor)


def nobody(service: online.Service) -> online_windows.Stored:
  """States of no user."""
  nothing = np.zeros(0)
  return online_windows.begin(service, service.ids.user[:0], nothing, nothing)


def save(
  path: str | os.PathLike,
  service: online.Service,
  stored: online_windows.Stored,
) -> None:
  """Writes states to a file, in place of an old one."""
  arrays = {
    'user_ids': stored.ids,
    'last_times': stored.last_time,
    'floors': stored.floor,
    'states': _records(service, stored.state),
    'starts': _records(service, stored.start),
  }
  events = {f'event_{n}': getattr(stored.window, n) for n in _EVENTS}
  with files.explained(path, 'write'):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
      np.savez(file, **arrays, **events)


def load(path: str, service: online.Service) -> online_windows.Stored:
  """Reads what `save` wrote.

  Raises:
    types.UserError: no such file, another one, or states of another model.
  """
  with files.explained(path, 'read'):
    arrays = _arrays(path)
  ids = arrays['user_ids']
  users = service.ids.user
  # Beside the numbers of a run, people who are new to it may have names.
  if len(ids) and users.dtype.kind == 'U' and ids.dtype.kind != 'U':
    raise types.UserError(
      f'{path}: user {str(ids[0])!r}: the run has other user ids, like'
      f' {str(users[0])!r}; use the run that it was made with'
    )
  if not len(ids):
    return nobody(service)
  try:
    state, start = (
      jax.tree.map(
        np.array, online_bytes.from_bytes(service, arrays[name].tobytes())
      )
      for name in ('states', 'starts')
    )
  except types.UserError as error:
    raise types.UserError(f'{path}: {error}') from error
  return online_windows.Stored(
    ids=ids,
    last_time=arrays['last_times'],
    floor=arrays['floors'],
    start=start,
    state=state,
    window=online_windows.Window(*(arrays[f'event_{n}'] for n in _EVENTS)),
  )


def _records(service, state) -> np.ndarray:
  """u8[n, record]."""
  data = np.frombuffer(online_bytes.to_bytes(service, state), np.uint8)
  return data.reshape(-1, online_bytes.record_size(service))


def _arrays(path) -> dict[str, np.ndarray]:
  """The arrays of a file, of the shapes that `save` gives them."""
  wrong = state_sqlite.wrong_file(path)
  try:
    with open(path, 'rb') as file, np.load(file, allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in _NAMES}
      has_events = not set(_MORE).isdisjoint(archive.files)
      arrays |= {name: archive[name] for name in _MORE if has_events}
  # Cut off or altered (RuntimeError: it seems encrypted), no archive at all, a
  # lone array, or other names.
  except (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError,
    AttributeError, KeyError, TypeError,
  ):  # fmt: skip
    raise wrong from None
  ids, last_time, states = (arrays[name] for name in _NAMES)
  if not has_events:
    window = online_windows.empty(len(ids)) if ids.ndim == 1 else ()
    events = zip(_EVENTS, window, strict=False)
    arrays |= {'floors': last_time, 'starts': states}
    arrays |= {f'event_{name}': values for name, values in events}
  users, size = ids.shape, states.shape
  if (
    [ids.ndim, last_time.shape, states.dtype, len(size)] != [1, users, 'u1', 2]
    or (arrays['floors'].shape, arrays['starts'].shape) != (users, size)
    or size[:1] != users
    or not _is_window(users[0], *(arrays[f'event_{name}'] for name in _EVENTS))
  ):
    raise wrong
  return arrays


def _is_window(count, offsets, *columns) -> bool:
  """Whether arrays are those of a window of `count` users."""
  return (
    offsets.shape == (count + 1,)
    and bool(np.all(np.diff(offsets) >= 0) and offsets[0] == 0)
    and all(column.shape == (offsets[-1],) for column in columns)
  )
