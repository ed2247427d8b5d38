"""The document on a study, in Markdown: a head, then a chapter per dataset."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, NamedTuple

from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.training import files


class Page(NamedTuple):
  """Everything a document is made from."""

  plan: plans.Plan
  chapters: Mapping[str, Any]  # by name; None if no run of it has finished
  # {table: what its `collect` gave, or its `data` of each chapter}
  records: Mapping[str, Any]
  pictures: Mapping[str, str]  # {table: file name beside the document}


def write(plan: plans.Plan, resamples: int | None = None) -> pathlib.Path:
  """Reads the finished runs; writes NAME.md, NAME.json and the pictures.

  Args:
    plan: the runs.
    resamples: of users, in comparisons; None takes the number of their kind.
  Returns:
    The Markdown file, in the folder of the runs.
  Raises:
    types.UserError: no run has finished, or one is damaged or another.
  """
  page = collect(plan, resamples)
  folder = pathlib.Path(plan.request.out)
  with files.explained(folder, 'write'):
    folder.mkdir(parents=True, exist_ok=True)  # where nothing was trained
  drawn = {k: v for k, v in page.chapters.items() if v is not None}
  pictures = {}
  for name, table in _asked(plan).items():
    file = f'{plan.study.name}_{table.picture_name or name}.png'
    content = page.records[name] if table.data else drawn
    if table.picture and table.picture(content, folder / file):
      pictures[name] = file
  page = page._replace(pictures=pictures)
  path = folder / f'{plan.study.name}.md'
  files.write_json(path.with_suffix('.json'), numbers(page))
  with files.explained(path, 'write'), files.replacing(path) as file:
    file.write(markdown(page).encode())
  return path


def collect(plan: plans.Plan, resamples: int | None = None) -> Page:
  """The numbers of the finished runs, without pictures."""
  from twotsrec.studies import chapters  # brings arrays
  from twotsrec.studies import statistics

  plan = plans.decided(plan)
  done = chapters.collect(plan, resamples)  # refuses what is damaged at once
  folder = pathlib.Path(plan.request.out)
  records = {
    name: table.collect(folder)
    for name, table in _asked(plan).items()
    if table.collect
  }
  readers = {k: table.data for k, table in _asked(plan).items() if table.data}
  records |= statistics.collect(plan, readers)
  return Page(plan, done, records, {})


def _asked(plan) -> dict[str, study_lib.Table]:
  tables = plan.study.tables
  return {name: tables[name] for name in tables if name in plan.request.tables}


def numbers(page: Page) -> dict[str, Any]:
  """All of a page, for JSON."""
  study, request = page.plan.study, page.plan.request
  return as_dicts(
    {
      'command': plans.command(page.plan),
      'settings': {
        'tables': request.tables,
        **request.axes,
        'systems': request.systems,
        'seeds': request.seeds,
        **({'tried': request.tried} if len(study.tried) > 1 else {}),
        **({'prepared': request.prepared} if request.prepared else {}),
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
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
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


# ---- The text


def markdown(page: Page) -> str:
  """The whole document."""
  study, costs, left = page.plan.study, _costs(page), missing(page)
  blocks = [f'# {study.title}', f'```\n{plans.command(page.plan)}\n```']
  for part in study.head:
    blocks += _written(page, part)
  if page.chapters:
    devices = ', '.join(sorted({cost.device for cost in costs}))
    total = sum(cost.seconds for cost in costs)
    rest = f'; {left} are missing, their cells are -' if left else ''
    blocks.append(
      f'{len(costs)} runs took {total:,.0f} seconds of training on'
      f' {devices}{rest}.'
    )
  for name, chapter in page.chapters.items():
    blocks.append(f'## {name}')
    if chapter is None:
      blocks.append('No run has finished.')
    else:
      blocks += (p for part in study.sections for p in part(page, chapter))
  return '\n\n'.join(blocks) + '\n'


def _written(page, part) -> Iterable[str]:
  """A part of a head, a text with numbers of the request or a function."""
  numbers = page.plan.request.numbers
  return [part.format(**numbers)] if isinstance(part, str) else part(page)


def with_chapters(*parts: Any) -> Callable[[Page], Iterator[str]]:
  """Parts of a head that are left out where there are no chapters."""

  def head(page: Page) -> Iterator[str]:
    for part in parts if page.chapters else ():
      yield from _written(page, part)

  return head


def first(page: Page) -> Iterator[str]:
  """What stands before the chapters: drawn figures, and tables of the data."""
  for name, table in _asked(page.plan).items():
    if table.first and (name in page.pictures or table.data):
      yield f'## {table.title}'
      yield from _picture(page, name)
      for part in table.parts:
        yield from part(page)


def tables(page: Page, chapter: Any) -> Iterator[str]:
  """The other tables that have rows, with their pictures behind them."""
  for name, table in _asked(page.plan).items():
    has_rows = any(b.tables.get(name) for b in chapter.blocks.values())
    if has_rows and not table.first:
      yield from [f'### {table.title}'] if table.title else []
      for part in table.parts:
        yield from part(page, chapter)
      yield from _picture(page, name)


def _picture(page, name) -> Iterator[str]:
  if name in page.pictures:
    table = page.plan.study.tables[name]
    yield f'![{table.caption or table.title}]({page.pictures[name]})'


def commands(page: Page, chapter: Any) -> Iterator[str]:
  """The lines that train single runs."""
  del page
  blocks = chapter.blocks.values()
  lines = [line for block in blocks for line in block.commands.values()]
  text = '\n'.join(lines)
  yield f'Each run alone, for the first seed:\n\n```\n{text}\n```'


def paragraph(
  texts: Mapping[str, str], otherwise: str = ''
) -> Callable[[Page, Any], Iterable[str]]:
  """A section with a text by the name of the chapter."""

  def section(page: Page, chapter: Any) -> Sequence[str]:
    del page
    text = texts.get(chapter.name, otherwise)
    return [text] if text else []

  return section


def piped(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A Markdown table."""
  from twotsrec.evaluation import comparison  # brings arrays

  return comparison.piped([head, *rows])


def name(study: study_lib.Study, system: str, block: str = '') -> str:
  """A system in the tables; labels may have a place for that of the block."""
  label = study.labels.get(system) or ' '.join(system.split('_'))
  return label.format(study.labels.get(block, block))
