"""A run: one configuration trained, selected and reported in one directory."""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import functools
import logging
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import own
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes import pin
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import more_epochs
from twotsrec.runs import rankings
from twotsrec.runs import reports
from twotsrec.training import checkpoints
from twotsrec.training import files
from twotsrec.training import loop
from twotsrec.training import memory
from twotsrec.training import own_files
from twotsrec.training import phases
from twotsrec.training import progress
from twotsrec.training import run_directory

# Where things are, how often they are saved and how much memory they take,
# not what comes out.
MAY_DIFFER = (
  'data.data_root',
  'data.cache_dir',
  'train.checkpoint_every',
  'train.keep',
  'plugin.trunk',
  'two_time.stage1',
  'evaluation.user_tile',
  'evaluation.item_tile',
)
_ORIGIN = 'start.json'
_LOGGER = logging.getLogger('twotsrec')


class _First(Exception):
  """The first phase of a run, which its argument is."""


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  parts: Mapping[str, Any] | None = None,
  finish: bool = False,
) -> dict[str, Any] | None:
  """Trains, selects, evaluates; repeating the call resumes.

  A call that asks for more epochs than the run has goes on from its end.

  Args:
    config: the experiment.
    workdir: run directory, created if needed.
    should_stop: asked about once a second; saves and returns when true.
    quiet: no progress display.
    parts: of one's own, {'aggregator.name': make}: functions that stand at the
      top of a file, in place of `file.py:make` in the configuration.
    finish: trains no more: the best epoch so far, or the last checkpoint, is
      ranked and reported. A later call without it goes on training.
  Returns:
    The report, also in workdir/report.json; None if it was stopped.
  Raises:
    types.UserError: a setting, file or loss that makes no sense.
  """
  config = _with_parts(config, parts or {})
  recipe = recipes.of(config)
  recipe.check(config)
  if finish:
    run_directory.read_config(workdir)  # says so if it is no run directory
  # Another config is refused, and a finished run is done.
  if is_finished(config, workdir, finish):
    _check_trunk_stands(config, workdir)
    report = experiment_lib.read_report(workdir)
    experiment_lib.restore_data(config, workdir, report)
    return report
  data = _data_of(config, workdir, finish)
  experiment = experiment_lib.make(config, data)
  reports.check_protocol(experiment)
  with contextlib.ExitStack() as held:
    call = _Call(
      experiment=experiment,
      workdir=workdir,
      should_stop=should_stop,
      quiet=quiet,
      finish=finish,
      begin=functools.cache(lambda: _begin(call, config, held)),
      ahead=rankings.forecasting(experiment, workdir),
      dataset=functools.cache(lambda: reports.dataset(experiment)),
      early=[],
    )
    try:
      return _reported(recipe, call)
    except progress.Stopped:
      return None


class _Call(NamedTuple):
  """A call of `train` that trains.

  Attributes:
    begin: opens the directory, once.
    ahead: says how long the ranking will take.
    dataset: the data, for the report.
    early: {'epochs', 'of'} of phases that were finished as they were.
  """

  experiment: contracts.Experiment
  workdir: str
  should_stop: Callable[[], bool]
  quiet: bool
  finish: bool
  begin: Callable[[], None]
  ahead: Callable[..., str]
  dataset: Callable[[], dict[str, Any]]
  early: list[dict[str, int]]


def _with_parts(config, parts) -> config_lib.Config:
  """The configuration with parts of one's own in it."""
  if not parts:
    return config
  names = {setting: own.name_of(part) for setting, part in parts.items()}
  return config_lib.changed(config, names)


def _begin(call, config, held) -> None:
  """Opens the directory, when all that can be wrong has shown.

  It keeps the settings as they were asked for: a recipe may train by others
  (`experiment.config`), such as those of a trunk.
  """
  for note in reports.warnings(call.dataset()):
    _LOGGER.warning('%s', note)
  held.enter_context(run_directory.locked(call.workdir))
  more_epochs.record(call.workdir, _open(config, call.workdir))
  _take_back(call.workdir, call.finish)
  experiment_lib.keep_data(call.workdir, call.experiment.prepared)


def _fit(call, name, learner, source, how, start=None) -> contracts.Trained:
  """`contracts.Work.fit`: a phase, in a folder of its own."""
  folder = pathlib.Path(call.workdir) / name
  begin = start() if start else contracts.Start(None)
  _check_origin(folder, begin.origin)
  phase = phases.make(learner, source, how, begin.params)
  memory.check(phase, call.experiment.config)
  call.begin()
  folder.mkdir(parents=True, exist_ok=True)
  if begin.origin:
    files.write_json(folder / _ORIGIN, begin.origin)
  fitted = loop.fit(
    phase, str(folder), call.should_stop, call.quiet, call.finish, call.ahead
  )
  if fitted.params is None or call.should_stop():
    raise progress.Stopped
  if not loop.has_ended(phase, fitted.progress):
    call.early.append({'epochs': fitted.progress.epoch, 'of': how.train.epochs})
  return fitted


