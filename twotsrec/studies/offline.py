"""Numbers of finished runs that rank held-out items: means, and differences.

What varies in the intervals is told in `evaluation.comparison`: users, not the
training. For the latter the number of seeds stands beside them.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
from typing import Any, NamedTuple

from twotsrec import metrics as metrics_lib
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.recipes import compare
from twotsrec.recipes import compared_runs
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.training import files
from twotsrec.training import run_directory

RESAMPLES = 1000  # of a single mean, as in a report


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
  """What is read of the report of an offline run.

  Attributes:
    protocol: how items are ranked.
    groups: activeness groups of the test.
    parts: {name: users} of the test; empty without behaviors.
    rules: {rule: {'groups' or 'parts': {metric: cells}}}.
    start: a metric on validation by group, where curves are drawn.
  """

  protocol: Protocol
  groups: list[Group]
  parts: dict[str, int]
  rules: dict[str, dict[str, dict[str, list[results.Cell]]]]
  start: list[float | None]


class Curve(NamedTuple):
  """A metric on validation by epoch and group, of one seed."""

  seed: int
  by_epoch: list[list[float | None]]


class Measured(NamedTuple):
  """A system over its seeds.

  Attributes:
    seeds: those that have finished.
    cells: {'groups' or 'parts': {metric: a cell of each, then of all users}}.
    trainings: the cost of each seed.
  """

  seeds: list[int]
  cells: dict[str, dict[str, list[results.Cell]]]
  trainings: list[results.Training]


class Block(NamedTuple):
  """The systems that are compared with each other.

  Attributes:
    systems: {system: its numbers; None if no run has finished}.
    tables: {table: {row: the system whose run stands for it}}.
    compared: pairs of systems.
    claims: the study's, judged.
    curves: of validation, if the study draws some.
    commands: {system: the line that trains it with the first seed}.
  """

  systems: dict[str, Measured | None]
  tables: dict[str, dict[str, str]]
  compared: list[claims_lib.Compared]
  claims: list[claims_lib.Judged]
  curves: list[Curve]
  commands: dict[str, str]


class Chapter(NamedTuple):
  """The finished runs on one dataset.

  Attributes:
    name: of the dataset.
    data: its counts.
    details: of the first finished run.
    blocks: {value of the axis inside a chapter, or '': its systems}.
    runs: every run with its cost.
  """

  name: str
  data: dict[str, Any]
  details: Details
  blocks: dict[str, Block]
  runs: dict[study_lib.Run, results.Training]


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


def collector(measures: Measures) -> Callable[..., dict[str, Chapter | None]]:
  """`Study.collect` of a study whose runs rank held-out items.

  Returns:
    (plan, resamples=...) -> {chapter: its numbers; None if no run of it has
    finished}. It raises types.UserError where nothing has finished, or a run
    is damaged or not of these settings.
  """
  return functools.partial(_collect, measures)


def _collect(measures, plan, resamples=compare.RESAMPLES):
  done = results.finished(plan, functools.partial(_details, measures))
  chapters = results.by_chapter(plan)
  return {
    name: _chapter(measures, plan, name, runs, done, resamples)
    for name, runs in chapters.items()
  }


def _details(measures, report) -> Details:
  test, protocol = report['test'], report['protocol']
  rules = {
    rule: {by: _of_part(part, measures.metrics, by) for by in measures.by}
    for rule, part in report['baselines'].items()
  }
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
    groups=[
      Group(**{name: row[name] for name in Group._fields})
      for row in test['groups']
    ],
    parts={row['name']: row['users'] for row in test.get('parts', ())},
    rules=rules,
    start=start,
  )


def _of_part(part, metrics, by) -> dict[str, list[results.Cell]]:
  rows = [*part[by], part['overall']]
  return {
    metric: [
      results.Cell(
        row[metric]['value'], row[metric]['low'], row[metric]['high']
      )
      for row in rows
    ]
    for metric in metrics
  }


def _chapter(measures, plan, name, runs, done, resamples) -> Chapter | None:
  first = next((done[run] for run in runs if run in done), None)
  if first is None:
    return None
  places = dict.fromkeys(run.place for run in runs)
  return Chapter(
    name=name,
    data=first.data,
    details=first.details,
    blocks={
      results.divided(plan.study, place)[1]: _block(
        measures, plan, place, done, resamples
      )
      for place in places
    },
    runs=results.costs(runs, done),
  )


def _block(measures, plan, place, done, resamples) -> Block:
  workdirs = {
    system: {
      run.seed: plans.workdir(plan, run)
      for seed in plan.request.seeds
      if (run := study_lib.Run(place, seed, system)) in done
    }
    for system in plan.systems[place]
  }
  compared = [
    pair
    for by in measures.by
    for reference, others in measures.pairs.items()
    for pair in claims_lib.compare_pairs(
      workdirs, reference, others, resamples, measures.metrics, by
    )
  ]
  return Block(
    systems={
      system: _measured(measures, place, system, seeds, done)
      for system, seeds in workdirs.items()
    },
    tables=results.tables(plan, place),
    compared=compared,
    claims=[
      claims_lib.judge(claim, compared)
      for claim in plan.study.claims
      if {claim.other, claim.reference} <= {*workdirs}
    ],
    curves=_curves(measures, plan, place, done) if measures.curve else [],
    commands=results.commands(plan, place),
  )


def _measured(measures, place, system, workdirs, done) -> Measured | None:
  if not workdirs:
    return None
  runs = [done[study_lib.Run(place, seed, system)] for seed in workdirs]
  details = runs[0].details
  rows = {'groups': len(details.groups), 'parts': len(details.parts)}
  ks, places = details.protocol.ks, [*workdirs.values()]
  return Measured(
    seeds=[*workdirs],
    cells={
      by: cells(places, rows[by], ks, RESAMPLES, measures.metrics, by)
      for by in measures.by
    },
    trainings=[run.training for run in runs],
  )


def cells(
  workdirs: Sequence[str],
  num_rows: int,
  ks: Sequence[int],
  resamples: int,
  metrics: Sequence[str],
  by: str = 'groups',
) -> dict[str, list[results.Cell]]:
  """Means over the seeds of one system, with 95 % intervals over users.

  Args:
    workdirs: directories of finished runs, one per seed.
    num_rows: groups or parts.
    ks: cut-offs of their reports.
    resamples: of users.
    metrics: names in a report.
    by: of `compared_runs.BY`.
  Returns:
    {metric: a cell of each group or part, then of everybody}.
  Raises:
    types.UserError: a run that is damaged or rests on other items.
  """
  read = (_table(workdir, num_rows, ks, metrics, by) for workdir in workdirs)
  table = comparison.pool(read).table
  value = comparison.values(table)[:-1]
  sums, counts = (
    of_users.reshape(len(table.users), -1)
    for of_users in (table.sums, table.counts)
  )
  low, high = bootstrap.intervals(sums, counts, resamples, 0)
  bounds = value, low.reshape(value.shape), high.reshape(value.shape)
  return {
    metric: [
      results.Cell(
        *(metrics_lib.or_none(bound[row, column]) for bound in bounds)
      )
      for row in range(len(value))
    ]
    for column, metric in enumerate(metrics)
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


def _curves(measures, plan, place, done) -> list[Curve]:
  """Plugins begin as the bare trunk, so epoch 0 is the report of stage 1."""
  metric, *systems = measures.curve
  curves = []
  for seed in plan.request.seeds:
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
