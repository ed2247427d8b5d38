"""Numbers of finished 2TS runs: means over seeds, and paired differences.

Seeds are averaged event by event, before events are averaged; all runs of a
dataset and split rank the same events. Intervals are over users (see
`evaluation.comparison`), not over trainings.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twotsrec import metrics as metrics_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import buckets
from twotsrec.evaluation import comparison
from twotsrec.evaluation import movement
from twotsrec.evaluation import online_report
from twotsrec.evaluation import report as report_lib
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.theory import power_law
from twotsrec.training import online_rows
from twotsrec.training import run_directory

POPULARITY, KINDS = results.POPULARITY, results.KINDS
RESAMPLES = 2000  # of users, in comparisons
RULES = ('expected', 'expected_without_past', 'all', 'all_without_past')
METRICS = ('mrr', 'recall@10')
COLUMNS = tuple((rule, metric) for rule in RULES for metric in METRICS)


class Activity(NamedTuple):
  """Users by train events and the fitted power law; None if nothing fits."""

  values: list[int]  # numbers of train events
  users: list[int]  # who have as many
  alpha: float | None = None  # exponent of the law
  standard_error: float | None = None
  minimum: int | None = None  # the law begins here
  zeta: float | None = None  # of alpha and minimum + 1


class Details(NamedTuple):
  """A chapter besides its systems."""

  options: online_report.Options  # of all online reports
  lists: int  # sampled candidates beside an item
  digest: str  # of the lists of all test events; '' without any
  test: dict[str, dict[str, Any]]  # see `System.test`
  two_time: Any  # settings of the reference, which divide users for all
  inactive: int  # users, by train events, likewise the next three
  active: int  # above the threshold
  new: int  # without a train event
  most: int  # train events of the most active user
  movement: dict[str, Any] | None  # `movement.curves` of the reference
  activity: Activity  # of the users


class System(NamedTuple):
  """One system over its seeds."""

  # Of `online_report.build`, on the mean over the seeds.
  cells: dict[results.Key, results.Cell]
  spread: dict[results.Key, list[float]]  # by seed, of means over events
  # {row: numbers of users and events, shares of new users and cold items}
  test: dict[str, dict[str, Any]]
  # {seed: sums of `COLUMNS` over users, by `KINDS` and overall}
  tables: dict[int, comparison.Table]
  # Arrays [T] of the events: user, train_count, position, and the mean movement
  # and norm over the seeds.
  states: dict[str, np.ndarray]


def measure(
  measures: study_lib.Online,
  plan: plans.Plan,
  done: Mapping[study_lib.Run, results.Finished],
  resamples: int | None = None,
) -> results.Numbers:
  """The numbers of a chapter, from its finished runs.

  Raises:
    types.UserError: runs that were made of other data, or are damaged.
  """
  resamples = RESAMPLES if resamples is None else resamples
  first, references = next(iter(done)), measures.references
  chosen = plans.settings(plan, first._replace(system=references[0])).two_time
  given = done[first].details.options
  options = online_report.Options(
    **given | {'threshold': chosen.threshold, 'edges': tuple(given['edges'])}
  )
  systems = _systems(plan, done, options)
  digest = _digest(plan, done)
  against = {
    reference: differences(systems, reference, resamples)
    for reference in references
    if reference in systems
  }
  measured = {
    system: results.Measured(
      cells=own.cells,
      against={r: of[system] for r, of in against.items() if system in of},
      trainings=None
      if system == POPULARITY
      else [done[r].details.timing for r in done if r.system == system],
      spread=own.spread,
    )
    for system, own in systems.items()
  }
  asked = (*plan.request.systems, *plan.systems[first.place])
  same = {system: plan.same[first.place][system] for system in asked}
  same[POPULARITY] = POPULARITY
  evidence = claims_lib.Evidence(
    systems={s: measured[run] for s, run in same.items() if run in measured},
    name=lambda system: plan.study.labels[system],
    place=first.place[0],
    gain=lambda one, other: gain_difference(
      systems[same[one]], systems[same[other]], 'mrr', resamples
    ),
    moved=lambda system, relative: movement_difference(
      systems[same[system]], chosen.threshold, resamples, relative
    ),
  )
  judged = claims_lib.judge(plan.study.claims, evidence)
  return results.Numbers(
    details=_details(
      plans.workdir(plan, first), chosen, options, systems, references[0]
    )._replace(digest=digest),
    rules={POPULARITY: measured[POPULARITY]},
    blocks={'': results.block(plan, first.place, measured, judged)},
  )


def _systems(plan, done, options) -> dict[str, System]:
  """Popularity, which every run has, and the finished systems."""
  first, order = next(iter(done)), plan.study.systems.index
  workdirs: dict[str, dict[int, str]] = {}
  for run in sorted(done, key=lambda run: order(run.system)):
    workdir = plans.workdir(plan, run)
    workdirs.setdefault(run.system, {})[run.seed] = workdir
    if done[run].details.digest != done[first].details.digest:
      raise types.UserError(
        f'{workdir} and {plans.workdir(plan, first)} were trained on other data'
        ' (dataset_digest differs), so they cannot be compared; train them on'
        ' the same'
      )
  # Of all test events, not of a sample of users.
  most = max(finished.details.timing.events for finished in done.values())
  of_seed = {
    run.seed: plans.workdir(plan, run)
    for run, finished in done.items()
    if finished.details.timing.events == most
  }
  return {POPULARITY: of_runs(of_seed, options, popularity=True)} | {
    system: of_runs(seeds, options) for system, seeds in workdirs.items()
  }


def _digest(plan, done) -> str:
  """The digest of the lists that all runs with all test events have ranked.

  Raises:
    types.UserError: runs that ranked other lists of the same events.
  """
  lists: dict[int, tuple[str | None, study_lib.Run]] = {}
  for run, finished in done.items():
    events, digest = finished.details.timing.events, finished.details.lists
    there, first = lists.setdefault(events, (digest, run))
    if there != digest:
      raise types.UserError(
        f'{plans.workdir(plan, run)} ranked other candidates than'
        f' {plans.workdir(plan, first)} (lists_digest differs), so they cannot'
        ' be compared; train both with the same two_time.evaluation_lists and'
        ' evaluation.seed'
      )
  return lists[max(lists)][0] or ''


def _details(workdir, chosen, options, systems, reference) -> Details:
  path = run_directory.ids_path(workdir)
  prepared = prepared_lib.load(str(path), verify=True)
  counts = prepared_lib.train_counts(prepared)
  active = stream_jobs.is_active(counts, chosen.threshold)
  moved = None
  if reference in systems:
    moved = movement.curves(systems[reference].states, chosen.threshold)
  return Details(
    options=options,
    lists=options.lists,
    digest='',
    test=systems[POPULARITY].test,
    two_time=chosen,
    inactive=int(np.sum(~active)),
    active=int(np.sum(active)),
    new=int(np.sum(counts == 0)),
    most=int(counts.max()),
    movement=moved,
    activity=_activity(counts),
  )


def _activity(counts) -> Activity:
  """2TS fig. 5: the law begins at the most frequent number of events."""
  histogram = buckets.histogram(counts)
  activity = Activity(histogram['values'], histogram['users'])
  try:
    law = power_law.fit_alpha(counts, power_law.law_start(counts))
  except types.UserError:
    return activity
  return activity._replace(
    alpha=law.alpha,
    standard_error=law.standard_error,
    minimum=law.minimum,
    zeta=float(power_law.zeta(law.alpha, law.minimum + 1.0)),
  )


# ---- Means


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
    ValueError: options without a threshold.
  """
  threshold, facts = options.threshold, {}
  if threshold is None:
    raise ValueError('options without a threshold divide no users')
  tables, alone, states = {}, [], []
  total: dict[tuple[str, str], Any] = {}
  for seed, workdir in workdirs.items():
    rows = online_rows.read(workdir)
    arrays = rows.popularity if popularity else rows.model
    facts = facts or arrays
    for name in ('event', 'user', 'train_count'):
      if not np.array_equal(facts[name], arrays[name]):
        raise types.UserError(
          f'{workdir} holds out other events than the runs beside it ({name}'
          ' differs), so they cannot be compared; train them on the same data'
        )
    values = online_report.target_metrics(arrays, options.lists, options.k)
    total = {name: total.get(name, 0.0) + v for name, v in values.items()}
    tables[seed] = tabulate(arrays, values, threshold)
    without = options._replace(resamples=0)
    alone.append(cells(online_report.build(arrays, without)))
    states.append((arrays['movement'], arrays['norm']))
  means = {name: v / len(workdirs) for name, v in total.items()}
  report = online_report.build(facts, options, means)
  moved, norm = (np.mean(c, axis=0) for c in zip(*states, strict=True))
  same = {name: facts[name] for name in ('user', 'train_count', 'position')}
  counts = ('users', 'events', 'share_new', 'share_cold')
  return System(
    cells=cells(report),
    spread={
      name: [of_seed[name].value for of_seed in alone]
      for name in alone[0]
      if results.BY_EVENT in name and not popularity
    },
    test={
      row['name']: {name: row['all'][name] for name in counts}
      for row in report['rows']
    },
    tables=tables,
    states={**same, 'movement': moved, 'norm': norm},
  )


