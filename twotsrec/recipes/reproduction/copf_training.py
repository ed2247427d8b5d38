"""Trains the runs behind COPF's tables, and finds those that are finished."""

from collections.abc import Callable
import dataclasses
from typing import Any

from twotsrec import config as config_lib
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import joint
from twotsrec.recipes import runs as runs_lib
from twotsrec.recipes.reproduction import copf
from twotsrec.training import files
from twotsrec.training import run_directory


def train(
  settings: copf.Settings,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  tell: Callable[[str], Any] = lambda line: None,
) -> bool:
  """Trains what is missing; False if it was stopped.

  Args:
    settings: which runs.
    should_stop: as in `recipes.runs.train`.
    quiet: no progress display.
    tell: takes a line about every run before it is trained.
  Raises:
    types.UserError: as `recipes.runs.train`.
  """
  everything = copf.runs(settings)
  missing = [run for run in everything if finished(settings, run) is None]
  _check(settings, missing)
  for run in missing:
    if should_stop():
      return False
    place = copf.workdir(settings, run)
    tell(f'{place} ({everything.index(run) + 1} of {len(everything)} runs)')
    config = copf.config(settings, run)
    if joint.train(config, place, should_stop, quiet) is None:
      return False
  return True


def finished(settings: copf.Settings, run: copf.Run) -> dict[str, Any] | None:
  """The report of a run; None if it is missing or under way.

  Raises:
    types.UserError: the directory holds a run with another configuration.
  """
  place = copf.workdir(settings, run)
  report_path = run_directory.report_path(place)
  if not report_path.is_file():
    return None
  run_directory.read_config(place)  # says so if there is none
  _check_config(settings, run)
  return files.read_json(report_path)


def _check(settings: copf.Settings, missing: list[copf.Run]) -> None:
  """Shows before hours of training what would stop it in their midst."""
  for run in missing:
    if run_directory.config_path(copf.workdir(settings, run)).is_file():
      _check_config(settings, run)
  for run in {run.dataset: run for run in missing}.values():
    experiment_lib.load_data(copf.config(settings, run))


def _check_config(settings: copf.Settings, run: copf.Run) -> None:
  """Refuses a directory of another configuration."""
  run_directory.open_run(
    copf.workdir(settings, run),
    dataclasses.asdict(copf.config(settings, run)),
    runs_lib.MAY_DIFFER,
    dataclasses.asdict(config_lib.Config()),
  )
