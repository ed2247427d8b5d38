"""Finished runs as documents read them, whatever they rank."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec import types
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.training import run_directory


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


def costs(
  runs: Sequence[study_lib.Run], done: Mapping[study_lib.Run, Finished]
) -> dict[study_lib.Run, Training]:
  """The cost of every run, with empty ones for those that are missing."""
  return {
    run: done[run].training if run in done else Training() for run in runs
  }


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
