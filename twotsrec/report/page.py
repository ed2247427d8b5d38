"""A report as one HTML file that needs nothing else, no script either."""

from collections.abc import Iterable, Iterator, Sequence
import html
import re

from twotsrec.evaluation import verdict
from twotsrec.report import content as content_lib
from twotsrec.report import drawings
from twotsrec.report import pictures
from twotsrec.report import section
from twotsrec.report import sections
from twotsrec.report import tables
from twotsrec.training import files

_STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.2rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .4rem 0; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; }
p { max-width: 46rem; margin: .5rem 0; }
a { color: var(--s0); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .8rem 0;
  padding: 0; list-style: none; }
.figures { display: grid; gap: 1.4rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; max-width: 36rem; }
figcaption { font-weight: 600; font-size: .95rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
td.number, th.number { text-align: right; }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.45; padding: .8rem;
  border: 1px solid var(--grid); border-radius: .3rem; }
summary { cursor: pointer; margin: .8rem 0 0; }
.note { color: var(--soft); font-size: .85rem; }
"""

# With a percent sign, a spread or an interval behind it.
_NUMBER = re.compile(r'[+-]?[\d,.]+%?(?=$|[ *])')


def html_page(content: content_lib.Content) -> str:
  """The whole page.

  Raises:
    types.UserError: matplotlib is not installed.
  """
  made = sections.build(content)
  title = f'Report on {section.listed(content.systems)}'
  links = [f'<a href="#{one.key}">{_text(one.title)}</a>' for one in made]
  return '\n'.join(
    [
      '<!DOCTYPE html>',
      '<html lang="en">',
      '<head>',
      '<meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      '<meta name="color-scheme" content="light dark">',
      f'<title>{_text(title)}</title>',
      f'<style>{_colors()}{_STYLE}</style>',
      '</head>',
      '<body>',
      f'<header><h1>{_text(title)}</h1>',
      *map(_paragraph, _summary(content)),
      f'<nav aria-label="Sections">{"".join(links)}</nav></header>',
      '<main>',
      *(line for one in made for line in _section(one)),
      '</main>',
      '</body>',
      '</html>',
    ]
  )


def write(content: content_lib.Content, out: str) -> None:
  """Writes the page.

  Raises:
    types.UserError: it cannot be written, or there is no matplotlib.
  """
  text = html_page(content)
  with files.explained(out, 'write'), files.replacing(out) as file:
    file.write(text.encode() + b'\n')


def every_table(content: content_lib.Content) -> list[tables.Table]:
  """The tables of a report, for a file of tables alone."""
  made = [content.results]
  if content.compared is not None:
    made.append(tables.differences(content.compared))
  of_lists = tables.of_lists(content.beside)
  return made + ([of_lists] if of_lists else [])


def _colors() -> str:
  """The colors of both pages as CSS variables."""
  light, dark = (
    ' '.join(f'--{name}: {both[i]};' for name, both in drawings.COLORS.items())
    for i in range(2)
  )
  return (
    f'\n:root {{ color-scheme: light dark; {light} }}'
    f'\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}'
  )


def _summary(content) -> Iterator[str]:
  """What the page is about, and how the systems stand."""
  run, dataset = content.first, content.first.report.get('dataset', {})
  groups = content.num_groups
  counts = ', '.join(
    f'{dataset[name]:,} {name}'
    for name in ('users', 'items')
    if name in dataset
  )
  of_data = f' on {dataset["source"]} ({counts})' if counts else ''
  users = sum(group['users'] for group in run.test['groups'])
  yield (
    f'How {users:,} test users{of_data} are served, in {groups} groups by how'
    f' active they are; {run.protocol["split"]}, {run.protocol["candidates"]}'
    ' candidates.'
  )
  for name, model in content.models.items():
    told = model.report.get('verdict')
    if told and told['rules']:
      by = pictures.metric_name(told['metric'])
      yield f'{name}, by {by}: {_stands(told)}.'


def _stands(told) -> str:
  """Which rules a model is above, level with and below."""
  words = {
    verdict.ABOVE: 'above', verdict.LEVEL: 'level with', verdict.BELOW: 'below',
    verdict.UNCLEAR: 'without an interval beside',
  }  # fmt: skip
  rules = {
    standing: [
      name
      for name, by in told['rules'].items()
      if by['overall']['standing'] == standing
    ]
    for standing in words
  }
  return '; '.join(
    f'{words[standing]} {section.listed(names)}'
    for standing, names in rules.items()
    if names
  )


def _section(one: section.Section) -> Iterator[str]:
  yield f'<section id="{one.key}"><h2>{_text(one.title)}</h2>'
  yield _paragraph(one.lead)
  if one.legend:
    yield '<ul class="legend">'
    for name, style in one.legend:
      color = f'style="color: var(--{style.color})"'
      sign = f'<span {color} aria-hidden="true">{style.sign}</span>'
      yield f'<li>{sign} {_text(name)}</li>'
    yield '</ul>'
  if one.figures:
    yield '<div class="figures">'
    for title, svg in one.figures:
      yield f'<figure><figcaption>{_text(title)}</figcaption>{svg}</figure>'
    yield '</div>'
  for grid in one.grids:
    if one.figures:
      shown = ' open' if one.key == 'results' else ''
      yield f'<details{shown}><summary>The numbers</summary>'
    yield from _grid(grid, one.title)
    if one.figures:
      yield '</details>'
  yield from (f'<p class="note">{_text(note)}</p>' for note in one.notes)
  if one.text:
    yield f'<pre tabindex="0">{_text(one.text)}</pre>'
  yield '</section>'


def _grid(grid: Sequence[Sequence[str]], title: str) -> Iterator[str]:
  """A table in a box of its own, where a long one scrolls."""
  head, *body = grid
  right = [_is_number(column) for column in zip(*body)]
  yield (
    '<div class="scroll" tabindex="0" role="region"'
    f' aria-label="{_text(title)}"><table>'
  )
  yield f'<thead><tr>{_cells("th", head, right)}</tr></thead><tbody>'
  yield from (f'<tr>{_cells("td", row, right)}</tr>' for row in body)
  yield '</tbody></table></div>'


def _is_number(column: Iterable[str]) -> bool:
  said = [cell for cell in column if cell not in ('', '-')]
  return all(map(_NUMBER.match, said))


def _cells(tag, row, right) -> str:
  kinds = (' class="number"' if number else '' for number in right)
  return ''.join(
    f'<{tag}{kind}>{_text(cell)}</{tag}>' for kind, cell in zip(kinds, row)
  )


def _paragraph(text: str) -> str:
  return f'<p>{_text(text)}</p>'


def _text(text: str) -> str:
  return html.escape(text)
