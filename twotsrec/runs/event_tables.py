"""Tables of new events, in the order in which they happened."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from twotsrec.data import ids as ids_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.runs import event_identity
from twotsrec.runs import new_events

_BY_EVENT = ('items', 'when', 'identity', 'as_logged', 'lines')


class Events(NamedTuple):
  """Events by user, in the order of the file.

  Attributes:
    ids: external ids of users, ascending [n].
    user: i32[n], users of the run; -1 for the others.
    offsets: i64[n + 1].
    items: i32[N], 0 for an unknown one.
    when: f64[N], orders the events of a user: times, or positions inside this
      table; -inf where nothing tells.
    is_time: whether `when` is a time.
    identity: i64[N], by the ids of events or else as `as_logged`; see
      `event_identity`.
    as_logged: i64[N], by item and time, as the run knows its own events.
    lines: i64[N], where in the file.
    path: of the file, for messages.
    disliked: rows below the run's minimum rating, which are seen only; None
      where there are none.
    unrated: whether the run has a minimum rating and the table no ratings.
    unasked: conditions of the run whose column the table lacks.
  """

  ids: np.ndarray
  user: np.ndarray
  offsets: np.ndarray
  items: np.ndarray
  when: np.ndarray
  is_time: bool
  identity: np.ndarray
  as_logged: np.ndarray
  lines: np.ndarray
  path: str
  disliked: tables.Table | None = None
  unrated: bool = False
  unasked: tuple[str, ...] = ()

  @property
  def row(self) -> np.ndarray:
    """i64[N], the user of every event, 0..n-1."""
    return np.repeat(np.arange(len(self.ids)), np.diff(self.offsets))

  @property
  def time(self) -> np.ndarray:
    """f64[N], NaN where none is known."""
    return self.when if self.is_time else np.full(len(self.when), np.nan)


def read(
  prepared: prepared_lib.Prepared, path: str, columns: pipeline.TableOptions
) -> Events:
  """The table, by user; the order of the file stays inside a user.

  Columns, ids and filters are those of the training table, see `new_events`.

  Raises:
    types.UserError: a file that cannot be read.
  """
  # Whose clock is wrong is for `event_checks`, which stops nobody else.
  rows = new_events.read(prepared, path, columns, one_scale=False)
  return of_table(prepared, rows.table)._replace(
    disliked=rows.disliked, unrated=rows.unrated, unasked=rows.unasked
  )


def of_table(prepared: prepared_lib.Prepared, table: tables.Table) -> Events:
  """The rows of a table, of `tables.make` or of a file, by user."""
  items = ids_lib.encode_items(prepared.item_ids, table.item)
  # Numbers may be of new items; names where the run has numbers are a mistake.
  if (
    len(items)
    and not np.any(items)
    and ids_lib.foreign(prepared.item_ids, table.item)
  ):
    raise new_events.all_unknown(table.path, len(items))
  user_ids, user = ids_lib.number(table.user)
  user_of_run = ids_lib.encode(prepared.user_ids, user_ids)
  if prepared.user_ids.dtype.kind == 'U':
    user_ids = user_ids.astype(str)
  order = np.argsort(user, kind='stable')
  nothing = np.full(len(user), -np.inf)
  when = table.time if table.order is None else table.order
  time = np.full(len(user), np.nan) if table.time is None else table.time
  as_logged = event_identity.of_times(
    event_identity.of_items(items, table.item), time
  )
  identity = as_logged
  if table.event is not None:
    identity = event_identity.of_ids(table.event)
  lines = np.arange(1, len(user) + 1) if table.lines is None else table.lines
  return Events(
    ids=user_ids,
    user=user_of_run,
    offsets=np.searchsorted(user[order], np.arange(len(user_ids) + 1)),
    items=items[order],
    when=(nothing if when is None else when)[order].astype(np.float64),
    is_time=table.order is None and table.time is not None,
    identity=identity[order],
    as_logged=as_logged[order],
    lines=lines[order],
    path=table.path,
  )


def none_of(prepared: prepared_lib.Prepared, ids: np.ndarray) -> Events:
  """No event of anybody, for users with external ids, ascending [n]."""
  nothing = np.zeros(0, np.int64)
  return Events(
    ids=ids,
    user=ids_lib.encode(prepared.user_ids, ids),
    offsets=np.zeros(len(ids) + 1, np.int64),
    items=nothing.astype(np.int32),
    when=nothing.astype(np.float64),
    is_time=True,
    identity=nothing,
    as_logged=nothing,
    lines=nothing,
    path='',
  )


def join(parts: Sequence[Events]) -> tuple[Events, np.ndarray]:
  """Events of several tables as one, those of earlier tables first.

  Args:
    parts: one or more, all with times or all without.
  Returns:
    The events by user, and the table of each, i64[N].
  """
  named = np.concatenate([part.ids[part.row] for part in parts])
  ids, row = np.unique(named, return_inverse=True)
  order = np.argsort(row, kind='stable')
  user = np.empty(len(ids), np.int32)
  user[row] = np.concatenate([part.user[part.row] for part in parts])
  source = np.repeat(np.arange(len(parts)), [len(p.items) for p in parts])
  together = {
    name: np.concatenate([getattr(part, name) for part in parts])[order]
    for name in _BY_EVENT
  }
  offsets = np.searchsorted(row[order], np.arange(len(ids) + 1))
  joined = parts[0]._replace(ids=ids, user=user, offsets=offsets, **together)
  return joined, source[order]


def without(events: Events, gone: np.ndarray) -> Events:
  """Events without some, bool[N]; users who have none left are gone, too."""
  offsets = np.concatenate([[0], np.cumsum(~gone)])[events.offsets]
  left = np.diff(offsets) > 0
  return events._replace(
    ids=events.ids[left],
    user=events.user[left],
    offsets=np.append(0, offsets[1:][left]),
    **{name: getattr(events, name)[~gone] for name in _BY_EVENT},
  )


def slices(events: Events, users_at_once: int) -> Iterator[Events]:
  """The events of some users after the other."""
  for first in range(0, len(events.ids), users_at_once):
    offsets = events.offsets[first : first + users_at_once + 1]
    mine = slice(offsets[0], offsets[-1])
    users = slice(first, first + users_at_once)
    yield events._replace(
      ids=events.ids[users],
      user=events.user[users],
      offsets=offsets - offsets[0],
      **{name: getattr(events, name)[mine] for name in _BY_EVENT},
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
