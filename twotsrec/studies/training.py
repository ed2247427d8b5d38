"""Single runs as they are trained and reported; all a study asks of runs.

What trains is imported where it is needed: a study is declared, planned and
asked for its flags without it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twotsrec import config as config_lib
from twotsrec.training import files
from twotsrec.training import run_directory


def report(config: config_lib.Config, workdir: str) -> dict[str, Any] | None:
  """The report of a run; None if it is missing, too short or under way.

  Raises:
    types.UserError: the directory holds a run with another configuration.
  """
  from twotsrec.runs import run as runs_lib

  path = run_directory.report_path(workdir)
  if path.is_file():
    run_directory.read_config(workdir)  # says so if there is none
  if not runs_lib.is_finished(config, workdir):
    return None
  return files.read_json(path)


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool],
  quiet: bool,
) -> bool:
  """Trains one run; False if it was stopped."""
  from twotsrec.runs import run as runs_lib

  return runs_lib.train(config, workdir, should_stop, quiet) is not None


def verify(configs: Iterable[config_lib.Config]) -> None:
  """Shows before hours of training what would stop it in their midst.

  Raises:
    types.UserError: data that are not there.
  """
  from twotsrec.runs import experiment as experiment_lib

  for config in {repr(config.data): config for config in configs}.values():
    experiment_lib.load_data(config)
