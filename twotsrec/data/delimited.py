"""Delimited text as blocks of columns: CSV, TSV, any delimiter, compressed.

Polars cuts a block into cells after its lines have been checked to have the
right number of fields. A block in which quotes do more than enclose fields
goes through the csv module (RFC 4180), which also says what is wrong with it.
Both give the same cells. Lines end in LF, CRLF or CR; blank lines are no rows.
"""

import collections
from collections.abc import Iterator, Sequence
import csv
import io
import pathlib
from typing import NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import text_files

_BLOCK_BYTES = 1 << 25  # several hundred thousand rows
_HEADER_BYTES = 1 << 16  # longer lines are read on
# A delimiter of several bytes becomes one of these: the first for polars, which
# takes ASCII only, where the text has none; the second is never in UTF-8.
_UNIT = b'\x1f'
_STAND_IN, _STAND_IN_TEXT = b'\xff', '\udcff'
_SNIFFED = ('\t', '::', ',', ';', '|', ' ')
_ZLIB_MAGIC = (b'x\x01', b'x^')  # polars would unpack what begins so


class _Layout(NamedTuple):
  """Names and fields that divide lines into cells."""

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
    path: the file; see `text_files.read` for compression.
    wanted: column names to read.
    delimiter: one or more characters; None looks at the first line.
    column_names: names of all columns of a file without a header line.
    block_bytes: bytes (uncompressed) per block, the bound on memory.
    as_it_is: for files with free text that nobody escaped: quotes are
      ordinary characters, and a line that is not UTF-8 is read as Latin-1. It
      needs a delimiter of one character and `column_names`.
  Yields:
    Blocks of text columns, in file order.
  """
  if delimiter is not None:
    _check_delimiter(delimiter)
  chunks = text_files.read(path, block_bytes, as_it_is)
  chunk = next(chunks, None)
  if chunk is None:
    raise cells.empty_file(path, 'it needs a header line and rows')
  if delimiter is None:
    delimiter = _sniff(path, chunk.data)
  names, hint = list(column_names or ()), ''
  if not as_it_is:
    first_row, rest = _first_record(path, chunk, delimiter)
    if column_names is None:
      hint = (
        ' (no header line? name the columns with --column_names;'
        f' the delimiter is {delimiter!r}, change it with --delimiter)'
      )
      chunk, names = rest, first_row
    else:
      hint = ' (the names are those of --column_names)'
      _check_headerless(path, chunk.first, first_row, column_names)
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


def header(path: pathlib.Path, delimiter: str | None = None) -> list[str]:
  """The fields of the first record of a file that can be read."""
  first = next(text_files.read(path, _HEADER_BYTES), None)
  if first is None:
    return []
  return _first_record(path, first, delimiter or _sniff(path, first.data))[0]


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


def _first_record(
  path: pathlib.Path, chunk: text_files.Lines, delimiter: str
) -> tuple[list[str], text_files.Lines]:
  """The fields of the first record of a chunk, and the rest of the chunk."""
  text = io.StringIO(_csv_text(chunk.data, delimiter), newline='')
  reader = _csv_reader(text, delimiter)
  try:
    fields = next(reader)
  except csv.Error as error:
    raise types.UserError(
      f'{path}, line {chunk.first}: the first record has broken quotes '
      f'({error}); close every quote and double those inside a field'
    ) from error
  rest = text.read().encode('utf-8', 'surrogateescape')
  if len(delimiter.encode()) > 1:
    rest = rest.replace(_STAND_IN, delimiter.encode())
  rest = text_files.Lines(chunk.first + reader.line_num, rest)
  return _restored(fields, delimiter), rest


def _block(
  chunk: text_files.Lines, chunks: Iterator[text_files.Lines], layout: _Layout
) -> cells.Block:
  block = _plain_block(chunk, layout)
  return _csv_block(chunk, chunks, layout) if block is None else block


def _plain_block(
  chunk: text_files.Lines, layout: _Layout
) -> cells.Block | None:
  """Rows with the right number of fields, cut by polars.

  None if quotes do more than enclose whole fields of this chunk.
  """
  data, separator = chunk.data, layout.delimiter.encode()
  if b'\r' in data:
    data = data.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
  if not data.endswith(b'\n'):
    data += b'\n'
  if len(separator) > 1:
    if _UNIT in data:
      return None
    data, separator = data.replace(separator, _UNIT), _UNIT
  buffer = np.frombuffer(data, np.uint8)
  line_ends = np.flatnonzero(buffer == ord('\n'))
  ends, separators = line_ends, np.flatnonzero(buffer == ord(separator))
  quoted = layout.quotes and b'"' in data
  if quoted:
    quotes = np.flatnonzero(buffer == ord('"'))
    if not _quotes_enclose(buffer, quotes, ord(separator)):
      return None
    outside = lambda marks: marks[np.searchsorted(quotes, marks) % 2 == 0]
    ends, separators = outside(line_ends), outside(separators)
    # What was replaced above must be put back inside quotes.
    if separator == _UNIT or (
      b'\r' in chunk.data and len(ends) < len(line_ends)
    ):
      return None
  lengths = np.diff(ends, prepend=-1)
  fields = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
  good = (fields == layout.num_fields) & (lengths > 1)
  ragged = (fields != layout.num_fields) & (lengths > 1)
  lines = chunk.first + np.arange(len(ends))
  if len(ends) < len(line_ends):
    lines = chunk.first + np.searchsorted(line_ends, ends - lengths + 1)
  if not good.all():
    data = buffer[np.repeat(good, lengths)].tobytes()
  if data.startswith(_ZLIB_MAGIC):
    return None
  return cells.Block(
    lines[good],
    _cut(data, separator, layout, quoted),
    lines[ragged],
    fields[ragged],
    layout.num_fields,
  )


def _cut(
  data: bytes, separator: bytes, layout: _Layout, quoted: bool
) -> dict[str, polars.Series]:
  """The wanted columns of lines that all have the right number of fields."""
  if not data:
    return {
      name: polars.Series([], dtype=polars.String) for name in layout.wanted
    }
  name_of = 'column_{}'.format  # the only names that polars takes here
  frame = polars.read_csv(
    data,
    has_header=False,
    schema={name_of(n): polars.String for n in range(1, layout.num_fields + 1)},
    columns=[name_of(field + 1) for field in layout.wanted.values()],
    separator=separator.decode(),
    quote_char='"' if quoted else None,
  )
  return {
    name: frame[name_of(field + 1)] for name, field in layout.wanted.items()
  }


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


def _csv_block(
  chunk: text_files.Lines, chunks: Iterator[text_files.Lines], layout: _Layout
) -> cells.Block:
  """Cells of lines with any quotes, by the csv module.

  A quoted field may run into the next chunk, which is then read as well.
  """
  lines = collections.deque(_csv_lines(chunk.data, layout.delimiter))

  def source():
    while True:
      while lines:
        yield lines.popleft()
      following = next(chunks, None)
      if following is None:
        return
      lines.extend(_csv_lines(following.data, layout.delimiter))

  reader = _csv_reader(source(), layout.delimiter, layout.quotes)
  rows, row_lines, ragged = [], [], []
  while lines:
    line = chunk.first + reader.line_num
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
    name: polars.Series(
      _restored([row[field] for row in rows], layout.delimiter),
      dtype=polars.String,
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


def _csv_reader(lines, delimiter: str, quotes: bool = True):
  several = len(delimiter.encode()) > 1
  return csv.reader(
    lines,
    delimiter=_STAND_IN_TEXT if several else delimiter,
    quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    strict=True,
  )


def _csv_text(data: bytes, delimiter: str) -> str:
  """Decoded lines in which the delimiter is one character."""
  separator = delimiter.encode()
  if len(separator) > 1:
    data = data.replace(separator, _STAND_IN)
  return data.decode('utf-8', 'surrogateescape')


def _csv_lines(data: bytes, delimiter: str) -> list[str]:
  # newline='' splits at LF, CRLF and CR and keeps them: they may be quoted.
  return list(io.StringIO(_csv_text(data, delimiter), newline=''))


def _restored(fields: list[str], delimiter: str) -> list[str]:
  """Puts a delimiter inside quotes back."""
  if len(delimiter.encode()) == 1:
    return fields
  return [field.replace(_STAND_IN_TEXT, delimiter) for field in fields]
