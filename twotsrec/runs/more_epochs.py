"""A run asked for more epochs than it was started with.

It goes on from its last checkpoint and ends as if it had been asked for all of
them at once: nothing but the end of the loop depends on their number.
"""

from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.recipes import pin
from twotsrec.training import files
from twotsrec.training import run_directory


def wanted(config: config_lib.Config, workdir: str) -> dict[str, int]:
  """Epochs beyond those a run was started with, by the setting's name.

  Args:
    config: what is asked for now.
    workdir: run directory, which need not be there.
  Returns:
    {'train.epochs' or, in stage 2, 'plugin.epochs': number}; empty if there is
    no run, or it is not asked for more. 2TS, whose stages share their lengths,
    is never asked.
  Raises:
    types.UserError: the run was judged out of turn after its last epoch, which
      a longer one would not be.
  """
  if not recipes.of(config).grows:
    return {}
  if not run_directory.config_path(workdir).is_file():
    return {}
  saved = run_directory.typed_config(workdir)
  there, here = (pin.of_stage(c).train for c in (saved, config))
  name = 'plugin.epochs' if pin.has_plugins(config) else 'train.epochs'
  if here.epochs <= there.epochs:
    return {}
  _check_turn(there, workdir, f'{name} {here.epochs}')
  return {name: here.epochs}


def record(workdir: str, epochs: dict[str, int]) -> None:
  """Takes the report back and writes what `wanted` found into the run."""
  if not epochs:
    return
  # Killed in between, it is a run under way of the old length.
  report = run_directory.report_path(workdir)
  with files.explained(report, 'write'):
    report.unlink(missing_ok=True)
  config = run_directory.read_config(workdir)
  for name, value in epochs.items():
    section, field = name.split('.')
    config.setdefault(section, {})[field] = value
  run_directory.write_json(run_directory.config_path(workdir), config)


def _check_turn(train, workdir, longer):
  last, every = train.epochs, train.evaluate_every
  if train.select_metric == 'none' or last % every == 0:
    return
  logged = run_directory.read_metrics(workdir)
  if logged and logged[-1]['epoch'] >= last:
    raise types.UserError(
      f'{workdir} was judged after its last epoch, {last}, as a run of {longer}'
      f' is not (train.evaluate_every {every}), so it cannot become one\nUse'
      ' another --workdir.'
    )
