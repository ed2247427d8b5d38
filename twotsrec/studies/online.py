"""Numbers of finished 2TS runs: means over seeds, and paired differences.

Seeds are averaged event by event, before events are averaged; all runs of a
dataset and split rank the same events. Intervals are over users (see
`evaluation.comparison`), not over trainings.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import buckets
from twotsrec.evaluation import movement
from twotsrec.evaluation import online_report
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import online_measures as measures
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.theory import power_law
from twotsrec.training import run_directory

RESAMPLES = 2000  # of users, in comparisons
POPULARITY = 'popularity'  # is in every run, nothing of it is trained


class Report(NamedTuple):
  """What is read of the report of a 2TS run."""

  digest: str  # of its data
  options: dict[str, Any]  # of its online report
  phases: dict[str, Any]  # {name: {'epochs', 'seconds', ...}}
  stage1_epochs: int  # chosen; 0 without a stage 1
  stage1_trials: dict[str, float]  # validation MRR by epochs
  stage1_seconds: float  # of the chosen length
  compile_seconds: float  # of all phases


class Timing(NamedTuple):
  """Epochs and seconds of the parts of a run that serve."""

  seed: int
  stage1_epochs: int
  stage1_trials: dict[str, float]
  stage1_seconds: float
  network_epochs: dict[str, int]
  network_seconds: float
  epoch_seconds: float  # of one epoch of every part, stage 1 included
  compile_seconds: float  # of the whole run, as the next
  evaluation_seconds: float | None


class Activity(NamedTuple):
  """Users by train events and the fitted power law; None if nothing fits."""

  values: list[int]  # numbers of train events
  users: list[int]  # who have as many
  alpha: float | None = None  # exponent of the law
  standard_error: float | None = None
  minimum: int | None = None  # the law begins here
  zeta: float | None = None  # of alpha and minimum + 1


class Details(NamedTuple):
  """A chapter besides its systems.

  Attributes:
    options: of all online reports.
    lists: sampled candidates beside an item.
    test: of all test events, or of a bucket's: numbers of users and events, and
      shares of those of new users and of cold items.
    two_time: the settings of the reference, which divide users for all.
    inactive: number of users, by train events; likewise the next three.
    active: above the threshold.
    new: without a train event.
    most: train events of the most active user.
    movement: of `movement.curves`, of the reference; None without it.
    activity: of the users.
  """

  options: online_report.Options
  lists: int
  test: dict[str, dict[str, Any]]
  two_time: Any
  inactive: int
  active: int
  new: int
  most: int
  movement: dict[str, Any] | None
  activity: Activity


class More(NamedTuple):
  """What claims on 2TS are judged by, besides cells and differences."""

  systems: Mapping[str, measures.System]
  threshold: int
  resamples: int


def collector(
  reference: str, *others: str
) -> Callable[..., dict[str, results.Chapter | None]]:
  """`Study.collect` of a study of 2TS.

  Args:
    reference: whose settings divide users for all systems.
    *others: more systems that all are compared with.
  """

  def collect(plan: plans.Plan, resamples: int | None = None):
    resamples = RESAMPLES if resamples is None else resamples
    return results.collect(
      plan,
      read=_report,
      chapter=functools.partial(
        _chapter, (reference, *others), plan, resamples
      ),
    )

  return collect


def _report(report) -> Report:
  choice, training = report['two_time'], report['training']
  return Report(
    digest=report['protocol']['dataset_digest'],
    options=report['online']['model']['test']['options'],
    phases=training['phases'],
    stage1_epochs=choice['stage1_epochs'],
    stage1_trials=choice['stage1_trials'],
    stage1_seconds=choice['stage1_seconds'],
    compile_seconds=training['compile_seconds'],
  )


def _chapter(references, plan, resamples, name, costs, done) -> results.Chapter:
  _check_data(plan, done)
  first = next(iter(done))
  chosen = plans.settings(plan, first._replace(system=references[0])).two_time
  options = done[first].details.options
  options |= {'threshold': chosen.threshold, 'edges': tuple(options['edges'])}
  systems = _systems(plan, done, online_report.Options(**options))
  same = plan.same[first.place]
  named = {
    system: systems[same.get(system, system)]
    for system in (
      POPULARITY,
      *plan.request.systems,
      *plan.systems[first.place],
    )
    if same.get(system, system) in systems
  }
  against = {
    reference: measures.differences(named, reference, resamples)
    for reference in references
    if reference in named
  }
  measured = {
    system: results.Measured(
      cells=own.cells,
      against={
        base: of[system] for base, of in against.items() if system in of
      },
      trainings=[
        _timing(run.seed, done[run])
        for run in done
        if run.system == same[system]
      ]
      if system != POPULARITY
      else None,
      spread=own.spread,
    )
    for system, own in named.items()
  }
  block = results.block(plan, first.place, measured)
  evidence = claims_lib.Evidence(
    systems=measured,
    name=lambda system: plan.study.labels[system],
    place=first.place[0],
    more=More(named, chosen.threshold, resamples),
  )
  prepared = prepared_lib.load(
    str(run_directory.ids_path(plans.workdir(plan, first)))
  )
  return results.Chapter(
    name=name,
    data=done[first].data,
    details=_details(chosen, options, named, references[0], prepared),
    rules={POPULARITY: measured[POPULARITY]},
    blocks={
      '': block._replace(claims=claims_lib.judge(plan.study.claims, evidence))
    },
    runs=costs,
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


def _details(chosen, options, systems, reference, prepared) -> Details:
  counts = prepared_lib.train_counts(prepared)
  active = stream_jobs.is_active(counts, chosen.threshold)
  moved = None
  if reference in systems:
    moved = movement.curves(systems[reference].states, chosen.threshold)
  return Details(
    options=online_report.Options(**options),
    lists=options['lists'],
    test=systems[POPULARITY].test,
    two_time=chosen,
    inactive=int(np.sum(~active)),
    active=int(np.sum(active)),
    new=int(np.sum(counts == 0)),
    most=int(counts.max()),
    movement=moved,
    activity=_activity(counts),
  )


def _systems(plan, done, options) -> dict[str, measures.System]:
  """Finished systems, and popularity, which every run has."""
  workdirs: dict[str, dict[int, str]] = {}
  order = {system: i for i, system in enumerate(plan.study.systems)}
  for run in sorted(done, key=lambda run: order[run.system]):
    workdirs.setdefault(run.system, {})[run.seed] = plans.workdir(plan, run)
  of_seed = {k: v for places in workdirs.values() for k, v in places.items()}
  popular = measures.of_runs(of_seed, options, popularity=True)
  return {POPULARITY: popular} | {
    name: measures.of_runs(places, options) for name, places in workdirs.items()
  }


def _timing(seed: int, run: results.Finished) -> Timing:
  details, parts = run.details, {}
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
    seed=seed,
    stage1_epochs=details.stage1_epochs,
    stage1_trials=details.stage1_trials,
    stage1_seconds=details.stage1_seconds,
    network_epochs={name: part['epochs'] for name, part in parts.items()},
    network_seconds=sum(part['seconds'] for part in parts.values()),
    epoch_seconds=each,
    compile_seconds=details.compile_seconds,
    evaluation_seconds=run.training.evaluation_seconds,
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


def by_bucket(
  systems: Sequence[str], labels: Mapping[str, str]
) -> Callable[[results.Chapter], Any]:
  """`figures.by_bucket` of popularity and the finished ones of some systems."""

  def content(chapter: results.Chapter) -> Any:
    [block] = chapter.blocks.values()
    finished = {**chapter.rules, **block.systems}
    return chapter.details.options, {
      labels[name]: finished[name]
      for name in (POPULARITY, *systems)
      if finished.get(name) is not None
    }

  return content
