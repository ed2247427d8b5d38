"""Column sets, files and errors that the tests of table readers share."""

import gzip
import pathlib

from hypothesis import HealthCheck
from hypothesis import settings
import pytest

from twotsrec import types
from twotsrec.data import tables

PLAIN = tables.Columns()
TIMED = tables.Columns(time='timestamp')
RATED = tables.Columns(rating='rating')
FULL = tables.Columns(
  time='timestamp',
  rating='rating',
  behavior='behavior',
  split='split',
  order='position',
)
SMALL = settings(
  max_examples=40,
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write(folder: pathlib.Path, content: str | bytes, name='t.csv'):
  path = folder / name
  data = content.encode() if isinstance(content, str) else content
  if name.endswith('.zst'):
    return _write_zstd(path, data)
  path.write_bytes(gzip.compress(data) if name.endswith('.gz') else data)
  return path


def _write_zstd(path: pathlib.Path, data: bytes) -> pathlib.Path:
  """One frame of raw blocks (RFC 8878): Python has no zstd before 3.14."""
  size = (1 << 17) - 1
  blocks = [data[at : at + size] for at in range(0, len(data), size)] or [b'']
  header = lambda n, block: len(block) << 3 | (n == len(blocks) - 1)
  frame = b''.join(
    header(n, block).to_bytes(3, 'little') + block
    for n, block in enumerate(blocks)
  )
  # A frame header without checksum or size, and a window of 128 KiB.
  path.write_bytes(b'\x28\xb5\x2f\xfd' + b'\x00' + b'\x38' + frame)
  return path


def message(path, columns=PLAIN, **options) -> str:
  """The text of the user error, which must name the file."""
  with pytest.raises(types.UserError) as caught:
    tables.read_table(path, columns, **options)
  text = str(caught.value)
  assert str(path) in text or '--' in text
  assert text.count('\n') <= 1
  return text
