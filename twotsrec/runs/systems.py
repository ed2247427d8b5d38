"""Base model, +GA and +GA+PN of one configuration: three runs (PIN Table 4)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import concurrent.futures
import contextlib
import copy
import pathlib
import threading
from typing import Any

from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.recipes import pin
from twotsrec.runs import compare
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


def named(reports: Mapping[str, Any]) -> dict[str, Any]:
  """What stands in the directories, by the names of the systems in tables."""
  return {pin.SYSTEMS[name]: report for name, report in reports.items()}


def parse_seeds(given: Iterable[str]) -> tuple[int, ...]:
  """Seeds as they are written in a flag, each once.

  Raises:
    types.UserError: one that is no whole number from 0.
  """
  given = list(given)
  for seed in given:
    if not seed.isdecimal():
      raise types.UserError(
        f'--seeds: {seed!r} is no whole number from 0; write 0,1,2'
      )
  return tuple(dict.fromkeys(map(int, given)))


def compared(
  config: config_lib.Config,
  workdir: str,
  seeds: Sequence[int],
  *how: Any,
) -> str | None:
  """Trains all three with every seed and compares the means over the seeds.

  Args:
    config: of all runs but for `train.seed`.
    workdir: the runs of a seed are in its folder `seed0` and so on.
    seeds: from 0.
    *how: as `train` takes it: should_stop, quiet, beside.
  Returns:
    Paired differences to the base, as text; None if it was stopped.
  """
  runs: dict[str, list[str]] = {}
  for seed in seeds:
    own, place = copy.deepcopy(config), pathlib.Path(workdir) / f'seed{seed}'
    own.train.seed = seed
    reports = train(own, str(place), *how)
    if reports is None:
      return None
    for name in reports:
      runs.setdefault(name, []).append(str(place / name))
  again = ','.join('+'.join(places) for places in runs.values())
  text = compare.run(named(runs))
  return f'{text}\nthe same: python launch/compare.py --runs={again}'


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
    run.first_phase(settings, experiment_lib.make(settings, prepared))
