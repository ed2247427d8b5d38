"""Tables of any kind: nothing is lost, nothing breaks, no order matters.

TWOTSREC_GENERATED_TABLES=10000 tries as many as it says.
"""

import csv
import gzip
import io
import os
import re

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import tables

EXAMPLES = int(os.environ.get('TWOTSREC_GENERATED_TABLES', '120'))
NAMES = ('user', 'item', 'ts', 'rating')
WANTED = tables.Columns('user', 'item', 'ts', 'rating')
IDS = (
  st.integers(-3, 30).map(str)
  | st.sampled_from(['007', '1.0', ' 5', '5 ', 'ann', 'Ann', 'e\u0301', '\xe9'])
  | st.sampled_from(
    ['', ' ', *cells.MISSING_NAMES, '9' * 25, 'x' * 300, 'user']
  )
  | st.text('ab1 ,;"\n\t', max_size=4)
)
TIMES = st.one_of(
  st.integers(1_500_000_000, 1_600_000_000).map(str),
  st.integers(1_500_000_000_000, 1_600_000_000_000).map(str),
  st.sampled_from(['0', '17', '1e3', '-1', '', 'NaN', '9' * 20, 'noon']),
  st.sampled_from(['20200913', '20201301', '2020-09-13', '2020-09-13 12:26']),
  st.sampled_from(['2020-09-13T12:26:40.5Z', '2020-09-13 12:26:61 UTC']),
)
RATINGS = st.sampled_from(['1', '4.5', '4,5', '', 'NA', 'inf', 'good', ' 3 '])
# A column is mostly of one kind, so that all ways of judging it come up.
ROWS = st.one_of(
  st.tuples(IDS, IDS, TIMES, RATINGS),
  st.tuples(st.integers(0, 9).map(str), IDS, TIMES, RATINGS),
  st.just(NAMES),
  st.lists(st.sampled_from(['1', 'x']), min_size=2, max_size=6).map(tuple),
)
COLUMNS = st.sampled_from([IDS, st.integers(0, 20).map(str)])
UNIFORM = st.tuples(COLUMNS, st.sampled_from(range(4))).flatmap(
  lambda drawn: st.lists(
    st.tuples(
      drawn[0],
      st.integers(0, 20).map(str),
      st.integers(10**9, 2 * 10**9).map(lambda t: str(t * 1000 ** drawn[1])),
      RATINGS,
    ),
    max_size=12,
  )
)
TABLES = st.tuples(
  UNIFORM, st.lists(ROWS, max_size=6), st.randoms(use_true_random=False)
)
STYLES = st.fixed_dictionaries(
  {
    'delimiter': st.sampled_from([',', ';', '\t', '::']),
    'line_end': st.sampled_from(['\n', '\r\n']),
    'encoding': st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16']),
    'header': st.booleans(),
    'packed': st.booleans(),
    'id_type': st.sampled_from(['auto', 'auto', 'int', 'string']),
    'keep': st.booleans(),
    'comma': st.booleans(),
  }
)


def written(rows, style) -> bytes:
  """The table as a file; every cell in quotes, since it may hold a line end."""
  buffer = io.StringIO(newline='')
  byte = style['delimiter'][0]
  writer = csv.writer(
    buffer,
    delimiter=byte,
    lineterminator=style['line_end'],
    quoting=csv.QUOTE_ALL if len(style['delimiter']) == 1 else csv.QUOTE_NONE,
    quotechar='"',
    escapechar=None if len(style['delimiter']) == 1 else '\\',
  )
  if len(style['delimiter']) > 1:
    clean = lambda cell: re.sub('[:"\n\r]', '', cell)
    lines = [style['delimiter'].join(map(clean, row)) for row in rows]
    buffer.write(style['line_end'].join([*lines, '']))
  else:
    writer.writerows(rows)
  data = buffer.getvalue().encode(style['encoding'])
  return gzip.compress(data, 1) if style['packed'] else data


def outcome(path, rows, style, on_bad_rows='drop'):
  """What a table becomes, without the order of its rows; or the error."""
  header = [NAMES] if style['header'] else []
  path.write_bytes(written([*header, *rows], style))
  try:
    table = tables.read_table(
      path,
      WANTED,
      delimiter=style['delimiter'],
      column_names=None if style['header'] else NAMES,
      id_type=style['id_type'],
      on_bad_rows=on_bad_rows,
      forms=tables.Forms(
        keep_ids=('NA', 'null') if style['keep'] else (),
        decimal=',' if style['comma'] else '.',
      ),
    )
  except types.UserError as error:
    assert len(str(error).splitlines()) == 1 and str(error)
    return str(error) if on_bad_rows == 'drop' else None
  dropped = {cause: gone.rows for cause, gone in table.dropped.items()}
  kept = len(table.user)
  assert kept and kept + sum(dropped.values()) == table.rows_read
  assert np.all(np.isfinite(table.time) & (table.time >= 0))
  assert np.all(np.diff(table.lines) > 0)
  columns = (table.user, table.item, table.time, table.rating)
  lists = (np.asarray(column).tolist() for column in columns)
  return sorted(zip(*lists, strict=True)), dropped, table.notes


@settings(
  max_examples=EXAMPLES,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(HealthCheck),
)
@given(table=TABLES, style=STYLES)
def test_any_table_is_read_whole_without_a_traceback_in_any_order(
  tmp_path, table, style
):
  uniform, others, random = table
  rows = [*uniform, *others]
  path = tmp_path / 't.csv'
  first = outcome(path, rows, style)
  outcome(path, rows, style, 'error')
  random.shuffle(rows)
  second = outcome(path, rows, style)
  told = f'{first}{second}'
  if (
    'file is empty' in told
    or not style['header']
    and (
      # What stands first in a file without a header line counts there.
      'looks like a header' in told
      or 'fields, but' in told
      or 'these names' in told
    )
  ):
    return
  digits = lambda text: re.sub('[0-9]+', '#', text)
  if isinstance(first, str) and isinstance(second, str):
    assert sorted(digits(first)) == sorted(digits(second))
  else:
    assert first == second
