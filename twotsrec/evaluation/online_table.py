"""Online evaluations of several systems side by side, as text."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec import types
from twotsrec.evaluation import comparison

# What must agree before numbers may stand in one line.
_FOOTING = ('options', 'lists_digest')
METRICS = ('mrr', 'recall@10')


class View(NamedTuple):
  """Choice of the numbers of a table.

  Attributes:
    rule: of `report['rules']`.
    mean: of `online_report.MEANS`.
    part: 'all' or 'warm' events.
    intervals: whether the 95 % intervals stand beside.
  """

  rule: str = 'expected'
  mean: str = 'by_event'
  part: str = 'all'
  intervals: bool = False


DEFAULT = View()


def rows(
  reports: Mapping[str, Mapping[str, Any]],
  metrics: Sequence[str] = METRICS,
  view: View = DEFAULT,
) -> list[list[str]]:
  """Cells of a table: a line per bucket, a column per metric and system.

  Args:
    reports: {system: what `online_report.build` returned}.
    metrics: of `report['metrics']`.
    view: which numbers.
  Returns:
    Header and lines, for `comparison.piped` or `comparison.aligned`.
  """
  _check(reports, metrics, view.rule)
  many = len(metrics) > 1
  head = ['train events', 'users', 'events']
  head += [
    f'{name} {system}' if many else system
    for name in metrics
    for system in reports
  ]
  lines = [head]
  for beside in zip(*(r['rows'] for r in reports.values()), strict=True):
    parts = [row[view.part] for row in beside]
    counts = [f'{parts[0][count]:,}' for count in ('users', 'events')]
    cells = [p[view.rule][name][view.mean] for name in metrics for p in parts]
    lines.append(
      [beside[0]['name'], *counts, *(_cell(c, view.intervals) for c in cells)]
    )
  return lines


def format_table(
  reports: Mapping[str, Mapping[str, Any]],
  metrics: Sequence[str] = METRICS,
  view: View = DEFAULT,
) -> str:
  """`rows` as plain text, with the shares of new users and cold items below."""
  text = comparison.aligned(rows(reports, metrics, view))
  first = next(iter(reports.values()))
  whole = first['rows'][0][view.part]
  share = lambda name: '-' if whole[name] is None else f'{whole[name]:.1%}'
  return (
    f'{text}\nevents of users without training events: {share("share_new")};'
    f' with an item that has none: {share("share_cold")}'
  )


def _cell(cell: Mapping[str, Any], intervals: bool) -> str:
  if cell['value'] is None:
    return '-'
  text = f'{cell["value"]:.4f}'
  if intervals and cell['low'] is not None:
    text += f' [{cell["low"]:.4f}, {cell["high"]:.4f}]'
  return text


def _check(reports, metrics, rule) -> None:
  if not reports:
    raise types.UserError('no evaluation to show; give at least one system')
  reference, *others = reports
  first = reports[reference]
  for name in metrics:
    if name not in first['metrics']:
      raise types.UserError(
        f'no metric {name!r} in the evaluation; known: '
        + ', '.join(first['metrics'])
      )
  if rule not in first['rules']:
    raise types.UserError(
      f'no candidate rule {rule!r} in the evaluation; known: '
      + ', '.join(first['rules'])
    )
  events = lambda r: [row['all']['events'] for row in r['rows']]
  for other in others:
    report = reports[other]
    same = all(report[name] == first[name] for name in _FOOTING)
    if not same or events(report) != events(first):
      raise types.UserError(
        f'{reference} and {other} were evaluated on other events, candidates or'
        ' buckets; evaluate both alike to show them side by side'
      )
