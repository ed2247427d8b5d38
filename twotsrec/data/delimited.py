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
import itertools
import pathlib
import re
from typing import NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import text_files

_BLOCK_BYTES = 1 << 25  # several hundred thousand rows
_HEADER_BYTES = 1 << 16  # longer lines are read on
_STAND_IN = '\0'  # of a delimiter of several bytes; text has none
_SNIFFED = ('\t', '::', ',', ';', '|', ' ')
_LINE_END = re.compile(rb'\r\n|\r|\n')
_TYPED = re.compile(r'(.+):(?:token|float)(?:_seq)?')
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
  delimiter, chunks = _open(path, delimiter, block_bytes, as_it_is)
  names, hint = list(column_names or ()), ''
  if not as_it_is:
    chunk = next(chunks)
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
    chunks = itertools.chain([chunk], chunks)
  if not set(wanted) <= set(names):
    names = _bare(names)
  cells.require_columns(path, names, wanted, hint)
  fields = {name: names.index(name) for name in wanted}
  layout = _Layout(path, delimiter, len(names), fields, not as_it_is)
  for chunk in chunks:
    block = _plain_block(chunk, layout)
    yield _csv_block(chunk, chunks, layout) if block is None else block


def header(path: pathlib.Path, delimiter: str | None = None) -> list[str]:
  """The fields of the first record of a file that can be read."""
  delimiter, chunks = _open(path, delimiter, _HEADER_BYTES)
  return _bare(_first_record(path, next(chunks), delimiter)[0])


def _bare(names: list[str]) -> list[str]:
  """Names of columns without blanks around them and without RecBole's types."""
  names = [name.strip() for name in names]
  typed = [_TYPED.fullmatch(name) for name in names]
  return [match[1] for match in typed if match] if all(typed) else names


def _open(
  path: pathlib.Path,
  delimiter: str | None,
  block_bytes: int,
  as_it_is: bool = False,
) -> tuple[str, Iterator[text_files.Lines]]:
  """The delimiter and one or more blocks of lines, divided by a single byte."""
  if delimiter == '' or set(delimiter or '') & set('"\r\n\0'):
    raise types.UserError(
      f'delimiter {delimiter!r} cannot be used; allowed: one or more '
      "characters without quotes or line ends, such as --delimiter=';'"
    )
  chunks = text_files.read(path, block_bytes, as_it_is)
  first = next(chunks, None)
  if first is None:
    raise cells.empty_file(path, 'it needs a header line and rows')
  delimiter = delimiter or _sniff(path, first.data)
  chunks = itertools.chain([first], chunks)
  separator, byte = delimiter.encode(), _byte(delimiter)
  if separator == byte:
    return delimiter, chunks
  return delimiter, (
    lines._replace(data=lines.data.replace(separator, byte)) for lines in chunks
  )


def _byte(delimiter: str) -> bytes:
  """The single byte that divides fields."""
  separator = delimiter.encode()
  return separator if len(separator) == 1 else _STAND_IN.encode()


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
  end = _LINE_END.search(chunk.data)
  if end and b'"' not in chunk.data[: end.start()]:
    # Nothing but this line is to be decoded.
    record, rest = chunk.data[: end.start()].decode(), chunk.data[end.end() :]
    fields = record.split(_byte(delimiter).decode())
    return _restored(fields, delimiter), text_files.Lines(chunk.first + 1, rest)
  text = io.StringIO(chunk.data.decode(), newline='')
  layout = _Layout(path, delimiter, 0, {}, True)
  reader = _csv_reader(text, layout)
  try:
    fields = next(reader)
  except csv.Error as error:
    raise types.UserError(
      f'{path}, line {chunk.first}: the first record has broken quotes '
      f'({error}); close every quote and double those inside a field'
    ) from error
  rest = text_files.Lines(chunk.first + reader.line_num, text.read().encode())
  return _restored(fields, delimiter), rest


def _plain_block(
  chunk: text_files.Lines, layout: _Layout
) -> cells.Block | None:
  """Rows with the right number of fields, cut by polars.

  None if quotes do more than enclose whole fields of this chunk.
  """
  data, separator = chunk.data, _byte(layout.delimiter)
  if b'\r' in data:
    data = data.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
  if not data.endswith(b'\n'):
    data += b'\n'
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
    # What was replaced must be put back inside quotes.
    inside = b'\r' in chunk.data and len(ends) < len(line_ends)
    if inside or separator == _STAND_IN.encode():
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
  return cells.Block(
    layout.path,
    lines[good],
    _cut(data, layout, quoted),
    lines[ragged],
    fields[ragged],
    layout.num_fields,
  )


def _cut(
  data: bytes, layout: _Layout, quoted: bool
) -> dict[str, polars.Series]:
  """The wanted columns of lines that all have the right number of fields."""
  name_of = 'column_{}'.format  # the only names that polars takes here
  schema = {name_of(n): polars.String for n in range(1, layout.num_fields + 1)}
  if not data:
    frame = polars.DataFrame(schema=schema)
  else:
    packed = data.startswith(_ZLIB_MAGIC)
    frame = polars.read_csv(
      b'-\n' + data if packed else data,
      skip_rows=int(packed),
      has_header=False,
      schema=schema,
      columns=[name_of(field + 1) for field in layout.wanted.values()],
      separator=_byte(layout.delimiter).decode(),
      quote_char='"' if quoted else None,
    )
  return {
    name: frame[name_of(field + 1)] for name, field in layout.wanted.items()
  }


