"""Sequences of very different lengths, laid out for a scan.

A run is a contiguous range of one user's events. A plan is i32[S, L, B]: S
steps, in each B streams of L events, time first. An entry is 2 e + r for event
e, with r = 1 where a run begins and the state starts anew; -1 is filling. Every
layout trains the same runs, so all have the same loss (tests hold them equal).

  packed   short runs share a stream, none crosses a step; nearly no filling
  padded   a run per stream; as dense as the lengths are equal
  carried  long runs go on in the next step, where the gradient is cut
"""

from collections.abc import Callable, Sequence
import heapq
from typing import NamedTuple

import numpy as np

FILLING = -1


class Runs(NamedTuple):
  """Ranges of events."""

  start: np.ndarray  # i64[R], first event
  length: np.ndarray  # i64[R], at least 1


class Layout(NamedTuple):
  """An arrangement of runs in steps and streams."""

  # (S, L, B), or (S, G, L, B) where groups stand side by side.
  shape: tuple[int, ...]
  # (seed, epoch) -> i32 of that shape.
  plan_of: Callable[[int, int], np.ndarray]
  filled: float  # share of the places that hold an event


def packed(
  runs: Runs, length: int, tokens: int, steps: int | None = None
) -> Layout:
  """Runs fitted into streams of `length`; none crosses a stream's end.

  Each epoch permutes runs of equal length, and the streams.

  Args:
    runs: none longer than `length`.
    length: L.
    tokens: places of a step, rounded to whole streams.
    steps: S, in place of `tokens`.
  """
  slots = _fit(runs.length, length)
  num_streams = int(slots.stream[-1]) + 1 if len(slots.stream) else 0
  if steps is None:
    steps, width = _steps(num_streams, length, tokens)
  else:
    width = max(-(-num_streams // steps), 1)
  by_length = np.argsort(runs.length, kind='stable')
  slot_by_length = np.argsort(slots.length, kind='stable')

  def plan_of(seed, epoch):
    generator = np.random.default_rng((seed, epoch))
    shuffled = generator.permutation(len(by_length))
    # Sorted by length again, ties in the drawn order.
    order = shuffled[np.argsort(runs.length[shuffled], kind='stable')]
    stream_to = generator.permutation(steps * width)
    places = stream_to[slots.stream[slot_by_length]] * length
    places += slots.offset[slot_by_length]
    ordered = Runs(runs.start[order], runs.length[order])
    filled = _filled_with(ordered, places, (steps, width, length))
    return filled.swapaxes(1, 2).copy()

  return _layout((steps, length, width), plan_of, runs)


def padded(runs: Runs, length: int, tokens: int) -> Layout:
  """One run per stream; as `packed` otherwise."""
  steps, width = _steps(len(runs.start), length, tokens)

  def plan_of(seed, epoch):
    generator = np.random.default_rng((seed, epoch))
    places = generator.permutation(steps * width)[: len(runs.start)] * length
    filled = _filled_with(runs, places, (steps, width, length))
    return filled.swapaxes(1, 2).copy()

  return _layout((steps, length, width), plan_of, runs)


def carried(runs: Runs, length: int, num_streams: int) -> Layout:
  """Runs end to end in a few streams, cut into steps of `length`.

  The state at the end of a step goes on in the next one. The longest runs are
  dealt first, each to the shortest stream; each epoch permutes the runs of a
  stream.

  Args:
    runs: of any lengths.
    length: L.
    num_streams: B.
  """
  stream = _dealt(runs.length, num_streams)
  totals = np.bincount(stream, runs.length, num_streams).astype(np.int64)
  steps = -(-int(totals.max(initial=1)) // length)

  def plan_of(seed, epoch):
    generator = np.random.default_rng((seed, epoch))
    shuffled = generator.permutation(len(stream))
    order = shuffled[np.argsort(stream[shuffled], kind='stable')]
    ends = np.cumsum(runs.length[order])
    before = np.concatenate([[0], np.cumsum(totals)])[stream[order]]
    places = (
      stream[order] * (steps * length) + ends - runs.length[order] - before
    )
    ordered = Runs(runs.start[order], runs.length[order])
    filled = _filled_with(ordered, places, (num_streams, steps, length))
    return filled.transpose(1, 2, 0).copy()

  return _layout((steps, length, num_streams), plan_of, runs)


def stacked(layouts: Sequence[Layout]) -> Layout:
  """Layouts with the same steps side by side, i32[S, G, L, B].

  Narrower ones are filled up to the widest.
  """
  steps, length = layouts[0].shape[:2]
  width = max(layout.shape[2] for layout in layouts)
  shape = (steps, len(layouts), length, width)

  def plan_of(seed, epoch):
    plan = np.full(shape, FILLING, np.int32)
    for g, layout in enumerate(layouts):
      plan[:, g, :, : layout.shape[2]] = layout.plan_of(seed, epoch)
    return plan

  held = sum(one.filled * np.prod(one.shape) for one in layouts)
  return Layout(shape, plan_of, float(held / np.prod(shape)))


def windows(runs: Runs, length: int, generator: np.random.Generator) -> Runs:
  """ceil(T / K) random windows of K events of every run (2TS sec. 4, ablation).

  Each run has at least K = `length` events; the generator draws first events.
  """
  times = -(-runs.length // length)
  owner = np.repeat(np.arange(len(runs.length)), times)
  room = runs.length[owner] - length + 1
  start = runs.start[owner] + generator.integers(0, room)
  return Runs(start, np.full(len(owner), length))


class _Slots(NamedTuple):
  """Places for runs, in order of streams."""

  stream: np.ndarray
  offset: np.ndarray
  length: np.ndarray


def _fit(lengths: np.ndarray, capacity: int) -> _Slots:
  """First fit decreasing, a pattern of lengths at a time.

  A pattern takes as many of the longest runs left as fit, then of the next
  shorter, and so on; it is repeated while its runs last. There are as many
  patterns as distinct lengths, more or less, however many runs.
  """
  if len(lengths) and int(lengths.max()) > capacity:
    raise ValueError(f'a run of {lengths.max()} in streams of {capacity}')
  sizes, left = np.unique(lengths, return_counts=True)
  parts, first = [], 0
  while left.any():
    pattern = _pattern(sizes, left, capacity)
    used = {i: pattern.count(i) for i in set(pattern)}
    repeats = min(int(left[i]) // count for i, count in used.items())
    for i, count in used.items():
      left[i] -= count * repeats
    length = np.tile(sizes[pattern], repeats)
    offset = np.tile(np.cumsum(sizes[pattern]) - sizes[pattern], repeats)
    stream = first + np.repeat(np.arange(repeats), len(pattern))
    parts.append((stream, offset, length))
    first += repeats
  if not parts:
    return _Slots(*(np.zeros(0, np.int64) for _ in range(3)))
  return _Slots(*(np.concatenate(column) for column in zip(*parts)))


def _pattern(sizes, left, capacity):
  """Indices of lengths that fill a stream, longest first."""
  pattern, room = [], capacity
  for i in range(len(sizes) - 1, -1, -1):
    count = min(int(left[i]), room // int(sizes[i]))
    pattern += [i] * count
    room -= count * int(sizes[i])
  return pattern


def _dealt(lengths, num_streams):
  """Stream of every run, i64[R]."""
  stream = np.zeros(len(lengths), np.int64)
  heap = [(0, b) for b in range(num_streams)]
  for run in np.argsort(-lengths, kind='stable'):
    total, shortest = heap[0]
    stream[run] = shortest
    heapq.heapreplace(heap, (total + int(lengths[run]), shortest))
  return stream


def _steps(num_streams, length, tokens):
  """(S, B): steps of about `tokens` places, equally wide."""
  width = max(tokens // length, 1)
  steps = max(-(-num_streams // width), 1)
  return steps, max(-(-num_streams // steps), 1)


def _filled_with(runs, places, shape):
  """Runs written at flat places, i32 of the shape."""
  size = int(np.prod(shape))
  largest = np.iinfo(np.int32).max
  last = int(np.max(runs.start + runs.length, initial=0))
  if size > largest or 2 * last > largest:
    raise ValueError(f'{size} places, {last} events: a plan is of i32')
  within = np.arange(int(runs.length.sum())) - np.repeat(
    np.cumsum(runs.length) - runs.length, runs.length
  )
  event = np.repeat(runs.start, runs.length) + within
  flat = np.full(size, FILLING, np.int32)
  flat[np.repeat(places, runs.length) + within] = 2 * event + (within == 0)
  return flat.reshape(shape)


def _layout(shape, plan_of, runs):
  places = int(np.prod(shape))
  return Layout(shape, plan_of, float(runs.length.sum() / max(places, 1)))
