r"""Writes the tables of README.md and of the result pages from their numbers.

    python launch/reproduce/render.py
    python launch/reproduce/render.py --check  # writes nothing; 2 if one is old

A page names a table where it wants it; what stands between is written anew:

    <!-- table: pin/systems -->
    <!-- /table -->

is the table or view `systems` of `results/pin.json`, which stands in
launch/reproduce or launch/benchmarks. A view is some rows and columns of a
table. `quickstart/auc,hr@10` are these metrics of a file of reports, as
launch/draw.py writes it.
"""

from collections.abc import Iterator, Mapping, Sequence
import pathlib
import re
import sys
from typing import Any

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
from twotsrec import types
from twotsrec.training import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ('launch/reproduce/results', 'launch/benchmarks/results')
_MARKED = re.compile(
  r'(?P<head><!-- table: (?P<file>[\w-]+)/(?P<name>\S+) -->\n)'
  r'.*?(?P<end><!-- /table -->)',
  re.DOTALL,
)

_CHECK = flags.DEFINE_bool('check', False, 'Only tell what is not current.')


def main() -> int:
  """Writes every page anew, or names those that would change."""
  for path in pages():
    text = path.read_text(encoding='utf-8')
    current = rendered(text)
    if text == current:
      continue
    name = path.relative_to(ROOT)
    if _CHECK.value:
      raise types.UserError(
        f'{name} is not drawn from its numbers; run:'
        ' python launch/reproduce/render.py'
      )
    path.write_text(current, encoding='utf-8')
    print(f'written: {name}')
  return 0


def pages() -> list[pathlib.Path]:
  """Every file that may have tables."""
  results = [
    path for folder in FOLDERS for path in sorted((ROOT / folder).glob('*.md'))
  ]
  return [ROOT / 'README.md', *results]


def rendered(text: str) -> str:
  """The text of a page with its tables drawn from their numbers.

  Raises:
    types.UserError: no such file or table.
  """
  return _MARKED.sub(
    lambda m: f'{m["head"]}{drawn(m["file"], m["name"])}\n{m["end"]}', text
  )


def drawn(file: str, name: str) -> str:
  """One table as Markdown, or as text where it is of reports.

  Args:
    file: stem of a .json in one of `FOLDERS`.
    name: of a table or view; of reports, their metrics.
  Raises:
    types.UserError: no such file or table.
  """
  numbers = _numbers(file)
  if 'reports' in numbers:
    from twotsrec.evaluation import report as report_lib

    text = report_lib.format_table(numbers['reports'], name.split(','))
    return f'```\n{text}\n```'
  table = _table(numbers, name)
  if table is None:
    existing = ', '.join([*numbers['tables'], *numbers.get('views', {})])
    raise types.UserError(f'{file}.json has no {name!r}; it has {existing}')
  return '\n'.join(_lines(table))


def cell_text(cell: Any, column: Mapping[str, Any]) -> str:
  """A cell as it is printed.

  Args:
    cell: None, a text or number; {'value', 'interval'}, {'value', 'low',
      'high'} with extremes, {'low', 'high'} alone, or {'value', 'note'}; or a
      list of such.
    column: `digits` after the point (0 by default), `interval_digits`,
      `signed`, `unit`.
  """
  digits = column.get('digits', 0)
  if cell is None or isinstance(cell, str):
    return cell or ''
  if isinstance(cell, Sequence):
    return ' / '.join(cell_text(part, column) for part in cell)
  number = lambda value, places=digits: _number(value, places, column)
  if not isinstance(cell, Mapping):
    return number(cell) + column.get('unit', '')
  value = number(cell['value']) if 'value' in cell else ''
  if 'interval' in cell:
    places = column.get('interval_digits', digits)
    bounds = ', '.join(number(bound, places) for bound in cell['interval'])
    return f'{value} [{bounds}]'
  if 'note' in cell:
    return f'{value} ({cell["note"]})'
  extremes = f'{number(cell["low"])} to {number(cell["high"])}'
  return f'{value} ({extremes})' if value else extremes


def _numbers(file: str) -> dict[str, Any]:
  for folder in FOLDERS:
    path = ROOT / folder / f'{file}.json'
    if path.is_file():
      return files.read_json(path)
  raise types.UserError(
    f'no {file}.json in {" or ".join(FOLDERS)}; name one that is there'
  )


def _table(numbers, name):
  """A table or view as {'columns', 'rows'}; None if there is none."""
  if name in numbers['tables']:
    return numbers['tables'][name]
  if name not in numbers.get('views', {}):
    return None
  view = numbers['views'][name]
  table = numbers['tables'][view['of']]
  titles = [column['title'] for column in table['columns']]
  by_name = {row[0]: row for row in table['rows']}
  places = [titles.index(title) for title in view.get('columns', titles)]
  return {
    'columns': [table['columns'][place] for place in places],
    'rows': [
      [by_name[row][place] for place in places]
      for row in view.get('rows', by_name)
    ],
  }


def _lines(table) -> Iterator[str]:
  from twotsrec.evaluation import comparison

  columns = table['columns']
  rows = [[column['title'] for column in columns], ['---'] * len(columns)]
  for row in table['rows']:
    rows.append([cell_text(*pair) for pair in zip(row, columns, strict=True)])
  for row in rows:
    yield f'| {" | ".join(map(comparison.escaped, row))} |'


def _number(value, places, column):
  """Without the zero before the point, as the papers print it."""
  sign = '+' if column.get('signed') and value > 0 else ''
  text = f'{sign}{value:,.{places}f}'
  return re.sub(r'^([+-]?)0\.', r'\1.', text)


if __name__ == '__main__':
  cli.run(main, compiles=False)