def _quotes_enclose(
  buffer: np.ndarray, quotes: np.ndarray, separator: int
) -> bool:
  """Whether quotes only open and close fields, or are doubled inside of one."""
  if quotes.size % 2:
    return False
  opening, closing = quotes[0::2], quotes[1::2]
  before = buffer[np.maximum(opening - 1, 0)]
  after = buffer[closing + 1]  # the last byte is a line end
  # A doubled quote looks like the end of a field and the start of another.
  doubled = opening[1:] == closing[:-1] + 1
  starts = (before == separator) | (before == ord('\n')) | (opening == 0)
  stops = (after == separator) | (after == ord('\n'))
  starts[1:] |= doubled
  stops[:-1] |= doubled
  return bool(np.all(starts & stops))


def _csv_block(
  chunk: text_files.Lines, chunks: Iterator[text_files.Lines], layout: _Layout
) -> cells.Block:
  """Cells of lines with any quotes, by the csv module.

  Lines without a quote, but for those inside a quoted field, are left to
  polars.
  """
  apart = _apart(chunk, chunks, layout)
  columns = {
    name: polars.Series(
      _restored([row[field] for row in apart.rows], layout.delimiter),
      dtype=polars.String,
    )
    for name, field in layout.wanted.items()
  }
  ragged_lines, ragged_fields = (
    np.array(apart.ragged, np.int64).reshape(-1, 2).T
  )
  block = cells.Block(
    layout.path,
    np.array(apart.row_lines, np.int64),
    columns,
    ragged_lines,
    ragged_fields,
    layout.num_fields,
  )
  rest = text_files.Lines(0, ''.join(apart.plain).encode())
  unquoted = _plain_block(rest, layout) if apart.plain else None
  if unquoted is None:  # nothing was left
    return block
  numbers = np.array(apart.plain_lines, np.int64)
  return _merged(
    block,
    unquoted._replace(
      lines=numbers[unquoted.lines], ragged_lines=numbers[unquoted.ragged_lines]
    ),
  )


class _Apart(NamedTuple):
  """Lines of a file apart, by number.

  Attributes:
    rows: fields of rows with quotes.
    row_lines: of the rows.
    ragged: (line, fields) of rows with another number of them, 0 for unknown.
    plain: lines without quotes.
    plain_lines: their numbers.
  """

  rows: list[list[str]]
  row_lines: list[int]
  ragged: list[tuple[int, int]]
  plain: list[str]
  plain_lines: list[int]


def _apart(chunk, chunks, layout) -> _Apart:
  """Cuts a chunk; a quoted field may run into the next, which is then read."""
  # newline='' splits at LF, CRLF and CR and keeps them: they may be quoted.
  divide = lambda data: io.StringIO(data.decode(), newline='')
  lines = collections.deque(divide(chunk.data))

  def source():
    while True:
      while lines:
        yield lines.popleft()
      following = next(chunks, None)
      if following is None:
        return
      lines.extend(divide(following.data))

  apart = _Apart([], [], [], [], [])
  line, reader = chunk.first, _csv_reader(source(), layout)
  while lines:
    if '"' not in lines[0]:
      apart.plain.append(lines.popleft())
      apart.plain_lines.append(line)
      line += 1
      continue
    before = reader.line_num
    try:
      row = next(reader)
    except csv.Error as error:
      # An open quote swallows all rows after it, which are no row to drop.
      if 'end of data' in str(error) or 'limit' in str(error):
        raise types.UserError(
          f'{layout.path}, line {line}: a quoted field is not closed; close '
          'the quote, and double quotes inside a field'
        ) from error
      apart.ragged.append((line, 0))
      # What the reader has begun is not to be gone on with.
      line += reader.line_num - before
      reader = _csv_reader(source(), layout)
      continue
    if len(row) == layout.num_fields:
      apart.rows.append(row)
      apart.row_lines.append(line)
    elif row:
      apart.ragged.append((line, len(row)))
    line += reader.line_num - before
  return apart


def _merged(one: cells.Block, other: cells.Block) -> cells.Block:
  """The rows of two blocks of one file, in the order of their lines."""
  lines = np.concatenate([one.lines, other.lines])
  ragged = np.concatenate([one.ragged_lines, other.ragged_lines])
  order, order_of_ragged = np.argsort(lines), np.argsort(ragged)
  fields = np.concatenate([one.ragged_fields, other.ragged_fields])
  columns = {
    name: polars.concat([column, other.columns[name]], rechunk=True)[order]
    for name, column in one.columns.items()
  }
  return one._replace(
    lines=lines[order],
    columns=columns,
    ragged_lines=ragged[order_of_ragged],
    ragged_fields=fields[order_of_ragged],
  )


def _csv_reader(lines: Iterator[str], layout: _Layout):
  return csv.reader(
    lines,
    delimiter=_byte(layout.delimiter).decode(),
    quoting=csv.QUOTE_MINIMAL if layout.quotes else csv.QUOTE_NONE,
    strict=True,
  )


def _restored(fields: list[str], delimiter: str) -> list[str]:
  """Puts a delimiter of several bytes inside quotes back."""
  if len(delimiter.encode()) == 1:
    return fields
  return [field.replace(_STAND_IN, delimiter) for field in fields]
