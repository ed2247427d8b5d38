"""Everything the document on COPF shows, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.recipes import compare
from twotsrec.recipes import compared_runs
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_training
from twotsrec.training import run_directory

METRICS = ('hr@10', 'ndcg@10')
BY = ('groups', 'parts')  # of a report
_RESAMPLES = 1000  # of a single mean, as in a report

# Fields of a report that are shown.
_GROUP = ('group', 'users', 'min_activity', 'max_activity')
_PART = ('name', 'users')
_PROTOCOL = ('split', 'candidates', 'selection', 'ks')
_TRAINING = ('seconds', 'evaluation_seconds', 'epochs', 'selected_epoch')


def collect(
  settings: copf.Settings, resamples: int = compare.RESAMPLES
) -> dict[str, Any]:
  """Reads the finished runs.

  Args:
    settings: which runs.
    resamples: of users, in comparisons.
  Returns:
    {'command', 'settings', 'missing': number of runs, 'datasets': {name: see
    `_dataset`; null if none of its runs has finished}}.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  found = {}
  for run in copf.runs(settings):
    report = copf_training.finished(settings, run)
    if report is not None:
      found[run] = _shown(copf.workdir(settings, run), report)
  if not found:
    raise types.UserError(
      f'no run of these settings has finished in {settings.out}; leave out'
      ' --report_only to train them'
    )
  shown = ('tables', 'variants', 'seeds', 'epochs')
  return {
    'command': copf.command(settings),
    'settings': {name: getattr(settings, name) for name in shown},
    'missing': len(copf.runs(settings)) - len(found),
    'datasets': {
      dataset: _dataset(settings, dataset, found, resamples)
      for dataset in settings.datasets
    },
  }


def cells(
  workdirs: Sequence[str], by: str, resamples: int
) -> dict[str, list[dict[str, float | None]]]:
  """Means over the seeds of one system, with 95 % intervals over users.

  Args:
    workdirs: directories of finished runs, one per seed.
    by: of `BY`.
    resamples: of users.
  Returns:
    {metric: [{'value', 'low', 'high'}]}, of each group or part and of
    everybody.
  Raises:
    types.UserError: a run that is damaged or rests on other items.
  """
  system = comparison.pool(_table(workdir, by) for workdir in workdirs)
  table = system.table
  value = comparison.values(table)[:-1]
  sums, counts = (
    of_users.reshape(len(table.users), -1)
    for of_users in (table.sums, table.counts)
  )
  bounds = bootstrap.intervals(sums, counts, resamples, 0)
  low, high = (bound.reshape(value.shape) for bound in bounds)
  named = {'value': value, 'low': low, 'high': high}
  return {
    metric: [
      {name: _number(bound[row, column]) for name, bound in named.items()}
      for row in range(len(value))
    ]
    for column, metric in enumerate(METRICS)
  }


def of_part(part: Mapping[str, Any], by: str) -> dict[str, list[Any]]:
  """The same of a part of a report, such as that of a rule."""
  rows = [*part[by], part['overall']]
  bounds = ('value', 'low', 'high')
  return {
    metric: [{name: row[metric][name] for name in bounds} for row in rows]
    for metric in METRICS
  }


