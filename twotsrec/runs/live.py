"""A store of states that a process keeps open: events come in, lists go out.

`runs.online` plays a table and ends; this is the same for events that come one
by one. Events are stored before they are acknowledged, and those that come
again are recognized, so whoever got no answer sends them again.
"""

from collections.abc import Iterator, Sequence
import contextlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.evaluation import gathers
from twotsrec.runs import event_identity
from twotsrec.runs import event_tables
from twotsrec.runs import histories
from twotsrec.runs import online_batches
from twotsrec.runs import state_store
from twotsrec.serving import list_rules
from twotsrec.serving import online
from twotsrec.serving import online_windows
from twotsrec.serving import requests as requests_lib

RULES = online_batches.Rules(late='replay')


class Event(NamedTuple):
  """Something a user did.

  Attributes:
    user: external id.
    item: external id.
    time: Unix seconds.
    identity: tells it from the user's others; None is its item and time.
  """

  user: Any
  item: Any
  time: float
  identity: Any = None


class Live(NamedTuple):
  """An open store and the run that its states belong to.

  Attributes:
    store: of the thread that opened it.
    prepared: data of the run.
    owned: items that users of the run have.
    rules: of late events, and how many are kept.
  """

  store: state_store.Store
  prepared: prepared_lib.Prepared
  owned: prepared_lib.SeenItems
  rules: online_batches.Rules = RULES


@contextlib.contextmanager
def opened(
  path: str, service: online.Service, prepared: prepared_lib.Prepared
) -> Iterator[Live]:
  """A store that is made if it is not there, for the thread that opens it.

  Args:
    path: of a file of SQLite, or the URL of a PostgreSQL database.
    service: the run, ready to move states.
    prepared: its data.
  Raises:
    types.UserError: another file, or states of another run.
  """
  with state_store.opened(path, service) as store:
    yield Live(store, prepared, histories.owned(prepared))


def play(
  live: Live, parts: Sequence[Sequence[Event]]
) -> list[online_batches.Played | types.UserError]:
  """Plays what several clients send, in one transaction.

  What a client sends is played wholly or not at all, but for users whose clock
  cannot be right, whose events are counted. All is stored when this returns.

  Args:
    live: the store.
    parts: events of each client, one or more.
  Returns:
    What became of the events of each client, or why they are refused.
  """
  results: list[Any] = [None] * len(parts)
  sound: dict[int, event_tables.Events] = {}
  with state_store.writing(live.store):
    for number, part in enumerate(parts):
      try:
        sound[number], refused = _read(live, part)
        results[number] = online_batches.Played(refused=refused)
      except types.Unavailable:  # nobody's events can be stored now
        raise
      except types.UserError as error:
        results[number] = error
    if sound:
      played = online_batches.play_parts(
        live.store, live.prepared, [*sound.values()], live.rules
      )
      for number, one in zip(sound, played, strict=True):
        both = [results[number], one]
        results[number] = online_batches.together(both)
  return results


def carry(old: Live, new: Live) -> None:
  """Plays in a new run's store what came after its training data.

  Stored are the last events of every user (`Live.rules`), so of somebody with
  more since then the earliest are missing until the next training. Events that
  the new run was trained on are earlier than the last of their user, and left
  out. Items that the old run did not know are lost. Each process of several
  carries what it stored before it took the new run: what another carried is
  recognized, and what is late put in its place.

  Args:
    old: states of the run until now, open in the same thread.
    new: of the next run.
  """
  stored = state_store.read_all(old.store)
  window = stored.window
  there = window.item > 0
  if not np.any(there):
    return
  users = stored.ids[online_windows.rows(window)][there]
  item, time = window.item[there], window.time[there]
  by_place = event_identity.of_times(event_identity.of_items(item, None), time)
  by_id = window.identity[there] != by_place
  table = tables.make(
    'the stored events',
    user=_like(new.prepared.user_ids, users.tolist()),
    item=_like(
      new.prepared.item_ids, old.store.service.ids.item[item - 1].tolist()
    ),
    time=time,
  )
  events = event_tables.of_table(new.prepared, table)
  order = events.lines - 1  # rows by user
  identity = window.identity[there][order]
  identity = np.where(by_id[order], identity, events.as_logged)
  events = events._replace(identity=identity)
  with state_store.writing(new.store):
    online_batches.play(new.store, new.prepared, events, new.rules)


