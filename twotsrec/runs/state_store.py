"""States of many users in an SQLite database, a row for each.

Several processes may write at once: what is inside `writing` is there wholly or
not at all, and waits for what others have begun. A process that is killed
leaves what was there before. While a store is open, or after a process was
killed, files NAME-wal and NAME-shm beside it belong to it.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import sqlite3
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.serving import online
from twotsrec.serving import online_bytes
from twotsrec.serving import online_windows
from twotsrec.training import files

MAGIC = b'SQLite format 3\0'  # what every such file begins with
IN_MEMORY = ':memory:'
_APPLICATION = 0x32545353  # "2TSS": what an SQLite file is for
_VERSION = 1
_PATIENCE = 600.0  # seconds that others may keep a store to themselves
_PAUSE = 0.05  # seconds between two tries
_AT_ONCE = 65_536  # users read in one piece
_EVENT = np.dtype([('time', '<f8'), ('item', '<i4'), ('identity', '<i8')])

# The order of the columns matters: a row is read up to the last one in use.
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value);
CREATE TABLE user (
  id PRIMARY KEY NOT NULL, last_time REAL, floor REAL,
  state BLOB NOT NULL, start BLOB, window BLOB
);
"""
_WANTED = 'CREATE TEMP TABLE wanted (place INTEGER PRIMARY KEY, id)'
_COLUMNS = 'last_time, floor, state, start, window'
_FIND = f"""
SELECT place, id, {_COLUMNS} FROM wanted CROSS JOIN user USING (id)
ORDER BY place"""
_ALL = f'SELECT 0, id, {_COLUMNS} FROM user ORDER BY id'
_WRITE = f'REPLACE INTO user (id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)'


class Store(NamedTuple):
  """An open database.

  Attributes:
    database: its connection.
    service: the run that the states belong to.
    path: of the file.
  """

  database: sqlite3.Connection
  service: online.Service
  path: str


@contextlib.contextmanager
def opened(
  path: str, service: online.Service, create: bool = True
) -> Iterator[Store]:
  """A store for states of a run, closed in the end.

  Opening waits for nobody once the store is there: who reads sees what was
  written last.

  Args:
    path: the file; `IN_MEMORY` for none.
    service: the run.
    create: makes the file where there is none.
  Raises:
    types.UserError: no such file, another one, or states of another run.
  """
  if path != IN_MEMORY:
    _check_file(path, create)
  with _explained(path):
    database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
  try:
    with _explained(path):
      _begin(database, path)
      store = Store(database, service, path)
      if not _is_owned(store):
        with writing(store):
          _own(store)
      _check_run(store)
    yield store
  finally:
    with contextlib.suppress(sqlite3.Error):
      database.close()


@contextlib.contextmanager
def writing(store: Store) -> Iterator[None]:
  """Nobody else writes meanwhile; an error undoes what was written inside.

  Inside of another it is a part of that, which is written as a whole.
  """
  if store.database.in_transaction:
    yield
    return
  with _explained(store.path):
    store.database.execute('BEGIN IMMEDIATE')
    with store.database:  # commits, or rolls back
      yield


def read(
  store: Store, ids: np.ndarray
) -> tuple[online_windows.Stored, np.ndarray]:
  """The users among `ids` that are there, and their places in it, i64[m]."""
  run = store.database.execute
  with _explained(store.path):
    run('SAVEPOINT reading')  # one step, also outside of `writing`
    run('DELETE FROM wanted')
    store.database.executemany(
      'INSERT INTO wanted VALUES (?, ?)', enumerate(_keys(store, ids))
    )
    rows = run(_FIND).fetchall()
    run('RELEASE reading')
  return _unpacked(store, rows), np.array([row[0] for row in rows], np.int64)


def read_all(store: Store) -> online_windows.Stored:
  """All users, ids ascending."""
  parts = []
  with _explained(store.path):
    cursor = store.database.execute(_ALL)
    while rows := cursor.fetchmany(_AT_ONCE):
      parts.append(_unpacked(store, rows))
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
  with _explained(store.path):
    store.database.executemany(_WRITE, zip(*columns, strict=True))


def count(store: Store) -> int:
  """Users in the store."""
  with _explained(store.path):
    return store.database.execute('SELECT COUNT(*) FROM user').fetchone()[0]


def reached(store: Store) -> float:
  """The latest time that was played, -inf for none."""
  return _about(store, 'reached', -np.inf)


def reach(store: Store, latest: float) -> None:
  """Takes down that this time was played."""
  _tell(store, 'reached', max(latest, reached(store)))


