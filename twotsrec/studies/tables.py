"""Sections on offline rankings in Markdown, our numbers beside the paper's.

A section is (page, chapter) -> paragraphs. Functions that make one take what a
study declares: the rows of a table are systems, its columns are declared by
`mean`, `minus`, `by_group` and others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import math
from typing import Any, NamedTuple

from twotsrec.evaluation import comparison
from twotsrec.recipes import compare
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import document
from twotsrec.studies import offline
from twotsrec.studies import results

EVERYBODY = -1  # the last cell of a row
_NO_RUN = '-'
_UNTRAINED = 'not trained'

Section = Callable[[document.Page, offline.Chapter], Iterable[str]]
Columns = Callable[[offline.Chapter], list[document.Column]]


class Row(NamedTuple):
  """A line of a table.

  Attributes:
    label: its first cell.
    origin: 'ours', or 'paper' where it repeats printed numbers.
    cells: {'groups' or 'parts': {metric: cells}}; None if nothing is trained.
    against: {metric: difference of everybody to the reference}.
    printed: the paper's numbers by metric.
    trainings: of the seeds; None where nothing is to be trained.
  """

  label: str
  origin: str = 'ours'
  cells: Mapping[str, Mapping[str, Sequence[results.Cell]]] | None = None
  against: Mapping[str, claims_lib.Difference] = {}
  printed: Mapping[str, float] = {}
  trainings: Sequence[results.Training] | None = None


# ---- Columns


def mean(head: str, metric: str) -> Columns:
  """A metric over all users."""
  cell = lambda row: document.cell(row.cells['groups'][metric][EVERYBODY])
  return lambda chapter: [_column(head, cell)]


def by_group(metric: str) -> Columns:
  """A metric of every activeness group, a column each."""
  cell = lambda place: (
    lambda row: document.cell(row.cells['groups'][metric][place])
  )
  return lambda chapter: [
    _column(head, cell(place)) for place, head in enumerate(groups(chapter))
  ]


def minus(head: str, metric: str) -> Columns:
  """The paired difference to the reference; '' for the reference itself."""
  cell = lambda row: (
    document.difference(row.against[metric]) if row.against else ''
  )
  return lambda chapter: [_column(head, cell)]


def seeds(chapter: offline.Chapter) -> list[document.Column]:
  """The number of seeds."""
  del chapter
  return [_cost('seeds', lambda runs: str(len(runs)))]


def costs(chapter: offline.Chapter) -> list[document.Column]:
  """Epochs and selected epochs of the seeds, and their mean seconds."""
  del chapter
  listed = lambda values: ', '.join(map(str, values))
  return [
    _cost('epochs', lambda runs: listed(run.epochs for run in runs)),
    _cost('selected', lambda runs: listed(run.selected_epoch for run in runs)),
    _cost(
      'seconds',
      lambda runs: f'{sum(run.seconds for run in runs) / len(runs):,.0f}',
    ),
  ]


def _cost(head, text) -> document.Column:
  cell = lambda row: '' if row.trainings is None else text(row.trainings)
  return _column(head, cell)


def _column(head, text) -> document.Column:
  """With '-' for systems that have no run."""
  cell = lambda row: _NO_RUN if row.cells is None else text(row)
  return document.Column(head, cell)


def groups(chapter: offline.Chapter) -> list[str]:
  """Heads of columns by activeness group."""
  return [f'group {group.group}' for group in chapter.details.groups]


# ---- Tables


def table(
  name: str,
  columns: Sequence[Columns],
  rows: Sequence[str] = (),
  paper: Mapping[str, str] | None = None,
  reference: str = '',
  first: str = 'system',
  labels: Mapping[str, str] | None = None,
  block: str = '',
  with_rules: bool = True,
) -> Section:
  """Systems below the rules that train nothing.

  Args:
    name: key of `Study.tables`.
    columns: behind the first and the paper's.
    rows: systems; () takes those of the table that are asked for.
    paper: {metric: head} of columns with the paper's numbers, where it has
      some; in the order of its numbers.
    reference: of `minus`.
    first: head of the first column.
    labels: of rows; others are named by the study.
    block: of the chapter.
    with_rules: whether to show the rules.
  """
  paper, labels = paper or {}, labels or {}

  def row(page, chapter, system, same, numbers) -> Row:
    own, study = chapter.blocks[block], page.plan.study
    label = document.label(study, system, same, block)
    if system in labels:
      whose = '' if same == system else f', {document.name(study, same, block)}'
      label = labels[system] + whose
    return _row(
      label,
      own.systems[same],
      printed=dict(zip(paper, (numbers or {}).get(system, ()))),
      against=_against(own, same, reference),
    )

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    numbers = _printed(page, chapter, name, block)
    same = chapter.blocks[block].tables[name]
    shown = _rules(chapter) if with_rules else []
    for system in rows or same:
      shown.append(row(page, chapter, system, same[system], numbers))
    made = [_paper(head, metric) for metric, head in paper.items()]
    made = [] if numbers is None else made
    made += [column for of_chapter in columns for column in of_chapter(chapter)]
    yield document.piped(first, made, shown)

  return section


def below_paper(
  name: str, rows: Sequence[str], metric: str, axis: str = '', block: str = ''
) -> Section:
  """A metric by group, each system below the paper's row if there is one.

  Args:
    name: key of `Study.tables`.
    rows: systems of each block.
    metric: of the cells.
    axis: whose values in the request are the blocks.
    block: the only one, where there is no axis.
  """

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    shown = _rules(chapter)
    for place in page.plan.request.axes[axis] if axis else (block,):
      numbers = _printed(page, chapter, name, place) or {}
      for system in rows:
        label = document.name(page.plan.study, system, place)
        if system in numbers:
          cells = [results.Cell(value) for value in numbers[system]]
          shown.append(Row(label, 'paper', {'groups': {metric: cells}}))
        shown.append(_row(label, chapter.blocks[place].systems[system]))
    columns = [document.Column('from', lambda row: row.origin)]
    columns += [*seeds(chapter), *by_group(metric)(chapter)]
    yield document.piped('system', columns, shown)

  return section


def by_rows(by: str, metric: str, title: str, reference: str) -> Section:
  """A metric of every system by group or part, with marks and rules.

  A cell ends in > where it is above the reference and in < where it is below,
  by the paired interval.
  """

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    details, [block] = chapter.details, chapter.blocks.values()
    users = {f'group {g.group}': g.users for g in details.groups}
    # A user with several held-out items may be in several parts.
    everybody = {'all': sum(users.values())}
    places = (users if by == 'groups' else details.parts) | everybody
    of_rules = [cells[by][metric] for cells in details.rules.values()]
    values = [[cell.value for cell in cells] for cells in zip(*of_rules)]
    body = [
      [rule, *map(document.cell, cells[by][metric]), '']
      for rule, cells in details.rules.items()
    ]
    for system, measured in block.systems.items():
      if measured is not None:
        cells = measured.cells[by][metric]
        rows = claims_lib.differences(
          block.compared, system, reference, metric, by
        )
        above = [p for p, c, r in zip(places, cells, values) if _above(c, r)]
        body.append(
          [
            document.name(page.plan.study, system),
            *(
              document.cell(cell) + (_mark(rows[i]) if rows else '')
              for i, cell in enumerate(cells)
            ),
            ', '.join(above) or 'none',
          ]
        )
    heads = [f'{place} ({number:,})' for place, number in places.items()]
    yield f'### {title}'
    yield comparison.piped([['system', *heads, 'above every rule in'], *body])

  return section


def _rules(chapter) -> list[Row]:
  rules = chapter.details.rules.items()
  return [Row(label=rule, cells=cells) for rule, cells in rules]


def _row(label, measured, **more) -> Row:
  if measured is None:
    return Row(label=label, **more)
  return Row(
    label=label, cells=measured.cells, trainings=measured.trainings, **more
  )


def _paper(head, metric) -> document.Column:
  text = lambda row: document.plain(row.printed[metric])
  return document.Column(
    head, lambda row: text(row) if metric in row.printed else ''
  )


def _printed(page, chapter, table, block) -> Mapping[str, Any] | None:
  """{system: the paper's numbers}; None if it has none on this dataset."""
  on = page.plan.study.printed.get(table, {}).get(chapter.name)
  return None if on is None else on.get(block, {})


def _against(block, system, reference) -> dict[str, claims_lib.Difference]:
  """Differences of everybody to the reference, {metric: difference}."""
  measured, rows = block.systems.get(system), {}
  for metric in measured.cells['groups'] if measured and reference else ():
    compared = claims_lib.differences(block.compared, system, reference, metric)
    for row in compared:
      if row.row == 'all':
        rows[metric] = row
  return rows


def _above(cell, rules) -> bool:
  known = [rule for rule in rules if rule is not None]
  return cell.value is not None and all(cell.value > rule for rule in known)


def _mark(row) -> str:
  if row.low is None:
    return ''
  return ' <' if row.high < 0 else ' >' if row.low > 0 else ''


# ---- Sentences on tables


def lowest(name: str, system: str, metric: str, block: str) -> Section:
  """The group that a system serves worst, here and in the paper."""

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    measured, said = chapter.blocks[block].systems[system], []
    at = lambda values: values.index(min(v for v in values if v is not None))
    if measured is not None:
      cells = measured.cells['groups'][metric][:EVERYBODY]
      said.append(f'group {at([cell.value for cell in cells]) + 1} here')
    numbers = _printed(page, chapter, name, block)
    if numbers:
      said.append(f'group {at(numbers[system]) + 1} in the paper')
    yield f'The {system} model is lowest in {", ".join(said) or "-"}.'

  return section


def against_paper(name: str, metric: str, head: str, reference: str) -> Section:
  """The paper's rows that are below the reference, as all of them are there."""

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    study, [block] = page.plan.study, chapter.blocks.values()
    printed = {
      system
      for of_dataset in study.printed[name].values()
      for systems in of_dataset.values()
      for system in systems
    }
    said: dict[str, list[str]] = {}
    for row, system in block.tables[name].items():
      if row != reference and row in printed:
        against = _against(block, system, reference).get(metric)
        verdict = _UNTRAINED
        if against is not None:
          verdict = claims_lib.verdict([against.negative()])
        said.setdefault(verdict, []).append(document.name(study, row))
    order = (
      claims_lib.HOLDS, claims_lib.FAILS, claims_lib.OPEN, _UNTRAINED
    )  # fmt: skip
    listed = [f'{v}: {", ".join(said[v])}' for v in order if v in said]
    if listed:
      yield (
        f'{document.name(study, reference)} is above every other row in the'
        f' paper. Here, by {head}: {"; ".join(listed)}'
      )

  return section


def highest(
  name: str, axis: str, values: Mapping[str, float], metrics: Mapping[str, str],
  paper: str,
) -> Section:  # fmt: skip
  """The highest point of a sweep beside what the paper says of it.

  Args:
    name: key of `Study.tables`.
    axis: name of the setting.
    values: of the setting by system.
    metrics: {metric: its name}.
    paper: the sentence.
  """

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    del page
    shown = points(chapter, name, values, metrics)
    if not shown:
      yield f'The paper: {paper}.'
      return
    at = []
    for metric, head in metrics.items():
      best = max(shown, key=lambda value: shown[value][metric].value)
      at.append(f'{best:g} by {head}')
    yield (
      f'Highest at {axis} {", ".join(at)}, of {len(shown)} finished. The paper:'
      f' {paper}.'
    )

  return section


def points(
  chapter: offline.Chapter,
  name: str,
  values: Mapping[str, float],
  metrics: Iterable[str],
) -> dict[float, dict[str, results.Cell]]:
  """{value: {metric: cell of everybody}} of the finished points of a sweep."""
  [block] = chapter.blocks.values()
  shown = {}
  for system, same in block.tables.get(name, {}).items():
    measured = block.systems.get(same)
    if measured is not None:
      cells = measured.cells['groups']
      shown[values[system]] = {m: cells[m][EVERYBODY] for m in metrics}
  return shown


def curves(head: str, block: str) -> Section:
  """A metric on validation by epoch of stage 2 and group."""

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    del page
    shown = chapter.blocks[block].curves
    if not shown:
      yield '-'
      return
    rows = []
    for epoch in range(max(len(curve.by_epoch) for curve in shown)):
      there = [c.by_epoch[epoch] for c in shown if epoch < len(c.by_epoch)]
      label = f'{epoch}, the trunk' if epoch == 0 else str(epoch)
      rows.append([label, str(len(there)), *map(_spread, zip(*there))])
    yield comparison.piped([[head, 'seeds', *groups(chapter)], *rows])
    yield (
      'Means over seeds, in brackets their span; the paper has curves without'
      ' numbers. Over users alone the standard error of one seed is'
      f' {_noise(shown[0].by_epoch[0], chapter.details.groups)}.'
    )

  return section


def _spread(values: Sequence[float | None]) -> str:
  known = [value for value in values if value is not None]
  if not known:
    return '-'
  mean = sum(known) / len(known)
  mean, low, high = map(document.plain, (mean, min(known), max(known)))
  return mean if len(known) == 1 else f'{mean} ({low} to {high})'


def _noise(start, groups) -> str:
  """Standard errors of a share of a group's users, at the trunk's level."""
  errors = [
    math.sqrt(share * (1 - share) / group.users)
    for share, group in zip(start, groups)
    if share is not None and group.users
  ]
  low, high = map(document.plain, (min(errors), max(errors)))
  return f'{low} to {high} by group'


# ---- Sections of a chapter


def about(with_selection: bool = False) -> Section:
  """Counts of a dataset, how it is ranked, and its groups."""

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    del page
    data, protocol = chapter.data, chapter.details.protocol
    number = protocol.num_candidates
    candidates = f'{number} sampled' if number else protocol.candidates
    ranked = f'{protocol.split}, {candidates} candidates'
    if with_selection:
      ranked = f'{ranked}, selected on {protocol.selection}'
    spans = ', '.join(
      f'{group.users:,} ({group.min_activity}-{group.max_activity})'
      for group in chapter.details.groups
    )
    yield (
      f'{data["users"]:,} users, {data["items"]:,} items, {data["events"]:,}'
      f' interactions; {ranked}. Users by group, with their training'
      f' interactions: {spans}.'
    )

  return section


def claims(block: str, metrics: Mapping[str, str]) -> Section:
  """The study's claims with their verdicts; `block` heads the first column."""

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    places = [*(group.group for group in chapter.details.groups), 'all']
    head = [block, 'claim', 'verdict', 'true in seeds', *groups(chapter), 'all']
    rows = []
    for name, of_block in chapter.blocks.items():
      for judged in of_block.claims:
        cells = {row.row: document.difference(row) for row in judged.rows}
        seeds = f'{judged.seeds_with_it} of {judged.seeds}'
        rows.append(
          [
            page.plan.study.labels.get(name, name),
            f'{judged.claim.text}, {metrics[judged.claim.metric]}',
            judged.verdict or '-',
            seeds if judged.seeds else '-',
            *(cells.get(place, '') for place in places),
          ]
        )
    yield '### What holds'
    yield comparison.piped([head, *rows])

  return section


def paired(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
  """All paired differences, under the names of the tables."""
  study = page.plan.study
  for block, of_block in chapter.blocks.items():
    name = lambda system, block=block: document.name(study, system, block)
    if of_block.compared:
      yield f'### Paired differences, {study.labels.get(block, block)}'
    for pair in of_block.compared:
      yield compare.markdown(claims_lib.renamed(pair, name))
      yield f'seeds: {", ".join(map(str, pair.seeds))}'


def runs(*axes: str) -> Section:
  """Every run with its cost, and the lines that train them.

  Args:
    *axes: heads of the last values of a place, before the system.
  """
  head = [
    *axes, 'system', 'seed', 'epochs', 'selected', 'training seconds',
    'evaluation seconds',
  ]  # fmt: skip
  count = lambda value: '-' if value is None else str(value)
  seconds = lambda value: '-' if value is None else f'{value:,.0f}'

  def section(page: document.Page, chapter: offline.Chapter) -> Iterator[str]:
    study = page.plan.study
    inside = [choice.values for choice in study.axes.values()][-len(axes) :]
    place = lambda run: run.place[-len(axes) :] if axes else ()
    order = lambda run: (
      [values.index(value) for values, value in zip(inside, place(run))],
      study.systems.index(run.system),
    )
    rows = [
      [
        *(study.labels.get(value, value) for value in place(run)),
        run.system,
        str(run.seed),
        count(cost.epochs),
        count(cost.selected_epoch),
        seconds(cost.seconds),
        seconds(cost.evaluation_seconds),
      ]
      for run in sorted(chapter.runs, key=order)
      for cost in [chapter.runs[run]]
    ]
    yield '### Runs'
    yield comparison.piped([head, *rows])
    yield from document.commands(page, chapter)

  return section
