"""Progress of long work: a bar on a terminal, else now and then a line."""

import collections
from collections.abc import Callable, Iterator
import contextlib
import os
import sys
import time
from typing import NamedTuple, TextIO

import rich.console
import rich.progress

Report = Callable[..., None]

_WINDOW = 30.0  # seconds that the rate is taken over
_REFRESH = 0.2  # seconds between two drawings of the bar


class Status(NamedTuple):
  """What there is to show.

  Attributes:
    done: steps.
    total: steps in the end.
    rate: examples per second, lately.
    remaining: seconds, or None before there is a rate.
    loss: latest value, or None.
  """

  done: int
  total: int
  rate: float
  remaining: float | None
  loss: float | None


def duration(seconds: float) -> str:
  """`seconds` as m:ss or h:mm:ss."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{rest:02d}'
  return f'{minutes}:{rest:02d}'


def describe(status: Status, unit: str = 'steps') -> str:
  """Rate, loss and remaining time, as far as known."""
  parts = []
  if status.rate > 0:
    counted = 'examples' if unit == 'steps' else unit
    parts.append(f'{status.rate:,.0f} {counted}/s')
  if status.loss is not None:
    parts.append(f'loss {status.loss:.4f}')
  if status.remaining is not None:
    parts.append(f'{duration(status.remaining)} left')
  return ', '.join(parts)


def of_totals(report: Report) -> Callable[[int, int], None]:
  """(done, total) -> None, for work that tells how much is done by now."""
  before = [0]

  def told(done, total):
    del total
    report(done, done - before[0])
    before[0] = done

  return told


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
  stream = sys.stderr if stream is None else stream
  if quiet:
    yield lambda done, examples=0, loss=None: None
    return
  terminal = stream.isatty() and os.environ.get('TERM') != 'dumb'
  show = _bar if terminal else _lines
  with show(total, label, unit, start, interval, stream, clock) as draw:
    measure = _make_measure(total, start, clock)

    def report(done, examples=0, loss=None):
      loss = None if loss is None else float(loss)
      draw(measure(int(done), examples, loss))

    yield report


def _make_measure(total, start, clock):
  """Returns (done, examples, loss) -> Status over the last seconds."""
  marks = collections.deque([(clock(), start, 0)])

  def measure(done, examples, loss):
    now = clock()
    marks.append((now, done, marks[-1][2] + examples))
    # Keeps one mark at or before the window's beginning.
    while len(marks) > 2 and marks[1][0] <= now - _WINDOW:
      marks.popleft()
    then, done_then, examples_then = marks[0]
    seconds, steps = now - then, done - done_then
    if seconds <= 0 or steps <= 0:
      return Status(done, total, 0.0, None, loss)
    rate = (marks[-1][2] - examples_then) / seconds
    remaining = max(total - done, 0) * seconds / steps
    return Status(done, total, rate, remaining, loss)

  return measure


@contextlib.contextmanager
def _bar(total, label, unit, start, interval, stream, clock):
  """Yields a function that draws a status as a bar."""
  del interval  # a bar is drawn in place
  bar = rich.progress.Progress(
    rich.progress.TextColumn('{task.description}', markup=False),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.TextColumn(f'{{task.completed}}/{{task.total}} {unit}'),
    rich.progress.TextColumn('{task.fields[detail]}', markup=False),
    console=rich.console.Console(file=stream),
    auto_refresh=False,  # no second thread beside the work
    redirect_stdout=False,
  )
  last_drawn = clock() - _REFRESH
  with bar:
    task = bar.add_task(label, total=total, completed=start, detail='')

    def draw(status):
      nonlocal last_drawn
      bar.update(task, completed=status.done, detail=describe(status, unit))
      if clock() - last_drawn >= _REFRESH:
        last_drawn = clock()
        bar.refresh()

    yield draw


@contextlib.contextmanager
def _lines(total, label, unit, start, interval, stream, clock):
  """Yields a function that writes a status as a line, if it is time."""
  del total, start
  last_written = clock()
  unwritten = None

  def write(status):
    parts = [f'{label}: {status.done}/{status.total} {unit}']
    parts += [describe(status, unit)] if describe(status, unit) else []
    stream.write(', '.join(parts) + '\n')
    stream.flush()

  def draw(status):
    nonlocal last_written, unwritten
    unwritten = status
    if clock() - last_written >= interval:
      last_written, unwritten = clock(), None
      write(status)

  yield draw
  if unwritten is not None:  # short work gets its one line
    write(unwritten._replace(remaining=None))
