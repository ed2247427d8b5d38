"""Systems by activeness group as a table, see `formats` for how it is written.

A value is the mean over the seeds of a system, and its spread their standard
deviation; the bounds of an interval are means over the seeds, too. Nothing is
evaluated again: the numbers are those of `report.json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from twotsrec.evaluation import comparison
from twotsrec.evaluation import lists
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import compare
from twotsrec.runs import compared_runs

Systems = Mapping[str, Sequence[compared_runs.Run]]

RESULTS, DIFFERENCES, LISTS = 'results', 'differences', 'lists'
ONLINE = 'online'
ALL = 'all'


class Cell(NamedTuple):
  """A number of a system.

  Attributes:
    value: mean over seeds; None if it has none.
    low: of the 95 % interval over users.
    high: of the same.
    spread: standard deviation over seeds; None of a single one.
    marked: whether a difference is significant.
  """

  value: float | None
  low: float | None = None
  high: float | None = None
  spread: float | None = None
  marked: bool = False


class Table(NamedTuple):
  """Numbers of systems by group.

  Attributes:
    kind: RESULTS, DIFFERENCES, LISTS or ONLINE.
    title: in words.
    rows: names of groups, of everybody, and of parts.
    users: of each row.
    cells: {metric: {system: one for each row}}.
    seeds: of each system.
    notes: lines below it.
  """

  kind: str
  title: str
  rows: tuple[str, ...]
  users: tuple[int, ...]
  cells: Mapping[str, Mapping[str, Sequence[Cell]]]
  seeds: Mapping[str, int]
  notes: tuple[str, ...] = ()


def with_rules(systems: Systems) -> dict[str, list[compared_runs.Run]]:
  """Systems, and before them the rules that stand beside their models."""
  named = {run.rule for runs in systems.values() for run in runs}
  rules: dict[str, list[compared_runs.Run]] = {}
  for runs in systems.values():
    for rule in runs[0].report.get('baselines', {}):
      name = f'{rule} (rule)' if rule in systems else rule
      if rule not in named and name not in rules:
        rules[name] = [compared_runs.of_rule(run, rule) for run in runs]
  return rules | {name: [*runs] for name, runs in systems.items()}


def results(systems: Systems, metrics: Sequence[str] = ()) -> Table:
  """The test metrics of every system.

  Args:
    systems: runs on one footing, see `compare.opened`.
    metrics: () takes those of a table by default.
  Raises:
    types.UserError: a metric that some run does not report.
  """
  runs = [run for system in systems.values() for run in system]
  metrics = compare.known(metrics, runs)
  first, seeds = runs[0], _seeds(systems)
  protocol = first.protocol
  notes = [f'{protocol["split"]}, {protocol["candidates"]} candidates']
  several = [f'{number} of {n}' for n, number in seeds.items() if number > 1]
  if several:
    notes.append(
      f'mean and standard deviation over seeds ({", ".join(several)}); bounds'
      ' of intervals are means over them, too'
    )
  notes += report_lib.selected_on_test(
    name
    for name, system in systems.items()
    if any(run.protocol.get('selected_on_test') for run in system)
  )
  return _of_sections(
    Table(RESULTS, 'Test results by activeness group', (), (), {}, seeds),
    {name: [run.test for run in system] for name, system in systems.items()},
    metrics,
  )._replace(notes=tuple(notes))


def of_lists(systems: Systems) -> Table | None:
  """What lists of recommendations are like; None if a run does not tell."""
  told = _told(systems, _lists_of)
  if not told:
    return None
  # Reports of earlier versions lack some.
  there = lambda name: all(
    name in section['overall'] for of in told.values() for section in of
  )
  section = next(
    run.report['lists']
    for system in systems.values()
    for run in system
    if run.report.get('lists')
  )
  title = f'Lists of {section["k"]} for {section["users"]:,} users'
  seeds = _seeds(told)
  return _of_sections(
    Table(LISTS, title, (), (), {}, seeds), told, [*filter(there, lists.NAMES)]
  )


def _lists_of(run: compared_runs.Run) -> Mapping[str, Any] | None:
  section = run.report.get('lists') or {'systems': {}}
  return section['systems'].get(run.rule or 'model')


def of_online(systems: Systems) -> Table | None:
  """Test events one after the other; None if no system ranked them so.

  Among the item and sampled others, expected over all such lists.
  """
  told = _told(systems, _online_of)
  if not told:
    return None
  first = next(iter(told.values()))[0]
  named = [row['name'] for row in first['rows']]
  cells = {
    metric: {
      name: [
        _pooled([row['all']['expected'][metric]['by_user'] for row in rows])
        for rows in zip(*(section['rows'] for section in of), strict=True)
      ]
      for name, of in told.items()
      # Rows of another threshold would be of other users.
      if all([row['name'] for row in s['rows']] == named for s in of)
      and all(s['options'] == first['options'] for s in of)
    }
    for metric in first['metrics']
  }
  return Table(
    kind=ONLINE,
    title=f'Test events among 1 + {first["options"]["lists"]} candidates',
    rows=tuple(named),
    users=tuple(row['all']['users'] for row in first['rows']),
    cells=cells,
    seeds=_seeds(told),
  )


def _told(systems, section_of) -> dict[str, list[Mapping[str, Any]]]:
  """{name: sections of its seeds}, where all seeds have one."""
  sections = {name: [*map(section_of, of)] for name, of in systems.items()}
  return {name: of for name, of in sections.items() if None not in of}


def _online_of(run: compared_runs.Run) -> Mapping[str, Any] | None:
  section = run.report.get('online', {}).get(run.rule or 'model', {})
  return section.get('test')


def differences(result: Mapping[str, Any]) -> Table:
  """What `compare.compare` returned, every system against the reference."""
  rows = next(iter(next(iter(result['comparisons'].values())).values()))
  cells = {
    metric: {
      name: [_difference(row) for row in by_metric[metric]]
      for name, by_metric in result['comparisons'].items()
    }
    for metric in result['metrics']
  }
  what = 'group' if result['by'] == 'groups' else 'part'
  return Table(
    kind=DIFFERENCES,
    title=f'Paired differences to {result["reference"]} by {what}',
    rows=tuple(_row_name(row['group']) for row in rows),
    users=tuple(row['users'] for row in rows),
    cells=cells,
    seeds=_seeds(result['systems']),
    notes=tuple(compare.legend(result)),
  )


def _difference(row) -> Cell:
  decisive = row['p'] if row['holm'] is None else row['holm']
  return Cell(
    value=row['difference'],
    low=row['low'],
    high=row['high'],
    spread=_spread(row['by_seed']),
    marked=decisive is not None and decisive < comparison.ALPHA,
  )


def _seeds(systems) -> dict[str, int]:
  return {name: len(of) for name, of in systems.items()}


def _row_name(group: Any) -> str:
  return f'group {group}' if isinstance(group, int) else group


def _of_sections(table, sections, metrics) -> Table:
  """Fills a table from {system: sections of its seeds}."""
  several = [section for of in sections.values() for section in of]
  named = [part['name'] for part in several[0].get('parts', ())]
  same = all(
    [part['name'] for part in section.get('parts', ())] == named
    for section in several
  )
  rows = lambda section: [
    *section['groups'],
    section['overall'],
    *(section['parts'] if named and same else ()),
  ]
  first = rows(several[0])
  number = len(several[0]['groups'])
  users = [row.get('users') for row in first]
  if users[number] is None:
    users[number] = sum(users[:number])
  names = [f'group {j + 1}' for j in range(number)] + [ALL]
  return table._replace(
    rows=(*names, *(named if same else ())),
    users=tuple(users),
    cells={
      metric: {
        name: [
          _pooled([cells[metric] for cells in beside])
          for beside in zip(*map(rows, of), strict=True)
        ]
        for name, of in sections.items()
      }
      for metric in metrics
    },
  )


def _pooled(cells: Sequence[Mapping[str, Any]]) -> Cell:
  """A cell of a report, or the mean of those of several seeds."""
  if len(cells) == 1:
    [one] = cells
    return Cell(one['value'], one.get('low'), one.get('high'))
  mean = lambda name: _mean([cell.get(name) for cell in cells])
  spread = _spread([cell['value'] for cell in cells])
  return Cell(mean('value'), mean('low'), mean('high'), spread)


def _mean(values) -> float | None:
  return None if None in values else float(np.mean(values))


def _spread(values) -> float | None:
  if len(values) < 2 or None in values:
    return None
  return float(np.std(values, ddof=1))
