"""Numbers of finished runs: means over seeds, and verdicts on claims.

What varies in the intervals is told in `evaluation.comparison`: users, not the
training. For the latter the number of seeds stands beside them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

from twotsrec import metrics as metrics_lib
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.recipes.reproduction import training
from twotsrec.runs import compare
from twotsrec.runs import compared_runs
from twotsrec.training import files
from twotsrec.training import run_directory

METRICS = ('auc', 'user_auc')
HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'


class Claim(NamedTuple):
  """A paper's sentence as a difference that should be above 0.

  Attributes:
    text: the sentence.
    other: system that should be above.
    reference: system it is above of.
    metric: of `METRICS`.
    rows: 'groups', 'first', 'last' or 'all' users.
  """

  text: str
  other: str
  reference: str
  metric: str
  rows: str


_ROWS = {
  'groups': slice(0, -2),
  'first': slice(0, 1),
  'last': slice(-3, -2),
  'all': slice(-2, -1),
}


# Fields of a report that are shown.
_GROUP = ('group', 'users', 'min_activity', 'max_activity')
_TRAINING = ('seconds', 'evaluation_seconds', 'epochs', 'selected_epoch')


def finished(
  planned: Mapping[Any, training.Planned],
  out: str,
  more: Callable[[Any], dict[str, Any]],
) -> dict[Any, dict[str, Any]]:
  """What is shown of the reports of finished runs.

  Args:
    planned: {run: where it is and what is trained there}.
    out: folder of all of them, for the message.
    more: report -> fields besides 'data', 'groups' [{'group', 'users',
      'min_activity', 'max_activity'}] and 'training' with 'device'.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  reports = {run: training.finished(plan) for run, plan in planned.items()}
  found = {
    run: _shown(planned[run].workdir, report, more)
    for run, report in reports.items()
    if report is not None
  }
  if not found:
    raise types.UserError(
      f'no run of these settings has finished in {out}; leave out'
      ' --report_only to train them'
    )
  return found


def _shown(workdir, report, more):
  try:
    groups = report['test']['groups']
    return {
      'data': dict(report['dataset']),
      'groups': [{name: row[name] for name in _GROUP} for row in groups],
      'training': {
        **{name: report['training'][name] for name in _TRAINING},
        'device': report['versions']['device'],
      },
      **more(report),
    }
  except (KeyError, TypeError) as error:
    path = run_directory.report_path(workdir)
    raise types.UserError(
      f'{path} is damaged or of another version ({error}); restore it from a'
      ' copy, or train again in an empty --out'
    ) from error


def runs(
  wanted: Iterable[Any], done: Mapping[Any, Mapping[str, Any]]
) -> list[dict[str, Any]]:
  """Fields of every run and of its training, null where it has not finished."""
  unknown = dict.fromkeys((*_TRAINING, 'device'))
  return [
    {**run._asdict(), **(done[run]['training'] if run in done else unknown)}
    for run in wanted
  ]


def cells(
  workdirs: Sequence[str],
  num_rows: int,
  ks: Sequence[int],
  resamples: int,
  metrics: Sequence[str] = METRICS,
  by: str = 'groups',
) -> dict[str, list[dict[str, float | None]]]:
  """Means over the seeds of one system, with 95 % intervals over users.

  Args:
    workdirs: directories of finished runs, one per seed.
    num_rows: groups or parts.
    ks: cut-offs of their reports.
    resamples: of users.
    metrics: names in a report.
    by: of `compared_runs.BY`.
  Returns:
    {metric: [{'value', 'low', 'high'}]}, of each group or part and of
    everybody.
  Raises:
    types.UserError: a run that is damaged or rests on other items.
  """
  tables = (_table(workdir, num_rows, ks, metrics, by) for workdir in workdirs)
  table = comparison.pool(tables).table
  value = comparison.values(table)[:-1]
  sums, counts = (
    of_users.reshape(len(table.users), -1)
    for of_users in (table.sums, table.counts)
  )
  low, high = bootstrap.intervals(sums, counts, resamples, 0)
  bounds = value, low.reshape(value.shape), high.reshape(value.shape)
  names = ('value', 'low', 'high')
  return {
    metric: [
      {
        name: metrics_lib.or_none(bound[row, column])
        for name, bound in zip(names, bounds)
      }
      for row in range(len(value))
    ]
    for column, metric in enumerate(metrics)
  }


