"""Finished runs as documents show them, whatever they rank."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twotsrec import types
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib
from twotsrec.training import run_directory

# A metric, perhaps with how it is taken, and last the users: 'all', 'group 1'.
Key = tuple[str, ...]
ALL = 'all'


class Cell(NamedTuple):
  """A mean with its 95 % interval over users; None where it is undefined."""

  value: float | None
  low: float | None = None
  high: float | None = None


class Difference(NamedTuple):
  """A system minus a reference, paired, with its 95 % interval over users."""

  difference: float | None
  low: float | None
  high: float | None
  by_seed: tuple[float | None, ...] = ()

  def negative(self) -> 'Difference':
    """The reference minus the system; a tie is +0."""
    turn = lambda value: None if value is None else 0.0 - value
    return Difference(
      difference=turn(self.difference),
      low=turn(self.high),
      high=turn(self.low),
      by_seed=tuple(map(turn, self.by_seed)),
    )


class Training(NamedTuple):
  """The cost of a run; None where it has not finished."""

  seconds: float | None = None
  evaluation_seconds: float | None = None
  epochs: int | None = None
  selected_epoch: int | None = None
  device: str | None = None


class Finished(NamedTuple):
  """A finished run: counts of its data, its cost, and what `read` gave."""

  data: dict[str, Any]
  training: Training
  details: Any


class Measured(NamedTuple):
  """A system over its seeds.

  Attributes:
    cells: means over the seeds.
    against: differences by reference, over the seeds that both have.
    trainings: `Training` of every seed, or another record of its cost; None
      where nothing is to be trained.
    spread: of some cells the value of each seed.
  """

  cells: dict[Key, Cell]
  against: dict[str, dict[Key, Difference]] = {}
  trainings: list[Any] | None = None
  spread: dict[Key, list[float]] = {}


class Block(NamedTuple):
  """The systems that are compared with each other.

  Attributes:
    systems: {system: its numbers; None if no run has finished}.
    tables: {table: {row: the system whose run stands for it}}.
    commands: {system: the line that trains it with the first seed}.
    claims: the study's, judged.
    compared: pairs of systems at length, where the document has them.
    curves: of validation, likewise.
  """

  systems: dict[str, Measured | None]
  tables: dict[str, dict[str, str]]
  commands: dict[str, str]
  claims: list[Any] = []
  compared: list[Any] = []
  curves: list[Any] = []


class Chapter(NamedTuple):
  """All finished runs on one dataset.

  Attributes:
    name: of the dataset and of other axes that divide chapters.
    data: counts of the dataset.
    details: what a study's `collect` tells of the chapter besides.
    rules: baselines that train nothing.
    blocks: by the value of the axis inside a chapter, or ''.
    runs: every run with its cost.
  """

  name: str
  data: dict[str, Any]
  details: Any
  rules: dict[str, Measured]
  blocks: dict[str, Block]
  runs: dict[study_lib.Run, Training]


def collect(
  plan: plans.Plan,
  read: Callable[[dict[str, Any]], Any],
  chapter: Callable[..., Chapter],
) -> dict[str, Chapter | None]:
  """The chapters of a plan; None where no run has finished.

  Args:
    plan: with all runs.
    read: report -> `Finished.details`; it may raise KeyError and TypeError.
    chapter: (name, {run: cost}, {finished run: `Finished`}) -> Chapter.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  done = _finished(plan, read)
  runs: dict[str, list[study_lib.Run]] = {}
  for place in plan.systems:
    runs.setdefault(divided(plan.study, place)[0], [])
  for run in plans.runs(plan):
    runs[divided(plan.study, run.place)[0]].append(run)
  made: dict[str, Chapter | None] = {}
  for name, wanted in runs.items():
    here = {run: done[run] for run in wanted if run in done}
    costs = {r: here[r].training if r in here else Training() for r in wanted}
    made[name] = chapter(name, costs, here) if here else None
  return made


def _finished(plan, read) -> dict[study_lib.Run, Finished]:
  reports = {run: plans.report(plan, run) for run in plans.runs(plan)}
  done = {
    run: _read(plans.workdir(plan, run), report, read)
    for run, report in reports.items()
    if report is not None
  }
  if reports and not done:
    raise types.UserError(
      f'no run of these settings has finished in {plan.request.out}; leave out'
      ' --report_only to train them'
    )
  return done


def _read(workdir, report, read) -> Finished:
  try:
    cost = report['training'] | {'device': report['versions']['device']}
    training = Training(**{name: cost[name] for name in Training._fields})
    return Finished(dict(report['dataset']), training, read(report))
  except (KeyError, TypeError) as error:
    path = run_directory.report_path(workdir)
    raise types.UserError(
      f'{path} is damaged or of another version ({error}); restore it from a'
      ' copy, or train again in an empty --out'
    ) from error


def divided(study: study_lib.Study, place: study_lib.Place) -> tuple[str, str]:
  """A place as the name of its chapter and the block inside."""
  named = list(zip(study.axes, place, strict=True))
  return (
    ', '.join(value for flag, value in named if flag not in study.inside),
    ', '.join(value for flag, value in named if flag in study.inside),
  )


def block(
  plan: plans.Plan, place: study_lib.Place, systems: Mapping[str, Measured]
) -> Block:
  """The systems of a place in tables and commands; missing ones are None."""
  first = plan.request.seeds[0]
  return Block(
    systems={system: systems.get(system) for system in plan.systems[place]},
    tables={
      table: {
        row: plan.same[place][row] for row in plans.rows(plan, place, table)
      }
      for table in plan.study.tables
      if table in plan.request.tables
    },
    commands={
      system: plans.train_command(plan, study_lib.Run(place, first, system))
      for system in plan.systems[place]
    },
  )
