"""States of users as bytes, and back.

A user is one record of 64 + 4 S bytes that stands for itself: a key-value store
keeps it under the user's id, and records of many users one after the other are
read in one call. Numbers are little-endian, whatever the machine.

In every version a record begins with magic, version and its size, and ends with
the checksum of all before. So damage is told from another version, and either
from the records of another model.
"""

from collections.abc import Sequence
import zlib

import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.serving import online

VERSION = 1
_MAGIC = b'2TSs'
_HEAD = np.dtype([('magic', 'S4'), ('version', '<u2'), ('size', '<u4')])
_SUM = 4  # bytes of the checksum
_FIXED = ('magic', 'version', 'size', 'cell', 'width', 'digest')
_NUMBERS = ('network', 'group', 'last', 'count', 'skipped')


def to_bytes(service: online.Service, state: online.State) -> bytes:
  """The records of all users, one after the other.

  Args:
    service: that the states belong to.
    state: of B users.
  Returns:
    B * record_size(service) bytes.
  """
  layout = _layout(service)
  found = np.empty(len(state.last), layout)
  for name, value in _fixed(service).items():
    found[name] = value
  for name in (*_NUMBERS, 'state'):
    found[name] = np.asarray(getattr(state, name))
  found['checksum'] = _checksums(found.tobytes(), layout.itemsize)
  return found.tobytes()


def to_records(service: online.Service, state: online.State) -> list[bytes]:
  """The record of each user."""
  data, size = to_bytes(service, state), record_size(service)
  return [data[at : at + size] for at in range(0, len(data), size)]


def from_bytes(
  service: online.Service, data: bytes | Sequence[bytes]
) -> online.State:
  """The states behind `to_bytes` or `to_records`, bit for bit.

  Args:
    service: with the parameters that the states were made with.
    data: at least one record.
  Raises:
    types.UserError: damaged bytes, or states of another version of the format,
      another cell or width, or other parameters.
  """
  if not isinstance(data, bytes | bytearray | memoryview):
    data = b''.join(data)
  layout = _layout(service)
  whole = len(data) // layout.itemsize
  found = np.frombuffer(data, layout, whole)
  good = found['checksum'] == _checksums(data, layout.itemsize)
  for name, value in _fixed(service).items():
    same = found[name] == value
    good &= same.all(axis=1) if same.ndim > 1 else same
  for name, limit in _limits(service).items():
    good &= (found[name] >= 0) & (found[name] < limit)
  bad = np.flatnonzero(~good)
  if len(bad) or not whole or whole * layout.itemsize != len(data):
    number = int(bad[0]) if len(bad) else whole
    rest = bytes(data[number * layout.itemsize :])
    raise types.UserError(f'state {number + 1}: {_wrong(service, rest)}')
  values = [jnp.array(found[name], jnp.int32) for name in _NUMBERS]
  state = jnp.array(found['state'], jnp.float32)
  return online.State(state=state, **dict(zip(_NUMBERS, values, strict=True)))


def record_size(service: online.Service) -> int:
  """Bytes of one user."""
  return _layout(service).itemsize


def _layout(service):
  return np.dtype(
    [
      *_HEAD.descr,
      ('network', '<u2'),
      ('cell', 'S12'),
      ('width', '<u4'),
      ('digest', 'u1', (16,)),
      ('group', '<i4'),
      ('last', '<i4'),
      ('count', '<i4'),
      ('skipped', '<i4'),
      ('state', '<f4', (service.state_width,)),
      ('checksum', '<u4'),
    ]
  )


def _fixed(service):
  """Fields that are the same for all users of a service."""
  values = (
    _MAGIC,
    VERSION,
    record_size(service),
    service.cell.encode(),
    service.width,
    np.frombuffer(service.digest, np.uint8),
  )
  return dict(zip(_FIXED, values, strict=True))


def _limits(service):
  """Fields that count from 0, and what they stay below."""
  return {
    'network': len(service.networks),
    'group': service.groups,
    'last': service.num_items + 1,
    'count': np.iinfo(np.int32).max,
    'skipped': np.iinfo(np.int32).max,
  }


def _checksums(data, size):
  """CRC-32 of every record without its last bytes, u32[n]."""
  view = memoryview(data)
  sums = [
    zlib.crc32(view[at : at + size - _SUM])
    for at in range(0, len(view) - size + 1, size)
  ]
  return np.array(sums, np.uint32)


def _wrong(service, data) -> str:
  """What is wrong with the record that `data` begins with, and the way out."""
  damaged = 'damaged bytes; restore them from a copy, or start the user anew'
  if not data:
    return 'there are no bytes; start the user anew'
  if len(data) < _HEAD.itemsize:
    return damaged
  head = np.frombuffer(data, _HEAD, 1)[0]
  size = int(head['size'])
  if head['magic'] != _MAGIC or not _HEAD.itemsize + _SUM <= size <= len(data):
    return damaged
  written = int.from_bytes(data[size - _SUM : size], 'little')
  if zlib.crc32(data[: size - _SUM]) != written:
    return damaged
  if head['version'] != VERSION:
    return (
      f'format version {head["version"]}, and this program reads {VERSION};'
      ' use the program that wrote it, or start the user anew'
    )
  # The fields before the numbers of the state are where they always are.
  layout = _layout(service)
  cell_at, width_at = (layout.fields[name][1] for name in ('cell', 'width'))
  cell = data[cell_at : cell_at + 12].rstrip(b'\0').decode(errors='replace')
  width = int.from_bytes(data[width_at : width_at + 4], 'little')
  if (cell, width) != (service.cell, service.width):
    return (
      f'of a {cell} of width {width}, and the run has a {service.cell} of width'
      f' {service.width}; use the run that it was made with, or start the user'
      ' anew'
    )
  digest_at = layout.fields['digest'][1]
  if data[digest_at : digest_at + 16] != service.digest:
    return (
      'made with other parameters; use the run that it was made with, or start'
      ' the user anew'
    )
  return damaged
