"""Arrays by name in one file, in the form of safetensors.

    8 bytes     length of the header, little-endian
    header      JSON: {name: {dtype, shape, data_offsets}}, spaces at the end
    the arrays  one after the other, little-endian, rows first

Source: https://github.com/huggingface/safetensors, "Format". It is written and
read here, as `serving.exported` has NumPy and JAX alone; the package of that
name reads the same files.
"""

from collections.abc import Mapping
import json
import math
import os
import pathlib

import numpy as np

_TYPES = {
  'BOOL': '?',
  'U8': 'u1',
  'I8': 'i1',
  'I16': '<i2',
  'U16': '<u2',
  'I32': '<i4',
  'U32': '<u4',
  'I64': '<i8',
  'U64': '<u8',
  'F16': '<f2',
  'F32': '<f4',
  'F64': '<f8',
}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_ALIGNED = 8


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays of numbers and truth values through to the disk."""
  header, end, parts = {}, 0, []
  for name, values in arrays.items():
    values = np.ascontiguousarray(values)
    values = values.astype(values.dtype.newbyteorder('<'), copy=False)
    parts.append(values)
    header[name] = {
      'dtype': _NAMES[values.dtype],
      'shape': list(np.shape(arrays[name])),
      'data_offsets': [end, end + values.nbytes],
    }
    end += values.nbytes
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % _ALIGNED)
  with open(path, 'wb') as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for values in parts:
      file.write(values.reshape(-1).view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of a file, mapped from the disk.

  Raises:
    ValueError: it is no such file, or not whole.
  """
  size = pathlib.Path(path).stat().st_size
  with open(path, 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if length > size - 8:
      raise ValueError('the header is not whole')
    header = json.loads(file.read(length))
  data, arrays = np.memmap(path, np.uint8, 'r'), {}
  for name, about in header.items():
    if name == '__metadata__':
      continue
    first, end = (8 + length + at for at in about['data_offsets'])
    dtype, shape = np.dtype(_TYPES[about['dtype']]), tuple(about['shape'])
    if end - first != dtype.itemsize * math.prod(shape) or end > size:
      raise ValueError(f'{name} is not whole')
    arrays[name] = data[first:end].view(dtype).reshape(shape)
  return arrays