def cells(report: Mapping[str, Any]) -> dict[results.Key, results.Cell]:
  """All means of a report of `online_report.build`."""
  return {
    results.key(metric, rule, row['name'], part, mean): results.Cell(
      **row[part][rule][metric][mean]
    )
    for row in report['rows']
    for part in online_report.PARTS
    for rule, metric in COLUMNS
    for mean in online_report.MEANS
  }


def tabulate(
  per_target: Mapping[str, np.ndarray],
  values: Mapping[tuple[str, str], np.ndarray],
  threshold: int,
) -> comparison.Table:
  """Sums over events of each user: inactive users, active users, everybody."""
  columns = [report_lib.Column(values[name]) for name in COLUMNS]
  users, sums, events = report_lib.user_sums(per_target['user'], columns)
  active = np.zeros(users.size, bool)
  index = np.searchsorted(users, per_target['user'])
  active[index] = per_target['train_count'] > threshold
  rows = (~active, active, np.ones(users.size, bool))
  by_row = lambda x: np.stack([x * chosen[:, None] for chosen in rows], axis=1)
  return comparison.Table(users, by_row(sums), by_row(events))


# ---- Differences


def _pooled(first: System, second: System) -> list[comparison.System]:
  """Both over their common seeds, if any; popularity has those of all.

  They are taken on the users that both have ranked.
  """
  seeds = [seed for seed in first.tables if seed in second.tables]
  return [
    comparison.pool(_of_users(system.tables[k], other.tables[k]) for k in seeds)
    for system, other in ((first, second), (second, first))
    if seeds
  ]


