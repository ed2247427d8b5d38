"""Trains the runs of 2TS' tables, the reference before those that follow it."""

from collections.abc import Callable
import time
from typing import Any

from twotsrec import types
from twotsrec.recipes.reproduction import training
from twotsrec.recipes.reproduction import two_time


def train(
  settings: two_time.Settings,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  tell: Callable[[str], Any] = lambda line: None,
) -> bool:
  """Trains what is missing; False if it was stopped.

  Args:
    settings: which runs.
    should_stop: as in `recipes.runs.train`.
    quiet: no progress display.
    tell: takes a line about every run before it is trained, with the time
      that those trained so far let expect.
  Raises:
    types.UserError: as `recipes.runs.train`.
  """
  missing = _missing(settings)
  training.verify([planned for _, planned in missing if planned])
  total, begin = len(two_time.runs(settings)), time.monotonic()
  for done, (run, _) in enumerate(missing):
    # The reference beside it has finished by now, and has chosen.
    planned = two_time.plan(settings, run)
    if planned is None:
      raise types.UserError(
        f'{two_time.workdir(settings, run)} waits for {two_time.REFERENCE}'
        ' beside it, which has no report; train it first'
      )
    number = total - len(missing) + done + 1
    left = _left(time.monotonic() - begin, done, len(missing) - done)
    line = f'{planned.workdir} ({number} of {total} runs{left})'
    told = lambda _, line=line: tell(line)
    if not training.train([planned], should_stop, quiet, told):
      return False
  return True


def _missing(settings):
  """Runs that have not finished, with their plans as far as they are known."""
  return [
    (run, planned)
    for run, planned in two_time.plans(settings).items()
    if planned is None or training.finished(planned) is None
  ]


def _left(seconds, done, missing) -> str:
  """What the mean of the runs so far lets expect of the others."""
  if not done:
    return ''
  minutes = seconds / done * missing / 60.0
  return f', about {max(1, round(minutes)):,} min left'
