"""Lets compiled work take turns, and tells what it costs.

Ratios compare two turns of one round in one process, since absolute times
drift on shared machines. Every figure is a median with its extremes.
"""

from collections.abc import Callable, Mapping, Sequence
import statistics
import time
from typing import Any, NamedTuple

# Processor time is that of all cores, and of no accelerator. On a machine that
# is shared it counts what the work took, not what others left over.
CLOCKS = {'wall': time.perf_counter, 'processor': time.process_time}

Say = Callable[[str], None]


class Work(NamedTuple):
  """One row of a table: what is timed when it is its turn.

  Attributes:
    labels: columns that say what it is, also for JSON.
    run: () -> anything; returns when it is done, and does as much every time.
    amount: steps, calls or events of a run.
    bases: ratio's name -> the work it is compared with, None for no ratio.
      Where a work is a base of itself the ratio is 1.
    compile_seconds: None where nothing is compiled.
  """

  labels: Mapping[str, Any]
  run: Callable[[], Any]
  amount: float = 1.0
  bases: Mapping[str, Mapping[str, Any] | None] = {}
  compile_seconds: float | None = None


class Figure(NamedTuple):
  """What seconds and an amount are turned into.

  Attributes:
    name: of the column.
    of: (seconds, amount) -> number.
  """

  name: str
  of: Callable[[float, float], float]


MILLISECONDS = Figure('milliseconds', lambda s, amount: s / amount * 1e3)
PER_STEP = MILLISECONDS._replace(name='milliseconds_per_step')
PER_SECOND = Figure('per_second', lambda s, amount: amount / s)


def same_work(
  part: str,
  runs: Mapping[str, Callable[[], Any]],
  amount: float,
  unit: str = 'events',
) -> list[Work]:
  """Ways to do the same, compared with the first of them.

  Args:
    part: of a system.
    runs: name of a way -> what does it.
    amount: units of every run.
    unit: what is counted.
  """
  labels = [{'part': part, 'name': name, 'unit': unit} for name in runs]
  base = labels[0] if len(runs) > 1 else None
  return [
    Work(own, run, amount, {'over_first': base})
    for own, run in zip(labels, runs.values())
  ]


def say_nothing(line: str) -> None:
  """In place of what shows progress."""
  del line


def measure(
  works: Sequence[Work],
  figure: Figure,
  repeats: int,
  clock: str = 'wall',
  say: Say = say_nothing,
) -> dict[str, Any]:
  """The rows of a document, ratios among them.

  What a work is compared with runs right before it every time, so that a
  machine that slows down or is shared changes both sides of a ratio.

  Args:
    works: compiled; their labels differ.
    figure: what is told of each.
    repeats: measured rounds over all works, after one that warms up.
    clock: of `CLOCKS`.
    say: gets a line about progress.
  """
  from twotsrec.training import machine

  by_labels = {_key(work.labels): work for work in works}
  turns = [[] for _ in works]
  for number in range(repeats + 1):
    say(f'round {number}/{repeats}' if number else 'warming up')
    for work, own in zip(works, turns):
      bases = [_key(labels) for labels in work.bases.values() if labels]
      keys = dict.fromkeys([*bases, _key(work.labels)])
      turn = {
        key: _figure(by_labels[key], figure, CLOCKS[clock]) for key in keys
      }
      if number:
        own.append(turn)
  return {
    'clock': clock,
    'rounds': repeats,
    'rows': [_row(work, figure, own) for work, own in zip(works, turns)],
    'peak_rss_mb': machine.peak_rss_mb(),
    'versions': machine.versions(),
  }


def summary(values: Sequence[float]) -> dict[str, float]:
  """Median, least and largest, for JSON."""
  return {
    'median': round(statistics.median(values), 4),
    'min': round(min(values), 4),
    'max': round(max(values), 4),
  }


def table(measured: Mapping[str, Any]) -> list[list[str]]:
  """Cells of a table with its head, from what `measure` returns."""
  rows = measured['rows']
  figures = [
    key for key in rows[0] if any(isinstance(row[key], dict) for row in rows)
  ]
  head = []
  for key in rows[0]:
    head += [key.replace('_', ' '), *([''] if key in figures else [])]
  return [head, *([*_cells(row, figures)] for row in rows)]


def _key(labels):
  return tuple(labels.items())


def _figure(work, figure, clock):
  begin = clock()
  work.run()
  return figure.of(clock() - begin, work.amount)


def _row(work, figure, turns):
  own = _key(work.labels)
  row = {**work.labels, figure.name: summary([turn[own] for turn in turns])}
  for name, labels in work.bases.items():
    ratios = [turn[own] / turn[_key(labels)] for turn in turns if labels]
    row[name] = summary(ratios) if ratios else None
  seconds = work.compile_seconds
  row['compile_seconds'] = None if seconds is None else round(seconds, 2)
  return row


def _cells(row, figures):
  for key, value in row.items():
    if key not in figures:
      yield '' if value is None else str(value)
    elif value is None:
      yield from ('', '')
    else:
      form = ',.0f' if key == PER_SECOND.name else '.2f'
      low, median, high = (
        format(value[x], form) for x in ('min', 'median', 'max')
      )
      yield from (median, f'{low} to {high}')