def _dataset(
  settings: copf.Settings,
  dataset: str,
  found: Mapping[copf.Run, dict[str, Any]],
  resamples: int,
) -> dict[str, Any] | None:
  """One dataset.

  Returns:
    {'protocol', 'data', 'groups', 'parts' and 'rules': of `_shown`, 'systems':
    {system: see `_system`, or null if no run has finished}, 'tables': {table:
    {row: its system}}, 'runs': [fields of the run and of its training, null
    where it has not finished]}; None if no run has.
  """
  wanted = [run for run in copf.runs(settings) if run.dataset == dataset]
  done = {run: found[run] for run in wanted if run in found}
  if not done:
    return None
  first = next(iter(done.values()))
  unknown = dict.fromkeys((*_TRAINING, 'device'))
  workdirs = {
    system: {
      run.seed: copf.workdir(settings, run)
      for run in done
      if run.system == system
    }
    for system in copf.systems(settings, dataset)
  }
  against = _comparisons(workdirs, resamples)
  return {
    **{name: first[name] for name in ('protocol', 'data', *BY, 'rules')},
    'systems': {
      system: _system(of_seeds, against.get(system))
      for system, of_seeds in workdirs.items()
    },
    'tables': {
      table: {
        row: copf.trained_as(dataset, row) for row in copf.rows(settings, table)
      }
      for table in settings.tables
    },
    'commands': {
      system: copf.train_command(
        settings, copf.Run(dataset, settings.seeds[0], system)
      )
      for system in workdirs
    },
    'runs': [
      {**run._asdict(), **(done[run]['training'] if run in done else unknown)}
      for run in wanted
    ],
  }


def _system(workdirs, against) -> dict[str, Any] | None:
  """One system.

  Returns:
    {'seeds', 'cells': {by: of `cells`}, 'against': of `_comparisons`}.
  """
  if not workdirs:
    return None
  places = [*workdirs.values()]
  return {
    'seeds': list(workdirs),
    'cells': {by: cells(places, by, _RESAMPLES) for by in BY},
    'against': against,
  }


def _comparisons(
  workdirs: Mapping[str, Mapping[int, str]], resamples: int
) -> dict[str, dict[str, Any]]:
  """Paired differences to COPF over the seeds that both have.

  Returns:
    {system: {'seeds', by: {metric: rows of `comparison.rows`}}}.
  """
  base = workdirs.get(copf.REFERENCE, {})
  by_seeds: dict[tuple[int, ...], list[str]] = {}
  for system, of_seeds in workdirs.items():
    shared = tuple(seed for seed in base if seed in of_seeds)
    if shared and system != copf.REFERENCE:
      by_seeds.setdefault(shared, []).append(system)
  compared: dict[str, dict[str, Any]] = {}
  for seeds, others in by_seeds.items():
    chosen = {
      system: [workdirs[system][seed] for seed in seeds]
      for system in (copf.REFERENCE, *others)
    }
    for by in BY:
      result = compare.compare(chosen, METRICS, resamples, by=by)
      for system, by_metric in result['comparisons'].items():
        of_system = compared.setdefault(system, {'seeds': list(seeds)})
        of_system[by] = by_metric
  return compared


def _shown(workdir: str, report: Any) -> dict[str, Any]:
  """What is read of a report.

  Returns:
    {'protocol', 'data', 'groups': [{'group', 'users', 'min_activity',
    'max_activity'}], 'parts': [{'name', 'users'}], 'rules': {name: {by: of
    `of_part`}}, 'training' with 'device'}.
  """
  try:
    test = report['test']
    return {
      'protocol': {name: report['protocol'][name] for name in _PROTOCOL},
      'data': dict(report['dataset']),
      'groups': [
        {name: row[name] for name in _GROUP} for row in test['groups']
      ],
      'parts': [{name: row[name] for name in _PART} for row in test['parts']],
      'rules': {
        rule: {by: of_part(part, by) for by in BY}
        for rule, part in report['baselines'].items()
      },
      'training': {
        **{name: report['training'][name] for name in _TRAINING},
        'device': report['versions']['device'],
      },
    }
  except (KeyError, TypeError) as error:
    path = run_directory.report_path(workdir)
    raise types.UserError(
      f'{path} is damaged or of another version ({error}); restore it from a'
      ' copy, or train again in an empty --out'
    ) from error


def _table(workdir: str, by: str) -> comparison.Table:
  run = compared_runs.open_run(workdir)
  return comparison.tabulate(
    compared_runs.per_target(run, by),
    len(run.test[by]),
    run.protocol['ks'],
    METRICS,
    compared_runs.BY[by],
  )


def _number(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
