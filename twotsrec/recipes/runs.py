"""A run: one configuration trained, selected and reported in one directory."""

from collections.abc import Callable
import dataclasses
import logging
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import types
from twotsrec.recipes import checks
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import more_epochs
from twotsrec.recipes import phases
from twotsrec.recipes import reports
from twotsrec.recipes import two_time_runs
from twotsrec.training import files
from twotsrec.training import loop
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


class Start(NamedTuple):
  """Parameters a run begins with, instead of fresh ones.

  Attributes:
    params: of the experiment's model.
    origin: what they come from, JSON-able; the same whenever the run resumes.
  """

  params: types.Params
  origin: dict[str, Any]


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  start_of: Callable[[experiment_lib.Experiment], Start] | None = None,
) -> dict[str, Any] | None:
  """Trains, selects, evaluates; repeating the call resumes.

  A call that asks for more epochs than the run has goes on from its end.

  Args:
    config: the experiment.
    workdir: run directory, created if needed.
    should_stop: asked about once a second; saves and returns when true.
    quiet: no progress display.
    start_of: where the parameters begin; None draws them.
  Returns:
    The report, also in workdir/report.json; None if it was stopped.
  Raises:
    types.UserError: a setting, file or loss that makes no sense.
  """
  checks.check(config)
  # Another config is refused, and a finished run is done.
  if is_finished(config, workdir):
    return files.read_json(run_directory.report_path(workdir))
  # All that can be wrong with the settings shows before the first file is
  # written, so that a corrected command finds nothing in its way.
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  reports.check_protocol(experiment)
  if config.model.name == models.TWO_TIME:
    two_time_runs.verify(experiment)
    with run_directory.locked(workdir):
      _open(config, workdir)
      experiment_lib.keep_data(workdir, experiment.prepared)
      return two_time_runs.train(experiment, workdir, should_stop, quiet)
  start = start_of(experiment) if start_of else Start(None, {})
  phase, state = phases.make_phase(experiment, start.params)
  for note in reports.notes(experiment):
    _LOGGER.warning('%s', note)
  with run_directory.locked(workdir):
    more_epochs.record(workdir, _open(config, workdir))
    experiment_lib.keep_data(workdir, experiment.prepared)
    _keep_origin(workdir, start.origin)
    fitted = loop.fit(
      phase,
      state,
      experiment.config.train,
      workdir,
      should_stop,
      quiet,
    )
    if fitted.params is None or should_stop():
      return None
    return reports.write(experiment, fitted, workdir, quiet)


def is_finished(config: config_lib.Config, workdir: str) -> bool:
  """Whether the directory holds all that is asked for, with its report.

  Raises:
    types.UserError: it holds a run with another configuration.
  """
  if not run_directory.config_path(workdir).is_file():
    return False
  more = _open(config, workdir)
  return run_directory.report_path(workdir).is_file() and not more


def _open(config, workdir):
  """Makes or verifies the directory; returns the epochs it lacks."""
  more = more_epochs.wanted(config, workdir)
  run_directory.open_run(
    workdir,
    dataclasses.asdict(config),
    (*MAY_DIFFER, *more),
    dataclasses.asdict(config_lib.Config()),
  )
  return more


def _keep_origin(workdir, origin):
  check_origin(workdir, origin)
  if origin:
    files.write_json(_origin_path(workdir), origin)


def check_origin(workdir: str, origin: dict[str, Any]) -> None:
  """Refuses other parameters than the run began with.

  Raises:
    types.UserError: `origin` is not that of the run's `Start`.
  """
  path = _origin_path(workdir)
  if path.is_file() and files.read_json(path) != files.jsonable(origin):
    raise types.UserError(
      f'the run in {workdir} was started from other parameters than these'
      ' (plugin.trunk); restore them, or use another --workdir'
    )


def _origin_path(workdir):
  return run_directory.config_path(workdir).with_name(_ORIGIN)
