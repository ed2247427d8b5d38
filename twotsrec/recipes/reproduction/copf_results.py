"""Everything the document on COPF shows, as JSON."""

from collections.abc import Mapping
from typing import Any

from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import results
from twotsrec.runs import compare

METRICS = ('hr@10', 'ndcg@10')
BY = ('groups', 'parts')  # of a report
_RESAMPLES = 1000  # of a single mean, as in a report

# Fields of a report that are shown.
_PART = ('name', 'users')
_PROTOCOL = ('split', 'candidates', 'selection', 'ks')


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
  found = results.finished(copf.plans(settings), settings.out, _more)
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


def _dataset(
  settings: copf.Settings,
  dataset: str,
  found: Mapping[copf.Run, dict[str, Any]],
  resamples: int,
) -> dict[str, Any] | None:
  """One dataset.

  Returns:
    {'protocol', 'data', 'groups', 'parts' and 'rules': of `results.finished`
    and `_more`, 'systems': {system: see `_system`, or null if no run has
    finished}, 'tables': {table: {row: its system}}, 'commands': {system: the
    line that trains it}, 'runs': of `results.runs`}; None if no run has.
  """
  wanted = [run for run in copf.runs(settings) if run.dataset == dataset]
  done = {run: found[run] for run in wanted if run in found}
  if not done:
    return None
  first = next(iter(done.values()))
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
      system: _system(of_seeds, against.get(system), first)
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
    'runs': results.runs(wanted, done),
  }


def _system(workdirs, against, shown) -> dict[str, Any] | None:
  """One system.

  Returns:
    {'seeds', 'cells': {by: of `results.cells`}, 'against': of `_comparisons`}.
  """
  if not workdirs:
    return None
  places, ks = [*workdirs.values()], shown['protocol']['ks']
  return {
    'seeds': list(workdirs),
    'cells': {
      by: results.cells(places, len(shown[by]), ks, _RESAMPLES, METRICS, by)
      for by in BY
    },
    'against': against,
  }


def _comparisons(
  workdirs: Mapping[str, Mapping[int, str]], resamples: int
) -> dict[str, dict[str, Any]]:
  """Paired differences to COPF over the seeds that both have.

  Returns:
    {system: {'seeds', by: {metric: rows of `comparison.rows`}}}.
  """
  others = [system for system in workdirs if system != copf.REFERENCE]
  compared: dict[str, dict[str, Any]] = {}
  for by in BY:
    for result in results.comparisons(
      workdirs, copf.REFERENCE, others, resamples, METRICS, by
    ):
      for system, by_metric in result['comparisons'].items():
        of_system = compared.setdefault(system, {'seeds': result['seeds']})
        of_system[by] = by_metric
  return compared


def _more(report: Any) -> dict[str, Any]:
  """What is read of a report besides.

  Returns:
    {'protocol', 'parts': [{'name', 'users'}], 'rules': {name: {by: of
    `results.of_part`}}}.
  """
  parts = report['test']['parts']
  return {
    'protocol': {name: report['protocol'][name] for name in _PROTOCOL},
    'parts': [{name: row[name] for name in _PART} for row in parts],
    'rules': {
      rule: {by: results.of_part(part, METRICS, by) for by in BY}
      for rule, part in report['baselines'].items()
    },
  }
