"""Delimited text as blocks of cells: CSV, TSV, any delimiter, gzip or plain.

Blocks are cut into cells by array operations on their bytes; a block in which
quotes do more than enclose fields goes through the csv module (RFC 4180). Both
give the same cells. Lines end in LF, CRLF or CR; blank lines are no rows.
"""

import collections
from collections.abc import Iterator, Sequence
import csv
import gzip
import io
import pathlib
from typing import NamedTuple
import zlib

import numpy as np

from twotsrec import types
from twotsrec.data import cells

_BLOCK_BYTES = 1 << 22  # a few hundred thousand rows; arrays stay in cache
_HEADER_BYTES = 1 << 16  # longer lines are read on
_MAX_LINE_BYTES = 1 << 24
_BOM = b'\xef\xbb\xbf'
_GZIP_MAGIC = b'\x1f\x8b'
# A delimiter of several bytes becomes this one, which UTF-8 never uses.
_STAND_IN = b'\xff'
_STAND_IN_TEXT = '\udcff'
_SNIFFED = ('\t', '::', ',', ';', '|', ' ')


class _Chunk(NamedTuple):
  """Whole lines of a file."""

  first_line: int
  data: bytes


class _Layout(NamedTuple):
  """How lines become cells."""

  path: pathlib.Path
  delimiter: str
  num_fields: int
  wanted: dict[str, int]  # column name -> field
  quotes: bool  # whether quotes enclose fields


def read(
  path: pathlib.Path,
  wanted: Sequence[str],
  *,
  delimiter: str | None = None,
  column_names: Sequence[str] | None = None,
  block_bytes: int = _BLOCK_BYTES,
  as_it_is: bool = False,
) -> Iterator[cells.Block]:
  """Reads the wanted columns of a delimited file, block by block.

  Args:
    path: the file; gzip is told by its first bytes.
    wanted: column names to read.
    delimiter: one or more characters; None looks at the first line.
    column_names: names of all columns of a file without a header line.
    block_bytes: bytes (uncompressed) per block, the bound on memory.
    as_it_is: for files with free text that nobody escaped: quotes are
      ordinary characters, and a line that is not UTF-8 is read as Latin-1. It
      needs a delimiter of one character and `column_names`.
  Yields:
    Blocks of `cells.Cells`, in file order.
  """
  if delimiter is not None:
    _check_delimiter(delimiter)
  chunks = _chunks(path, block_bytes, as_it_is)
  first = _skip_blank(chunks)
  if first is None:
    raise types.UserError(
      f'{path}: the file is empty; it needs a header line and rows'
    )
  if delimiter is None:
    delimiter = _sniff(path, first.data)
  if as_it_is:
    chunk, names = first, list(column_names)
  else:
    chunk, names, rest = _first_record(path, first, delimiter)
  if as_it_is:
    hint = ''
  elif column_names is None:
    hint = (
      ' (no header line? name the columns with --column_names;'
      f' the delimiter is {delimiter!r}, change it with --delimiter)'
    )
    chunk = rest
  else:
    hint = ' (the names are those of --column_names)'
    _check_headerless(path, chunk.first_line, names, column_names)
    names = list(column_names)
  cells.require_columns(path, names, wanted, hint)
  layout = _Layout(
    path,
    delimiter,
    len(names),
    {name: names.index(name) for name in wanted},
    quotes=not as_it_is,
  )
  while chunk is not None:
    yield _block(chunk, chunks, layout)
    chunk = next(chunks, None)


def first_line(path: pathlib.Path) -> int:
  """Line of the first record of a file, from 1."""
  first = _skip_blank(_chunks(path, _HEADER_BYTES))
  return 1 if first is None else first.first_line


def header(path: pathlib.Path, delimiter: str | None = None) -> list[str]:
  """The fields of the first record of a file that can be read."""
  first = _skip_blank(_chunks(path, _HEADER_BYTES))
  if first is None:
    return []
  return _first_record(path, first, delimiter or _sniff(path, first.data))[1]


