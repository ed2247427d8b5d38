"""Tables as plain text, Markdown, TeX or CSV."""

from collections.abc import Iterable
import csv
import io
import pathlib

from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.report import tables
from twotsrec.training import files


def shown(cell: tables.Cell, kind: str) -> str:
  """A cell for people; a difference has its sign and interval."""
  if cell.value is None:
    return '-'
  sign = '+' if kind == tables.DIFFERENCES else ''
  text = f'{cell.value:{sign}.4f}'
  if cell.spread is not None:
    text += f' ± {cell.spread:.4f}'
  if (
    kind == tables.DIFFERENCES
    and cell.low is not None
    and cell.high is not None
  ):
    text += f' [{cell.low:+.4f}, {cell.high:+.4f}]'
  return text + '*' * cell.marked


def lines(table: tables.Table) -> list[list[str]]:
  """The cells of a table as text, with its head."""
  return [
    ['metric', 'system', *table.rows],
    *(
      [metric if i == 0 else '', name, *(shown(c, table.kind) for c in cells)]
      for metric, systems in table.cells.items()
      for i, (name, cells) in enumerate(systems.items())
    ),
  ]


def text(every: Iterable[tables.Table]) -> str:
  """Plain text."""
  return '\n\n'.join(
    '\n'.join([table.title, comparison.aligned(lines(table)), *table.notes])
    for table in every
  )


def markdown(every: Iterable[tables.Table]) -> str:
  """Markdown."""
  return '\n\n'.join(
    block
    for table in every
    for block in (
      f'**{comparison.escaped(table.title)}**',
      comparison.piped(lines(table)),
      *map(comparison.escaped, table.notes),
    )
  )


_TEX = str.maketrans(
  {
    **{mark: f'\\{mark}' for mark in '&%$#_{}'},
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '±': r'$\pm$',
    '<': r'$<$',
    '>': r'$>$',
  }
)


def tex(every: Iterable[tables.Table]) -> str:
  """TeX that needs no package."""
  blocks = []
  for table in every:
    head, *body = (
      ' & '.join(cell.translate(_TEX) for cell in row) + r' \\'
      for row in lines(table)
    )
    number = len(table.rows)
    notes = [f'% {line}' for line in table.notes]
    begin = rf'\begin{{tabular}}{{ll{"r" * number}}}'
    end = [r'\hline', r'\end{tabular}']
    blocks.append(
      [f'% {table.title}', *notes, begin, r'\hline', head, r'\hline']
      + [*body, *end]
    )
  return '\n\n'.join('\n'.join(block) for block in blocks)


def csv_text(every: Iterable[tables.Table]) -> str:
  """A row for every number, in full."""
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  head = ['table', 'metric', 'system', 'row', 'users', 'seeds']
  writer.writerow([*head, 'value', 'low', 'high', 'spread'])
  for table in every:
    for metric, systems in table.cells.items():
      for name, cells in systems.items():
        for row, users, cell in zip(table.rows, table.users, cells):
          about = [table.kind, metric, name, row, users, table.seeds[name]]
          writer.writerow([*about, *cell[:4]])
  return file.getvalue().rstrip('\n')


FORMATS = {'md': markdown, 'csv': csv_text, 'tex': tex}


def write(every: Iterable[tables.Table], out: str, kind: str) -> None:
  """Writes tables; `kind` is a key of `FORMATS`."""
  content = FORMATS[kind](every)
  with files.explained(out, 'write'), files.replacing(out) as file:
    file.write(content.encode() + b'\n')


def kind_of(out: str) -> str:
  """The format that the name of a file asks for.

  Raises:
    types.UserError: it has another ending.
  """
  kind = pathlib.Path(out).suffix[1:]
  if kind not in FORMATS:
    raise types.UserError(
      f'--out={out} of a table must end in .md, .csv or .tex'
    )
  return kind
