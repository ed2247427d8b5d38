"""The runs that follow from a study and a request: planned and trained.

A run lies in OUT/AXIS.../seedK/SYSTEM, or SYSTEM-SETTING with one of
`Study.tried`, and is that of launch/train.py with the flags of `train_flags`.
Two systems with equal settings share the run of the first. What trains is
imported where it is needed: a study is declared, planned and asked for its
flags without it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import pathlib
import shlex
import time
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.studies import study as study_lib

Follows = Callable[['Plan', study_lib.Run], dict[str, Any] | None]


class Plan(NamedTuple):
  """The runs of a request."""

  study: study_lib.Study
  request: study_lib.Request  # checked by `study.ask`
  # {place: {system: the one whose run stands for it}}
  same: Mapping[study_lib.Place, Mapping[str, str]]
  # {place: those with a run, in the order they are trained}
  systems: Mapping[study_lib.Place, tuple[str, ...]]
  # {place: {(system, setting): the first of equal configuration}}
  shared: Mapping[study_lib.Place, Mapping[tuple[str, str], tuple[str, str]]]
  # {(place, system): its setting} as it was read once; None reads it anew
  chosen: Mapping[tuple[study_lib.Place, str], str | None] | None = None


def plan(study: study_lib.Study, request: study_lib.Request) -> Plan:
  """All runs of a request."""
  same, systems, shared = {}, {}, {}
  made = Plan(study, request, same, systems, shared)
  for place in study_lib.places(study, request):
    if needed := study.needed(request, place):
      shared[place] = _first_of_equals(made, place)
      same[place] = _same(shared[place], request.tried)
      trained = {same[place][system] for system in needed}
      systems[place] = tuple(s for s in study.systems if s in trained)
  return made


def _first_of_equals(plan, place) -> dict[tuple[str, str], tuple[str, str]]:
  """Of every system and setting, asked for or not, so that runs stay."""
  first: dict[str, tuple[str, str]] = {}
  shared = {}
  for setting in plan.study.tried:
    for system in plan.study.systems:
      made = settings(plan, study_lib.Run(place, 0, system, setting))
      own = system, setting
      shared[own] = first.setdefault(repr(made), own)
  return shared


def _same(shared, tried) -> dict[str, str]:
  """Systems that are equal in all settings that are tried."""
  first: dict[tuple[tuple[str, str], ...], str] = {}
  runs_of = lambda system: tuple(shared[system, name] for name in tried)
  systems = dict.fromkeys(system for system, _ in shared)
  return {name: first.setdefault(runs_of(name), name) for name in systems}


def settings(plan: Plan, run: study_lib.Run) -> config_lib.Config:
  """The configuration of a run but for the fields that other runs decide."""
  study, request = plan.study, plan.request
  own = study_lib.directory(study, request, run.place)
  if own and study.directories:
    made = study.directories.preset(own, run.place, run.system)
    made.data.prepared = own.path
  else:
    made = study.preset(run.place, run.system)
    if not study_lib.is_built_in(study, run.place):
      made.data.data_root = request.data_root
      made.data.cache_dir = request.cache_dir
  config_lib.change(made, _changes(plan, run))
  return made


def _changes(plan, run) -> dict[str, Any]:
  """Fields in which a run departs from its preset, but for `follows`."""
  study, request = plan.study, plan.request
  return {
    **request.changes,
    **study.changes(request, run),
    **study.tried[run.setting],
    'train.seed': run.seed,
  }


def config(plan: Plan, run: study_lib.Run) -> config_lib.Config | None:
  """The configuration of a run; None while it waits for another one."""
  follows = plan.study.follows(plan, run) if run.setting else None
  if follows is None:
    return None
  made = settings(plan, run)
  config_lib.change(made, follows)
  return made


def runs(plan: Plan) -> list[study_lib.Run]:
  """All runs in the order they are trained: all there is of a seed first.

  Every setting is tried with the first seed. With others only the chosen one is
  trained, which is '' as long as it is open.
  """
  first, *others = plan.request.seeds
  every = [
    shared(plan, study_lib.Run(place, first, system, setting))
    for place, systems in plan.systems.items()
    for system in systems
    for setting in plan.request.tried
  ]
  chosen = [*_chosen(plan)] if others else []
  every += [
    shared(plan, run._replace(seed=seed)) for seed in others for run in chosen
  ]
  return [*dict.fromkeys(every)]


def _chosen(plan) -> Iterator[study_lib.Run]:
  """The run of every system, of the first seed."""
  for place, systems in plan.systems.items():
    for system in systems:
      setting = choice(plan, place, system) or ''
      yield study_lib.Run(place, plan.request.seeds[0], system, setting)


def shared(plan: Plan, run: study_lib.Run) -> study_lib.Run:
  """The run that stands for one: the first of equal configuration."""
  own = run.system, run.setting
  system, setting = plan.shared.get(run.place, {}).get(own, own)
  return run._replace(system=system, setting=setting)


def choice(plan: Plan, place: study_lib.Place, system: str) -> str | None:
  """The setting of a system: the best on validation, of equal ones the first.

  Returns:
    None as long as a run of the first seed is missing.
  Raises:
    types.UserError: a run that is damaged or another.
  """
  tried, seed = plan.request.tried, plan.request.seeds[0]
  if len(tried) == 1:
    return tried[0]
  if plan.chosen is not None:
    return plan.chosen[place, system]
  values = {}
  for setting in tried:
    run = study_lib.Run(place, seed, system, setting)
    if (made := report(plan, run)) is None:
      return None
    with reading(plan, run):
      values[setting] = made['training']['selected_value']
  return max(values, key=values.__getitem__)


def decided(plan: Plan) -> Plan:
  """The plan with what is chosen by now, so that no report is read again."""
  return plan._replace(
    chosen={
      (place, system): choice(plan, place, system)
      for place, systems in plan.systems.items()
      for system in systems
    }
  )


def workdir(plan: Plan, run: study_lib.Run) -> str:
  """The directory of a run, or of the one that stands for it."""
  run = shared(plan, run)
  place = pathlib.Path(plan.request.out, *run.place, f'seed{run.seed}')
  with_setting = '' if run.setting in (study_lib.OWN, '') else f'-{run.setting}'
  return str(place / f'{run.system}{with_setting}')


def report(plan: Plan, run: study_lib.Run) -> dict[str, Any] | None:
  """The report of a run; None if it is missing, too short or under way.

  Raises:
    types.UserError: its directory holds another run.
  """
  from twotsrec.runs import run as runs_lib
  from twotsrec.training import files
  from twotsrec.training import run_directory

  made, place = config(plan, run), workdir(plan, run)
  if made is None:
    return None
  path = run_directory.report_path(place)
  if path.is_file():
    run_directory.read_config(place)  # says so if there is none
  return files.read_json(path) if runs_lib.is_finished(made, place) else None


@contextlib.contextmanager
def reading(plan: Plan, run: study_lib.Run) -> Iterator[None]:
  """Explains a report that lacks what is read of it."""
  from twotsrec.training import run_directory

  try:
    yield
  except (KeyError, TypeError) as error:
    path = run_directory.report_path(workdir(plan, run))
    raise types.UserError(
      f'{path} is damaged or of another version ({error}); restore it from a'
      ' copy, or train again in an empty --out'
    ) from error


def refusals(plan: Plan, place: study_lib.Place) -> dict[str, str]:
  """What has refused the optional systems of a place that have no report."""
  found = {}
  for run in runs(plan):
    path = _refusal_path(plan, run)
    if run.place == place and path.is_file() and report(plan, run) is None:
      found.setdefault(run.system, path.read_text(encoding='utf-8'))
  return found


def _refusal_path(plan, run) -> pathlib.Path:
  folder = pathlib.Path(workdir(plan, run))
  return folder.with_name(f'{folder.name}.refused.txt')


# ---- Runs that depend on others, see `Study.follows`


def after(sources: Mapping[str, tuple[str, str]]) -> Follows:
  """Systems that name the run of another in a field.

  Args:
    sources: {system: (field, system whose directory it names)}.
  """

  def follows(plan: Plan, run: study_lib.Run) -> dict[str, Any]:
    if run.system not in sources:
      return {}
    field, system = sources[run.system]
    return {field: workdir(plan, run._replace(system=system))}

  return follows


def after_stage1(reference: str) -> Follows:
  """Systems with the stage 1 of 2TS.

  The reference tries several lengths of stage 1 and chooses one, which all
  others take over. Of the systems that see the same events in stage 1 the
  first trains it, and the others name its run.

  Args:
    reference: the system that chooses, first in its study.
  """

  def follows(plan: Plan, run: study_lib.Run) -> dict[str, Any] | None:
    trains, fields = stage1_source(plan, run), {}
    if trains not in (None, reference):
      chosen = report(plan, run._replace(system=reference))
      if chosen is None:
        return None
      epochs = (chosen['two_time']['stage1_epochs'],)
      fields['two_time.stage1_epochs'] = epochs
    if trains not in (None, run.system):
      fields['two_time.stage1'] = workdir(plan, run._replace(system=trains))
    return fields

  return follows


def stage1_source(plan: Plan, run: study_lib.Run) -> str | None:
  """The system whose stage 1 a run has; None without stage 1."""
  from twotsrec import recipes
  from twotsrec.data import stream_jobs

  def leaves_windows(system: str) -> bool | None:
    made = settings(plan, run._replace(system=system))
    options, of_2ts = made.two_time, recipes.of(made).section(made)
    if of_2ts != 'two_time' or options.variant in config_lib.ONE_STAGE:
      return None  # without stage 1
    return stream_jobs.leaves_windows(options)

  if (sees := leaves_windows(run.system)) is None:
    return None
  systems = (*plan.systems[run.place], run.system)
  return next(system for system in systems if leaves_windows(system) == sees)


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
      whatever a training refuses, unless its system is optional.
  """
  from twotsrec.runs import experiment as experiment_lib
  from twotsrec.runs import run as runs_lib
  from twotsrec.training import files

  every = runs(plan)
  missing = [run for run in every if report(plan, run) is None]
  configs = [made for run in missing if (made := config(plan, run))]
  for made in {repr(made.data): made for made in configs}.values():
    experiment_lib.load_data(made)  # hours before it would be missed
  begin = time.monotonic()
  for done, run in enumerate(missing):
    if should_stop():
      return False
    if not run.setting:  # all that is tried has a report by now
      chosen = choice(plan, run.place, run.system) or ''
      run = run._replace(setting=chosen)
    made, place = config(plan, run), workdir(plan, run)
    if made is None:
      raise types.UserError(
        f'{place} waits for a run beside it that has no report; train that'
        ' first'
      )
    number, left = len(every) - len(missing) + done + 1, ''
    if done:
      seconds = (time.monotonic() - begin) / done * (len(missing) - done)
      left = f', about {max(1, round(seconds / 60.0)):,} min left'
    tell(f'{place} ({number} of {len(every)} runs{left})')
    try:
      if runs_lib.train(made, place, should_stop, quiet) is None:
        return False
    except types.UserError as error:
      if run.system not in plan.study.optional:
        raise
      path = _refusal_path(plan, run)
      with files.explained(path, 'write'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(error), encoding='utf-8')
      tell(f'{place} is left out: {error}')
  return True