def _check_delimiter(delimiter: str) -> None:
  if not delimiter or set(delimiter) & set('"\r\n\0'):
    raise types.UserError(
      f'delimiter {delimiter!r} cannot be used; allowed: one or more '
      "characters without quotes or line ends, such as --delimiter=';'"
    )


def _sniff(path: pathlib.Path, data: bytes) -> str:
  line = data.split(b'\n', 1)[0].decode()
  for delimiter in _SNIFFED:
    if delimiter in line:
      return delimiter
  raise types.UserError(
    f'{path}: no delimiter found in the first line; name it with --delimiter'
  )


def _check_headerless(
  path: pathlib.Path,
  line: int,
  first_row: list[str],
  column_names: Sequence[str],
) -> None:
  if first_row == list(column_names):
    raise types.UserError(
      f'{path}, line {line}: the file has a header line with these names; '
      'leave out --column_names'
    )
  if len(first_row) != len(column_names):
    raise types.UserError(
      f'{path}, line {line}: {len(first_row)} fields, but --column_names '
      f'gives {len(column_names)} names; name every column in file order'
    )


def _read_bytes(path: pathlib.Path, block_bytes: int) -> Iterator[bytes]:
  """Bytes of a plain or gzip file, errors told as user errors."""
  try:
    with path.open('rb') as file:
      head = file.peek(2)[:2]
      if path.suffix.lower() == '.gz' and head and head != _GZIP_MAGIC:
        raise types.UserError(
          f'{path}: not a gzip file, whatever its name says; rename it '
          'without .gz, or compress it with gzip'
        )
      stream = gzip.GzipFile(fileobj=file) if head == _GZIP_MAGIC else file
      while data := stream.read(block_bytes):
        yield data
  except EOFError as error:
    raise types.UserError(
      f'{path}: the gzip file is truncated ({error}); copy or download it again'
    ) from error
  except (gzip.BadGzipFile, zlib.error) as error:
    raise types.UserError(
      f'{path}: the gzip file is damaged ({error}); copy or download it again'
    ) from error
  except OSError as error:
    raise cells.unreadable(path, error) from error


def _chunks(
  path: pathlib.Path, block_bytes: int, as_it_is: bool = False
) -> Iterator[_Chunk]:
  """Cuts a file at line ends and checks that it is text."""
  line, rest = 1, b''
  start = True
  for data in _read_bytes(path, block_bytes):
    data = rest + data
    if start and _BOM.startswith(data[:3]) and len(data) < 3:
      rest = data
      continue
    if start:
      data, start = data.removeprefix(_BOM), False
    # A final CR may be half of a CRLF, so it does not end a line yet.
    cut = 1 + max(data.rfind(b'\n'), data.rfind(b'\r', 0, len(data) - 1))
    whole, rest = data[:cut], data[cut:]
    if len(rest) > _MAX_LINE_BYTES:
      line += _count_lines(whole)
      raise types.UserError(
        f'{path}, line {line}: longer than {_MAX_LINE_BYTES} bytes; a table '
        'has one row per line'
      )
    if as_it_is:
      whole = _utf8(whole)
    if whole:
      _check_text(path, line, whole)
      yield _Chunk(line, whole)
      line += _count_lines(whole)
  if rest:
    rest = _utf8(rest) if as_it_is else rest
    _check_text(path, line, rest)
    yield _Chunk(line, rest)


def _utf8(data: bytes) -> bytes:
  """The same text in UTF-8, where lines may be in Latin-1."""
  try:
    data.decode()
    return data
  except UnicodeDecodeError:
    pass
  lines = data.split(b'\n')
  for number, line in enumerate(lines):
    try:
      line.decode()
    except UnicodeDecodeError:
      lines[number] = line.decode('latin-1').encode()
  return b'\n'.join(lines)


