"""One model for all users, with the group gradients aggregated as configured.

`aggregator.name=joint` is PIN's base model; `backdoor` is stage 1 of PIN
(sec. 3.2, eq. 7).
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from twotsrec import config as config_lib
from twotsrec.recipes import checks
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import phases
from twotsrec.recipes import reports
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
  'evaluation.user_tile',
  'evaluation.item_tile',
)


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """Trains, selects, evaluates; repeating the call resumes.

  Args:
    config: the experiment.
    workdir: run directory, created if needed.
    should_stop: asked about once a second; saves and returns when true.
    quiet: no progress display.
  Returns:
    The report, also in workdir/report.json; None if it was stopped.
  Raises:
    types.UserError: a setting, file or loss that makes no sense.
  """
  checks.check(config)
  settings = dataclasses.asdict(config)
  if run_directory.config_path(workdir).is_file():
    # Another config is refused, and a finished run is done.
    run_directory.open_run(workdir, settings, MAY_DIFFER)
    report_path = run_directory.report_path(workdir)
    if report_path.is_file():
      return files.read_json(report_path)
  # All that can be wrong with the settings shows before the first file is
  # written, so that a corrected command finds nothing in its way.
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  reports.check_protocol(experiment)
  phase, state = phases.make_phase(experiment)
  with run_directory.locked(workdir):
    run_directory.open_run(workdir, settings, MAY_DIFFER)
    experiment_lib.keep_data(workdir, experiment.prepared)
    fitted = loop.fit(
      phase,
      state,
      config.groups.num_groups,
      config.train,
      workdir,
      should_stop,
      quiet,
    )
    if fitted.params is None or should_stop():
      return None
    return reports.write(experiment, fitted, workdir, quiet)
