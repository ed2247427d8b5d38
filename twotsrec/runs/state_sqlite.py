"""States of many users in a file of SQLite, for processes of one machine.

While a store is open, or after a process was killed, files NAME-wal and
NAME-shm beside it belong to it.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import functools
import os
import pathlib
import sqlite3
import time

from twotsrec import types
from twotsrec.runs import state_databases
from twotsrec.training import files

MAGIC = b'SQLite format 3\0'  # what every such file begins with
IN_MEMORY = ':memory:'
_APPLICATION = 0x32545353  # "2TSS": what an SQLite file is for
_VERSION = 1
_PAUSE = 0.05  # seconds between two tries

# The order of the columns matters: a row is read up to the last one in use.
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value);
CREATE TABLE user (
  id PRIMARY KEY NOT NULL, last_time REAL, floor REAL,
  state BLOB NOT NULL, start BLOB, window BLOB
);
"""
_WANTED = 'CREATE TEMP TABLE wanted (place INTEGER PRIMARY KEY, id)'
_COLUMNS = 'id, last_time, floor, state, start, window'
_FIND = f"""
SELECT place, {_COLUMNS} FROM wanted CROSS JOIN user USING (id)
ORDER BY place"""
_EVERY = f'SELECT {_COLUMNS} FROM user ORDER BY id'
_PUT = f'REPLACE INTO user ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)'


@contextlib.contextmanager
def opened(path: str, create: bool) -> Iterator[state_databases.Database]:
  """A file, closed in the end.

  Opening waits for nobody once the file is there: who reads sees what was
  written last.

  Args:
    path: the file; `IN_MEMORY` for none.
    create: makes the file where there is none.
  Raises:
    types.UserError: no such file, or another one.
  """
  if path != IN_MEMORY:
    _check_file(path, create)
  explained = functools.partial(_explained, path)
  with explained():
    patience = state_databases.PATIENCE
    database = sqlite3.connect(path, timeout=patience, isolation_level=None)
  of = lambda function: functools.partial(function, database)
  try:
    with explained():
      _begin(database, path)
    yield state_databases.Database(
      name=path,
      explained=explained,
      writing=of(_writing),
      find=of(_find),
      every=of(_every),
      put=of(_put),
      count=of(_count),
      about=of(_about),
      tell=of(_tell),
      run=database.execute,
    )
  finally:
    with contextlib.suppress(sqlite3.Error):
      database.close()


@contextlib.contextmanager
def _writing(database):
  if database.in_transaction:
    yield
    return
  database.execute('BEGIN IMMEDIATE')
  with database:  # commits, or rolls back
    yield


def _find(database, keys: Sequence[int | str]) -> list[tuple]:
  run = database.execute
  run('SAVEPOINT reading')  # one step, also outside of `writing`
  run('DELETE FROM wanted')
  database.executemany('INSERT INTO wanted VALUES (?, ?)', enumerate(keys))
  rows = run(_FIND).fetchall()
  run('RELEASE reading')
  return rows


def _every(database) -> Iterator[list[tuple]]:
  cursor = database.execute(_EVERY)
  while rows := cursor.fetchmany(state_databases.AT_ONCE):
    yield rows


def _put(database, rows: Iterable[state_databases.Row]) -> None:
  database.executemany(_PUT, rows)


def _count(database) -> int:
  return database.execute('SELECT COUNT(*) FROM user').fetchone()[0]


def _about(database, name) -> str | float | None:
  query = 'SELECT value FROM about WHERE name = ?'
  row = database.execute(query, (name,)).fetchone()
  return None if row is None else row[0]


def _tell(database, name, value):
  database.execute('REPLACE INTO about VALUES (?, ?)', (name, value))


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
    with _writing(database):
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
  last = time.monotonic() + state_databases.PATIENCE
  while True:
    try:
      return action()
    except sqlite3.OperationalError as error:
      if 'locked' not in str(error) or time.monotonic() > last:
        raise
      time.sleep(_PAUSE)


@contextlib.contextmanager
def _explained(path):
  """Turns an error of SQLite into one of the user."""
  try:
    yield
  except sqlite3.Error as error:
    if 'malformed' in str(error) or 'not a database' in str(error):
      raise wrong_file(path) from error
    if 'locked' in str(error):
      raise state_databases.busy(path) from error
    raise types.Unavailable(
      f'cannot use {path}: {error}; choose a folder with room that you can'
      ' write to'
    ) from error