# ---- Commands


def train_flags(plan: Plan, run: study_lib.Run) -> list[str]:
  """The flags of launch/train.py for the same run."""
  request, study = plan.request, plan.study
  changes = _changes(plan, run) | (study.follows(plan, run) or {})
  own = study_lib.directory(study, request, run.place)
  if own and study.directories:
    file = study.directories.file(own, run.place, run.system)
    data = [f'--config.data.prepared={own.path}']
  else:
    file = study.file(run.place, run.system)
    data = [
      f'--data_root={request.data_root}',
      f'--config.data.cache_dir={request.cache_dir}',
    ]
    if study_lib.is_built_in(study, run.place):
      data = []
  return [
    f'--config=configs/{file}',
    *data,
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
  given: dict[str, Any] = {}
  for flag in (table.flag for table in study.tables.values()):
    given[flag] = [t for t in request.tables if study.tables[t].flag == flag]
  given |= request.axes
  if request.prepared:
    given['datasets'] = study_lib.named_datasets(request)
    given['prepared'] = [own.path for own in request.prepared.values()]
  if study.option and (study.asked or {*request.systems} != {*study.systems}):
    given[study.option] = request.systems
  if request.tried != (study_lib.OWN,):
    given['tried'] = request.tried
  given['seeds'] = request.seeds
  listed: dict[str, Any] = {k: ','.join(map(str, v)) for k, v in given.items()}
  listed |= request.numbers
  for name in ('data_root', 'cache_dir', 'out'):
    listed[name] = getattr(request, name)
  flags = [f'--{name}={text}' for name, text in listed.items() if text != '']
  return shlex.join(['python', f'launch/reproduce/{study.name}.py', *flags])


def _with_root(plan: Plan) -> Plan:
  """The plan with something to read where there is no folder of data."""
  needed = study_lib.reads_files(plan.request)
  root = plan.request.data_root or ('DIR' if needed else '')
  return plan._replace(request=plan.request._replace(data_root=root))


def _field(value: Any) -> str:
  """A field as a flag; a comma tells a tuple of one."""
  if isinstance(value, Sequence) and not isinstance(value, str):
    return ''.join(f'{one},' for one in value)
  return str(value)