def _reported(recipe, call) -> dict[str, Any]:
  """Trains and writes the report; raises progress.Stopped if it is to stop."""
  work = contracts.Work(
    fit=functools.partial(_fit, call),
    load=experiment_lib.load,
    workdir=pathlib.Path(call.workdir),
  )
  served = recipe.train(call.experiment, work)
  call.begin()  # of a recipe without phases
  if not served.saved:
    # What serves is put together once, when all has been trained: step 0.
    best = run_directory.best_path(call.workdir)
    checkpoints.save(best, 0, {'params': served.params}, {}, keep=1)
  if call.early:
    training = {**served.training, 'as_it_was': call.early[0]}
    served = served._replace(training=training)
  return reports.write(
    served,
    reports.Task(
      workdir=call.workdir,
      quiet=call.quiet,
      should_stop=call.should_stop,
      ahead=call.ahead,
      dataset=call.dataset(),
    ),
  )


def first_phase(
  config: config_lib.Config, experiment: contracts.Experiment
) -> phases.Phase | None:
  """The phase that a run begins with; None if it trains nothing.

  Nothing is compiled and nothing is written; `experiment` is made of `config`.

  Raises:
    types.UserError: what `train` would refuse before its first update.
  """
  recipe = recipes.of(config)
  reports.check_protocol(experiment)

  def fit(name, learner, source, how, start=None):
    phase = phases.make(learner, source, how)
    memory.check(phase, experiment.config)
    raise _First(phase)

  work = contracts.Work(
    fit=fit, load=experiment_lib.load, workdir=pathlib.Path()
  )
  try:
    recipe.train(experiment, work)
  except _First as first:
    return first.args[0]
  return None


def is_finished(
  config: config_lib.Config, workdir: str, finish: bool = False
) -> bool:
  """Whether the directory holds all that is asked for, with its report.

  A run that was finished as it was holds it only for `finish`.

  Raises:
    types.UserError: it holds a run with another configuration.
  """
  if not run_directory.config_path(workdir).is_file():
    return False
  more = _open(config, workdir)
  if more or not run_directory.report_path(workdir).is_file():
    return False
  return finish or not _was_finished_early(workdir)


def _was_finished_early(workdir):
  report = files.read_json(run_directory.report_path(workdir))
  return isinstance(report, dict) and 'as_it_was' in report.get('training', ())


def _take_back(workdir, finish):
  """The report of a run that was finished as it was, which now goes on."""
  report = run_directory.report_path(workdir)
  if not finish and report.is_file() and _was_finished_early(workdir):
    with files.explained(report, 'write'):
      report.unlink()


def _data_of(config, workdir, finish):
  """The prepared data; those of the run where it is only finished."""
  kept = run_directory.ids_path(workdir)
  if finish and kept.is_dir():
    return prepared_lib.load(str(kept))
  return experiment_lib.load_data(config)


def _open(config, workdir):
  """Makes or verifies the directory; returns the epochs it lacks."""
  more = more_epochs.wanted(config, workdir)
  run_directory.open_run(
    workdir,
    dataclasses.asdict(config),
    (*MAY_DIFFER, *more, *_own_parts(config, workdir)),
    dataclasses.asdict(config_lib.Config()),
  )
  own_files.keep(workdir, config)
  return more


def _own_parts(config, workdir):
  """Settings that name an own part of the run, by whatever path of its file.

  `own_files.keep` goes by the digest of the file.
  """
  if not run_directory.config_path(workdir).is_file():
    return
  there = run_directory.read_config(workdir)
  for setting, name in own_files.settings(config).items():
    section, field = setting.split('.')
    saved = there.get(section, {}).get(field, '')
    if fields.is_own(saved) and own.split(saved)[1] == own.split(name)[1]:
      yield setting


def _check_trunk_stands(config, workdir):
  """Refuses a finished run of another trunk than is asked for now."""
  saved = run_directory.typed_config(workdir)
  if saved.plugin.trunk != config.plugin.trunk:
    _, trunk = experiment_lib.load(config.plugin.trunk)
    _check_origin(workdir, pin.origin(trunk))


def _check_origin(folder, origin):
  """Refuses other parameters than the phase began with."""
  path = pathlib.Path(folder) / _ORIGIN
  if path.is_file() and files.read_json(path) != files.jsonable(origin):
    raise types.UserError(
      f'the run in {folder} was started from other parameters than these'
      f' ({", ".join(origin)} in {_ORIGIN} differs); restore them, or use'
      ' another --workdir'
    )