def of_part(
  part: Mapping[str, Any],
  metrics: Sequence[str] = METRICS,
  by: str = 'groups',
) -> dict[str, list[dict[str, Any]]]:
  """The same of a part of a report, such as popularity's."""
  rows = [*part[by], part['overall']]
  return {metric: [row[metric] for row in rows] for metric in metrics}


def comparisons(
  workdirs: Mapping[str, Mapping[int, str]],
  reference: str,
  others: Sequence[str],
  resamples: int,
  metrics: Sequence[str] = METRICS,
  by: str = 'groups',
) -> list[dict[str, Any]]:
  """What `compare.compare` says of finished seeds that two systems share.

  Args:
    workdirs: {system: {seed: directory of a finished run}}.
    reference: system the others are compared with.
    others: those without a common seed are left out.
    resamples: of users.
    metrics: names in a report.
    by: as in `compare.compare`.
  Returns:
    One result for each set of seeds, with 'seeds' besides.
  """
  by_seeds: dict[tuple[int, ...], list[str]] = {}
  for other in others:
    first, second = (workdirs.get(name, {}) for name in (reference, other))
    shared = tuple(seed for seed in first if seed in second)
    if shared:
      by_seeds.setdefault(shared, []).append(other)
  return [
    {
      'seeds': list(seeds),
      **compare.compare(
        {s: [workdirs[s][k] for k in seeds] for s in (reference, *chosen)},
        metrics,
        resamples,
        by=by,
      ),
    }
    for seeds, chosen in by_seeds.items()
  ]


def judge(
  claim: Claim, compared: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
  """What the paired differences say of a claim.

  Args:
    claim: what should be above what.
    compared: of `comparisons`.
  Returns:
    The claim's fields with 'verdict', 'rows' of the comparison, 'seeds' and
    'seeds_with_it', those in which every difference is above 0. Without
    finished runs the verdict is null.
  """
  judged = {**claim._asdict(), 'verdict': None, 'rows': []}
  judged |= {'seeds': 0, 'seeds_with_it': 0}
  for result in compared:
    by_metric = result['comparisons'].get(claim.other)
    if result['reference'] != claim.reference or by_metric is None:
      continue
    rows = by_metric[claim.metric][_ROWS[claim.rows]]
    by_seed = zip(*(row['by_seed'] for row in rows))
    above = [all(d is not None and d > 0 for d in seed) for seed in by_seed]
    judged |= {'verdict': verdict(rows), 'rows': rows}
    judged |= {'seeds': len(above), 'seeds_with_it': sum(above)}
  return judged


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
  """Whether all differences are above 0, by their 95 % intervals.

  It holds if every interval is above 0, and does not if one is below.
  """
  known = [row for row in rows if row['low'] is not None]
  if any(row['high'] < 0 for row in known):
    return FAILS
  above = [row['low'] > 0 for row in known]
  return HOLDS if above and len(above) == len(rows) and all(above) else OPEN


def curve(workdir: str, metric: str) -> list[list[float]]:
  """A metric on validation by epoch and group, as training has logged it."""
  try:
    return [
      line['validation'][f'{metric}_by_group']
      for line in run_directory.read_metrics(workdir)
      if 'validation' in line
    ]
  except KeyError as error:
    path = run_directory.metrics_path(workdir)
    raise types.UserError(f'{path} has no {error.args[0]}') from error


def _table(workdir, num_rows, ks, metrics, by) -> comparison.Table:
  path, column = pathlib.Path(workdir) / 'per_target.npz', compared_runs.BY[by]
  with files.explained(path, 'read'):
    content = path.read_bytes()
  try:
    per_target = comparison.read_targets(content, num_rows, column)
  except ValueError as error:
    raise types.UserError(
      f'{path} is damaged: {error}; restore it from a copy, or train again in'
      ' an empty --out'
    ) from error
  return comparison.tabulate(per_target, num_rows, ks, metrics, column)
