"""Files with the states of many users, under their external ids."""

import os
import pathlib
from typing import NamedTuple
import zipfile
import zlib

import jax
import numpy as np

from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.serving import online
from twotsrec.serving import online_bytes
from twotsrec.training import files

_NAMES = ('user_ids', 'last_times', 'states')


class Stored(NamedTuple):
  """States that outlive a process.

  Attributes:
    ids: external ids of users, ascending [n].
    last_time: f64[n], of the last event; -inf where none is known.
    state: of these users.
  """

  ids: np.ndarray
  last_time: np.ndarray
  state: online.State


def nobody(service: online.Service) -> Stored:
  """States of no user."""
  empty = np.zeros(0)
  return Stored(service.ids.user[:0], empty, online.start(service, empty))


def save(
  path: str | os.PathLike, service: online.Service, stored: Stored
) -> None:
  """Writes the file, in place of an old one; a .npz archive of arrays."""
  data = online_bytes.to_bytes(service, stored.state)
  records = np.frombuffer(data, np.uint8)
  records = records.reshape(-1, online_bytes.record_size(service))
  values = (stored.ids, stored.last_time, records)
  with files.explained(path, 'write'):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
      np.savez(file, **dict(zip(_NAMES, values, strict=True)))


def load(path: str | os.PathLike, service: online.Service) -> Stored:
  """Reads what `save` wrote.

  Raises:
    types.UserError: no such file, another one, or states of another model.
  """
  with files.explained(path, 'read'):
    ids, last_time, records = _arrays(path)
  users = service.ids.user
  if len(ids) and ids.dtype.kind != users.dtype.kind:
    raise types.UserError(
      f'{path}: user {str(ids[0])!r}: the run has other user ids, like'
      f' {str(users[0])!r}; use the run that it was made with'
    )
  if not len(ids):
    return nobody(service)
  try:
    state = online_bytes.from_bytes(service, records.tobytes())
  except types.UserError as error:
    raise types.UserError(f'{path}: {error}') from error
  return Stored(ids, last_time, state)


def rows_of(stored: Stored, values: np.ndarray) -> np.ndarray:
  """Where users stand, i32[n]; -1 for one who is not there."""
  if not len(stored.ids):
    return np.full(len(values), -1, np.int32)
  return ids_lib.encode(stored.ids, values)


def merge(stored: Stored, new: Stored) -> Stored:
  """All users of both, as `new` has them where both do."""
  ids = np.concatenate([stored.ids, new.ids])
  # Of equal ids the later one stays.
  distinct, place = np.unique(ids[::-1], return_index=True)
  place = len(ids) - 1 - place

  def both(old, recent):
    return np.concatenate([np.asarray(old), np.asarray(recent)])[place]

  return Stored(
    distinct,
    both(stored.last_time, new.last_time),
    jax.tree.map(both, stored.state, new.state),
  )


def _arrays(path):
  """The arrays of a file, of the shapes that `save` gives them."""
  wrong = types.UserError(
    f'{path} holds no states, or is damaged; name a file that --out_states'
    ' wrote, or leave --states out'
  )
  try:
    with open(path, 'rb') as file, np.load(file, allow_pickle=False) as archive:
      ids, last_time, records = (archive[name] for name in _NAMES)
  # Cut off or altered (RuntimeError: it seems encrypted), no archive at all, a
  # lone array, or other names.
  except (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError,
    AttributeError, KeyError, TypeError,
  ):  # fmt: skip
    raise wrong from None
  shapes = ids.ndim, last_time.shape, records.shape[:1], records.ndim
  if shapes != (1, ids.shape, ids.shape, 2) or records.dtype != np.uint8:
    raise wrong
  return ids, last_time, records
