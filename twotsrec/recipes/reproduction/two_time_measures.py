"""Numbers of finished 2TS runs: means over seeds, and paired differences.

Seeds are averaged event by event, before events are averaged; all runs of a
dataset and split rank the same events. What varies in the intervals is told in
`evaluation.comparison`: users, not the training.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.evaluation import movement
from twotsrec.evaluation import online_report
from twotsrec.training import online_rows as two_time_rows

RULES = ('expected', 'expected_without_past', 'all', 'all_without_past')
METRICS = ('mrr', 'recall@10')
COLUMNS = tuple((rule, metric) for rule in RULES for metric in METRICS)
KINDS = (online_report.INACTIVE, online_report.ACTIVE)  # rows of a table


class System(NamedTuple):
  """One system over its seeds.

  Attributes:
    report: of `online_report.build`, on the mean over the seeds.
    spread: {row: {part: {rule: {metric: [by_event of each seed]}}}}.
    tables: {seed: sums of `COLUMNS` over users, by `KINDS` and overall}.
    states: arrays [T] of the events: user, train_count, position, and the mean
      movement and norm over the seeds.
  """

  report: dict[str, Any]
  spread: dict[str, Any]
  tables: dict[int, comparison.Table]
  states: dict[str, np.ndarray]


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
  facts, tables, spread, moved = None, {}, {}, []
  total: dict[tuple[str, str], Any] = {}
  for seed, workdir in workdirs.items():
    rows = two_time_rows.read(workdir)
    arrays = rows.popularity if popularity else rows.model
    facts = arrays if facts is None else facts
    _check_same(facts, arrays, workdir)
    values = online_report.target_metrics(arrays, options.lists, options.k)
    total = {name: total.get(name, 0.0) + v for name, v in values.items()}
    tables[seed] = tabulate(arrays, values, options.threshold)
    alone = online_report.build(arrays, options._replace(resamples=0))
    _add(spread, alone)
    moved.append((arrays['movement'], arrays['norm']))
  means = {name: v / len(workdirs) for name, v in total.items()}
  of_seeds = [np.mean(column, axis=0) for column in zip(*moved, strict=True)]
  states = {k: facts[k] for k in ('user', 'train_count', 'position')}
  return System(
    online_report.build(facts, options, means),
    spread,
    tables,
    states | dict(zip(('movement', 'norm'), of_seeds, strict=True)),
  )


def _check_same(first, arrays, workdir):
  for name in ('event', 'user', 'train_count'):
    if not np.array_equal(first[name], arrays[name]):
      raise types.UserError(
        f'{workdir} holds out other events than the runs beside it ({name}'
        ' differs), so they cannot be compared; train them on the same data'
      )


def _add(spread, alone):
  """Appends the means over events of one seed."""
  for row in alone['rows']:
    for part in online_report.PARTS:
      for rule, metric in COLUMNS:
        at = spread.setdefault(row['name'], {}).setdefault(part, {})
        value = row[part][rule][metric]['by_event']['value']
        at.setdefault(rule, {}).setdefault(metric, []).append(value)


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
  systems: Mapping[str, System],
  reference: str,
  resamples: int,
) -> dict[str, dict[str, Any]]:
  """Every system minus the reference, over the seeds that both have.

  Args:
    systems: by name; those without a common seed are left out.
    reference: name of the reference.
    resamples: of users.
  Returns:
    {system: {'seeds', rule: {metric: rows of `comparison.rows`: inactive,
    active, all, mean of parts}}}.
  """
  told = {}
  for name, system in systems.items():
    shared = shared_seeds(systems[reference], system)
    if name == reference or not shared:
      continue
    pooled = [
      comparison.pool(s.tables[seed] for seed in shared)
      for s in (systems[reference], system)
    ]
    [found] = comparison.compare(pooled, resamples, 0)
    present = pooled[0].table.counts[..., 0].astype(bool).sum(axis=0)
    by_rule: dict[str, Any] = {'seeds': shared}
    for column, (rule, metric) in enumerate(COLUMNS):
      by_rule.setdefault(rule, {})[metric] = comparison.rows(
        found, column, present, KINDS
      )
    told[name] = by_rule
  return told


def gain_difference(
  system: System,
  baseline: System,
  column: tuple[str, str],
  resamples: int,
) -> dict[str, float | None]:
  """The gain over a baseline, of inactive minus of active users.

  Args:
    system: that gains.
    baseline: with a seed in common.
    column: of `COLUMNS`.
    resamples: of users.
  Returns:
    {'inactive', 'active', 'difference', 'low', 'high'}; the interval is null
    where one of the kinds has no users.
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
) -> dict[str, float | None]:
  """How far states move, of inactive minus of active users (2TS fig. 4).

  A user counts with the mean over the events that the figure shows.

  Args:
    system: with `states`.
    threshold: t*.
    resamples: of users.
    relative: to the norm of the state before; those of norm 0 are left out.
  Returns:
    As `gain_difference`.
  """
  states = system.states
  kept = states['position'] <= movement.LONGEST
  values = np.asarray(states['movement'], np.float64)
  if relative:
    kept &= states['norm'] > 0
    values = values / np.where(kept, states['norm'], 1.0)
  users, index = np.unique(states['user'][kept], return_inverse=True)
  add = lambda x: np.bincount(index, weights=x, minlength=users.size)
  means = add(values[kept]) / np.maximum(add(np.ones(index.size)), 1.0)
  active = np.zeros(users.size, bool)
  active[index] = states['train_count'][kept] > threshold
  kinds = np.stack([~active, active], axis=1).astype(np.float64)
  return _between(means[:, None] * kinds, kinds, resamples)


def _between(sums, counts, resamples) -> dict[str, float | None]:
  """Ratios of two columns, and the first minus the second."""
  totals = counts.sum(axis=0)
  ratios = np.divide(
    sums.sum(axis=0), totals, out=np.full(2, np.nan), where=totals > 0
  )
  drawn = bootstrap.resampled_ratios(sums, counts, resamples, 0)
  low, high = bootstrap.percentiles(drawn[:, :1] - drawn[:, 1:])
  known = {
    **dict(zip(KINDS, ratios, strict=True)),
    'difference': ratios[0] - ratios[1],
    'low': low[0],
    'high': high[0],
  }
  return {k: float(v) if np.isfinite(v) else None for k, v in known.items()}
