"""States of users beside their last events, which can be played again.

A user has two states: `state` after all events, and `start` before those of the
window. Playing the window from `start` gives `state`, bit for bit, so an event
that comes late is put in its place and the window is played again.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from twotsrec.serving import online


class Window(NamedTuple):
  """Events of n users, in the order in which they were played.

  Attributes:
    offsets: i64[n + 1], events of each user.
    time: f64[N], does not fall inside a user; NaN where none is known.
    item: i32[N], 0 for one that the run does not know.
    identity: i64[N], tells an event from the others of its user; 0 for none.
  """

  offsets: np.ndarray
  time: np.ndarray
  item: np.ndarray
  identity: np.ndarray


class Stored(NamedTuple):
  """States that outlive a process, and what is needed to go on from them.

  Attributes:
    ids: external ids of users, [n].
    last_time: f64[n], of the last event; -inf where none is known.
    floor: f64[n], of what is older nobody can say any more where it belongs.
    start: before the events of the window, host arrays [n, ...].
    state: after them.
    window: the last events.
  """

  ids: np.ndarray
  last_time: np.ndarray
  floor: np.ndarray
  start: online.State
  state: online.State
  window: Window


def rows(window: Window) -> np.ndarray:
  """i64[N], the user of every event."""
  count = np.diff(window.offsets)
  return np.repeat(np.arange(len(count)), count)


def empty(num_users: int) -> Window:
  """No events."""
  nothing = np.zeros(0, np.int64)
  return Window(
    offsets=np.zeros(num_users + 1, np.int64),
    time=nothing.astype(np.float64),
    item=nothing.astype(np.int32),
    identity=nothing,
  )


def join(parts: Sequence[Stored]) -> Stored:
  """The users of all parts, one after the other; at least one part."""
  windows = [part.window for part in parts]
  counts = [np.diff(window.offsets) for window in windows]
  window = Window(
    np.append(0, np.cumsum(np.concatenate(counts))),
    *map(np.concatenate, zip(*(w[1:] for w in windows), strict=True)),
  )
  users = [part._replace(window=empty(0)) for part in parts]
  together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *users)
  return together._replace(window=window)


def begin(
  service: online.Service,
  ids: np.ndarray,
  user: np.ndarray,
  last_time: np.ndarray,
) -> Stored:
  """Users as the run left them.

  Args:
    service: the run.
    ids: external ids, [n].
    user: i32[n], users of the run; -1 for somebody new.
    last_time: f64[n], up to which the run has seen them.
  """
  state = online.start_on_host(service, user)
  return Stored(
    ids=ids,
    last_time=last_time.copy(),
    floor=last_time.copy(),
    start=state,
    state=online.on_host(state),
    window=empty(len(ids)),
  )


def play(
  service: online.Service,
  stored: Stored,
  events: Window,
  keep: int,
  show: Callable[[int, int], None] = lambda users, events: None,
) -> Stored:
  """The users after more events.

  Where an event is earlier than the last one of its user, the window is played
  again. A window that exceeds 2 `keep` events loses its oldest down to `keep`,
  or to as many as `events` has of the user.

  Args:
    service: the run.
    stored: n users.
    events: of these users; none of them earlier than `floor`.
    keep: events of a user that stay in the window.
    show: called with users done and events played since the last call.
  """
  row = rows(events)
  is_late = events.time < stored.last_time[row]
  again = np.bincount(row[is_late], minlength=len(stored.ids)) > 0
  merged, is_new = _merge(stored, events)
  from_here = jax.tree.map(
    lambda start, state: np.where(_column(again, state), start, state),
    stored.start,
    stored.state,
  )
  played = is_new | again[rows(merged)]
  chosen = _taken(merged, played)
  state = online.play(
    service, from_here, chosen.offsets, chosen.item, show=show
  )
  last_time = stored.last_time.copy()
  np.fmax.at(last_time, row, events.time)
  moved = stored._replace(last_time=last_time, state=state, window=merged)
  return _forget(service, moved, np.diff(events.offsets), keep)


def _merge(stored, events) -> tuple[Window, np.ndarray]:
  """All events of the users in the order of time, and which are new, bool[N].

  At the same time the one that came first stays first.
  """
  window = stored.window
  row = np.concatenate([rows(window), rows(events)])
  nobody = np.full_like(stored.last_time, -np.inf)
  time = np.concatenate(
    [_place(window, nobody), _place(events, stored.last_time)]
  )
  order = np.lexsort((time, row))
  is_new = np.arange(len(row)) >= len(window.time)
  both = (
    np.concatenate(pair)[order]
    for pair in zip(window[1:], events[1:], strict=True)
  )
  return Window(window.offsets + events.offsets, *both), is_new[order]


def _place(events, before) -> np.ndarray:
  """Times f64[N]; where there is none, that of the last event that has one.

  `before`, f64[n], is the time of what comes before the first.
  """
  number, row = np.arange(len(events.time)), rows(events)
  timed = np.where(np.isnan(events.time), -1, number)
  last = np.maximum.accumulate(timed)
  mine = last >= events.offsets[:-1][row]
  return np.where(mine, events.time[last], before[row])


def _taken(events, chosen) -> Window:
  """The events that are chosen, bool[N]."""
  before = np.concatenate([[0], np.cumsum(chosen)])
  return Window(before[events.offsets], *(v[chosen] for v in events[1:]))


def _forget(service, stored, new, keep) -> Stored:
  """Users whose windows are not longer than they need to be."""
  window, row = stored.window, rows(stored.window)
  count = np.diff(window.offsets)
  excess = np.where(count > 2 * keep, count - np.maximum(keep, new), 0)
  # An event at the last time of its user must be recognized if it comes again.
  stays = np.flatnonzero(window.time >= stored.last_time[row])
  after = np.append(stays, len(window.time))
  first = after[np.searchsorted(stays, window.offsets[:-1])]
  excess = np.clip(excess, 0, first - window.offsets[:-1])
  if not np.any(excess):
    return stored
  gone = np.arange(len(window.time)) - window.offsets[:-1][row] < excess[row]
  some, old = np.flatnonzero(excess), _taken(window, gone)
  start = jax.tree.map(np.array, stored.start)
  offsets = np.append(old.offsets[some], len(old.time))
  part = jax.tree.map(lambda leaf: leaf[some], start)
  moved = online.play(service, part, offsets, old.item)
  for leaf, values in zip(start, moved, strict=True):
    leaf[some] = values
  floor = stored.floor.copy()
  np.fmax.at(floor, row[gone], np.nextafter(old.time, np.inf))
  return stored._replace(start=start, floor=floor, window=_taken(window, ~gone))


def _column(of_users, values):
  """bool[n] for each row of values [n, ...]."""
  return of_users.reshape(-1, *[1] * (values.ndim - 1))