def _check_text(path: pathlib.Path, line: int, data: bytes) -> None:
  if not data.isascii():
    try:
      data.decode()
    except UnicodeDecodeError as error:
      line += _count_lines(data[: error.start])
      raise types.UserError(
        f'{path}, line {line}: byte {data[error.start]:#04x} is not UTF-8; '
        'save the file as UTF-8 (for example: iconv -f LATIN1 -t UTF-8)'
      ) from error
  nul = data.find(b'\0')
  if nul >= 0:
    line += _count_lines(data[:nul])
    raise types.UserError(
      f'{path}, line {line}: a NUL byte; the file is damaged, binary or '
      'UTF-16; save it as UTF-8 text'
    )


def _count_lines(data: bytes) -> int:
  return data.count(b'\n') + data.count(b'\r') - data.count(b'\r\n')


def _skip_blank(chunks: Iterator[_Chunk]) -> _Chunk | None:
  """The first chunk with something in it, without its leading blank lines."""
  for chunk in chunks:
    data = chunk.data.lstrip(b'\r\n')
    if data:
      blank = chunk.data[: len(chunk.data) - len(data)]
      return _Chunk(chunk.first_line + _count_lines(blank), data)
  return None


def _first_record(
  path: pathlib.Path, chunk: _Chunk, delimiter: str
) -> tuple[_Chunk, list[str], _Chunk]:
  """The chunk, the fields of its first record, and the rest of the chunk."""
  text = io.StringIO(_text(chunk.data, delimiter), newline='')
  reader = _csv_reader(text, delimiter)
  try:
    fields = next(reader)
  except csv.Error as error:
    raise types.UserError(
      f'{path}, line {chunk.first_line}: the first record has broken quotes '
      f'({error}); close every quote and double those inside a field'
    ) from error
  rest = text.read().encode('utf-8', 'surrogateescape')
  if len(delimiter.encode()) > 1:
    rest = rest.replace(_STAND_IN, delimiter.encode())
  rest = _Chunk(chunk.first_line + reader.line_num, rest)
  return chunk, _restore(fields, delimiter), rest


def _block(
  chunk: _Chunk, chunks: Iterator[_Chunk], layout: _Layout
) -> cells.Block:
  block = _vector_block(chunk, layout)
  return _quoted_block(chunk, chunks, layout) if block is None else block


def _vector_block(chunk: _Chunk, layout: _Layout) -> cells.Block | None:
  """Cells found by the positions of delimiters, line ends and quotes.

  None if quotes do more than enclose whole fields of this chunk.
  """
  data = chunk.data
  if b'\r' in data:
    data = data.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
  if not data.endswith(b'\n'):
    data += b'\n'
  separator = layout.delimiter.encode()
  if len(separator) > 1:
    data, separator = data.replace(separator, _STAND_IN), _STAND_IN
  buffer = np.frombuffer(data, np.uint8)
  line_ends = np.flatnonzero(buffer == ord('\n'))
  ends, separators = line_ends, np.flatnonzero(buffer == ord(separator))
  marks = buffer == ord('"') if layout.quotes else np.zeros(0, bool)
  quotes = np.flatnonzero(marks)
  if quotes.size:
    if not _quotes_enclose(buffer, quotes, ord(separator)):
      return None
    outside = lambda marks: marks[np.searchsorted(quotes, marks) % 2 == 0]
    ends, separators = outside(line_ends), outside(separators)
    # What was replaced above must be put back inside quotes.
    altered = (b'\r' in chunk.data and ends.size < line_ends.size) or (
      separator == _STAND_IN
    )
    if altered:
      return None
  starts = np.concatenate([[0], ends[:-1] + 1])
  lines = chunk.first_line + np.searchsorted(line_ends, starts)
  first = np.searchsorted(separators, starts)
  fields = np.searchsorted(separators, ends) - first + 1
  good = (fields == layout.num_fields) & (ends > starts)
  ragged = (fields != layout.num_fields) & (ends > starts)
  starts, ends, first = starts[good], ends[good], first[good]
  columns = {}
  for name, field in layout.wanted.items():
    left = starts if field == 0 else separators[first + field - 1] + 1
    last = field == layout.num_fields - 1
    right = ends if last else separators[first + field]
    if quotes.size:
      quoted = buffer[left] == ord('"')
      left, right = left + quoted, right - quoted
    columns[name] = cells.Cells(data, left, right)
  return cells.Block(
    lines[good], columns, lines[ragged], fields[ragged], layout.num_fields
  )


