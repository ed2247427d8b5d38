"""Numbers of finished 2TS runs: means over seeds, and paired differences.

Seeds are averaged event by event, before events are averaged; all runs of a
dataset and split rank the same events. What varies in the intervals is told in
`evaluation.comparison`: users, not the training.
"""

from collections.abc import Callable, Mapping
import functools
import statistics
from typing import Any, NamedTuple

import numpy as np

from twotsrec import theory
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import buckets
from twotsrec.evaluation import comparison
from twotsrec.evaluation import movement
from twotsrec.evaluation import online_report
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.recipes import two_time_rows
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.training import run_directory

RESAMPLES = 2000  # of users, in comparisons
POPULARITY = 'popularity'  # is in every run, nothing of it is trained
RULES = ('expected', 'expected_without_past', 'all', 'all_without_past')
METRICS = ('mrr', 'recall@10')
COLUMNS = tuple((rule, metric) for rule in RULES for metric in METRICS)
KINDS = (online_report.INACTIVE, online_report.ACTIVE)  # rows of a table


class Details(NamedTuple):
  """What is read of the report of a 2TS run.

  Attributes:
    digest: of its data.
    options: of its online report.
    phases: {name: {'epochs', 'seconds', ...}} of its training.
    stage1_epochs: chosen; 0 without a stage 1.
    stage1_trials: {epochs: validation MRR}.
    stage1_seconds: of the chosen length.
    compile_seconds: of all phases.
  """

  digest: str
  options: dict[str, Any]
  phases: dict[str, Any]
  stage1_epochs: int
  stage1_trials: dict[str, float]
  stage1_seconds: float
  compile_seconds: float


class Timing(NamedTuple):
  """Epochs and seconds of the parts that serve, of one run.

  Attributes:
    stage1_epochs: see `Details`, as for the next two.
    stage1_trials: by number of epochs.
    stage1_seconds: of the chosen length.
    network_epochs: {network: epochs}.
    network_seconds: of all networks.
    epoch_seconds: of one epoch of every part, stage 1 included.
    compile_seconds: of the whole run.
    evaluation_seconds: of the whole run.
  """

  stage1_epochs: int
  stage1_trials: dict[str, float]
  stage1_seconds: float
  network_epochs: dict[str, int]
  network_seconds: float
  epoch_seconds: float
  compile_seconds: float
  evaluation_seconds: float


class System(NamedTuple):
  """One system over its seeds.

  Attributes:
    seeds: those that have finished.
    report: of `online_report.build`, on the mean over the seeds.
    spread: {(row, part, rule, metric): the mean over events of each seed}.
    tables: {seed: sums of `COLUMNS` over users, by `KINDS` and overall}.
    states: arrays [T] of the events: user, train_count, position, and the mean
      movement and norm over the seeds.
    timing: of the seeds.
  """

  seeds: list[int]
  report: dict[str, Any]
  spread: dict[tuple[str, str, str, str], list[float]]
  tables: dict[int, comparison.Table]
  states: dict[str, np.ndarray]
  timing: list[Timing] = []


class Division(NamedTuple):
  """How the threshold divides users by train events.

  Attributes:
    threshold: t*.
    window: K.
    holdout: what stage 1 goes without.
    warmup: what is played before the test.
    inactive: number of users.
    active: number of users.
    new: number of users without a train event.
    most: train events of the most active user.
  """

  threshold: int
  window: int
  holdout: str
  warmup: str
  inactive: int
  active: int
  new: int
  most: int


class Activity(NamedTuple):
  """Users by train events and the fitted power law; None if nothing fits.

  Attributes:
    values: numbers of train events.
    users: who have as many.
    alpha: exponent of the law.
    standard_error: of alpha.
    minimum: the law begins here.
    zeta: of alpha and minimum + 1.
  """

  values: list[int]
  users: list[int]
  alpha: float | None = None
  standard_error: float | None = None
  minimum: int | None = None
  zeta: float | None = None


Against = dict[str, dict[tuple[str, str], tuple[claims_lib.Difference, ...]]]


class Block(NamedTuple):
  """All systems of a chapter.

  Attributes:
    systems: {system: its numbers; None if no run has finished}.
    tables: {table: {row: the system whose run stands for it}}.
    commands: {system: the line that trains it with the first seed}.
  """

  systems: dict[str, System | None]
  tables: dict[str, dict[str, str]]
  commands: dict[str, str]


class Chapter(NamedTuple):
  """The finished runs on one dataset under one split.

  Attributes:
    name: of both.
    data: counts of the dataset.
    division: of its users.
    options: of all reports.
    blocks: {'': all systems}.
    popularity: as a system.
    against: {system: {(rule, metric): differences to the reference}}.
    claims: of the study, judged.
    movement: of `movement.curves`, of the reference; None without it.
    activity: of the users.
    runs: every run with its cost.
  """

  name: str
  data: dict[str, Any]
  division: Division
  options: dict[str, Any]
  blocks: dict[str, Block]
  popularity: System
  against: Against
  claims: list[Any]
  movement: dict[str, Any] | None
  activity: Activity
  runs: dict[study_lib.Run, results.Training]


