"""Progress of long work: a bar on a terminal, else now and then a line."""

import collections
from collections.abc import Callable, Iterator
import contextlib
import os
import sys
import time
from typing import TextIO

import rich.console
import rich.progress

Report = Callable[..., None]

_WINDOW = 30.0  # seconds that the rate is taken over
_REFRESH = 0.2  # seconds between two drawings of the bar


def duration(seconds: float) -> str:
  """`seconds` as m:ss or h:mm:ss."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{rest:02d}'
  return f'{minutes}:{rest:02d}'


class Stopped(Exception):
  """The work was asked to stop, and is saved."""


def say(text: str, quiet: bool = False) -> None:
  """A line among those of `reporter`."""
  if not quiet:
    sys.stderr.write(text + '\n')
    sys.stderr.flush()


def of_totals(report: Report) -> Callable[[int, int], None]:
  """(done, total) -> None, for work that tells how much is done by now.

  The first call says what was done before.
  """
  before = None

  def show(done, total):
    nonlocal before
    del total
    report(done, 0 if before is None else done - before)
    before = done

  return show


@contextlib.contextmanager
def reporter(
  total: int,
  label: str,
  *,
  quiet: bool = False,
  unit: str = 'steps',
  start: int = 0,
  interval: float = 10.0,
  stream: TextIO | None = None,
  clock: Callable[[], float] = time.monotonic,
) -> Iterator[Report]:
  """Shows the progress of the work inside.

      with progress.reporter(num_steps, 'train') as report:
        ...
        report(step, examples, loss)

  `report(done, examples=0, loss=None)` takes the steps done in all and the
  examples worked on since the last call. It is cheap: call it once per chunk.
  A first report without examples says what was done before; rates begin there.

  Args:
    total: steps in the end.
    label: what is being done.
    quiet: show nothing.
    unit: what is counted, 'steps' or 'users'.
    start: steps that were done before, in a run that is resumed.
    interval: seconds between two plain lines, at least.
    stream: standard error if not given.
    clock: seconds.
  """
  if quiet:
    yield lambda done, examples=0, loss=None: None
    return
  out: TextIO = sys.stderr if stream is None else stream
  terminal = out.isatty() and os.environ.get('TERM') != 'dumb'
  if terminal:
    interval, shown = _REFRESH, _bar(out, total, label, unit, start)
  else:
    shown = _lines(out, total, label, unit)
  measure = _make_measure(total, start, clock)
  drawn_at = clock() - (interval if terminal else 0.0)
  late: tuple[int, list[str]] | None = None
  with shown as draw:

    def report(done, examples=0, loss=None):
      nonlocal drawn_at, late
      rate, remaining = measure(int(done), examples)
      details = []
      if rate > 0:
        counted = 'examples' if unit == 'steps' else unit
        details.append(f'{rate:,.0f} {counted}/s')
      if loss is not None:
        details.append(f'loss {float(loss):.4f}')
      late = int(done), details
      if clock() - drawn_at >= interval:
        drawn_at, late = clock(), None
        if remaining is not None:
          details.append(f'{duration(remaining)} left')
        draw(int(done), details)

    yield report
    if late is not None:  # short work gets its one line
      draw(*late)


def _make_measure(total, start, clock):
  """Returns (done, examples) -> (examples per second lately, seconds left).

  The latter is None before there is a rate.
  """
  marks = collections.deque([(clock(), start, 0)])

  def measure(done, examples):
    now = clock()
    if len(marks) == 1 and not examples:
      marks[0] = now, done, 0
      return 0.0, None
    marks.append((now, done, marks[-1][2] + examples))
    # Keeps one mark at or before the window's beginning.
    while len(marks) > 2 and marks[1][0] <= now - _WINDOW:
      marks.popleft()
    then, done_then, examples_then = marks[0]
    seconds, steps = now - then, done - done_then
    if seconds <= 0 or steps <= 0:
      return 0.0, None
    remaining = max(total - done, 0) * seconds / steps
    return (marks[-1][2] - examples_then) / seconds, remaining

  return measure


@contextlib.contextmanager
def _bar(stream, total, label, unit, start):
  """Yields (done, details) -> None, which draws a bar."""
  bar = rich.progress.Progress(
    rich.progress.TextColumn('{task.description}', markup=False),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.TextColumn(f'{{task.completed}}/{{task.total}} {unit}'),
    rich.progress.TextColumn('{task.fields[detail]}', markup=False),
    console=rich.console.Console(file=stream),
    auto_refresh=False,  # no second thread beside the work
    redirect_stdout=False,
  )
  with bar:
    task = bar.add_task(label, total=total, completed=start, detail='')
    yield lambda done, details: bar.update(
      task, completed=done, detail=', '.join(details), refresh=True
    )


@contextlib.contextmanager
def _lines(stream, total, label, unit):
  """Yields (done, details) -> None, which writes a line."""

  def write(done, details):
    line = [f'{label}: {done}/{total} {unit}', *details]
    stream.write(', '.join(line) + '\n')
    stream.flush()

  yield write