def _of_users(table: comparison.Table, other: comparison.Table):
  """The users of a table that another has too."""
  chosen = np.isin(table.users, other.users)
  return comparison.Table(*(column[chosen] for column in table))


def differences(
  systems: Mapping[str, System], reference: str, resamples: int
) -> dict[str, dict[results.Key, results.Difference]]:
  """Every system minus the reference, over the seeds that both have.

  Systems without a common seed are left out. Differences are of means over
  events, of inactive users, active ones and all: {system: {key: difference}}.
  """
  made = {}
  for name, system in systems.items():
    pooled = _pooled(systems[reference], system)
    if name == reference or not pooled:
      continue
    [compared] = comparison.compare(pooled, resamples, 0)
    present = pooled[0].table.counts[..., 0].astype(bool).sum(axis=0).tolist()
    made[name] = {
      results.key(metric, rule, row['group']): results.difference(row)
      for column, (rule, metric) in enumerate(COLUMNS)
      for row in comparison.rows(compared, column, present, KINDS)[:-1]
    }
  return made


def gain_difference(
  system: System, baseline: System, metric: str, resamples: int
) -> claims_lib.Between | None:
  """The gain of inactive and of active users over a baseline, 'expected'.

  It is None without a common seed.
  """
  if not (pooled := _pooled(system, baseline)):
    return None
  first, second = (one.table for one in pooled)
  at = np.s_[:, : len(KINDS), COLUMNS.index(('expected', metric))]
  return _between((first.sums - second.sums)[at], first.counts[at], resamples)


def movement_difference(
  system: System, threshold: int, resamples: int, relative: bool = False
) -> claims_lib.Between:
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


def _between(sums, counts, resamples) -> claims_lib.Between:
  """Ratios of two columns, and the first minus the second."""
  totals = counts.sum(axis=0)
  ratios = np.divide(
    sums.sum(axis=0), totals, out=np.full(2, np.nan), where=totals > 0
  )
  drawn = bootstrap.resampled_ratios(sums, counts, resamples, 0)
  low, high = bootstrap.percentiles(drawn[:, :1] - drawn[:, 1:])
  values = (*ratios, ratios[0] - ratios[1], low[0], high[0])
  inactive, active, minus, low, high = map(metrics_lib.or_none, values)
  return claims_lib.Between(
    inactive, active, results.Difference(minus, low, high)
  )
