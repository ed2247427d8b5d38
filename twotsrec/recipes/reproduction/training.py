"""Trains the runs behind a paper's tables, and finds the finished ones."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.runs import run as runs_lib
from twotsrec.training import files
from twotsrec.training import run_directory


class Planned(NamedTuple):
  """A run that a table needs.

  Attributes:
    workdir: its directory.
    config: what is trained there.
  """

  workdir: str
  config: config_lib.Config


def train(
  planned: Sequence[Planned],
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  tell: Callable[[str], Any] = lambda line: None,
) -> bool:
  """Trains what is missing; False if it was stopped.

  Args:
    planned: all runs, in the order they are trained.
    should_stop: as in `recipes.runs.train`.
    quiet: no progress display.
    tell: takes a line about every run before it is trained.
  Raises:
    types.UserError: as `recipes.runs.train`.
  """
  missing = [
    (number, run)
    for number, run in enumerate(planned, 1)
    if finished(run) is None
  ]
  verify([run for _, run in missing])
  for number, run in missing:
    if should_stop():
      return False
    tell(f'{run.workdir} ({number} of {len(planned)} runs)')
    if run_lib.train(run.config, run.workdir, should_stop, quiet) is None:
      return False
  return True


def finished(run: Planned) -> dict[str, Any] | None:
  """The report of a run; None if it is missing, too short or under way.

  Raises:
    types.UserError: the directory holds a run with another configuration.
  """
  report_path = run_directory.report_path(run.workdir)
  if report_path.is_file():
    run_directory.read_config(run.workdir)  # says so if there is none
  if not runs_lib.is_finished(run.config, run.workdir):
    return None
  return files.read_json(report_path)


def verify(missing: Sequence[Planned]) -> None:
  """Shows before hours of training what would stop it in their midst.

  Raises:
    types.UserError: data that are not there.
  """
  for config in {repr(run.config.data): run.config for run in missing}.values():
    experiment_lib.load_data(config)