def _read(live, part) -> tuple[event_tables.Events, int]:
  """The events that may be played, and how many more there are."""
  events = event_tables.of_table(live.prepared, _table(live.prepared, part))
  sound, absurd, _ = online_batches.sound(live.store, live.prepared, events)
  return sound, int(np.sum(absurd))


def _table(prepared, part) -> tables.Table:
  columns = {
    'user': _like(prepared.user_ids, [event.user for event in part]),
    'item': _like(prepared.item_ids, [event.item for event in part]),
    'time': np.array([event.time for event in part], np.float64),
  }
  named = [event.identity for event in part]
  if any(one is not None for one in named):
    if any(one is None for one in named):
      raise types.UserError(
        'some events have an id and others none; give all of one request an'
        ' id, or none'
      )
    columns['event'] = _texts(named)
  return tables.make('the events of a request', **columns)


def _like(ids: np.ndarray, values: Sequence[Any]) -> ids_lib.Column:
  """A column of external ids, numbers where those of the run are."""
  if ids.dtype.kind != 'U' and all(isinstance(value, int) for value in values):
    return np.array(values, np.int64)
  column = _texts(values)
  if ids.dtype.kind != 'U':
    numbers, able = ids_lib.integers(column.names)
    if np.all(able):
      return numbers[column.codes]
  return column


def _texts(values) -> ids_lib.Texts:
  names, codes = np.unique(
    [str(value) for value in values], return_inverse=True
  )
  return ids_lib.Texts(names, codes.astype(np.int32))


def lists(
  live: Live,
  users: Sequence[Any],
  k: int,
  allowed: np.ndarray | None,
  rules: list_rules.Rules,
  exclude_seen: bool,
) -> requests_lib.Chunk:
  """Lists of users by their states as they are now, in the order asked.

  Who is unknown starts as somebody new.

  Args:
    live: the store.
    users: external ids [n].
    k: items of a list.
    allowed: bool[I + 1], items that may be in a list; None for all.
    rules: of the lists.
    exclude_seen: leave out what the run and the stored events say a user has.
  """
  service = live.store.service
  names, back = ids_lib.number(_like(live.prepared.user_ids, users))
  stored = online_batches.now(live.store, live.prepared, names)
  user = ids_lib.encode(live.prepared.user_ids, names)
  have = owned(live.owned, user, stored.window)

  def top(requests, k):
    for request in requests:
      rows = request.user
      yield online.recommend(
        service,
        online.State(*(leaf[rows] for leaf in stored.state)),
        k,
        request.seen if exclude_seen else None,
        allowed,
      )

  request = requests_lib.Request(
    history=np.zeros((len(names), 1), np.int32),
    seen=have,
    user=np.arange(len(names)),
    touched=have,
  )
  most = service.num_items if allowed is None else int(np.sum(allowed))
  (chunk,) = list_rules.lists(top, [request], k, most, rules)
  return requests_lib.Chunk(*(leaf[back] for leaf in chunk))


def owned(
  of_run: Any,
  user: np.ndarray,
  window: online_windows.Window,
  more: tuple[np.ndarray, np.ndarray] | None = None,
) -> gathers.Exclusions:
  """Distinct items of every user by the run and by events since, ascending.

  Args:
    of_run: items of the users of the run.
    user: i32[n], users of the run; -1 for the others.
    window: events that are stored, of the n users.
    more: rows 0..n-1 and items of further events; item 0 is unknown.
  """
  there = gathers.exclusions(of_run, np.maximum(user, 0))
  row = np.repeat(np.arange(len(user)), there.counts)
  mine = user[row] >= 0
  pairs = [(row[mine], there.items[mine])]
  pairs += [
    (online_windows.rows(window), window.item),
    *([more] if more else []),
  ]
  rows, items = (np.concatenate(each) for each in zip(*pairs, strict=True))
  both = np.unique(np.stack([rows, items])[:, items > 0], axis=1)
  offsets = np.searchsorted(both[0], np.arange(len(user) + 1))
  return gathers.Exclusions(offsets, both[1].astype(np.int32))
