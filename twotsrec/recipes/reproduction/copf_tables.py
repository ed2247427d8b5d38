"""The tables of COPF in Markdown, our numbers beside the paper's."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotsrec.evaluation import comparison
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_numbers
from twotsrec.recipes.reproduction import document
from twotsrec.recipes.reproduction import results

METRICS = {'hr@10': 'HR@10', 'ndcg@10': 'NDCG@10'}
_NAMES = {
  'copf': 'COPF',
  'copf_released': 'COPF, as released',
  'copf_prior': 'COPF + pair prior',
  'lightgcn': 'LightGCN',
  'wo_cogcn': 'w/o COGCN',
  'copf_p': 'COPF-P',
  'copf_a': 'COPF-A',
  'copf_d': 'COPF-D',
  'copf_f': 'COPF-F',
  'copf_c': 'COPF-C',
  'copf_b': 'COPF-B',
  'copf_h': 'COPF-H',
  'wo_dfme': 'w/o DFME',
  'wo_con': 'w/o con.',
  'wo_for': 'w/o for.',
  'wo_back': 'w/o back.',
  'all_sg': 'all sg.',
  'wo_fit': 'w/o fit.',
  'no_aggregation': 'No Aggregation',
  'summation': 'Summation',
  'linear': 'Linear Trans.',
  'attention': 'Vanilla Fusion',
  'projection': 'Projection Fusion',
  'shared_bottom': 'SB',
  'mmoe': 'MMOE',
  'ple': 'PLE',
  'bilinear': 'Bilinear',
  'mesi': 'MESI',
  'pme': 'PME',
}
_EVERYBODY = -1  # the last cell of a row
_UNTRAINED = 'not trained'


def of_table(found: Mapping[str, Any], dataset: str, table: str) -> str:
  """A table of the paper: the rules, then its rows.

  Args:
    found: a dataset of `copf_results.collect`.
    dataset: its name.
    table: of `copf.TABLES`.
  """
  metrics = list(METRICS.values())
  base = name(copf.REFERENCE)
  paper = dataset in copf_numbers.DATASETS and table not in copf.SWEEPS
  printed = [f'paper {metric}' for metric in metrics] if paper else []
  head = [_axis(table), *printed, *metrics]
  head += [f'{metric} - {base}' for metric in metrics]
  head += ['seeds', 'epochs', 'selected', 'seconds']
  rows = [
    [
      rule,
      *([''] * len(printed)),
      *(document.cell(of_rule['groups'][m][_EVERYBODY]) for m in METRICS),
    ]
    for rule, of_rule in found['rules'].items()
  ]
  for row, system in found['tables'][table].items():
    numbers = copf_numbers.printed(table, row, dataset) if paper else ()
    shown = [''] * len(printed)
    if numbers is not None:
      shown = map(document.plain, numbers)
    rows.append([_label(table, row, system), *shown, *_ours(found, system)])
  width = len(head)
  return comparison.piped(
    [head, *(row + [''] * (width - len(row)) for row in rows)]
  )


def by_rows(found: Mapping[str, Any], by: str, metric: str) -> str:
  """Every system by activeness group or by part.

  Args:
    found: a dataset of `copf_results.collect`.
    by: of `copf_results.BY`.
    metric: of `METRICS`.
  """
  places = [*_places(found, by), 'all']
  head = [
    'system',
    *(f'{p} ({n:,})' for p, n in zip(places, _users(found, by))),
  ]
  head.append('above every rule in')
  rows = [
    [rule, *map(document.cell, of_rule[by][metric]), '']
    for rule, of_rule in found['rules'].items()
  ]
  for system, measured in found['systems'].items():
    if measured is None:
      continue
    cells = measured['cells'][by][metric]
    marks = _marks(measured['against'], by, metric, len(cells))
    shown = [document.cell(cell) + mark for cell, mark in zip(cells, marks)]
    above = [
      place
      for place, cell, rules in zip(places, cells, _rules(found, by, metric))
      if _above(cell['value'], rules)
    ]
    rows.append([name(system), *shown, ', '.join(above) or 'none'])
  return comparison.piped([head, *rows])


def below_reference(found: Mapping[str, Any], table: str) -> str:
  """Which of the paper's rows are below COPF, as all of them are there.

  '' if none of these rows is asked for.
  """
  said: dict[str, list[str]] = {}
  for row, system in found['tables'][table].items():
    if row == copf.REFERENCE or not copf_numbers.has(table, row):
      continue
    measured = found['systems'][system]
    against = measured and measured['against']
    said.setdefault(_verdict(against), []).append(name(row))
  verdicts = (results.HOLDS, results.FAILS, results.OPEN, _UNTRAINED)
  listed = [f'{v}: {", ".join(said[v])}' for v in verdicts if v in said]
  if not listed:
    return ''
  return (
    f'{name(copf.REFERENCE)} is above every other row in the paper. Here, by'
    f' HR@10: {"; ".join(listed)}'
  )


def best(found: Mapping[str, Any], table: str) -> str:
  """The highest point of a figure beside what the paper says of it."""
  paper = f'The paper: {copf_numbers.FIGURES[table]}.'
  shown = points(found, table)
  if not shown:
    return paper
  at = []
  for metric, label in METRICS.items():
    highest = max(shown, key=lambda value: shown[value][metric]['value'])
    at.append(f'{highest:g} by {label}')
  return (
    f'Highest at {copf.SWEEPS[table].name} {", ".join(at)}, of {len(shown)}'
    f' finished. {paper}'
  )


def points(
  found: Mapping[str, Any], figure: str
) -> dict[float, dict[str, dict[str, float | None]]]:
  """{value: {metric: cell of everybody}} of the finished points of a figure.

  Args:
    found: a dataset of `copf_results.collect`.
    figure: of `copf.SWEEPS`.
  """
  sweep, rows = copf.SWEEPS[figure], found['tables'][figure]
  shown = {}
  for value in sweep.values:
    measured = found['systems'].get(rows.get(copf.point(sweep, value)))
    if measured is not None:
      cells = measured['cells']['groups']
      shown[value] = {metric: cells[metric][_EVERYBODY] for metric in METRICS}
  return shown


def name(system: str) -> str:
  """Of a system in the tables."""
  return _NAMES.get(system) or ' '.join(system.split('_'))


def _axis(table):
  return copf.SWEEPS[table].name if table in copf.SWEEPS else 'system'


def _label(table, row, system) -> str:
  if table in copf.SWEEPS:
    value = row.split('_')[-1]
    return f'{value}, {name(system)}' if system == copf.REFERENCE else value
  if table == '5' and row == copf.REFERENCE:
    return 'DFME'
  same = system not in (row, copf.REFERENCE)
  return f'{name(row)} (the run of {name(system)})' if same else name(row)


def _ours(found, system) -> list[str]:
  """Cells of everybody, differences to COPF, and the training."""
  measured = found['systems'][system]
  if measured is None:
    return ['-'] * 8
  cells = measured['cells']['groups']
  shown = [document.cell(cells[metric][_EVERYBODY]) for metric in METRICS]
  for metric in METRICS:
    row = _overall(measured['against'], metric)
    shown.append(document.difference(row) if row else '')
  runs = [r for r in found['runs'] if r['system'] == system]
  runs = [r for r in runs if r['seconds'] is not None]
  listed = lambda field: ', '.join(str(run[field]) for run in runs)
  seconds = sum(run['seconds'] for run in runs) / len(runs)
  counts = [str(len(runs)), listed('epochs'), listed('selected_epoch')]
  return [*shown, *counts, f'{seconds:,.0f}']


def _overall(against, metric) -> Mapping[str, Any] | None:
  if against is None:
    return None
  return next(r for r in against['groups'][metric] if r['group'] == 'all')


def _verdict(against) -> str:
  row = _overall(against, 'hr@10')
  if row is None:
    return _UNTRAINED
  turned = None if row['low'] is None else -row['high']
  high = None if row['low'] is None else -row['low']
  return results.verdict([{'low': turned, 'high': high}])


def _places(found, by) -> list[str]:
  if by == 'groups':
    return [f'group {group["group"]}' for group in found['groups']]
  return [part['name'] for part in found['parts']]


def _users(found, by) -> list[int]:
  counts = [row['users'] for row in found[by]]
  # A user with several held-out items may be in several parts.
  return [*counts, sum(group['users'] for group in found['groups'])]


def _rules(found, by, metric) -> list[list[float | None]]:
  """Values of the rules at every place."""
  of_rules = [rule[by][metric] for rule in found['rules'].values()]
  return [[cell['value'] for cell in at] for at in zip(*of_rules)]


def _above(value, rules) -> bool:
  known = [rule for rule in rules if rule is not None]
  return value is not None and all(value > rule for rule in known)


def _marks(against, by, metric, count) -> Sequence[str]:
  """' <' where a system is below COPF by the paired interval, ' >' above."""
  if against is None:
    return [''] * count
  rows = against[by][metric][:count]
  return [
    ' <' if _known(row) and row['high'] < 0
    else ' >' if _known(row) and row['low'] > 0
    else ''
    for row in rows
  ]  # fmt: skip


def _known(row):
  return row['low'] is not None