class Evidence(NamedTuple):
  """What claims on 2TS are judged by.

  Attributes:
    dataset: its name.
    systems: finished ones under every name they stand for, and popularity.
    against: reference -> differences of all systems to it.
    threshold: t*.
    resamples: of users.
    name: system -> its name in the tables.
  """

  dataset: str
  systems: Mapping[str, System]
  against: Callable[[str], Against]
  threshold: int
  resamples: int
  name: Callable[[str], str]


# ---- Collecting


def collector(reference: str) -> Callable[..., dict[str, Chapter | None]]:
  """`Study.collect` of a study of 2TS; the reference divides users for all.

  Returns:
    (plan, resamples=...) -> {chapter: its numbers; None if no run of it has
    finished}. It raises types.UserError where nothing has finished, or a run
    is damaged, of other data, or not of these settings.
  """
  return functools.partial(_collect, reference)


def _collect(reference, plan, resamples=None):
  resamples = RESAMPLES if resamples is None else resamples
  done = results.finished(plan, _details)
  return {
    name: _chapter(
      reference, plan, name, {r: done[r] for r in runs if r in done}, resamples
    )
    for name, runs in results.by_chapter(plan).items()
  }


def _details(report) -> Details:
  choice, training = report['two_time'], report['training']
  return Details(
    digest=report['protocol']['dataset_digest'],
    options=report['online']['model']['test']['options'],
    phases=training['phases'],
    stage1_epochs=choice['stage1_epochs'],
    stage1_trials=choice['stage1_trials'],
    stage1_seconds=choice['stage1_seconds'],
    compile_seconds=training['compile_seconds'],
  )


def _chapter(reference, plan, name, done, resamples) -> Chapter | None:
  if not done:
    return None
  _check_data(plan, done)
  first, record = next(iter(done.items()))
  prepared = prepared_lib.load(
    str(run_directory.ids_path(plans.workdir(plan, first)))
  )
  options = plans.settings(plan, first._replace(system=reference)).two_time
  division = _division(options, prepared)
  systems = _systems(plan, done, record.details.options, options.threshold)
  same = {s: plan.same[first.place][s] for s in plan.request.systems}
  named = systems | {k: systems[v] for k, v in same.items() if v in systems}
  against = functools.cache(functools.partial(differences, named, resamples))
  evidence = Evidence(
    dataset=first.place[0],
    systems=named,
    against=against,
    threshold=options.threshold,
    resamples=resamples,
    name=lambda system: plan.study.labels[system],
  )
  states = systems[reference].states if reference in systems else None
  return Chapter(
    name=name,
    data=record.data,
    division=division,
    options=systems[POPULARITY].report['options'],
    blocks={
      '': Block(
        systems={s: systems.get(s) for s in plan.systems[first.place]},
        tables=results.tables(plan, first.place),
        commands=results.commands(plan, first.place),
      )
    },
    popularity=systems[POPULARITY],
    against=against(reference) if reference in systems else {},
    claims=[claim(evidence) for claim in plan.study.claims],
    movement=states and movement.curves(states, options.threshold),
    activity=_activity(prepared),
    runs=results.costs(
      [r for r in plans.runs(plan) if r.place == first.place], done
    ),
  )


def _check_data(plan, done):
  """Refuses runs of a chapter that were made of other data."""
  first = next(iter(done))
  for run, record in done.items():
    if record.details.digest != done[first].details.digest:
      raise types.UserError(
        f'{plans.workdir(plan, run)} and {plans.workdir(plan, first)} were'
        ' trained on other data (dataset_digest differs), so they cannot be'
        ' compared'
      )


def _division(options, prepared) -> Division:
  counts = prepared_lib.train_counts(prepared)
  active = jobs_lib.is_active(counts, options.threshold)
  return Division(
    threshold=options.threshold,
    window=options.window,
    holdout=options.holdout,
    warmup=options.warmup,
    inactive=int(np.sum(~active)),
    active=int(np.sum(active)),
    new=int(np.sum(counts == 0)),
    most=int(counts.max()),
  )