def _quotes_enclose(
  buffer: np.ndarray, quotes: np.ndarray, separator: int
) -> bool:
  """Whether quotes only open and close fields; none is inside of a field."""
  if quotes.size % 2:
    return False
  opening, closing = quotes[0::2], quotes[1::2]
  before = buffer[np.maximum(opening - 1, 0)]
  after = buffer[closing + 1]  # the last byte is a line end
  starts = (before == separator) | (before == ord('\n')) | (opening == 0)
  stops = (after == separator) | (after == ord('\n'))
  return bool(np.all(starts & stops))


def _quoted_block(
  chunk: _Chunk, chunks: Iterator[_Chunk], layout: _Layout
) -> cells.Block:
  """Cells of lines with any quotes, by the csv module.

  A quoted field may run into the next chunk, which is then read as well.
  """
  lines = collections.deque(_split(chunk.data, layout.delimiter))

  def source():
    while True:
      while lines:
        yield lines.popleft()
      following = next(chunks, None)
      if following is None:
        return
      lines.extend(_split(following.data, layout.delimiter))

  reader = _csv_reader(source(), layout.delimiter)
  rows, row_lines, ragged = [], [], []
  while lines:
    line = chunk.first_line + reader.line_num
    try:
      row = next(reader)
    except csv.Error as error:
      _check_record_ends(layout.path, line, error)
      ragged.append((line, 0))
      continue
    if len(row) == layout.num_fields:
      rows.append(row)
      row_lines.append(line)
    elif row:
      ragged.append((line, len(row)))
  columns = {
    name: cells.from_strings(
      _restore([row[field] for row in rows], layout.delimiter)
    )
    for name, field in layout.wanted.items()
  }
  ragged = np.array(ragged, np.int64).reshape(-1, 2)
  return cells.Block(
    np.array(row_lines, np.int64),
    columns,
    ragged[:, 0],
    ragged[:, 1],
    layout.num_fields,
  )


def _check_record_ends(path: pathlib.Path, line: int, error: csv.Error) -> None:
  """An open quote swallows all rows after it: no row to drop, an error."""
  if 'end of data' in str(error) or 'limit' in str(error):
    raise types.UserError(
      f'{path}, line {line}: a quoted field is not closed; close the quote, '
      'and double quotes inside a field'
    ) from error


def _csv_reader(lines, delimiter: str):
  several = len(delimiter.encode()) > 1
  return csv.reader(
    lines, delimiter=_STAND_IN_TEXT if several else delimiter, strict=True
  )


def _text(data: bytes, delimiter: str) -> str:
  """Decoded lines in which the delimiter is one character."""
  separator = delimiter.encode()
  if len(separator) > 1:
    data = data.replace(separator, _STAND_IN)
  return data.decode('utf-8', 'surrogateescape')


def _split(data: bytes, delimiter: str) -> list[str]:
  # newline='' splits at LF, CRLF and CR and keeps them: they may be quoted.
  return list(io.StringIO(_text(data, delimiter), newline=''))


def _restore(fields: list[str], delimiter: str) -> list[str]:
  """Puts a delimiter inside quotes back."""
  if len(delimiter.encode()) == 1:
    return fields
  return [field.replace(_STAND_IN_TEXT, delimiter) for field in fields]
