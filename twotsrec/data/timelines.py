"""All events of a log in one order of time, cut into spans (JODIE sec. 4).

A span is what gradients flow through; its events stand in t-batches
(`ops.tbatches`), cut into rows of equal width, so that every span has the same
shape. Users and items of a span are numbered on their own, so that what a step
differentiates is as large as a span and not as the log.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.ops import tbatches

WIDTH = 8  # events of a row
_LONGEST = 4  # a span has no more events than so many spans have on average


class Timeline(NamedTuple):
  """Events in order of time; of equal times in the order of users.

  Attributes:
    event: i64[N], indices into the prepared events.
    user: i32[N].
    item: i32[N].
    previous: i32[N], item of the user's event before, 0 at the first.
    gaps: f32[N, 2], time since the last event of the user and of the item, or
      of the log at their first; less its mean and over its deviation among
      train events.
    span: i32[N], ascending from 0 without a hole.
    first: (i32[U], i32[I + 1]), span of the first event of each user and item;
      the number of spans where there is none.
    at_end: f32[U], the gap of each user at the time of the last event.
  """

  event: np.ndarray
  user: np.ndarray
  item: np.ndarray
  previous: np.ndarray
  gaps: np.ndarray
  span: np.ndarray
  first: tuple[np.ndarray, np.ndarray]
  at_end: np.ndarray

  @property
  def num_spans(self) -> int:
    """S."""
    return int(self.span[-1]) + 1


class Layout(NamedTuple):
  """Spans of one shape; E events, M users and J items at most in one.

  Attributes:
    events: i32[S, E], places in the timeline; N is filling.
    rows: i32[S, R, W], the same events by t-batch, as 0..E-1; E is filling.
    users: i32[S, M], users of a span; U is filling.
    items: i32[S, J], items of a span, 0 among them; I + 1 is filling.
    new_users: bool[S, M], without an event in an earlier span.
    new_items: bool[S, J].
    local: i32[S, E + 1, 3], where user, item and previous item of an event
      stand in `users` and `items`; M and J for filling.
  """

  events: np.ndarray
  rows: np.ndarray
  users: np.ndarray
  items: np.ndarray
  new_users: np.ndarray
  new_items: np.ndarray
  local: np.ndarray


def require_times(prepared: prepared_lib.Prepared) -> np.ndarray:
  """Times of the events, f64[N]; refuses data without.

  Raises:
    types.UserError: how to get some.
  """
  if prepared.times is None:
    raise types.UserError(
      'this model plays events in order of time, and the data have no times;'
      ' prepare them with --time_column, or use model.name=gru4rec'
    )
  return np.asarray(prepared.times).astype(np.float64)


def in_order(prepared: prepared_lib.Prepared, until: int) -> np.ndarray:
  """Events of the splits up to `until` in order of time, i64[N].

  Raises:
    types.UserError: data without times.
  """
  times = require_times(prepared)
  event = np.flatnonzero(np.asarray(prepared.split) <= until)
  return event[np.argsort(times[event], kind='stable')]


def make(prepared: prepared_lib.Prepared, until: int, spans: int) -> Timeline:
  """The events of the splits up to `until`.

  Args:
    prepared: the data.
    until: TRAIN, VALIDATION or TEST.
    spans: that the time of the train events is divided into. What comes later
      is in spans of the same length, and a span with more events than four have
      on average is cut.
  Raises:
    types.UserError: data without times.
  """
  times, event = require_times(prepared), in_order(prepared, until)
  train = np.asarray(prepared.split)[event] == prepared_lib.TRAIN
  time = times[event]
  user = prepared.event_users[event]
  item = np.asarray(prepared.items, np.int32)[event]
  before = _last_of(user)
  previous = np.where(before >= 0, item[before], 0).astype(np.int32)
  gaps = np.stack([_gaps(time, before), _gaps(time, _last_of(item))], axis=1)
  mean, deviation = gaps[train].mean(axis=0), gaps[train].std(axis=0)
  scaled = lambda gaps, of: (gaps - mean[of]) / (deviation[of] or 1.0)
  latest = np.full(prepared.num_users, time[0])
  latest[user] = time  # the latest is written last
  at_end = scaled(time[-1] - latest, 0)
  gaps = np.stack([scaled(gaps[:, i], i) for i in range(2)], axis=1)
  span = _spans(time, train, spans)
  size = int(span[-1]) + 1
  return Timeline(
    event=event,
    user=user,
    item=item,
    previous=previous,
    gaps=gaps.astype(np.float32),
    span=span,
    first=(
      _first(user, span, prepared.num_users, size),
      _first(item, span, prepared.num_items + 1, size),
    ),
    at_end=at_end.astype(np.float32),
  )


def _last_of(key):
  """The event before with the same key, i64[N]; -1 where there is none."""
  order = np.argsort(key, kind='stable')
  same = np.diff(key[order], prepend=-1) == 0
  last = np.full(len(key), -1)
  last[order[same]] = order[np.flatnonzero(same) - 1]
  return last


def _gaps(time, before):
  return time - np.where(before >= 0, time[before], time[0])


def _spans(time, train, spans):
  """i32[N] ascending without holes."""
  end = time[train].max()
  length = (end - time[0]) / spans
  number = np.zeros(len(time), np.int64)
  if length > 0:
    number = np.minimum((time - time[0]) // length, 2**31).astype(np.int64)
  most = max(_LONGEST * -(-int(train.sum()) // spans), 1)
  start = np.flatnonzero(np.diff(number, prepend=-1))
  counts = np.diff(start, append=len(number))
  rank = np.arange(len(number)) - np.repeat(start, counts)
  begins = rank % most == 0
  return (np.cumsum(begins) - 1).astype(np.int32)


def _first(ids, span, size, nothing):
  first = np.full(size, nothing, np.int32)
  first[ids[::-1]] = span[::-1]  # the earliest is written last
  return first


def lay_out(line: Timeline, width: int = WIDTH) -> Layout:
  """The spans of a timeline, all of one shape, in rows of `width` events."""
  num_users, num_items = len(line.first[0]), len(line.first[1])
  user, item, previous = line.user, line.item, line.previous
  span, size = line.span, line.num_spans
  number, most = _within(span, size)
  events = np.full((size, most), len(line.event), np.int32)
  events[span, number] = np.arange(len(line.event))
  users, of_user = _numbered(span, user, size, num_users)
  both = np.concatenate([np.zeros(size, np.int32), item, previous])
  spans = np.concatenate([np.arange(size), span, span])
  items, of_both = _numbered(spans, both, size, num_items)
  of_item, of_previous = np.split(of_both[size:], 2)
  local = np.zeros((size, most + 1, 3), np.int32)
  local[:] = users.shape[1], items.shape[1], items.shape[1]
  local[span, number] = np.stack([of_user, of_item, of_previous], axis=1)
  later = lambda first, ids: (
    np.append(first, 0)[ids] >= np.arange(size)[:, None]
  )
  new_items = later(line.first[1], items)
  return Layout(
    events=events,
    rows=_rows(user, item, previous, span, number, (size, most, width)),
    users=users,
    items=items,
    new_users=later(line.first[0], users),
    new_items=new_items,
    local=local,
  )


def _within(span, size):
  """Number of every event in its span, i64[n], and the most of a span."""
  counts = np.bincount(span, minlength=size)
  starts = np.cumsum(counts) - counts
  return np.arange(len(span)) - starts[span], int(counts.max(initial=1))


def _numbered(span, ids, size, filling):
  """Distinct ids of every span, i32[S, M], and where each stands there."""
  pairs = span.astype(np.int64) * (filling + 1) + ids
  pairs, where = np.unique(pairs, return_inverse=True)
  owner, value = np.divmod(pairs, filling + 1)
  number, most = _within(owner, size)
  table = np.full((size, most), filling, np.int32)
  table[owner, number] = value
  return table, number[where]


def _rows(user, item, previous, span, number, shape):
  """i32[S, R, W] of the numbers of events in their span."""
  size, most, width = shape
  batch = tbatches.of_events(user, item, previous, span)
  order, row, column = tbatches.in_rows(batch, width)
  begins = np.flatnonzero(np.diff(span[order], prepend=-1))
  first = row[begins]
  depth = int(np.diff(first, append=row[-1] + 1).max())
  rows = np.full((size, depth, width), most, np.int32)
  rows[span[order], row - first[span[order]], column] = number[order]
  return rows
