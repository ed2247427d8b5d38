"""The document on a study, in Markdown: a head, then a chapter per dataset."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.training import files


class Page(NamedTuple):
  """Everything a document is made from.

  Attributes:
    plan: the runs.
    chapters: {name: record; None if no run of it has finished}.
    records: {table: what its `collect` gave}.
    pictures: {table: file name beside the document}.
  """

  plan: plans.Plan
  chapters: Mapping[str, Any]
  records: Mapping[str, Any]
  pictures: Mapping[str, str]


def write(plan: plans.Plan, resamples: int | None = None) -> pathlib.Path:
  """Reads the finished runs; writes NAME.md, NAME.json and the pictures.

  Args:
    plan: the runs.
    resamples: of users, in comparisons; None takes the study's own number.
  Returns:
    The Markdown file, in the folder of the runs.
  Raises:
    types.UserError: no run has finished, or one is damaged or another.
  """
  page = collect(plan, resamples)
  folder = pathlib.Path(plan.request.out)
  page = page._replace(pictures=draw(page, folder))
  path = folder / f'{plan.study.name}.md'
  files.write_json(path.with_suffix('.json'), numbers(page))
  with files.explained(path, 'write'), files.replacing(path) as file:
    file.write(markdown(page).encode())
  return path


def collect(plan: plans.Plan, resamples: int | None = None) -> Page:
  """The numbers of the finished runs, without pictures."""
  study = plan.study
  given = {} if resamples is None else {'resamples': resamples}
  chapters = study.collect(plan, **given)
  folder = pathlib.Path(plan.request.out)
  records = {
    name: table.collect(folder)
    for name, table in _asked(plan).items()
    if table.collect
  }
  return Page(plan, chapters, records, {})


def draw(page: Page, folder: pathlib.Path) -> dict[str, str]:
  """Draws the pictures of the tables asked for; {table: file name}."""
  chapters = {k: v for k, v in page.chapters.items() if v is not None}
  drawn = {}
  for name, table in _asked(page.plan).items():
    file = f'{page.plan.study.name}_{table.picture_name or name}.png'
    if table.picture and table.picture(chapters, folder / file):
      drawn[name] = file
  return drawn


def numbers(page: Page) -> dict[str, Any]:
  """All of a page, for JSON."""
  request = page.plan.request
  return as_dicts(
    {
      'command': plans.command(page.plan),
      'settings': {
        'tables': request.tables,
        **request.axes,
        'systems': request.systems,
        'seeds': request.seeds,
        **request.numbers,
      },
      'missing': missing(page),
      'datasets': page.chapters,
      **page.records,
    }
  )


def as_dicts(value: Any) -> Any:
  """Records as dictionaries by field; keys of several words are joined."""
  if hasattr(value, '_asdict'):
    return as_dicts(value._asdict())
  if isinstance(value, config_lib.TwoTimeConfig):
    return dataclasses.asdict(value)
  if isinstance(value, Mapping):
    if any(isinstance(key, study_lib.Run) for key in value):
      return [{**as_dicts(k), **as_dicts(v)} for k, v in value.items()]
    return {
      ', '.join(key) if isinstance(key, tuple) else key: as_dicts(entry)
      for key, entry in value.items()
    }
  if isinstance(value, list | tuple):
    return [as_dicts(entry) for entry in value]
  return value


def missing(page: Page) -> int:
  """Number of runs that have not finished."""
  return len(plans.runs(page.plan)) - len(_costs(page))


def _costs(page):
  done = [chapter for chapter in page.chapters.values() if chapter]
  costs = [cost for chapter in done for cost in chapter.runs.values()]
  return [cost for cost in costs if cost.seconds is not None]


def _asked(plan) -> dict[str, study_lib.Table]:
  tables = plan.study.tables
  return {name: tables[name] for name in tables if name in plan.request.tables}


# ---- The text


def markdown(page: Page) -> str:
  """The whole document."""
  study = page.plan.study
  blocks = [f'# {study.title}', f'```\n{plans.command(page.plan)}\n```']
  for part in study.head:
    if isinstance(part, str):
      blocks.append(part.format(**page.plan.request.numbers))
    else:
      blocks += part(page)
  if page.chapters:
    blocks.append(_time(page))
  for name, chapter in page.chapters.items():
    blocks.append(f'## {name}')
    if chapter is None:
      blocks.append('No run has finished.')
    else:
      blocks += (p for part in study.sections for p in part(page, chapter))
  return '\n\n'.join(blocks) + '\n'


def _time(page) -> str:
  costs, left = _costs(page), missing(page)
  devices = ', '.join(sorted({cost.device for cost in costs}))
  total = sum(cost.seconds for cost in costs)
  rest = f'; {left} are missing, their cells are -' if left else ''
  return (
    f'{len(costs)} runs took {total:,.0f} seconds of training on'
    f' {devices}{rest}.'
  )


def with_chapters(*parts: Any) -> Callable[[Page], Iterator[str]]:
  """Parts of a head that are left out where there are no chapters."""

  def head(page: Page) -> Iterator[str]:
    for part in parts if page.chapters else ():
      if isinstance(part, str):
        yield part
      else:
        yield from part(page)

  return head


def first(page: Page) -> Iterator[str]:
  """The figures that stand before the chapters, if they are drawn."""
  for name, table in _asked(page.plan).items():
    if table.first and name in page.pictures:
      yield f'## {table.title}'
      yield from picture(page, name)
      for part in table.parts:
        yield from part(page)


def tables(page: Page, chapter: Any) -> Iterator[str]:
  """The other tables, with their pictures behind them."""
  for name, table in _asked(page.plan).items():
    if not table.first and has_rows(chapter, name):
      if table.title:
        yield f'### {table.title}'
      for part in table.parts:
        yield from part(page, chapter)
      yield from picture(page, name)


def has_rows(chapter: Any, table: str) -> bool:
  """Whether a chapter has a row of a table, trained or not."""
  return any(block.tables.get(table) for block in chapter.blocks.values())


def picture(page: Page, table: str) -> Iterator[str]:
  """The picture of a table, if it was drawn."""
  if table in page.pictures:
    declared = page.plan.study.tables[table]
    caption = declared.caption or declared.title
    yield f'![{caption}]({page.pictures[table]})'


def name(study: study_lib.Study, system: str, block: str = '') -> str:
  """A system in the tables; labels may have a place for that of the block."""
  label = study.labels.get(system) or ' '.join(system.split('_'))
  return label.format(study.labels.get(block, block))


def label(
  study: study_lib.Study, row: str, system: str, block: str = ''
) -> str:
  """A row of a table, which tells the system whose run stands for it."""
  if system == row:
    return name(study, row, block)
  whose = name(study, system, block)
  return f'{name(study, row, block)} (the run of {whose})'


def commands(page: Page, chapter: Any) -> Iterator[str]:
  """The lines that train single runs."""
  del page
  blocks = chapter.blocks.values()
  lines = [line for block in blocks for line in block.commands.values()]
  text = '\n'.join(lines)
  yield f'Each run alone, for the first seed:\n\n```\n{text}\n```'


# ---- Cells


def difference(row: Any) -> str:
  """A difference with its interval."""
  if row.difference is None or row.low is None:
    return '-'
  return f'{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})'


def cell(value: Any) -> str:
  """A value with its interval, if it has one."""
  if value.value is None or value.low is None:
    return plain(value.value)
  return f'{value.value:.4f} ({value.low:.4f} to {value.high:.4f})'


def plain(value: float | None) -> str:
  """A value alone."""
  return '-' if value is None else f'{value:.4f}'


def paragraph(
  texts: Mapping[str, str], otherwise: str = ''
) -> Callable[[Page, Any], Iterable[str]]:
  """A section with a text by the name of the chapter."""

  def section(page: Page, chapter: Any) -> Sequence[str]:
    del page
    text = texts.get(chapter.name, otherwise)
    return [text] if text else []

  return section
