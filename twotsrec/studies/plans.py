"""The runs that follow from a study and a request: planned and trained.

A run lies in OUT/AXIS.../seedK/SYSTEM and is that of launch/train.py with the
flags of `train_flags`. Two systems with equal settings share the run of the
first.
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib
import shlex
import time
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.studies import study as study_lib
from twotsrec.studies import training


class Plan(NamedTuple):
  """The runs of a request.

  Attributes:
    study: whose.
    request: checked by `ask`.
    same: {place: {system: the one whose run stands for it}}.
    systems: {place: those with a run, in the order they are trained}.
  """

  study: study_lib.Study
  request: study_lib.Request
  same: Mapping[study_lib.Place, Mapping[str, str]]
  systems: Mapping[study_lib.Place, tuple[str, ...]]


def plan(study: study_lib.Study, request: study_lib.Request) -> Plan:
  """All runs of a request."""
  same, systems = {}, {}
  for place in study_lib.places(study, request):
    needed = study.needed(request, place)
    if needed:
      same[place] = _same(study, request, place)
      trained = {same[place][system] for system in needed}
      systems[place] = tuple(s for s in study.systems if s in trained)
  return Plan(study, request, same, systems)


def _same(study, request, place) -> dict[str, str]:
  made = {
    system: _settings(study, request, study_lib.Run(place, 0, system))
    for system in study.systems
  }
  return {
    system: next(name for name in made if made[name] == made[system])
    for system in made
  }


def _settings(study, request, run) -> config_lib.Config:
  made = study.preset(run.place, run.system)
  made.data.data_root = request.data_root
  made.data.cache_dir = request.cache_dir
  fields = {**request.changes, **study.changes(request, run)}
  config_lib.change(made, fields | {'train.seed': run.seed})
  return made


def settings(plan: Plan, run: study_lib.Run) -> config_lib.Config:
  """The configuration of a run but for the fields that other runs decide."""
  return _settings(plan.study, plan.request, run)


def config(plan: Plan, run: study_lib.Run) -> config_lib.Config | None:
  """The configuration of a run; None while it waits for another one."""
  follows = plan.study.follows(plan, run)
  if follows is None:
    return None
  made = settings(plan, run)
  config_lib.change(made, follows)
  return made


def runs(plan: Plan) -> list[study_lib.Run]:
  """All runs in the order they are trained: all there is of a seed first."""
  return [
    study_lib.Run(place, seed, system)
    for seed in plan.request.seeds
    for place, systems in plan.systems.items()
    for system in systems
  ]


def workdir(plan: Plan, run: study_lib.Run) -> str:
  """The directory of a run."""
  place = pathlib.Path(plan.request.out, *run.place)
  return str(place / f'seed{run.seed}' / run.system)


def report(plan: Plan, run: study_lib.Run) -> dict[str, Any] | None:
  """The report of a run; None if it is missing, too short or under way.

  Raises:
    types.UserError: its directory holds another run.
  """
  made = config(plan, run)
  return None if made is None else training.report(made, workdir(plan, run))


def after(
  sources: Mapping[str, tuple[str, str]],
) -> Callable[[Plan, study_lib.Run], dict[str, Any]]:
  """`Study.follows` of systems that name the run of another in a field.

  Args:
    sources: {system: (field, system whose directory it names)}.
  """

  def follows(plan: Plan, run: study_lib.Run) -> dict[str, Any]:
    if run.system not in sources:
      return {}
    field, system = sources[run.system]
    return {field: workdir(plan, run._replace(system=system))}

  return follows


def rows(plan: Plan, place: study_lib.Place, table: str) -> list[str]:
  """Systems that a table shows at a place."""
  request = plan.request
  asked = {*request.systems, *plan.study.needed(request, place)}
  return [row for row in plan.study.tables[table].rows if row in asked]


# ---- Training


def train(
  plan: Plan,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  tell: Callable[[str], Any] = lambda line: None,
) -> bool:
  """Trains the missing runs; False if it was stopped.

  Args:
    plan: the runs.
    should_stop: asked about once a second.
    quiet: no progress display.
    tell: takes a line about every run before it is trained.
  Raises:
    types.UserError: data that are not there, before anything is trained, and
      whatever a training refuses.
  """
  every = runs(plan)
  missing = [run for run in every if report(plan, run) is None]
  training.verify(made for run in missing if (made := config(plan, run)))
  begin = time.monotonic()
  for done, run in enumerate(missing):
    if should_stop():
      return False
    made, place = config(plan, run), workdir(plan, run)
    if made is None:
      raise types.UserError(
        f'{place} waits for a run beside it that has no report; train that'
        ' first'
      )
    left = _left(time.monotonic() - begin, done, len(missing) - done)
    number = len(every) - len(missing) + done + 1
    tell(f'{place} ({number} of {len(every)} runs{left})')
    if not training.train(made, place, should_stop, quiet):
      return False
  return True


def _left(seconds: float, done: int, missing: int) -> str:
  """The time the others take, by the mean of the runs so far."""
  if not done:
    return ''
  minutes = seconds / done * missing / 60.0
  return f', about {max(1, round(minutes)):,} min left'


# ---- Commands


def train_flags(plan: Plan, run: study_lib.Run) -> list[str]:
  """The flags of launch/train.py for the same run."""
  request, study = plan.request, plan.study
  changes = {**request.changes, **study.changes(request, run)}
  changes |= {'train.seed': run.seed}
  changes |= study.follows(plan, run) or {}
  return [
    f'--config=configs/{study.file(run.place, run.system)}',
    f'--data_root={request.data_root}',
    f'--config.data.cache_dir={request.cache_dir}',
    f'--workdir={workdir(plan, run)}',
    *(f'--config.{name}={_field(value)}' for name, value in changes.items()),
  ]


def train_command(plan: Plan, run: study_lib.Run) -> str:
  """The line that trains one run."""
  flags = train_flags(_with_root(plan), run)
  return shlex.join(['python', 'launch/train.py', *flags])


def command(plan: Plan) -> str:
  """The line that trains and writes all of it; empty flags are left out."""
  study, request = plan.study, _with_root(plan).request
  given = {
    flag: [t for t in request.tables if study.tables[t].flag == flag]
    for flag in (table.flag for table in study.tables.values())
  }
  given = {**given, **request.axes}
  if study.option and (study.asked or {*request.systems} != {*study.systems}):
    given[study.option] = request.systems
  listed = {name: ','.join(map(str, values)) for name, values in given.items()}
  listed |= {'seeds': ','.join(map(str, request.seeds)), **request.numbers}
  for name in ('data_root', 'cache_dir', 'out'):
    listed[name] = getattr(request, name)
  arguments = [
    f'--{name}={text}' for name, text in listed.items() if text != ''
  ]
  return shlex.join(['python', f'launch/reproduce/{study.name}.py', *arguments])


def _with_root(plan: Plan) -> Plan:
  """The plan with something to read where there is no folder of data."""
  request = plan.request
  root = request.data_root or 'DIR'
  return plan._replace(request=request._replace(data_root=root))


def _field(value: Any) -> str:
  """A field as a flag; a comma tells a tuple of one."""
  if isinstance(value, Sequence) and not isinstance(value, str):
    return ''.join(f'{one},' for one in value)
  return str(value)