def _systems(plan, done, options, threshold) -> dict[str, System]:
  """Finished systems, and popularity, which every run has."""
  told = options | {'threshold': threshold, 'edges': tuple(options['edges'])}
  how = online_report.Options(**told)
  workdirs: dict[str, dict[int, str]] = {}
  timing: dict[str, list[Timing]] = {}
  order = {s: i for i, s in enumerate(plan.study.systems)}
  for run in sorted(done, key=lambda run: order[run.system]):
    place = plans.workdir(plan, run)
    workdirs.setdefault(run.system, {})[run.seed] = place
    timing.setdefault(run.system, []).append(_timing(done[run]))
  of_seed = {k: v for places in workdirs.values() for k, v in places.items()}
  return {
    POPULARITY: of_runs(of_seed, how, popularity=True),
    **{
      name: of_runs(places, how)._replace(timing=timing[name])
      for name, places in workdirs.items()
    },
  }


def _timing(run: results.Finished) -> Timing:
  details = run.details
  parts = {}
  for phase, trained in details.phases.items():
    network, _, tried = phase.rpartition('_')
    if not tried.isdecimal():
      network, tried = phase, str(details.stage1_epochs)
    # Of several lengths of stage 1 only the chosen one serves.
    if network != 'stage1' and int(tried) == details.stage1_epochs:
      parts[network] = trained
  each = sum(part['seconds'] / part['epochs'] for part in parts.values())
  if details.stage1_epochs:
    each += details.stage1_seconds / details.stage1_epochs
  return Timing(
    stage1_epochs=details.stage1_epochs,
    stage1_trials=details.stage1_trials,
    stage1_seconds=details.stage1_seconds,
    network_epochs={name: part['epochs'] for name, part in parts.items()},
    network_seconds=sum(part['seconds'] for part in parts.values()),
    epoch_seconds=each,
    compile_seconds=details.compile_seconds,
    evaluation_seconds=run.training.evaluation_seconds,
  )


def mean_timing(system: System, field: str) -> float:
  """The mean over the seeds of a field of `Timing`."""
  return statistics.fmean(getattr(timing, field) for timing in system.timing)


def _activity(prepared) -> Activity:
  """2TS fig. 5: the law begins at the most frequent number of events."""
  counts = prepared_lib.train_counts(prepared)
  activity = Activity(**buckets.histogram(counts))
  try:
    law = theory.fit_alpha(counts, theory.law_start(counts))
  except types.UserError:
    return activity
  return activity._replace(
    alpha=law.alpha,
    standard_error=law.standard_error,
    minimum=law.minimum,
    zeta=float(theory.zeta(law.alpha, law.minimum + 1.0)),
  )


# ---- Measuring


def of_runs(
  workdirs: Mapping[int, str],
  options: online_report.Options,
  popularity: bool = False,
) -> System:
  """Reads the runs of one system.

  Args:
    workdirs: {seed: directory of a finished run}.
    options: of the report; its threshold divides users for all systems.
    popularity: whether to read that of the runs instead of their models.
  Raises:
    types.UserError: rows that are damaged, or runs on other events.
  """
  facts, tables, alone, states = None, {}, [], []
  total: dict[tuple[str, str], Any] = {}
  for seed, workdir in workdirs.items():
    rows = two_time_rows.read(workdir)
    arrays = rows.popularity if popularity else rows.model
    facts = arrays if facts is None else facts
    _check_same(facts, arrays, workdir)
    values = online_report.target_metrics(arrays, options.lists, options.k)
    total = {name: total.get(name, 0.0) + v for name, v in values.items()}
    tables[seed] = tabulate(arrays, values, options.threshold)
    without = options._replace(resamples=0)
    alone.append(online_report.build(arrays, without)['rows'])
    states.append((arrays['movement'], arrays['norm']))
  means = {name: v / len(workdirs) for name, v in total.items()}
  moved, norm = (np.mean(c, axis=0) for c in zip(*states, strict=True))
  same = {name: facts[name] for name in ('user', 'train_count', 'position')}
  return System(
    seeds=[*workdirs],
    report=online_report.build(facts, options, means),
    spread=_spread(alone),
    tables=tables,
    states={**same, 'movement': moved, 'norm': norm},
  )


def _check_same(first, arrays, workdir):
  for name in ('event', 'user', 'train_count'):
    if not np.array_equal(first[name], arrays[name]):
      raise types.UserError(
        f'{workdir} holds out other events than the runs beside it ({name}'
        ' differs), so they cannot be compared; train them on the same data'
      )


def _spread(alone) -> dict[tuple[str, str, str, str], list[float]]:
  return {
    (rows[0]['name'], part, rule, metric): [
      row[part][rule][metric]['by_event']['value'] for row in rows
    ]
    for rows in zip(*alone, strict=True)
    for part in online_report.PARTS
    for rule, metric in COLUMNS
  }


def cell(
  system: System,
  rule: str,
  metric: str,
  row: str = online_report.EVERYBODY,
  part: str = 'all',
  mean: str = 'by_event',
) -> results.Cell:
  """A mean of a system's report."""
  rows = {row['name']: row for row in system.report['rows']}
  return results.Cell(**rows[row][part][rule][metric][mean])


