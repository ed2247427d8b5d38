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
from twotsrec.studies import study as study_lib
from twotsrec.training import files
from twotsrec.training import run_directory

RESAMPLES = 1000  # of a single mean, as in a report

class Cell(NamedTuple):
  """A mean with its interval; None where it is undefined."""

  value: float | None
  low: float | None = None
  high: float | None = None


class Training(NamedTuple):
  """The cost of a run; None where it has not finished."""

  seconds: float | None = None
  evaluation_seconds: float | None = None
  epochs: int | None = None
  selected_epoch: int | None = None
  device: str | None = None


class Finished(NamedTuple):
  """A finished run.

  Attributes:
    data: counts of its dataset.
    training: its cost.
    details: what the reader of a study makes of its report.
  """

  data: dict[str, Any]
  training: Training
  details: Any


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
  rules: dict[str, dict[str, dict[str, list[Cell]]]]
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
  cells: dict[str, dict[str, list[Cell]]]
  trainings: list[Training]


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
  runs: dict[study_lib.Run, Training]


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
  done = finished(plan, functools.partial(_details, measures))
  chapters = by_chapter(plan)
  return {
    name: _chapter(measures, plan, name, runs, done, resamples)
    for name, runs in chapters.items()
  }


def finished(
  plan: plans.Plan, read: Callable[[dict[str, Any]], Any]
) -> dict[study_lib.Run, Finished]:
  """The finished runs of a plan.

  Args:
    plan: with all runs.
    read: report -> `Finished.details`; it may raise KeyError and TypeError.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  reports = {run: plans.report(plan, run) for run in plans.runs(plan)}
  done = {
    run: _finished(plans.workdir(plan, run), report, read)
    for run, report in reports.items()
    if report is not None
  }
  if reports and not done:
    raise types.UserError(
      f'no run of these settings has finished in {plan.request.out}; leave out'
      ' --report_only to train them'
    )
  return done


def _finished(workdir, report, read) -> Finished:
  try:
    cost = report['training'] | {'device': report['versions']['device']}
    return Finished(
      data=dict(report['dataset']),
      training=Training(**{name: cost[name] for name in Training._fields}),
      details=read(report),
    )
  except (KeyError, TypeError) as error:
    path = run_directory.report_path(workdir)
    raise types.UserError(
      f'{path} is damaged or of another version ({error}); restore it from a'
      ' copy, or train again in an empty --out'
    ) from error


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


def _of_part(part, metrics, by) -> dict[str, list[Cell]]:
  rows = [*part[by], part['overall']]
  return {
    metric: [
      Cell(row[metric]['value'], row[metric]['low'], row[metric]['high'])
      for row in rows
    ]
    for metric in metrics
  }


def by_chapter(plan: plans.Plan) -> dict[str, list[study_lib.Run]]:
  """The runs of a plan by the chapter of the document they belong to."""
  chapters: dict[str, list[study_lib.Run]] = {}
  for run in plans.runs(plan):
    name, _ = divided(plan.study, run.place)
    chapters.setdefault(name, []).append(run)
  order = dict.fromkeys(divided(plan.study, p)[0] for p in plan.systems)
  return {name: chapters[name] for name in order}


def divided(study: study_lib.Study, place: study_lib.Place) -> tuple[str, str]:
  """A place as the name of its chapter and the block inside."""
  named = list(zip(study.axes, place, strict=True))
  return (
    ', '.join(value for flag, value in named if flag not in study.inside),
    ', '.join(value for flag, value in named if flag in study.inside),
  )


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
      divided(plan.study, place)[1]: _block(
        measures, plan, place, done, resamples
      )
      for place in places
    },
    runs=costs(runs, done),
  )


def costs(
  runs: Sequence[study_lib.Run], done: Mapping[study_lib.Run, Finished]
) -> dict[study_lib.Run, Training]:
  """The cost of every run, with empty ones for those that are missing."""
  return {run: done[run].training if run in done else Training() for run in runs}


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
    tables=tables(plan, place),
    compared=compared,
    claims=[
      claims_lib.judge(claim, compared)
      for claim in plan.study.claims
      if {claim.other, claim.reference} <= {*workdirs}
    ],
    curves=_curves(measures, plan, place, done) if measures.curve else [],
    commands=commands(plan, place),
  )


def tables(plan: plans.Plan, place: study_lib.Place) -> dict[str, Any]:
  """{table: {row: the system whose run stands for it}} of the tables asked."""
  return {
    table: {
      row: plan.same[place][row] for row in plans.rows(plan, place, table)
    }
    for table in plan.study.tables
    if table in plan.request.tables
  }


def commands(plan: plans.Plan, place: study_lib.Place) -> dict[str, str]:
  """{system: the line that trains it with the first seed}."""
  first = plan.request.seeds[0]
  return {
    system: plans.train_command(plan, study_lib.Run(place, first, system))
    for system in plan.systems[place]
  }


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
) -> dict[str, list[Cell]]:
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
      Cell(*(metrics_lib.or_none(bound[row, column]) for bound in bounds))
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
