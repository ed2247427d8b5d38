"""Tables and figures of the data themselves, which need no run.

`Table.data` makes a record of prepared data; `collect` gives it for every
chapter, and sections and pictures show it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import itertools
import pathlib
from typing import Any, NamedTuple

from twotsrec.studies import document
from twotsrec.studies import figures
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib

_ALL_LISTED = 5  # behaviors whose patterns are all listed, seen or not


class Counts(NamedTuple):
  """The size of a log outside of the test."""

  users: int  # of the whole log, as the next
  items: int
  interactions: int  # distinct pairs of user and item, by behavior
  target_interactions: int
  behaviors: tuple[str, ...]


class Totals(NamedTuple):
  """The size of a whole log (PIN Table 1)."""

  users: int
  items: int
  interactions: int  # or impressions, where there are labels
  per_user: float  # interactions
  per_item: float
  density: float  # interactions by pairs of user and item


class Patterns(NamedTuple):
  """Pairs of user and item by the behaviors that they are in, and no others."""

  behaviors: tuple[str, ...]
  pairs: dict[str, int]  # by '101', a place for each behavior


def collect(
  plan: plans.Plan, readers: Mapping[str, Callable[[Any], Any]]
) -> dict[str, dict[str, Any]]:
  """{table: {chapter: record}}; None on data that nobody said where to find.

  Args:
    plan: with the chapters.
    readers: {table: prepared data -> record}.
  Raises:
    types.UserError: data that are not there.
  """
  from twotsrec.runs import experiment as experiment_lib

  request, study = plan.request, plan.study
  made: dict[str, dict[str, Any]] = {name: {} for name in readers}
  for place in study_lib.places(study, request) if readers else ():
    chapter, _ = results.divided(study, place)
    if chapter in next(iter(made.values())):
      continue
    run = study_lib.Run(place, request.seeds[0], study.systems[0])
    config, data = plans.settings(plan, run), None
    built_in = study_lib.is_built_in(study, place)
    if built_in or config.data.prepared or config.data.data_root:
      data = experiment_lib.load_data(config)
    for name, read in readers.items():
      made[name][chapter] = None if data is None else read(data)
  return made


def counts(data: Any) -> Counts:
  """The counts of prepared data."""
  from twotsrec.data import behaviors as behaviors_lib

  names, pairs = behaviors_lib.before_test(data)
  sizes = [len(of_behavior.items) for of_behavior in pairs]
  return Counts(data.num_users, data.num_items, sum(sizes), sizes[-1], names)


def totals(data: Any) -> Totals:
  """The counts of prepared data, with what is held out."""
  from twotsrec.data import impressions

  users, items, number = data.num_users, data.num_items, data.num_events
  if impressions.there_are(data):
    number = len(impressions.all_items(data))
  density = number / (users * items)
  return Totals(users, items, number, number / users, number / items, density)


def patterns(data: Any) -> Patterns:
  """The patterns of prepared data (COPF Fig. 6)."""
  from twotsrec.data import behaviors as behaviors_lib

  names, pairs = behaviors_lib.before_test(data)
  return Patterns(names, behaviors_lib.patterns(pairs, data.num_items))


# ---- Sections, before all chapters


def table(
  name: str,
  printed: Mapping[str, Mapping[str, Any]],
  lacks: Mapping[str, str],
  fields: Sequence[str] = Counts._fields,
  note: str = (
    'Interactions are distinct pairs of user and item, summed over behaviors,'
    ' without those that are held out for the test'
  ),
  elsewhere: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[document.Page], Iterator[str]]:
  """A record of counts of every chapter above those of the paper.

  Args:
    name: key of `Study.tables`.
    printed: {chapter: the paper's cells by field}.
    lacks: {chapter: what ours is without}.
    fields: of the record, in order.
    note: what is counted.
    elsewhere: {dataset that is not at hand: the paper's cells}.
  """

  def section(page: document.Page) -> Iterator[str]:
    rows = []
    cells = lambda by_name: [_cell(by_name.get(field)) for field in fields]
    for chapter, of_data in page.records[name].items():
      without = f', without {lacks[chapter]}' if chapter in lacks else ''
      ours = of_data._asdict() if of_data else {}
      rows.append([chapter, f'ours{without}', *cells(ours)])
      if chapter in printed:
        rows.append([chapter, 'paper', *cells(printed[chapter])])
    for dataset, paper in (elsewhere or {}).items():
      rows.append([dataset, 'paper', *cells(paper)])
    head = [' '.join(field.split('_')) for field in fields]
    yield document.piped(['dataset', 'from', *head], rows)
    read = all(of_data for of_data in page.records[name].values())
    unread = '' if read else '; - is of data that were not read (--data_root)'
    yield f'{note}{unread}.'

  return section


def _cell(value: Any) -> str:
  if value is None:
    return '-'
  if isinstance(value, float):  # a share, or a mean
    return f'{value:.3%}' if value < 1 else f'{value:,.2f}'
  if isinstance(value, tuple):
    return ', '.join(value)
  return f'{value:,}' if isinstance(value, int) else str(value)


def by_pattern(
  name: str, paper: str
) -> Callable[[document.Page], Iterator[str]]:
  """`Patterns` of every chapter, and how strictly behaviors follow each other.

  Args:
    name: key of `Study.tables`.
    paper: what the paper says of them.
  """

  def section(page: document.Page) -> Iterator[str]:
    rows, said = [], []
    for chapter, of_data in page.records[name].items():
      if of_data is None:
        said.append(f'the data of {chapter} were not read (--data_root)')
        continue
      total = sum(of_data.pairs.values())
      for pattern, number in _listed(of_data).items():
        behaviors = itertools.compress(of_data.behaviors, map(int, pattern))
        share = f'{number / total:.1%}'
        label = ', '.join(behaviors)
        rows.append([chapter, pattern, label, f'{number:,}', share])
      said.append(f'{_strictness(of_data)} on {chapter}')
    if rows:
      head = ['dataset', 'pattern', 'behaviors', 'pairs', 'share']
      yield document.piped(head, rows)
    yield (
      'A pattern has a 1 for each behavior that a pair of user and item is in,'
      ' outside of the test, and a 0 for each other, in the order of the'
      f' behaviors. Pairs in the target that are in all behaviors before it:'
      f' {"; ".join(said)}. {paper}'
    )

  return section


def _listed(of_data: Patterns) -> dict[str, int]:
  """All patterns of few behaviors, those that occur of many."""
  number, seen = len(of_data.behaviors), of_data.pairs
  if number > _ALL_LISTED:
    return dict(sorted(seen.items()))
  every = map(''.join, itertools.product('01', repeat=number))
  return {pattern: seen.get(pattern, 0) for pattern in every if '1' in pattern}


def _strictness(of_data: Patterns) -> str:
  of_target = sum(n for k, n in of_data.pairs.items() if k.endswith('1'))
  whole = of_data.pairs.get('1' * len(of_data.behaviors), 0)
  return f'{whole / of_target:.1%}' if of_target else 'none'


# ---- Pictures


def picture(records: Mapping[str, Patterns | None], path: pathlib.Path) -> bool:
  """`Table.picture` of `Patterns`: bars, with a panel for each dataset."""
  return figures.draw(records, [_panel], path, width=4.5, height=4.0)


def _panel(axis: Any, name: str, of_data: Patterns) -> None:
  """Pairs by pattern, with the share of each above its bar."""
  listed = _listed(of_data)
  total = sum(listed.values())
  many = len(listed) > 2**3
  turned = {'rotation': 90, 'fontsize': 6} if many else {}
  bars = axis.bar([*listed], [*listed.values()], color='C0')
  shares = [f'{number / total:.1%}' for number in listed.values()]
  axis.bar_label(bars, shares, padding=2, **turned)
  axis.margins(x=0.02, y=0.15)
  axis.tick_params(axis='x', labelrotation=90 if many else 0)
  axis.yaxis.get_major_locator().set_params(integer=True)
  axis.yaxis.set_major_formatter('{x:,.0f}')
  axis.set_title(name)
  axis.set_xlabel(', '.join(of_data.behaviors))
  axis.set_ylabel('pairs of user and item')
