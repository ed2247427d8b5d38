"""Means and differences of 2TS' online rankings, of the rows in its runs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.evaluation import movement
from twotsrec.evaluation import online_report
from twotsrec.studies import offline
from twotsrec.studies import results
from twotsrec.training import online_rows

RULES = ('expected', 'expected_without_past', 'all', 'all_without_past')
METRICS = ('mrr', 'recall@10')
COLUMNS = tuple((rule, metric) for rule in RULES for metric in METRICS)
KINDS = (online_report.INACTIVE, online_report.ACTIVE)  # rows of a table
BY_EVENT, BY_USER = 'by_event', 'by_user'


class System(NamedTuple):
  """One system over its seeds.

  Attributes:
    cells: of `online_report.build`, on the mean over the seeds.
    spread: of the means over events, that of each seed.
    test: {row: its numbers of users and events, and shares of new and cold}.
    tables: {seed: sums of `COLUMNS` over users, by `KINDS` and overall}.
    states: arrays [T] of the events: user, train_count, position, and the mean
      movement and norm over the seeds.
  """

  cells: dict[results.Key, results.Cell]
  spread: dict[results.Key, list[float]]
  test: dict[str, dict[str, Any]]
  tables: dict[int, comparison.Table]
  states: dict[str, np.ndarray]


def key(
  metric: str,
  rule: str = 'expected',
  place: str = results.ALL,
  part: str = 'all',
  mean: str = BY_EVENT,
) -> results.Key:
  """The key of a cell.

  Args:
    metric: of `METRICS`.
    rule: of `RULES`.
    place: 'all', 'inactive' or 'active' users, or a bucket.
    part: 'all' events or 'warm' ones.
    mean: over events or over users, 'by_event' or 'by_user'.
  """
  return (metric, rule, mean, part, place)


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
    _check_same(facts, arrays, workdir)
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
      if BY_EVENT in name and not popularity
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
    key(metric, rule, row['name'], part, mean): results.Cell(
      **row[part][rule][metric][mean]
    )
    for row in report['rows']
    for part in online_report.PARTS
    for rule, metric in COLUMNS
    for mean in online_report.MEANS
  }


def _check_same(first, arrays, workdir):
  for name in ('event', 'user', 'train_count'):
    if not np.array_equal(first[name], arrays[name]):
      raise types.UserError(
        f'{workdir} holds out other events than the runs beside it ({name}'
        ' differs), so they cannot be compared; train them on the same data'
      )


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
  systems: Mapping[str, System], reference: str, resamples: int
) -> dict[str, dict[results.Key, results.Difference]]:
  """Every system minus the reference, over the seeds that both have.

  Args:
    systems: by name; those without a common seed are left out.
    reference: name of the reference.
    resamples: of users.
  Returns:
    {system: {key of means over all events: difference}}, of inactive users,
    active ones, and all.
  """
  made = {}
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
      key(metric, rule, place): offline.difference(row)
      for column, (rule, metric) in enumerate(COLUMNS)
      for place, row in zip(
        (*KINDS, results.ALL),
        comparison.rows(compared, column, present, KINDS),
      )
    }
  return made


class Between(NamedTuple):
  """A value of inactive users minus that of active ones; None if undefined."""

  inactive: float | None
  active: float | None
  difference: float | None
  low: float | None
  high: float | None


def gain_difference(
  system: System,
  baseline: System,
  metric: str,
  resamples: int,
  rule: str = 'expected',
) -> Between:
  """The gain over a baseline, of inactive minus of active users.

  Args:
    system: that gains.
    baseline: with a seed in common.
    metric: of `METRICS`.
    resamples: of users.
    rule: of `RULES`.
  """
  seeds = shared_seeds(system, baseline)
  first, second = (
    comparison.pool(s.tables[seed] for seed in seeds).table
    for s in (system, baseline)
  )
  at = COLUMNS.index((rule, metric))
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
