"""One model for all users, with the group gradients aggregated as configured.

`aggregator.name=joint` is PIN's base model; `backdoor` is stage 1 of PIN
(sec. 3.2, eq. 7).
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import phases
from twotsrec.recipes import reports
from twotsrec.training import files
from twotsrec.training import loop
from twotsrec.training import run_directory

# Where things are and how often they are saved, not what comes out.
MAY_DIFFER = (
  'data.data_root',
  'data.cache_dir',
  'train.checkpoint_every',
  'train.keep',
)

_SELECT_ON = ('validation', 'test')


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
  check(config)
  with run_directory.locked(workdir):
    report_path = run_directory.report_path(workdir)
    if run_directory.config_path(workdir).is_file() and report_path.is_file():
      run_directory.open_run(workdir, dataclasses.asdict(config), MAY_DIFFER)
      return files.read_json(report_path)
    prepared = experiment_lib.load_data(config)
    experiment = experiment_lib.make(config, prepared)
    phase, state = phases.make_phase(experiment)
    run_directory.open_run(workdir, dataclasses.asdict(config), MAY_DIFFER)
    experiment_lib.keep_data(workdir, prepared)
    fitted = loop.fit(
      phase,
      state,
      config.groups.num_groups,
      config.train,
      workdir,
      should_stop,
      quiet,
    )
    if fitted.params is None:
      return None
    return reports.write(experiment, fitted, workdir, quiet)


def check(config: config_lib.Config) -> None:
  """Refuses combinations that would train or select something else.

  Raises:
    types.UserError: what is wrong and the way out.
  """
  train = config.train
  if train.select_on not in _SELECT_ON:
    raise types.UserError(
      f'train.select_on {train.select_on!r}; known: {", ".join(_SELECT_ON)}'
    )
  if train.epochs < 1 or train.batch_size < 1 or train.evaluate_every < 1:
    raise types.UserError(
      'train.epochs, train.batch_size and train.evaluate_every must be at'
      f' least 1 (now {train.epochs}, {train.batch_size},'
      f' {train.evaluate_every})'
    )
  if not train.learning_rate > 0:
    raise types.UserError(
      f'train.learning_rate {train.learning_rate} must be positive'
    )
  if config.data.history_length < 1 or config.data.num_negatives < 1:
    raise types.UserError(
      'data.history_length and data.num_negatives must be at least 1 (now'
      f' {config.data.history_length}, {config.data.num_negatives})'
    )
  if config.data.negative_mode not in ('static', 'per_epoch'):
    raise types.UserError(
      f'data.negative_mode {config.data.negative_mode!r}; known: static,'
      ' per_epoch'
    )
