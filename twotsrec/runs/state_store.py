"""States of many users in a database, a row for each.

Several processes may write at once: what is inside `writing` is there wholly or
not at all, and waits for what others have begun. A process that is killed
leaves what was there before. The place is a file of SQLite, or the URL of a
PostgreSQL database, for processes of several machines.
"""

from collections.abc import Iterator
import contextlib
import re
from typing import NamedTuple

import jax
import numpy as np

from twotsrec import extras
from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.runs import state_databases
from twotsrec.runs import state_sqlite
from twotsrec.serving import online
from twotsrec.serving import online_bytes
from twotsrec.serving import online_windows

_URL = re.compile(r'postgres(ql)?://')
_EVENT = np.dtype([('time', '<f8'), ('item', '<i4'), ('identity', '<i8')])


class Store(NamedTuple):
  """An open database.

  Attributes:
    database: where the rows are.
    service: the run that the states belong to.
  """

  database: state_databases.Database
  service: online.Service

  @property
  def path(self) -> str:
    """The file, or the URL without its password."""
    return self.database.name


def is_url(place: str) -> bool:
  """Whether a place is a PostgreSQL database, and no file."""
  return bool(_URL.match(place))


def shown(place: str) -> str:
  """A place as it may be printed: a URL without its password."""
  if not is_url(place):
    return place
  return re.sub(r'(://[^:@/?]*):.*@', r'\1@', place).partition('?')[0]


@contextlib.contextmanager
def opened(
  place: str, service: online.Service, create: bool = True
) -> Iterator[Store]:
  """A store for states of a run, closed in the end.

  Opening waits for nobody once the store is there: who reads sees what was
  written last.

  Args:
    place: a file, a URL, or `state_sqlite.IN_MEMORY`. A database at a URL has
      a schema for each run.
    service: the run.
    create: makes the store where there is none.
  Raises:
    types.UserError: no such store, another one, or states of another run.
  """
  with _database(place, service, create) as database:
    store = Store(database, service)
    with database.explained():
      if not _is_owned(store):
        with writing(store):
          _own(store)
      _check_run(store)
    yield store


def _database(place, service, create):
  if not is_url(place):
    return state_sqlite.opened(place, create)
  postgres = extras.load('twotsrec.runs.state_postgres', 'postgres')
  schema = f'twotsrec_{service.digest.hex()}'
  return postgres.opened(place, shown(place), schema, create)


@contextlib.contextmanager
def writing(store: Store) -> Iterator[None]:
  """Nobody else writes meanwhile; an error undoes what was written inside.

  Inside of another it is a part of that, which is written as a whole.
  """
  with store.database.explained(), store.database.writing():
    yield


def read(
  store: Store, ids: np.ndarray
) -> tuple[online_windows.Stored, np.ndarray]:
  """The users among `ids` that are there, and their places in it, i64[m]."""
  with store.database.explained():
    rows = store.database.find(_keys(store, ids))
  place = np.array([row[0] for row in rows], np.int64)
  return _unpacked(store, [row[1:] for row in rows]), place


def read_all(store: Store) -> online_windows.Stored:
  """All users, ids ascending."""
  with store.database.explained():
    parts = [_unpacked(store, rows) for rows in store.database.every()]
  return online_windows.join(parts or [_unpacked(store, [])])


def write(store: Store, stored: online_windows.Stored) -> None:
  """Puts users in, in place of what was there of them."""
  window = stored.window
  events = np.empty(len(window.time), _EVENT)
  for name in _EVENT.names or ():
    events[name] = getattr(window, name)
  data, cuts = events.tobytes(), (window.offsets * _EVENT.itemsize).tolist()
  events_of = [
    data[first:last] or None
    for first, last in zip(cuts[:-1], cuts[1:], strict=True)
  ]
  state = online_bytes.to_records(store.service, stored.state)
  start = online_bytes.to_records(store.service, stored.start)
  columns = (
    _keys(store, stored.ids),
    stored.last_time.tolist(),
    stored.floor.tolist(),
    state,
    # Most users of an import have moved nowhere since.
    [a if a != b else None for a, b in zip(start, state, strict=True)],
    events_of,
  )
  with store.database.explained():
    store.database.put(zip(*columns, strict=True))


def count(store: Store) -> int:
  """Users in the store."""
  with store.database.explained():
    return store.database.count()


def reached(store: Store) -> float:
  """The latest time that was played, -inf for none."""
  with store.database.explained():
    value = store.database.about('reached')
  return -np.inf if value is None else float(value)


def reach(store: Store, latest: float) -> None:
  """Takes down that this time was played; inside of `writing`."""
  if latest > reached(store):
    with store.database.explained():
      store.database.tell('reached', latest)


def _run(service) -> dict[str, str]:
  """What a store says of the run that it belongs to."""
  text = service.ids.user.dtype.kind == 'U'
  return {
    'ids': 'text' if text else 'integers',
    'cell': f'{service.cell} of width {service.width}',
    'digest': service.digest.hex(),
  }


def _is_owned(store) -> bool:
  return store.database.about('digest') is not None


def _own(store):
  """Makes a store that of this run, unless another process was faster."""
  if not _is_owned(store):
    for name, value in _run(store.service).items():
      store.database.tell(name, value)


def _check_run(store):
  """Refuses states of another run."""
  ours = _run(store.service)
  theirs = {name: store.database.about(name) or ours[name] for name in ours}
  for name, noun in (
    ('cell', 'networks'),
    ('ids', 'user ids'),
    ('digest', 'parameters'),
  ):
    if theirs[name] != ours[name]:
      raise types.UserError(
        f'{store.path}: states made with other {noun} ({theirs[name]}; the run'
        f' has {ours[name]}); use the run that they were made with, or begin'
        ' another file with --out_states'
      )


def _keys(store, ids) -> list[int | str]:
  """Ids as they stand in the table, where the integers of a run stay such.

  People who are new to it may have names, beside which numbers are text.
  """
  if store.service.ids.user.dtype.kind == 'U' or ids.dtype.kind != 'U':
    return ids.tolist()
  numbers, able = ids_lib.integers(ids)
  rows = zip(ids.tolist(), numbers.tolist(), able.tolist(), strict=True)
  return [number if is_number else name for name, number, is_number in rows]


def _unpacked(store, rows) -> online_windows.Stored:
  """Users of rows of the table."""
  dtype = store.service.ids.user.dtype
  if not rows:
    nothing = np.zeros(0)
    return online_windows.begin(
      store.service, np.zeros(0, dtype), nothing, nothing
    )
  ids, last_time, floor, state, start, window = zip(*rows, strict=True)
  start = [a or b for a, b in zip(start, state, strict=True)]
  window = [events or b'' for events in window]
  events = np.frombuffer(b''.join(window), _EVENT)
  ends = np.cumsum([len(part) for part in window]) // _EVENT.itemsize
  return online_windows.Stored(
    ids=np.array(ids),  # text if one is
    last_time=np.array(last_time, np.float64),
    floor=np.array(floor, np.float64),
    start=_states(store, start),
    state=_states(store, state),
    window=online_windows.Window(
      np.append(0, ends), *(events[name].copy() for name in _EVENT.names or ())
    ),
  )


def _states(store, records) -> online.State:
  try:
    return jax.tree.map(
      np.array, online_bytes.from_bytes(store.service, records)
    )
  except types.UserError as error:
    raise types.UserError(f'{store.path}: {error}') from error
