"""Everything the document on 2TS shows, as JSON."""

from collections.abc import Mapping
import statistics
from typing import Any

import numpy as np

from twotsrec import theory
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import buckets
from twotsrec.evaluation import movement
from twotsrec.evaluation import online_report
from twotsrec.recipes.reproduction import results
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_claims as claims
from twotsrec.recipes.reproduction import two_time_measures as measures
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.training import run_directory

RESAMPLES = 2000  # of users, in comparisons

# Fields of a report that are shown.
_PROTOCOL = ('split', 'candidates', 'order', 'selection', 'dataset_digest')
_CHOICE = ('stage1_epochs', 'stage1_trials', 'stage1_seconds', 'stage1_taken')
_DIVISION = ('threshold', 'window', 'holdout', 'warmup')


def collect(
  settings: two_time.Settings, resamples: int = RESAMPLES
) -> dict[str, Any]:
  """Reads the finished runs.

  Args:
    settings: which runs.
    resamples: of users, in comparisons.
  Returns:
    {'command', 'settings', 'missing': number of runs, 'datasets': {'DATASET,
    SPLIT': see `_chapter`; null if none of its runs has finished}}.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  wanted = two_time.runs(settings)
  planned = two_time.plans(settings)
  known = {run: plan for run, plan in planned.items() if plan is not None}
  found = results.finished(known, settings.out, _more) if wanted else {}
  shown = ('tables', 'figures', 'systems', 'seeds')
  places = dict.fromkeys((run.dataset, run.split) for run in wanted)
  return {
    'command': two_time.command(settings),
    'settings': {name: getattr(settings, name) for name in shown},
    'missing': len(wanted) - len(found),
    'datasets': {
      f'{dataset}, {split}': _chapter(
        settings, dataset, split, found, resamples
      )
      for dataset, split in places
    },
  }


def _chapter(settings, dataset, split, found, resamples):
  """One dataset under one split.

  Returns:
    {'protocol' and 'data': of `_more` and `results.finished`, 'division': see
    `_division`, 'options': of `online_report`, 'systems': {system: see
    `_told`; null if no run has finished}, 'popularity': the same without runs,
    'against': of `measures.differences` to the reference, 'tables': {table:
    {row: its system}}, 'claims': of `claims.judge`, 'movement' and 'activity':
    of Figs. 4 and 5, 'commands': {system: the line that trains it}, 'runs': of
    `results.runs`}; None if no run has finished.
  """
  here = lambda run: (run.dataset, run.split) == (dataset, split)
  wanted = [run for run in two_time.runs(settings) if here(run)]
  done = {run: found[run] for run in wanted if run in found}
  if not done:
    return None
  _check_footing(settings, done)
  first, shown = next(iter(done.items()))
  names = two_time.systems(settings, dataset)
  runs_of = {name: [r for r in done if r.system == name] for name in names}
  division = _division(settings, first)
  systems = _measured(settings, runs_of, shown, division['threshold'])
  timing = {name: [_timing(done[r]) for r in runs_of[name]] for name in names}
  prepared = prepared_lib.load(
    str(run_directory.ids_path(two_time.workdir(settings, first)))
  )
  return {
    **{name: shown[name] for name in ('protocol', 'data')},
    'division': division | _users(prepared, division['threshold']),
    'options': systems[two_time.POPULARITY].report['options'],
    'systems': {name: _told(systems.get(name), timing[name]) for name in names},
    'popularity': _told(systems[two_time.POPULARITY], []),
    'tables': {
      table: {
        row: two_time.trained_as(settings, dataset, row)
        for row in two_time.rows(settings, table)
      }
      for table in settings.tables
    },
    **_judged(settings, dataset, systems, timing, division, resamples),
    'activity': _activity(prepared),
    'commands': {
      run.system: two_time.train_command(settings, run)
      for run in wanted
      if run.seed == settings.seeds[0]
    },
    'runs': results.runs(wanted, done),
  }


def _division(settings, run) -> dict[str, Any]:
  """What divides users, and what stage 1 sees of the windows."""
  config = two_time.config(settings, run._replace(system=two_time.REFERENCE))
  return {name: getattr(config.two_time, name) for name in _DIVISION}


def _judged(settings, dataset, systems, timing, division, resamples):
  """{'against', 'claims', 'movement'} of a chapter."""
  threshold, reference = division['threshold'], systems.get(two_time.REFERENCE)
  against = {}
  if reference is not None:
    against = measures.differences(systems, two_time.REFERENCE, resamples)
  seconds = {
    name: statistics.fmean(run['epoch_seconds'] for run in told)
    for name, told in timing.items()
    if told
  }
  # The claims know a system by its own name, whoever's run it is.
  same = {
    name: two_time.trained_as(settings, dataset, name)
    for name in settings.systems
  }
  named = systems | {k: systems[v] for k, v in same.items() if v in systems}
  judged = claims.judge(dataset, named, seconds, threshold, resamples)
  moved = reference and movement.curves(reference.states, threshold)
  return {'against': against, 'claims': judged, 'movement': moved}


def _measured(
  settings, runs_of, shown, threshold
) -> dict[str, measures.System]:
  """Systems that have a finished run, and popularity, which every run has."""
  options = _options(shown, threshold)
  workdirs = {
    name: {run.seed: two_time.workdir(settings, run) for run in runs}
    for name, runs in runs_of.items()
  }
  systems = {
    name: measures.of_runs(places, options)
    for name, places in workdirs.items()
    if places
  }
  of_seed = {
    seed: place
    for places in workdirs.values()
    for seed, place in places.items()
  }
  popular = measures.of_runs(of_seed, options, popularity=True)
  return {two_time.POPULARITY: popular, **systems}


def _options(shown, threshold) -> online_report.Options:
  """As the runs were reported, but users divided for all systems."""
  told = shown['options'] | {'threshold': threshold}
  return online_report.Options(**told | {'edges': tuple(told['edges'])})


def _told(system, timing) -> dict[str, Any] | None:
  """{'seeds', 'report': of `online_report`, 'spread', 'timing'}."""
  if system is None:
    return None
  return {
    'seeds': [*system.tables],
    'report': system.report,
    'spread': system.spread,
    'timing': timing,
  }


def _timing(shown) -> dict[str, Any]:
  """Epochs and seconds of a run's final parts.

  Returns:
    {'stage1_epochs' (0 without one), 'stage1_trials', 'stage1_seconds',
    'network_epochs': {network: trained}, 'network_seconds', 'epoch_seconds':
    of one epoch of every part, 'compile_seconds', 'evaluation_seconds'}.
  """
  phases, choice = shown['phases'], shown['choice']
  epochs = choice['stage1_epochs']
  parts = {
    name: phase for name, phase in phases.items() if _is_final(name, epochs)
  }
  seconds = sum(phase['seconds'] for phase in parts.values())
  each = sum(p['seconds'] / p['epochs'] for p in parts.values())
  if epochs:
    each += choice['stage1_seconds'] / epochs
  return {
    **choice,
    'network_epochs': {
      _trial_of(name)[0]: part['epochs'] for name, part in parts.items()
    },
    'network_seconds': seconds,
    'epoch_seconds': each,
    'compile_seconds': shown['compile_seconds'],
    'evaluation_seconds': shown['training']['evaluation_seconds'],
  }


def _is_final(phase: str, epochs: int) -> bool:
  """Whether a phase trains a network that serves, and is no other trial."""
  network, tried = _trial_of(phase)
  return network != 'stage1' and tried in (None, epochs)


def _trial_of(phase: str) -> tuple[str, int | None]:
  """What a phase trains, and after how many epochs of stage 1 if told."""
  name, _, tried = phase.rpartition('_')
  return (name, int(tried)) if tried.isdecimal() else (phase, None)


def _users(prepared, threshold) -> dict[str, int]:
  """How the threshold divides users, by train events."""
  counts = prepared_lib.train_counts(prepared)
  active = jobs_lib.is_active(counts, threshold)
  return {
    'inactive': int(np.sum(~active)),
    'active': int(np.sum(active)),
    'new': int(np.sum(counts == 0)),
    'most': int(counts.max()),
  }


def _activity(prepared) -> dict[str, Any]:
  """Fig. 5: users by train events; the law begins where most users are."""
  counts = prepared_lib.train_counts(prepared)
  told = buckets.histogram(counts)
  try:
    law = theory.fit_alpha(counts, theory.law_start(counts))
  except types.UserError:
    return told | dict.fromkeys(('alpha', 'standard_error', 'minimum', 'zeta'))
  return told | {
    'alpha': law.alpha,
    'standard_error': law.standard_error,
    'minimum': law.minimum,
    'zeta': float(theory.zeta(law.alpha, law.minimum + 1.0)),
  }


def _check_footing(settings: two_time.Settings, done: Mapping[Any, Any]):
  """Refuses runs of a chapter that were made of other data."""
  first = next(iter(done))
  for run, shown in done.items():
    here, there = (
      r['protocol']['dataset_digest'] for r in (shown, done[first])
    )
    if here != there:
      raise types.UserError(
        f'{two_time.workdir(settings, run)} and'
        f' {two_time.workdir(settings, first)} were trained on other data'
        ' (dataset_digest differs), so they cannot be compared'
      )


def _more(report: Any) -> dict[str, Any]:
  """What is read of a report besides.

  Returns:
    {'protocol', 'choice': of stage 1, 'phases', 'compile_seconds', 'options':
    of `online_report`}.
  """
  return {
    'protocol': {name: report['protocol'][name] for name in _PROTOCOL},
    'choice': {name: report['two_time'][name] for name in _CHOICE},
    'phases': report['training']['phases'],
    'compile_seconds': report['training']['compile_seconds'],
    'options': report['online']['model']['test']['options'],
  }
