"""Numbers of finished runs that rank held-out items: means, and differences.

Intervals are over users (see `evaluation.comparison`), not over trainings; for
those the number of seeds stands beside them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
import pathlib
from typing import Any, NamedTuple

from twotsrec import metrics as metrics_lib
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.runs import compare
from twotsrec.runs import compared_runs
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.training import files
from twotsrec.training import run_directory

RESAMPLES = 1000  # of a single mean, as in a report

Workdirs = Mapping[str, Mapping[int, str]]  # {system: {seed: finished run}}


class Protocol(NamedTuple):
  """How the held-out items of a run are ranked, as its report has it."""

  split: str
  candidates: str
  selection: str
  ks: list[int]
  num_candidates: int | None = None


class Group(NamedTuple):
  """Users of similar activity, with the fewest and most training events."""

  group: int
  users: int
  min_activity: int
  max_activity: int


class Details(NamedTuple):
  """What is read of a report.

  Attributes:
    protocol: how items are ranked.
    groups: activeness groups of the test.
    users: {'groups' or 'parts': {name: users with held-out items}}.
    rules: baselines that train nothing.
    start: a metric on validation by group, where curves are drawn.
  """

  protocol: Protocol
  groups: list[Group]
  users: dict[str, dict[str, int]]
  rules: dict[str, results.Measured]
  start: list[float | None]


class Curve(NamedTuple):
  """A metric on validation by epoch and group, of one seed."""

  seed: int
  by_epoch: list[list[float | None]]


class Compared(NamedTuple):
  """What `compare.compare` gives of systems over the seeds that they share."""

  by: str
  seeds: list[int]
  result: dict[str, Any]


class Measures(NamedTuple):
  """What is measured in the runs of a study.

  Attributes:
    metrics: names in a report.
    pairs: {reference: systems that are compared with it}.
    by: 'groups', 'parts' or both.
    curve: (metric, trunk, plugged) of validation curves, or ().
  """

  metrics: tuple[str, ...]
  pairs: Mapping[str, tuple[str, ...]]
  by: tuple[str, ...] = ('groups',)
  curve: tuple[str, ...] = ()


def collector(
  measures: Measures,
) -> Callable[..., dict[str, results.Chapter | None]]:
  """`Study.collect` of a study whose runs rank held-out items."""

  def collect(plan: plans.Plan, resamples: int = compare.RESAMPLES):
    return results.collect(
      plan,
      read=functools.partial(_details, measures),
      chapter=functools.partial(_chapter, measures, plan, resamples),
    )

  return collect


def _details(measures, report) -> Details:
  test, protocol = report['test'], report['protocol']
  groups = [Group(**{f: r[f] for f in Group._fields}) for r in test['groups']]
  users = {'groups': {_place(group.group): group.users for group in groups}}
  if 'parts' in measures.by:
    users['parts'] = {row['name']: row['users'] for row in test['parts']}
  start = []
  if measures.curve:
    metric = measures.curve[0]
    start = [row[metric]['value'] for row in report['validation']['groups']]
  return Details(
    protocol=Protocol(
      split=protocol['split'],
      candidates=protocol['candidates'],
      selection=protocol['selection'],
      ks=protocol['ks'],
      num_candidates=protocol.get('num_candidates'),
    ),
    groups=groups,
    users=users,
    rules={
      rule: results.Measured(_rule_cells(measures, users, part))
      for rule, part in report['baselines'].items()
    },
    start=start,
  )


def _place(group: int | str) -> str:
  return f'group {group}' if isinstance(group, int) else group


def _rule_cells(measures, users, part) -> dict[results.Key, results.Cell]:
  rows = {results.ALL: part['overall']}
  for by in measures.by:
    rows |= zip(users[by], part[by], strict=True)
  values = ('value', 'low', 'high')
  return {
    (metric, place): results.Cell(*(row[metric][value] for value in values))
    for metric in measures.metrics
    for place, row in rows.items()
  }


def _chapter(measures, plan, resamples, name, costs, done) -> results.Chapter:
  first = next(iter(done.values()))
  return results.Chapter(
    name=name,
    data=first.data,
    details=first.details,
    rules=first.details.rules,
    blocks={
      results.divided(plan.study, place)[1]: _block(
        measures, plan, resamples, place, done
      )
      for place in dict.fromkeys(run.place for run in costs)
    },
    runs=costs,
  )


def _block(measures, plan, resamples, place, done) -> results.Block:
  workdirs = {
    system: {
      seed: plans.workdir(plan, run)
      for seed in plan.request.seeds
      if (run := study_lib.Run(place, seed, system)) in done
    }
    for system in plan.systems[place]
  }
  compared = [
    pair
    for by in measures.by
    for reference, others in measures.pairs.items()
    for pair in compare_pairs(
      workdirs, reference, others, resamples, measures.metrics, by
    )
  ]
  systems = {}
  for system, seeds in workdirs.items():
    runs = [done[study_lib.Run(place, seed, system)] for seed in seeds]
    if runs:
      systems[system] = results.Measured(
        cells=_cells(measures, [*seeds.values()], runs[0].details),
        against=differences(compared, system),
        trainings=[run.training for run in runs],
      )
  block = results.block(plan, place, systems)
  return block._replace(
    claims=claims_lib.judge(
      plan.study.claims, claims_lib.Evidence(block.systems)
    ),
    compared=compared,
    curves=_curves(measures, plan, place, done),
  )


def _cells(measures, workdirs, details) -> dict[results.Key, results.Cell]:
  made = {}
  for by in measures.by:
    made |= cells(
      workdirs,
      [*details.users[by]],
      details.protocol.ks,
      RESAMPLES,
      measures.metrics,
      by,
    )
  return made


def cells(
  workdirs: Sequence[str],
  places: Sequence[str],
  ks: Sequence[int],
  resamples: int,
  metrics: Sequence[str],
  by: str = 'groups',
) -> dict[results.Key, results.Cell]:
  """Means over the seeds of one system, with 95 % intervals over users.

  Args:
    workdirs: directories of finished runs, one per seed.
    places: names of the groups or parts.
    ks: cut-offs of their reports.
    resamples: of users.
    metrics: names in a report.
    by: of `compared_runs.BY`.
  Returns:
    {(metric, place or 'all'): cell}.
  Raises:
    types.UserError: a run that is damaged or rests on other items.
  """
  read = (_table(workdir, len(places), ks, metrics, by) for workdir in workdirs)
  table = comparison.pool(read).table
  value = comparison.values(table)[:-1]
  sums, counts = (
    of_users.reshape(len(table.users), -1)
    for of_users in (table.sums, table.counts)
  )
  low, high = bootstrap.intervals(sums, counts, resamples, 0)
  bounds = value, low.reshape(value.shape), high.reshape(value.shape)
  return {
    (metric, place): results.Cell(
      *(metrics_lib.or_none(bound[row, column]) for bound in bounds)
    )
    for column, metric in enumerate(metrics)
    for row, place in enumerate((*places, results.ALL))
  }


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


def compare_pairs(
  workdirs: Workdirs,
  reference: str,
  others: Sequence[str],
  resamples: int,
  metrics: Sequence[str],
  by: str = 'groups',
) -> list[Compared]:
  """`compare.compare` of finished seeds that two systems share.

  Args:
    workdirs: finished runs.
    reference: system the others are compared with.
    others: those without a common seed are left out.
    resamples: of users.
    metrics: names in a report.
    by: as in `compare.compare`.
  Returns:
    One result for each set of seeds.
  """
  by_seeds: dict[tuple[int, ...], list[str]] = {}
  for other in others:
    first, second = (workdirs.get(name, {}) for name in (reference, other))
    shared = tuple(seed for seed in first if seed in second)
    if shared:
      by_seeds.setdefault(shared, []).append(other)
  made = []
  for seeds, chosen in by_seeds.items():
    runs = {s: [workdirs[s][k] for k in seeds] for s in (reference, *chosen)}
    result = compare.compare(runs, metrics, resamples, by=by)
    made.append(Compared(by, list(seeds), result))
  return made


def differences(
  compared: Iterable[Compared], system: str
) -> dict[str, dict[results.Key, results.Difference]]:
  """Differences of a system by its references."""
  made: dict[str, dict[results.Key, results.Difference]] = {}
  for pair in compared:
    by_metric = pair.result['comparisons'].get(system, {})
    for metric, rows in by_metric.items():
      against = made.setdefault(pair.result['reference'], {})
      against |= {
        (metric, _place(row['group'])): difference(row) for row in rows
      }
  return made


def difference(row: Mapping[str, Any]) -> results.Difference:
  """A row of `comparison.rows` as a record."""
  ends = (row['difference'], row['low'], row['high'])
  return results.Difference(*ends, tuple(row['by_seed']))


def renamed(pair: Compared, name: Callable[[str], str]) -> dict[str, Any]:
  """The result of a pair with other names of its systems."""
  result = pair.result
  named = {
    field: {name(system): value for system, value in result[field].items()}
    for field in ('systems', 'comparisons')
  }
  return {
    **result,
    **named,
    'reference': name(result['reference']),
    'selected_on_test': [name(s) for s in result['selected_on_test']],
  }


def _curves(measures, plan, place, done) -> list[Curve]:
  """Plugins begin as the bare trunk, so epoch 0 is the report of stage 1."""
  curves = []
  for seed in plan.request.seeds if measures.curve else ():
    metric, *systems = measures.curve
    trunk, plugged = (study_lib.Run(place, seed, s) for s in systems)
    if trunk in done and plugged in done:
      logged = curve(plans.workdir(plan, plugged), metric)
      curves.append(Curve(seed, [done[trunk].details.start, *logged]))
  return curves


def curve(workdir: str, metric: str) -> list[list[float | None]]:
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
