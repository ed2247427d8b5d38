"""Whole lines of a text file, plain or compressed, in UTF-8 or UTF-16.

Compression and encoding are told by the first bytes of a file, whatever its
name says.
"""

import bz2
import codecs
from collections.abc import Iterator
import gzip
import io
import itertools
import lzma
import os
import pathlib
from typing import NamedTuple, Protocol
import zipfile
import zlib

import polars

from twotsrec import types

_MAX_LINE_BYTES = 1 << 24
_BOM = b'\xef\xbb\xbf'
# First bytes of a compressed file.
_MAGIC = {
  b'\x1f\x8b': 'gzip',
  b'BZh': 'bzip2',
  b'\xfd7zXZ\0': 'xz',
  b'PK\x03\x04': 'zip',
  b'\x28\xb5\x2f\xfd': 'zstd',
}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Endings of a name that are none of the kind of a table.
COMPRESSED = ('.gz', '.bz2', '.xz', '.zip', '.zst')
_DAMAGED = (
  *(EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
  *(zipfile.BadZipFile, NotImplementedError, RuntimeError),
)


class _Stream(Protocol):
  """What bytes are read from."""

  def read(self, size: int = -1, /) -> bytes: ...


class Lines(NamedTuple):
  """Consecutive lines of a file, with their line ends."""

  first: int  # number of the first of them, from 1
  data: bytes  # UTF-8 bytes; only the end of the file may lack a line end


def read(
  path: pathlib.Path, block_bytes: int, as_it_is: bool = False
) -> Iterator[Lines]:
  """Yields the lines of a file in blocks, from the first that is not blank.

  Zstd is unpacked in memory; otherwise no more than about `block_bytes`
  (uncompressed) are. With `as_it_is`, a line that is not UTF-8 is read as
  Latin-1.

  Raises:
    types.UserError: a file that cannot be read or unpacked, bytes that are no
      UTF-8 text, or a line longer than 16 MiB.
  """
  line, rest, marked, blank = 1, b'', True, True
  for data in itertools.chain(_unpacked(path, block_bytes), [b'']):
    rest += data
    if marked:
      if data and len(rest) < len(_BOM):
        continue
      rest, marked = rest.removeprefix(_BOM), False
    # A final CR may be half of a CRLF, so it does not end a line yet.
    cut = 1 + max(rest.rfind(b'\n'), rest.rfind(b'\r', 0, len(rest) - 1))
    cut = cut if data else len(rest)
    whole, rest = rest[:cut], rest[cut:]
    if len(rest) > _MAX_LINE_BYTES:
      raise types.UserError(
        f'{path}, line {line + _count(whole)}: longer than {_MAX_LINE_BYTES} '
        'bytes; write one row per line'
      )
    text = _text(path, line, whole, as_it_is)
    filled = text.lstrip(b'\r\n') if blank else text
    if filled:
      blank = False
      yield Lines(line + _count(text[: len(text) - len(filled)]), filled)
    line += _count(whole)


def name_of(path: str | os.PathLike) -> str:
  """The name of a file as text; bytes that are no UTF-8 as escapes.

  Of several files with commas between, all names.
  """
  several = [path] if os.path.exists(path) else os.fspath(path).split(',')
  name = ','.join(os.path.basename(os.path.abspath(one)) for one in several)
  return os.fsencode(name).decode('utf-8', 'backslashreplace')


def unreadable(path: pathlib.Path, error: OSError) -> types.UserError:
  """The user error for a file that the system does not let us read."""
  return types.UserError(
    f'{path}: cannot be read ({error.strerror or error}); check the path and '
    'its permissions'
  )


def _count(data: bytes) -> int:
  """Line ends in some bytes: LF, CRLF or CR."""
  returns = data.count(b'\r')
  pairs = data.count(b'\r\n') if returns else 0
  return data.count(b'\n') + returns - pairs


def _unpacked(path: pathlib.Path, block_bytes: int) -> Iterator[bytes]:
  """Bytes of a plain or compressed file, its faults raised as user errors."""
  kind = ''
  try:
    with path.open('rb') as file:
      head = file.peek(8)[:8]
      for magic, kind_of_magic in _MAGIC.items():
        kind = kind_of_magic if head.startswith(magic) else kind
      yield from _in_utf8(_opened(path, file, kind), block_bytes)
  except _DAMAGED as error:
    if not kind:
      raise
    what = 'truncated' if isinstance(error, EOFError) else 'damaged'
    raise types.UserError(
      f'{path}: the {kind} file is {what} ({error}); copy or download it again'
    ) from error
  except OSError as error:
    if kind and error.errno is None:  # of bz2
      raise types.UserError(
        f'{path}: the {kind} file is damaged ({error}); copy or download it'
        ' again'
      ) from error
    raise unreadable(path, error) from error


def _opened(path: pathlib.Path, file: io.BufferedReader, kind: str) -> _Stream:
  """The content of a file of a kind of compression, or '' for none."""
  if kind == 'gzip':
    return gzip.open(file, 'rb')
  if kind == 'bzip2':
    return bz2.open(file)
  if kind == 'xz':
    return lzma.open(file)
  if kind == 'zstd':
    return _unpack_zstd(path)
  if kind == 'zip':
    archive = zipfile.ZipFile(file)
    names = [
      name
      for name in archive.namelist()
      if not name.endswith('/') and not name.startswith('__MACOSX/')
    ]
    if len(names) != 1:
      listed = ', '.join(map(types.printable, names[:5]))
      raise types.UserError(
        f'{path}: holds {len(names)} files ({listed}); unpack it, and name one'
      )
    return archive.open(names[0])
  return file


def _in_utf8(stream: _Stream, block_bytes: int) -> Iterator[bytes]:
  """The blocks of a stream; those of UTF-16 are decoded."""
  data = stream.read(block_bytes)
  # A smaller block may hold half of the mark.
  while data and len(data) < 2 and (more := stream.read(block_bytes)):
    data += more
  decoder = None
  if data.startswith(_UTF16):
    decoder = codecs.getincrementaldecoder('utf-16')(errors='replace')
  while data:
    text = data if decoder is None else decoder.decode(data).encode()
    if text:
      yield text
    data = stream.read(block_bytes)
  if decoder is not None and (text := decoder.decode(b'', True).encode()):
    yield text


def _unpack_zstd(path: pathlib.Path) -> io.BytesIO:
  """The unpacked bytes of a zstd file; polars reads and writes them as lines.

  Python has no zstd before 3.14.
  """
  try:
    lines = polars.read_csv(
      path,
      has_header=False,
      schema={'column_1': polars.String},
      separator='\0',  # refused in text anyway
      quote_char=None,
      glob=False,
    )
  except (OSError, polars.exceptions.PolarsError) as error:
    reason = str(error).splitlines()[0][:200]
    raise types.UserError(
      f'{path}: the zstd file is truncated or damaged, or what it holds is no '
      f'UTF-8 text ({reason}); copy it again, or compress UTF-8 text'
    ) from error
  content = io.BytesIO()
  lines.write_csv(content, include_header=False, quote_style='never')
  content.seek(0)
  return content


def _text(path: pathlib.Path, line: int, data: bytes, as_it_is: bool) -> bytes:
  """The same text in UTF-8; an error at the first byte that is no text."""
  if not data.isascii():
    try:
      data.decode()
    except UnicodeDecodeError as error:
      if not as_it_is:
        raise types.UserError(
          f'{path}, line {line + _count(data[: error.start])}: byte '
          f'{data[error.start]:#04x} is not UTF-8; save the file as UTF-8 (for '
          'example: iconv -f LATIN1 -t UTF-8)'
        ) from error
      data = b'\n'.join(map(_utf8, data.split(b'\n')))
  nul = data.find(b'\0')
  if nul >= 0:
    raise types.UserError(
      f'{path}, line {line + _count(data[:nul])}: a NUL byte; the file is '
      'damaged, binary or UTF-16; save it as UTF-8 text'
    )
  return data


def _utf8(line: bytes) -> bytes:
  """A line in UTF-8, which may be in Latin-1."""
  try:
    line.decode()
    return line
  except UnicodeDecodeError:
    return line.decode('latin-1').encode()
