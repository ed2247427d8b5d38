"""Tables of a chapter in Markdown, our numbers beside the paper's.

A section is (page, chapter) -> paragraphs. Functions that make one take what a
study declares: the rows of a table are systems, its columns are declared by
`mean`, `minus`, `by_group` and others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import math
from typing import Any, NamedTuple

from twotsrec.studies import claims as claims_lib
from twotsrec.studies import document
from twotsrec.studies import results

Section = Callable[[document.Page, results.Chapter], Iterable[str]]


class Row(NamedTuple):
  """A line of a table."""

  label: str  # its first cell
  measured: results.Measured | None  # None if no run has finished
  printed: Mapping[str, float] = {}  # the paper's numbers by metric
  origin: str = 'ours'  # 'paper' where `measured` repeats printed numbers
  mark: str = ''  # behind the paper's numbers


class Column(NamedTuple):
  """A column: its head, and row -> cell."""

  head: str
  cell: Callable[[Row], str]


Columns = Callable[[results.Chapter], Sequence[Column]]

# ---- Columns


def column(head: str, text: Callable[[results.Measured], str]) -> Column:
  """A column with '-' for systems that have no run."""
  return Column(head, lambda row: text(row.measured) if row.measured else '-')


def _key(key) -> results.Key:
  return key if len(key) > 1 else (*key, results.ALL)


def mean(head: str, *key: str) -> Columns:
  """A mean with its interval and the span of the seeds, where they are given.

  Args:
    head: of the column.
    *key: of `Measured.cells`; a metric alone is over all users.
  """

  def text(measured: results.Measured) -> str:
    cell, seeds = measured.cells[_key(key)], measured.spread.get(_key(key), ())
    shown = results.shown(cell)
    if cell.value is None or len(seeds) < 2:
      return shown
    return f'{shown}, seeds {min(seeds):.4f} to {max(seeds):.4f}'

  return lambda chapter: [column(head, text)]


def by_group(metric: str) -> Columns:
  """A metric of every activeness group, a column each."""
  return lambda chapter: [
    one
    for place in chapter.details.users['groups']
    for one in mean(place, metric, place)(chapter)
  ]


def by_bucket(rule: str, mean: str) -> Columns:
  """MRR by train events of the user, as 2TS fig. 3 divides them.

  Args:
    rule: of `online.RULES`.
    mean: 'by_user', as in the figure, or 'by_event'.
  """
  unit = 'users' if mean == results.BY_USER else 'events'

  def columns(chapter: results.Chapter) -> list[Column]:
    from twotsrec.evaluation import buckets

    made, test = [], chapter.details.test
    for name in buckets.names(chapter.details.options.edges):
      if test[name]['users']:
        key = results.key('mrr', rule, name, mean=mean)
        text = lambda of, key=key: results.plain(of.cells[key].value)
        made.append(column(f'{name} ({test[name][unit]:,})', text))
    return made

  return columns


def minus(head: str, reference: str, *key: str) -> Columns:
  """The paired difference to the reference; '' for the reference itself."""

  def text(measured: results.Measured) -> str:
    against = measured.against.get(reference)
    return results.signed(against[_key(key)]) if against else ''

  return lambda chapter: [column(head, text)]


def cost(head: str, text: Callable[[Sequence[Any]], str]) -> Columns:
  """A text on the trainings of a system; '' where there are none."""
  cell = lambda measured: text(measured.trainings) if measured.trainings else ''
  return lambda chapter: [column(head, cell)]


def listed(field: str) -> Callable[[Sequence[Any]], str]:
  """A field of every training."""
  return lambda runs: ', '.join(str(getattr(run, field)) for run in runs)


def averaged(field: str, form: str = '{:,.0f}') -> Callable[..., str]:
  """The mean over trainings of a field."""
  return lambda runs: form.format(
    sum(getattr(run, field) for run in runs) / len(runs)
  )


seeds = cost('seeds', lambda runs: str(len(runs)))
COSTS = (
  cost('epochs', listed('epochs')),
  cost('selected', listed('selected_epoch')),
  cost('seconds', averaged('seconds')),
)

# ---- Tables


def table(
  name: str,
  columns: Sequence[Columns],
  rows: Sequence[str] = (),
  paper: Mapping[str, str] | None = None,
  first: str = 'system',
  labels: Mapping[str, str] | None = None,
  block: str = '',
  title: str = '',
  with_rules: bool = True,
  with_missing: bool = True,
  marked: Mapping[str, Sequence[str]] | None = None,
) -> Section:
  """Systems below the rules that train nothing.

  A row without a run of its own tells the system whose run stands for it.

  Args:
    name: key of `Study.tables`; of one that is not asked for, all systems.
    columns: behind the first and the paper's.
    rows: systems; () takes those of the table that are asked for.
    paper: {metric: head} of columns with the paper's numbers, where it has
      some; in the order of its numbers.
    first: head of the first column.
    labels: of rows; others are named by the study.
    block: of the chapter.
    title: over the table, with fields of the chapter's details in braces.
    with_rules: whether to show the rules.
    with_missing: whether to show systems without a finished run.
    marked: {chapter: rows whose paper's numbers end in =}.
  """
  paper, labels, marked = paper or {}, labels or {}, marked or {}

  def label(study, row, system) -> str:
    whose = document.name(study, system, block)
    if row in labels:
      return labels[row] + ('' if system == row else f', {whose}')
    named = document.name(study, row, block)
    return named if system == row else f'{named} (the run of {whose})'

  def printed(metric, head) -> Column:
    text = lambda row: results.plain(row.printed[metric]) + row.mark
    return Column(head, lambda row: text(row) if metric in row.printed else '')

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    own, numbers = chapter.blocks[block], _printed(page, chapter, name, block)
    same = own.tables.get(name) or {s: s for s in own.systems}
    lines = _rules(page, chapter) if with_rules else []
    for row in rows or same:
      system = same[row]
      if own.systems[system] is not None or with_missing:
        text = label(page.plan.study, row, system)
        there = dict(zip(paper, (numbers or {}).get(row, ())))
        mark = ' =' if row in marked.get(chapter.name, ()) else ''
        lines.append(Row(text, own.systems[system], there, mark=mark))
    made = [] if numbers is None else [printed(*of) for of in paper.items()]
    made += (one for of in columns for one in of(chapter))
    if title:
      yield f'### {title.format(**chapter.details._asdict())}'
    yield piped(first, made, lines)

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

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    lines, places = _rules(page, chapter), chapter.details.users['groups']
    for here in page.plan.request.axes[axis] if axis else (block,):
      numbers = _printed(page, chapter, name, here) or {}
      for system in rows:
        label = document.name(page.plan.study, system, here)
        if system in numbers:
          values = zip(places, numbers[system])
          cells = {(metric, place): results.Cell(v) for place, v in values}
          lines.append(Row(label, results.Measured(cells), origin='paper'))
        lines.append(Row(label, chapter.blocks[here].systems[system]))
    columns = [Column('from', lambda row: row.origin)]
    columns += [*seeds(chapter), *by_group(metric)(chapter)]
    yield piped('system', columns, lines)

  return section


def by_place(by: str, metric: str, title: str, reference: str) -> Section:
  """A metric of every finished system by group or part.

  A cell ends in > where it is above the reference and in < where it is below,
  by the paired interval. The last column has the places where a system is above
  all rules.
  """

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    [block], users = chapter.blocks.values(), chapter.details.users
    # A user with several held-out items may be in several parts.
    places = users[by] | {results.ALL: sum(users['groups'].values())}

    def marked(measured: results.Measured, key: results.Key) -> str:
      row, mark = measured.against.get(reference, {}).get(key), ''
      if row is not None and row.low is not None and row.high is not None:
        mark = ' <' if row.high < 0 else ' >' if row.low > 0 else ''
      return results.shown(measured.cells[key]) + mark

    def above(measured: results.Measured) -> str:
      if measured.trainings is None:
        return ''
      better = []
      for place in places:
        value = measured.cells[metric, place].value
        rules = [r.cells[metric, place].value for r in chapter.rules.values()]
        if value is not None and all(r is None or value > r for r in rules):
          better.append(place)
      return ', '.join(better) or 'none'

    columns = [
      column(f'{k} ({n:,})', lambda of, k=k: marked(of, (metric, k)))
      for k, n in places.items()
    ]
    lines = _rules(page, chapter) + [
      Row(document.name(page.plan.study, system), measured)
      for system, measured in block.systems.items()
      if measured is not None
    ]
    yield f'### {title}'
    last = column('above every rule in', above)
    yield piped('system', [*columns, last], lines)

  return section


def piped(first: str, columns: Sequence[Column], rows: Iterable[Row]) -> str:
  """A table with the labels of its rows in front."""
  head = [first, *(column.head for column in columns)]
  cells = ([row.label, *(c.cell(row) for c in columns)] for row in rows)
  return document.piped(head, cells)


def _rules(page, chapter) -> list[Row]:
  labels = page.plan.study.labels
  return [Row(labels.get(k, k), rule) for k, rule in chapter.rules.items()]


def _printed(page, chapter, table, block) -> Mapping[str, Any] | None:
  """{system: the paper's numbers}; None if it has none on this dataset."""
  on = page.plan.study.printed.get(table, {}).get(chapter.name)
  return None if on is None else on.get(block, {})


# ---- Sentences on tables


def lowest(name: str, system: str, metric: str, block: str) -> Section:
  """The group that a system serves worst, here and in the paper."""

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    measured, said = chapter.blocks[block].systems[system], []
    at = lambda values: values.index(min(v for v in values if v is not None))
    if measured is not None:
      places = chapter.details.users['groups']
      values = [measured.cells[metric, place].value for place in places]
      said.append(f'group {at(values) + 1} here')
    if numbers := _printed(page, chapter, name, block):
      said.append(f'group {at(numbers[system]) + 1} in the paper')
    yield f'The {system} model is lowest in {", ".join(said) or "-"}.'

  return section


def against_paper(name: str, metric: str, head: str, reference: str) -> Section:
  """The paper's rows that are below the reference, as all of them are there."""
  untrained = 'not trained'
  verdicts = (claims_lib.HOLDS, claims_lib.FAILS, claims_lib.OPEN, untrained)

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    study, [block] = page.plan.study, chapter.blocks.values()
    on = study.printed[name].values()
    printed = {row for of in on for systems in of.values() for row in systems}
    said: dict[str, list[str]] = {}
    for row, system in block.tables[name].items():
      if row != reference and row in printed:
        measured, verdict = block.systems[system], untrained
        if against := measured and measured.against.get(reference):
          below = against[metric, results.ALL].negative()
          verdict = claims_lib.verdict([below])
        said.setdefault(verdict, []).append(document.name(study, row))
    given = [f'{v}: {", ".join(said[v])}' for v in verdicts if v in said]
    if given:
      yield (
        f'{document.name(study, reference)} is above every other row in the'
        f' paper. Here, by {head}: {"; ".join(given)}'
      )

  return section


def highest(
  name: str,
  axis: str,
  values: Mapping[str, float],
  metrics: Mapping[str, str],
  paper: str,
) -> Section:
  """The highest point of a sweep beside what the paper says of it.

  Args:
    name: key of `Study.tables`.
    axis: name of the setting.
    values: of the setting by system.
    metrics: {metric: its name}.
    paper: the sentence.
  """

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    del page
    points, at = sweep(chapter, name, values), []
    for metric, head in metrics.items() if points else ():
      height = {x: m.cells[metric, results.ALL] for x, m in points.items()}
      best = max(height, key=lambda x: height[x].value or 0.0)
      at.append(f'{best:g} by {head}')
    ours = f'Highest at {axis} {", ".join(at)}, of {len(points)} finished. '
    yield f'{ours if at else ""}The paper: {paper}.'

  return section


def sweep(
  chapter: results.Chapter, name: str, values: Mapping[str, float]
) -> dict[float, results.Measured]:
  """The finished points of a sweep by the value of its setting."""
  [block] = chapter.blocks.values()
  rows = block.tables.get(name, {}).items()
  points = {values[row]: block.systems.get(system) for row, system in rows}
  return {value: point for value, point in points.items() if point is not None}


def curves(head: str, block: str) -> Section:
  """A metric on validation by epoch of stage 2 and group."""

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    del page
    drawn, rows = chapter.blocks[block].curves, []
    if not drawn:
      yield '-'
      return
    for epoch in range(max(len(curve.by_epoch) for curve in drawn)):
      there = [c.by_epoch[epoch] for c in drawn if epoch < len(c.by_epoch)]
      label = f'{epoch}, the trunk' if epoch == 0 else str(epoch)
      rows.append([label, str(len(there)), *map(_spread, zip(*there))])
    places = chapter.details.users['groups']
    yield document.piped([head, 'seeds', *places], rows)
    errors = [
      math.sqrt(share * (1 - share) / number)
      for share, number in zip(drawn[0].by_epoch[0], places.values())
      if share is not None and number
    ]
    low, high = map(results.plain, (min(errors), max(errors)))
    yield (
      'Means over seeds, in brackets their span; the paper has curves without'
      ' numbers. Over users alone the standard error of one seed is'
      f' {low} to {high} by group.'
    )

  return section


def _spread(values: Sequence[float | None]) -> str:
  there = [value for value in values if value is not None]
  if not there:
    return '-'
  numbers = sum(there) / len(there), min(there), max(there)
  mean, low, high = map(results.plain, numbers)
  return mean if len(there) == 1 else f'{mean} ({low} to {high})'