def _check_file(path, create):
  """Refuses a file that cannot be a store before SQLite touches it."""
  try:
    with open(path, 'rb') as file:
      start = file.read(len(MAGIC))
  except FileNotFoundError:
    if create:
      with files.explained(path, 'write'):
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
      return
    raise types.UserError(
      f'cannot read {path}: there is no such file; check the name, or begin'
      f' with --out_states={path}'
    ) from None
  except OSError as error:
    raise types.UserError(
      f'cannot read {path}: {error.strerror}; name a file that you can read'
    ) from error
  allowed = (b'', MAGIC) if create else (MAGIC,)  # SQLite begins empty files
  if start not in allowed:
    raise wrong_file(path)


def wrong_file(path: str | os.PathLike) -> types.UserError:
  """What is said of a file that holds something else."""
  return types.UserError(
    f'{path} holds no states, or is damaged; name a file that --out_states'
    ' wrote, or leave --states out'
  )


def _begin(database, path):
  """The tables, made if the file is new."""
  _patiently(lambda: _check_kind(database, path))
  database.execute('PRAGMA temp_store=MEMORY')
  database.execute(_WANTED)
  if path != IN_MEMORY:
    _patiently(lambda: database.execute('PRAGMA journal_mode=WAL'))
  if _is_empty(database):
    database.execute('BEGIN IMMEDIATE')
    with database:  # commits, or rolls back
      _make(database)
  _check_kind(database, path)


def _make(database):
  """The tables, unless another process was faster."""
  if _is_empty(database):
    for statement in _SCHEMA.split(';')[:-1]:
      database.execute(statement)
    database.execute(f'PRAGMA application_id={_APPLICATION}')
    database.execute(f'PRAGMA user_version={_VERSION}')


def _check_kind(database, path):
  """Refuses a database of another program or another version."""
  if _is_empty(database):
    return
  if _pragma(database, 'application_id') != _APPLICATION:
    raise wrong_file(path)
  version = _pragma(database, 'user_version')
  if version != _VERSION:
    raise types.UserError(
      f'{path}: version {version} of the format, and this program reads'
      f' {_VERSION}; use the program that wrote it, or begin another file with'
      ' --out_states'
    )


def _is_empty(database) -> bool:
  """Whether a database has no tables yet."""
  query = 'SELECT COUNT(*) FROM sqlite_master'
  return not database.execute(query).fetchone()[0]


def _pragma(database, name) -> int:
  return database.execute(f'PRAGMA {name}').fetchone()[0]


def _patiently(action):
  """Tries again while another process has the file for itself.

  SQLite itself does not wait where a file changes its journal.
  """
  last = time.monotonic() + _PATIENCE
  while True:
    try:
      return action()
    except sqlite3.OperationalError as error:
      if 'locked' not in str(error) or time.monotonic() > last:
        raise
      time.sleep(_PAUSE)


def _run(service) -> dict[str, str]:
  """What a store says of the run that it belongs to."""
  text = service.ids.user.dtype.kind == 'U'
  return {
    'ids': 'text' if text else 'integers',
    'cell': f'{service.cell} of width {service.width}',
    'digest': service.digest.hex(),
  }


def _is_owned(store) -> bool:
  return _about(store, 'digest', None) is not None


def _own(store):
  """Makes a store that of this run, unless another process was faster."""
  if not _is_owned(store):
    for name, value in _run(store.service).items():
      _tell(store, name, value)


def _check_run(store):
  """Refuses states of another run."""
  ours = _run(store.service)
  theirs = {name: _about(store, name, value) for name, value in ours.items()}
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


def _about(store, name, default) -> Any:
  query = 'SELECT value FROM about WHERE name = ?'
  row = store.database.execute(query, (name,)).fetchone()
  return default if row is None else row[0]


def _tell(store, name, value):
  if _about(store, name, None) != value:
    run = store.database.execute
    run('REPLACE INTO about VALUES (?, ?)', (name, value))


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
  """Rows (place, id, columns) of the table."""
  dtype = store.service.ids.user.dtype
  if not rows:
    nothing = np.zeros(0)
    return online_windows.begin(
      store.service, np.zeros(0, dtype), nothing, nothing
    )
  _, ids, last_time, floor, state, start, window = zip(*rows, strict=True)
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


@contextlib.contextmanager
def _explained(path):
  """Turns an error of SQLite into one of the user."""
  try:
    yield
  except sqlite3.Error as error:
    if 'malformed' in str(error) or 'not a database' in str(error):
      raise wrong_file(path) from error
    if 'locked' in str(error):
      raise types.UserError(
        f'{path}: another process has been writing for more than'
        f' {_PATIENCE:.0f} seconds; wait for it, or end it'
      ) from error
    raise types.UserError(
      f'cannot use {path}: {error}; choose a folder with room that you can'
      ' write to'
    ) from error
