"""A ranking that can be stopped, goes on, and says how long it takes.

What is ranked so far stands in `ranking/` in the run until its report is
written.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import math
import pathlib
import shutil
import time

import numpy as np

from twotsrec import contracts
from twotsrec import recipes
from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.evaluation import counting
from twotsrec.evaluation import offline
from twotsrec.evaluation import protocols
from twotsrec.evaluation import tiles
from twotsrec.training import files
from twotsrec.training import progress

_FOLDER = 'ranking'
_FEW = 1000  # held-out items that are ranked before one could read an estimate
_ENOUGH = 3.0  # seconds of tiles that an estimate is made of
_LONG = 600.0  # seconds after which a shorter way is mentioned
# What is saved may take so much of the time.
_SHARE = 0.05

Watch = Callable[[Callable[[int, int], None]], Callable[[int, int], None]]


class _Measured(Exception):
  """Enough tiles were ranked."""


# ---- Stopping and going on


def stopping(should_stop: Callable[[], bool]) -> Watch:
  """Makes a progress raise `progress.Stopped` when it is asked to stop."""

  def watch(show):
    def shown(done, total):
      show(done, total)
      if should_stop():
        raise progress.Stopped

    return shown

  return watch


def keeping(
  workdir: str, split: str, should_stop: Callable[[], bool], every: float
) -> Watch:
  """As `stopping`; what is ranked is saved then, and every so many seconds.

  A recipe that ranks a split several times does so in the same order again, so
  the number of a ranking says which one was kept.
  """

  def watch(show):
    saved_at, took, pauses, number = time.monotonic(), 0.0, False, 0

    def load():
      nonlocal number, pauses
      number, pauses = number + 1, True
      return _load(_path(workdir, split, number))

    def pause(make):
      nonlocal saved_at, took, pauses
      pauses = True
      begin, stop = time.monotonic(), should_stop()
      if make and (stop or begin - saved_at > max(every, took / _SHARE)):
        path = _path(workdir, split, number)
        with files.explained(path, 'write'):
          path.parent.mkdir(exist_ok=True)
          with files.replacing(path) as file:
            np.savez(file, **make())
        saved_at = time.monotonic()
        took = saved_at - begin
      if stop:
        raise progress.Stopped

    # Of what never pauses, as recipes of one's own may not, nothing is kept.
    stop = lambda: not pauses and should_stop()
    return counting.Kept(stopping(stop)(show), load, pause)

  return watch


def done(workdir: str, split: str) -> int:
  """Held-out items that were ranked before, by the first ranking of a split."""
  kept = _load(_path(workdir, split, 1))
  return 0 if kept is None else int(kept['done'].sum())


def clear(workdir: str) -> None:
  """Takes away what was kept, once a report says it."""
  shutil.rmtree(pathlib.Path(workdir) / _FOLDER, ignore_errors=True)


def _path(workdir, split, number):
  name = split if number == 1 else f'{split}-{number}'
  return pathlib.Path(workdir) / _FOLDER / f'{name}.npz'


def _load(path):
  """Whatever cannot be read is ranked again."""
  try:
    with open(path, 'rb') as file, np.load(file) as arrays:
      return dict(arrays)
  except (OSError, *comparison.UNREADABLE):
    return None


# ---- How long it takes


def forecasting(
  experiment: contracts.Experiment, workdir: str
) -> Callable[..., str]:
  """(ranker=None) -> `forecast`, which is measured by the first call alone."""
  measured: list[str] = []

  def ahead(ranker=None):
    if not measured:
      measured.append(forecast(experiment, workdir, ranker))
    return measured[0]

  return ahead


def forecast(
  experiment: contracts.Experiment,
  workdir: str,
  ranker: contracts.Ranker | None = None,
) -> str:
  """How long the model takes for what is left of all splits, in words.

  Ranks some tiles. '' where it cannot be said, or is soon. Rules that stand
  beside a model take time of their own.

  Args:
    experiment: data and protocol.
    workdir: of the run, which has what was ranked before.
    ranker: None takes untrained parameters.
  """
  recipe = recipes.of(experiment.config)
  evaluation = experiment.config.evaluation
  if recipe.rank is not offline.rank or evaluation.candidates == 'sampled':
    return ''
  asked = protocols.resolved(experiment.prepared, evaluation.candidates)
  if asked == protocols.SHOWN:
    return ''  # as many scores as samples, which is soon
  left = lambda split: offline.to_rank(experiment, split) - done(workdir, split)
  counts = {split: max(left(split), 0) for split in offline.SPLITS}
  split, most = max(counts.items(), key=lambda item: item[1])
  if most < _FEW:
    return ''
  if ranker is None:
    ranker = recipe.ranker(experiment, recipe.template(experiment))
  each = _seconds_of_tile(experiment, ranker, split)
  if each is None:
    return ''
  items = min(evaluation.item_tile, tiles.MOST_ITEMS)
  across = math.ceil(experiment.prepared.num_items / items)
  down = sum(counts.values()) / evaluation.user_tile
  seconds = each * across * down
  which = ' and '.join(f'{n:,} {name}' for name, n in counts.items() if n)
  time_taken = progress.duration(seconds)
  text = f'ranking {which} items takes the model about {time_taken}'
  if seconds > _LONG:
    lists = ', evaluation.candidates=sampled short lists, both'
    text += (
      ' (evaluation.users=N ranks a fixed sample of N users'
      f'{"" if evaluation.online else lists} in a new --workdir)'
    )
  return text


def _seconds_of_tile(experiment, ranker, split) -> float | None:
  """Of some users against some items; None if too few were ranked.

  It is the median, since tiles of another length wait for a compilation; of
  three tiles of users, that with histories of middle length comes first.
  """
  evaluation, marks = experiment.config.evaluation, []

  def pause(make):
    del make
    marks.append(time.perf_counter())
    if marks[-1] - marks[0] > _ENOUGH:
      raise _Measured

  # About three tiles of held-out items.
  share = 3 * evaluation.user_tile / offline.held_out(experiment, split)
  number = math.ceil(experiment.prepared.num_users * share)
  number = min(number, evaluation.users or number)
  some = dataclasses.replace(evaluation, users=max(number, 1), bootstrap=0)
  config = dataclasses.replace(experiment.config, evaluation=some)
  watch = counting.Kept(lambda done, total: None, lambda: None, pause)
  # What is wrong with the data or the scores shows when they are ranked.
  with contextlib.suppress(_Measured, types.UserError):
    offline.rank(experiment._replace(config=config), ranker, split, watch)
  if len(marks) < 2:
    return None
  return float(np.median(np.diff(marks)))
