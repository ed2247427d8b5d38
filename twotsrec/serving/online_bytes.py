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
_FRAME = [('magic', 'S4'), ('version', '<u2'), ('size', '<u4')]
_HEAD = np.dtype(_FRAME)
# What comes before the numbers is where it is whatever the model.
_ABOUT = [*_FRAME, ('network', '<u2'), ('cell', 'S12'), ('width', '<u4')]
_ABOUT += [('digest', 'u1', (16,))]
_SUM = 4  # bytes of the checksum
_FIXED = ['magic', 'version', 'size', 'cell', 'width', 'digest']
_NUMBERS = ('network', 'group', 'last', 'consumed', 'skipped')


def to_bytes(service: online.Service, state: online.State) -> bytes:
  """The records of B users one after the other, B * record_size bytes."""
  records = np.repeat(_blank(service), len(state.last))
  for name in (*_NUMBERS, 'state'):
    records[name] = np.asarray(getattr(state, name))
  records['checksum'] = _checksums(records.tobytes(), records.itemsize)
  return records.tobytes()


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
  if isinstance(data, bytes | bytearray | memoryview):
    data = bytes(data)
  else:
    data = b''.join(data)
  blank = _blank(service)
  size = blank.itemsize
  whole = len(data) // size
  records = np.frombuffer(data, blank.dtype, whole)
  good = records['checksum'] == _checksums(data, size)
  good &= records[_FIXED] == blank[_FIXED]
  for name, limit in _limits(service).items():
    good &= (records[name] >= 0) & (records[name] < limit)
  bad = np.flatnonzero(~good)
  if len(bad) or not whole or whole * size != len(data):
    number = int(bad[0]) if len(bad) else whole
    reason = _wrong(service, data[number * size :])
    raise types.UserError(f'state {number + 1}: {reason}')
  numbers = {name: jnp.array(records[name], jnp.int32) for name in _NUMBERS}
  return online.State(jnp.array(records['state'], jnp.float32), **numbers)


def record_size(service: online.Service) -> int:
  """Bytes of one user."""
  return _blank(service).itemsize


def _blank(service):
  """One record with the fields that are the same for all users."""
  rest = [(name, '<i4') for name in _NUMBERS[1:]]
  rest += [('state', '<f4', (service.state_width,)), ('checksum', '<u4')]
  record = np.zeros(1, np.dtype([*_ABOUT, *rest]))
  record['magic'], record['version'] = _MAGIC, VERSION
  record['size'] = record.itemsize
  record['cell'], record['width'] = service.cell.encode(), service.width
  record['digest'] = np.frombuffer(service.digest, np.uint8)
  return record


def _limits(service):
  """Fields that count from 0, and what they stay below."""
  most = np.iinfo(np.int32).max
  limits = len(service.networks), service.groups, service.num_items + 1
  return dict(zip(_NUMBERS, (*limits, most, most), strict=True))


def _checksums(data, size):
  """CRC-32 of every record without its last bytes, u32[n]."""
  view = memoryview(data)
  sums = [
    zlib.crc32(view[at : at + size - _SUM])
    for at in range(0, len(view) - size + 1, size)
  ]
  return np.array(sums, np.uint32)


def _wrong(service, data) -> str:
  """The fault of the record that `data` begins with, and the way out."""
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
  if len(data) < np.dtype(_ABOUT).itemsize:
    return damaged
  about = np.frombuffer(data, np.dtype(_ABOUT), 1)[0]
  cell, width = about['cell'].decode(errors='replace'), int(about['width'])
  if (cell, width) != (service.cell, service.width):
    return (
      f'of a {cell} of width {width}, and the run has a {service.cell} of width'
      f' {service.width}; use the run that it was made with, or start the user'
      ' anew'
    )
  if about['digest'].tobytes() != service.digest:
    return (
      'made with other parameters; use the run that it was made with, or start'
      ' the user anew'
    )
  return damaged
