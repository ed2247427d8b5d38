"""Polars and the csv module cut the same cells."""

import csv
import io

import hypothesis
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from twotsrec.data import cells
from twotsrec.data import delimited

SMALL = settings(
  max_examples=60,
  deadline=None,
  derandomize=True,
  suppress_health_check=[
    HealthCheck.function_scoped_fixture,
    HealthCheck.filter_too_much,
  ],
)
COLUMNS = ('a', 'b', 'c')


def read(path, block_bytes=1 << 22, delimiter=','):
  """[(line, cells)] of good rows and [(line, fields)] of ragged ones."""
  rows, ragged = [], []
  for block in delimited.read(
    path, COLUMNS, delimiter=delimiter, block_bytes=block_bytes
  ):
    for row, line in enumerate(block.lines.tolist()):
      texts = tuple(cells.text_at(block.columns[c], row) for c in COLUMNS)
      rows.append((line, texts))
    ragged += zip(
      block.ragged_lines.tolist(), block.ragged_fields.tolist(), strict=True
    )
  return rows, ragged


def expected(text, delimiter=','):
  """The same by the csv module alone."""
  reader = csv.reader(
    io.StringIO(text, newline=''), delimiter=delimiter, strict=True
  )
  rows, ragged, line = [], [], 1
  for fields in reader:
    if len(fields) == len(COLUMNS):
      rows.append((line, tuple(fields)))
    elif fields:
      ragged.append((line, len(fields)))
    line = reader.line_num + 1
  return rows[1:], ragged


@SMALL
@given(body=st.text('ab1é,\n\r', max_size=80), block_bytes=st.integers(1, 40))
def test_plain_text_is_cut_as_the_csv_module_cuts_it(
  tmp_path, body, block_bytes
):
  text = 'a,b,c\n' + body
  path = tmp_path / 't.csv'
  path.write_bytes(text.encode())
  assert read(path, block_bytes) == expected(text)


@SMALL
@given(
  body=st.lists(
    st.sampled_from(
      [
        'a',
        'é',
        ',',
        ',',
        ',',
        '\n',
        '\r\n',
        '\r',
        '""',
        '"',
        '"b"',
        '"b,",',
        '"\n",',
        '"c"\n',
        ',"\r\n"',
        '"d","e","f"\n',
      ]
    ),
    max_size=20,
  ).map(''.join),
  block_bytes=st.sampled_from([1, 9, 1 << 22]),
)
def test_any_quotes_are_read_as_the_csv_module_reads_them(
  tmp_path, body, block_bytes
):
  text = 'a,b,c\n' + body
  try:
    wanted = expected(text)
  except csv.Error:
    hypothesis.reject()
  path = tmp_path / 't.csv'
  path.write_bytes(text.encode())
  assert read(path, block_bytes) == wanted


@SMALL
@given(
  rows=st.lists(
    st.lists(st.text('a1é,"\n\r', max_size=6), min_size=1, max_size=4),
    max_size=12,
  ),
  line_end=st.sampled_from(['\n', '\r\n']),
  block_bytes=st.integers(1, 40),
)
def test_quoted_and_plain_blocks_may_alternate(
  tmp_path, rows, line_end, block_bytes
):
  buffer = io.StringIO(newline='')
  writer = csv.writer(buffer, lineterminator=line_end)
  writer.writerow(COLUMNS)
  writer.writerows(rows)
  text = buffer.getvalue()
  path = tmp_path / 't.csv'
  path.write_bytes(text.encode())
  assert read(path, block_bytes) == expected(text)


@SMALL
@given(
  rows=st.lists(
    st.lists(
      # Joined by '::' they must split back into the same fields.
      st.from_regex('([1é"]:?)*[1é"]|', fullmatch=True),
      min_size=3,
      max_size=3,
    ),
    min_size=1,
    max_size=12,
  ),
  quote=st.booleans(),
  block_bytes=st.integers(1, 40),
)
def test_a_delimiter_may_have_several_characters(
  tmp_path, rows, quote, block_bytes
):
  if quote:
    lines = [
      '::'.join('"' + field.replace('"', '""') + ':::"' for field in row)
      for row in rows
    ]
  else:
    rows = [[field.replace('"', '0') for field in row] for row in rows]
    lines = ['::'.join(row) for row in rows]
  path = tmp_path / 't.csv'
  path.write_text('\n'.join(['a::b::c', *lines]))
  suffix = ':::' if quote else ''
  assert read(path, block_bytes, '::') == (
    [
      (line, tuple(field + suffix for field in row))
      for line, row in enumerate(rows, start=2)
    ],
    [],
  )


def test_line_numbers_count_lines_inside_quotes(tmp_path):
  path = tmp_path / 't.csv'
  path.write_text('a,b,c\n1,"x\ny\n",3\n\n4,5,6\n7\n')
  rows, ragged = read(path)
  assert rows == [(2, ('1', 'x\ny\n', '3')), (6, ('4', '5', '6'))]
  assert ragged == [(7, 1)]


def test_broken_quotes_have_zero_fields_and_cost_one_row(tmp_path):
  path = tmp_path / 't.csv'
  path.write_text('a,b,c\n1,"2"x,3\n4,5,6\n')
  assert read(path) == ([(3, ('4', '5', '6'))], [(2, 0)])


@SMALL
@given(
  st.lists(
    st.lists(
      st.text(st.characters(codec='latin-1', exclude_characters='\t\r\n\0')),
      min_size=3,
      max_size=3,
    ).filter(any),
    min_size=1,
    max_size=8,
  ),
  st.integers(1, 64),
  st.booleans(),
)
def test_text_as_it_is_keeps_quotes_and_reads_latin_1(
  tmp_path, rows, block_bytes, latin
):
  path = tmp_path / 't.tsv'
  lines = ['\t'.join(row) for row in rows]
  encoded = [line.encode('latin-1' if latin else 'utf-8') for line in lines]
  path.write_bytes(b'\n'.join(encoded) + b'\n')
  found = []
  for block in delimited.read(
    path,
    COLUMNS,
    delimiter='\t',
    column_names=COLUMNS,
    block_bytes=block_bytes,
    as_it_is=True,
  ):
    texts = [cells.texts(block.columns[name]) for name in COLUMNS]
    found += [list(row) for row in zip(*texts, strict=True)]
  expected = [line.decode(_encoding(line)).split('\t') for line in encoded]
  if not encoded[0].startswith(b'\xef\xbb\xbf'):  # else it is a mark
    assert found == expected


def _encoding(line):
  try:
    line.decode()
  except UnicodeDecodeError:
    return 'latin-1'
  return 'utf-8'
