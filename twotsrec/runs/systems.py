"""Base model, +GA and +GA+PN of one configuration: three runs (PIN Table 4)."""

from collections.abc import Callable
import concurrent.futures
import contextlib
import pathlib
import threading
from typing import Any

from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  beside: bool = False,
) -> dict[str, Any] | None:
  """Trains all three, each in a directory of its own.

  Args:
    config: of all three; `aggregator` is that of both stages (joint counts as
      backdoor) and `plugin` that of stage 2 (none counts as light).
    workdir: its folders `base`, `ga` and `ga_pn` are run directories.
    should_stop: as in `run.train`.
    quiet: no progress display.
    beside: trains the first system, without a display, beside the others: the
      same bits sooner, where one training does not fill the processor.
  Returns:
    {directory: report}; None if it was stopped. Repeating the call resumes.
  Raises:
    types.UserError: a model without such systems; or as `run.train`.
  """
  systems_of = recipes.of(config).systems
  if systems_of is None:
    raise types.UserError(
      f'model.name {config.model.name!r} has no +GA and +GA+PN; train it with'
      ' launch/train.py'
    )
  systems = systems_of(config, workdir)
  _verify(systems, workdir)
  failed = threading.Event()
  stop = lambda: failed.is_set() or should_stop()

  def train_one(name, quiet=quiet):
    place = str(pathlib.Path(workdir) / name)
    with contextlib.ExitStack() as unless_it_ends:
      unless_it_ends.callback(failed.set)  # what trains beside it stops, saved
      report = run.train(systems[name], place, stop, quiet)
      unless_it_ends.pop_all()
    return report

  first, *others = systems
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    ahead = pool.submit(train_one, first, quiet=True) if beside else None
    reports = {} if ahead else {first: train_one(first)}
    for name in others:
      if None not in reports.values():  # not stopped
        reports[name] = train_one(name)
  if ahead:
    reports = {first: ahead.result(), **reports}
  return None if None in reports.values() else reports


def _verify(systems, workdir):
  """All that can be wrong with any of them shows before one is trained."""
  missing = [
    settings
    for name, settings in systems.items()
    if not run.is_finished(settings, str(pathlib.Path(workdir) / name))
  ]
  if not missing:
    return
  for settings in missing:
    recipes.of(settings).check(settings)
  prepared = experiment_lib.load_data(missing[0])
  for settings in missing:
    run.verify(settings, experiment_lib.make(settings, prepared))
