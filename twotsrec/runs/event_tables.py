"""Tables of new events, in the order in which they happened."""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.runs import new_events


class Events(NamedTuple):
  """Events by user.

  Attributes:
    ids: external ids of users, [n].
    user: i32[n], users of the run; -1 for the others.
    offsets: i64[n + 1].
    items: i32[N], 0 for an unknown one.
    when: f64[N], does not fall inside a user; -inf where nothing tells.
    is_time: whether `when` is a time, and not a position inside this table.
    lines: i64[N], where in the file.
    disliked: rows below the run's minimum rating, which are seen only.
  """

  ids: np.ndarray
  user: np.ndarray
  offsets: np.ndarray
  items: np.ndarray
  when: np.ndarray
  is_time: bool
  lines: np.ndarray
  disliked: tables.Table


def read(
  prepared: prepared_lib.Prepared, path: str, columns: pipeline.TableOptions
) -> Events:
  """The table, by user; the order of the file stays inside a user.

  Columns, ids and filters are those of the training table, see `new_events`.

  Raises:
    types.UserError: a file that cannot be read.
  """
  rows = new_events.read(prepared, path, columns)
  table = rows.table
  items = ids_lib.encode_items(prepared.item_ids, table.item)
  user_ids, user = ids_lib.number(table.user)
  user_of_run = ids_lib.encode(prepared.user_ids, user_ids)
  if prepared.user_ids.dtype.kind == 'U':
    user_ids = user_ids.astype(str)
  order = np.argsort(user, kind='stable')
  when = table.time if table.order is None else table.order
  when = np.full(len(user), -np.inf) if when is None else when
  lines = np.arange(1, len(user) + 1) if table.lines is None else table.lines
  return Events(
    ids=user_ids,
    user=user_of_run,
    offsets=np.searchsorted(user[order], np.arange(len(user_ids) + 1)),
    items=items[order],
    when=when[order].astype(np.float64),
    is_time=table.order is None and table.time is not None,
    lines=lines[order],
    disliked=rows.disliked,
  )


def last_times(prepared: prepared_lib.Prepared, events: Events) -> np.ndarray:
  """Times up to which the run knows the users, f64[n]; -inf for none."""
  times = np.full(len(events.ids), -np.inf)
  # Where positions order the events, the last one need not be the latest.
  by_time = prepared.manifest['report'].get('ordered_by', 'time') == 'time'
  if prepared.times is None or not by_time:
    return times
  offsets = np.asarray(prepared.user_offsets)
  users = np.maximum(events.user, 0)
  some = (events.user >= 0) & (offsets[users + 1] > offsets[users])
  times[some] = np.asarray(prepared.times)[offsets[users[some] + 1] - 1]
  return times


def check_order(events: Events, last_time: np.ndarray, path: str) -> None:
  """Refuses events that go back in time, inside a user.

  `last_time`, f64[n], is of what the users' states have seen.

  Raises:
    types.UserError: the first such row of the file.
  """
  first = events.offsets[:-1]
  before = np.concatenate([[-np.inf], events.when[:-1]])
  before[first] = last_time if events.is_time else -np.inf
  wrong = np.flatnonzero(events.when < before)
  if not len(wrong):
    return
  at = wrong[np.argmin(events.lines[wrong])]
  user = events.ids[np.searchsorted(first, at, side='right') - 1]
  way_out = 'sort the table'
  if at in first:
    way_out = 'leave out the events that the state of this user has seen'
  raise types.UserError(
    f'{path}, line {events.lines[at]}: user {str(user)!r} goes back in time,'
    f' from {before[at]:.15g} to {events.when[at]:.15g}; {way_out}'
  )


def now(events: Events, last_time: np.ndarray) -> np.ndarray:
  """Time of the last event of every user after the table, f64[n]."""
  return events.when[events.offsets[1:] - 1] if events.is_time else last_time
