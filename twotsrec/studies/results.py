"""Records of finished runs as documents show them, whatever they rank."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

# A metric, perhaps with how it is taken, and last the users: 'all', 'group 1'.
Key = tuple[str, ...]
ALL = 'all'
POPULARITY = 'popularity'  # is in every run of 2TS, nothing of it is trained
KINDS = ('inactive', 'active')  # users of 2TS
BY_EVENT, BY_USER = 'by_event', 'by_user'


def key(
  metric: str,
  rule: str = 'expected',
  place: str = ALL,
  part: str = 'all',
  mean: str = BY_EVENT,
) -> Key:
  """The key of a cell of 2TS.

  Args:
    metric: 'mrr' or 'recall@10'.
    rule: of `online.RULES`.
    place: 'all', 'inactive' or 'active' users, or a bucket.
    part: 'all' events or 'warm' ones.
    mean: over events or over users, 'by_event' or 'by_user'.
  """
  return (metric, rule, mean, part, place)


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
    ends = turn(self.difference), turn(self.high), turn(self.low)
    return Difference(*ends, tuple(map(turn, self.by_seed)))


def difference(row: Mapping[str, Any]) -> Difference:
  """A row of `evaluation.comparison.rows` as a record."""
  ends = row['difference'], row['low'], row['high']
  return Difference(*ends, tuple(row['by_seed']))


def plain(value: float | None) -> str:
  """A value in the text; '-' where it is undefined."""
  return '-' if value is None else f'{value:.4f}'


def shown(cell: Cell) -> str:
  """A value with its interval, if it has one."""
  if cell.value is None or cell.low is None:
    return plain(cell.value)
  return f'{cell.value:.4f} ({cell.low:.4f} to {cell.high:.4f})'


def signed(row: Difference) -> str:
  """A difference with its interval; '-' where it is undefined."""
  if row.difference is None or row.low is None:
    return '-'
  return f'{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})'


class Training(NamedTuple):
  """The cost of a run; None where it has not finished."""

  seconds: float | None = None
  evaluation_seconds: float | None = None
  epochs: int | None = None
  selected_epoch: int | None = None
  device: str | None = None
  selected_value: Any = None  # on validation; of some recipes


COSTS = Training._fields[:-1]  # that every report has


class Finished(NamedTuple):
  """What is read of the report of a finished run."""

  data: dict[str, Any]  # counts of the dataset
  training: Training
  details: Any  # of `offline.read` or `timings.read`


class Tuning(NamedTuple):
  """The setting of a system, chosen of several on validation."""

  setting: str  # of `Study.tried`
  values: dict[str, Any]  # by setting, of the first seed
  seconds: float  # of the trainings of that seed, together


class Measured(NamedTuple):
  """A system over its seeds."""

  cells: dict[Key, Cell]  # means over the seeds
  # By reference, over the seeds that both have.
  against: dict[str, dict[Key, Difference]] = {}
  # A record of the cost for every seed; None where nothing is to be trained.
  trainings: list[Any] | None = None
  spread: dict[Key, list[float]] = {}  # of some cells the value of each seed
  tuning: Tuning | None = None  # where several settings were tried


class Block(NamedTuple):
  """The systems that are compared with each other."""

  systems: dict[str, Measured | None]  # None if no run has finished
  tables: dict[str, dict[str, str]]  # {table: {row: whose run stands for it}}
  # {last part of the directory: line that trains it}, of the first seed
  commands: dict[str, str]
  claims: list[Any] = []  # of the study, judged
  compared: list[Any] = []  # pairs of systems at length
  curves: list[Any] = []  # of validation


class Numbers(NamedTuple):
  """What is measured in the finished runs of a chapter."""

  details: Any  # about its data, `offline.Details` or `online.Details`
  rules: dict[str, Measured]  # baselines that train nothing
  blocks: dict[str, Block]  # by the value of the axis inside a chapter, or ''


class Chapter(NamedTuple):
  """All finished runs on one dataset."""

  name: str  # of the dataset and of other axes that divide chapters
  data: dict[str, Any]  # counts of the dataset
  details: Any  # of `Numbers`, likewise the next two
  rules: dict[str, Measured]
  blocks: dict[str, Block]
  runs: dict[study_lib.Run, Training]  # every run with its cost


def divided(study: study_lib.Study, place: study_lib.Place) -> tuple[str, str]:
  """A place as the name of its chapter and the block inside."""
  named = list(zip(study.axes, place, strict=True))
  return (
    ', '.join(value for flag, value in named if flag not in study.inside),
    ', '.join(value for flag, value in named if flag in study.inside),
  )


def block(
  plan: plans.Plan,
  place: study_lib.Place,
  systems: Mapping[str, Measured],
  claims: Sequence[Any],
) -> Block:
  """The systems of a place in tables and commands; missing ones are None."""
  study, request, trained = plan.study, plan.request, plan.systems[place]
  asked = {*request.systems, *study.needed(request, place)}
  first = [
    (pathlib.Path(plans.workdir(plan, run)).name, run)
    for run in plans.runs(plan)
    if (run.place, run.seed) == (place, request.seeds[0])
  ]
  return Block(
    systems={system: systems.get(system) for system in trained},
    tables={
      name: {row: plan.same[place][row] for row in table.rows if row in asked}
      for name, table in study.tables.items()
      if name in request.tables
    },
    commands={name: plans.train_command(plan, run) for name, run in first},
    claims=list(claims),
  )