def tabulate(
  per_target: Mapping[str, np.ndarray],
  values: Mapping[tuple[str, str], np.ndarray],
  threshold: int,
) -> comparison.Table:
  """Sums over events of each user: inactive users, active users, everybody."""
  users, index = np.unique(per_target['user'], return_inverse=True)
  active = np.zeros(users.size, bool)
  active[index] = per_target['train_count'] > threshold
  add = lambda x: np.bincount(index, weights=x, minlength=users.size)
  sums = np.stack([add(values[name]) for name in COLUMNS], axis=1)
  events = np.repeat(add(np.ones(index.size))[:, None], len(COLUMNS), axis=1)
  rows = (~active, active, np.ones(users.size, bool))
  by_row = lambda x: np.stack([x * chosen[:, None] for chosen in rows], axis=1)
  return comparison.Table(users, by_row(sums), by_row(events))


def shared_seeds(first: System, second: System) -> list[int]:
  """Seeds that two systems have in common; popularity has those of all."""
  return [seed for seed in first.tables if seed in second.tables]


def differences(
  systems: Mapping[str, System], resamples: int, reference: str
) -> Against:
  """Every system minus the reference, over the seeds that both have.

  Args:
    systems: by name; those without a common seed are left out.
    resamples: of users.
    reference: name of the reference.
  Returns:
    {system: {(rule, metric): differences of inactive users, active ones, all,
    and the mean of the kinds}}.
  """
  made: Against = {}
  for name, system in systems.items():
    seeds = shared_seeds(systems[reference], system)
    if name == reference or not seeds:
      continue
    pooled = [
      comparison.pool(s.tables[seed] for seed in seeds)
      for s in (systems[reference], system)
    ]
    [compared] = comparison.compare(pooled, resamples, 0)
    present = pooled[0].table.counts[..., 0].astype(bool).sum(axis=0)
    made[name] = {
      rule_and_metric: tuple(
        claims_lib.difference(row)
        for row in comparison.rows(compared, column, present, KINDS)
      )
      for column, rule_and_metric in enumerate(COLUMNS)
    }
  return made


class Between(NamedTuple):
  """A value of inactive users minus that of active ones.

  Attributes:
    inactive: the value; None where there is nobody.
    active: likewise.
    difference: inactive minus active.
    low: end of the 95 % interval over users.
    high: the other end.
  """

  inactive: float | None
  active: float | None
  difference: float | None
  low: float | None
  high: float | None


def gain_difference(
  system: System,
  baseline: System,
  column: tuple[str, str],
  resamples: int,
) -> Between:
  """The gain over a baseline, of inactive minus of active users.

  Args:
    system: that gains.
    baseline: with a seed in common.
    column: of `COLUMNS`.
    resamples: of users.
  """
  seeds = shared_seeds(system, baseline)
  first, second = (
    comparison.pool(s.tables[seed] for seed in seeds).table
    for s in (system, baseline)
  )
  at = COLUMNS.index(column)
  gain = (first.sums - second.sums)[:, : len(KINDS), at]
  return _between(gain, first.counts[:, : len(KINDS), at], resamples)


def movement_difference(
  system: System, threshold: int, resamples: int, relative: bool = False
) -> Between:
  """How far states move, of inactive minus of active users (2TS fig. 4).

  A user counts with the mean over the events that the figure shows.

  Args:
    system: with `states`.
    threshold: t*.
    resamples: of users.
    relative: to the norm of the state before; those of norm 0 are left out.
  """
  states = system.states
  chosen = states['position'] <= movement.LONGEST
  values = np.asarray(states['movement'], np.float64)
  if relative:
    chosen &= states['norm'] > 0
    values = values / np.where(chosen, states['norm'], 1.0)
  users, index = np.unique(states['user'][chosen], return_inverse=True)
  add = lambda x: np.bincount(index, weights=x, minlength=users.size)
  means = add(values[chosen]) / np.maximum(add(np.ones(index.size)), 1.0)
  active = np.zeros(users.size, bool)
  active[index] = states['train_count'][chosen] > threshold
  kinds = np.stack([~active, active], axis=1).astype(np.float64)
  return _between(means[:, None] * kinds, kinds, resamples)


def _between(sums, counts, resamples) -> Between:
  """Ratios of two columns, and the first minus the second."""
  totals = counts.sum(axis=0)
  ratios = np.divide(
    sums.sum(axis=0), totals, out=np.full(2, np.nan), where=totals > 0
  )
  drawn = bootstrap.resampled_ratios(sums, counts, resamples, 0)
  low, high = bootstrap.percentiles(drawn[:, :1] - drawn[:, 1:])
  values = (*ratios, ratios[0] - ratios[1], low[0], high[0])
  return Between(*(float(v) if np.isfinite(v) else None for v in values))
