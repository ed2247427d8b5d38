"""States of many users in a PostgreSQL database, for processes of any machine.

Each run has a schema, so that one database serves the next model as well. The
only module that imports psycopg, of the extra `postgres`.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
from typing import LiteralString

import psycopg
from psycopg import conninfo
from psycopg import errors
from psycopg import sql

from twotsrec import types
from twotsrec.runs import state_databases

_VERSION = '1'
_CONNECT = {'connect_timeout': 10, 'application_name': 'twotsrec'}  # seconds
_LOCK = 'SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))'
_SETTINGS = """
SET synchronous_commit = on;
SET lock_timeout = {patience};
SET idle_in_transaction_session_timeout = {patience}
"""
# Ids are bytes (`_to_key`): in the order of SQLite, and of any text.
_SCHEMA = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.about (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE {schema}.users (
  id bytea PRIMARY KEY, last_time float8, floor float8,
  state bytea NOT NULL, start bytea, events bytea
);
INSERT INTO {schema}.about VALUES ('version', {version})
"""
_FIND = """
SELECT place - 1, id, last_time, floor, state, start, events
FROM unnest(%s::bytea[]) WITH ORDINALITY AS wanted (id, place)
JOIN {schema}.users USING (id) ORDER BY place
"""
_EVERY = """
SELECT id, last_time, floor, state, start, events FROM {schema}.users
ORDER BY id
"""
_PUT = """
INSERT INTO {schema}.users (id, last_time, floor, state, start, events)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET (last_time, floor, state, start, events) = (
  EXCLUDED.last_time, EXCLUDED.floor,
  EXCLUDED.state, EXCLUDED.start, EXCLUDED.events
)
"""
_TELL = """
INSERT INTO {schema}.about VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value
"""
_NUMBER, _TEXT = b'\0', b'\1'  # what the keys of either begin with
_LEAST = -(1 << 63)


@dataclasses.dataclass
class _Link:
  """A connection, which is made anew when the server was away.

  Attributes:
    url: of the database.
    schema: of the run.
    connection: outside of `_writing` every statement stands for itself.
    is_writing: whether `_writing` has begun, also if it was cut since.
  """

  url: str
  schema: str
  connection: psycopg.Connection
  is_writing: bool = False


@contextlib.contextmanager
def opened(
  url: str, name: str, schema: str, create: bool
) -> Iterator[state_databases.Database]:
  """A database, its connection closed in the end.

  Args:
    url: as libpq takes it; what it leaves out is in PGPASSWORD and the like.
    name: of the place, for messages.
    schema: of the run.
    create: makes the tables where there are none.
  Raises:
    types.UserError: a wrong URL, a refused or failed connection, no tables, or
      those of another program.
  """
  explained = functools.partial(_explained, name)
  with explained():
    link = _Link(url, schema, _connect(url))
  of = lambda function: functools.partial(function, link)
  try:
    with explained():
      _begin(link, name, create)
    yield state_databases.Database(
      name=name,
      explained=explained,
      writing=of(_writing),
      find=of(_find),
      every=of(_every),
      put=of(_put),
      count=of(_count),
      about=of(_about),
      tell=of(_tell),
      run=of(_run),
    )
  finally:
    link.connection.close()


def _connect(url) -> psycopg.Connection:
  asked = conninfo.conninfo_to_dict(url)
  connection = psycopg.connect(**{**_CONNECT, **asked}, autocommit=True)
  # After the lock every statement sees what was written before.
  connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
  milliseconds = sql.Literal(round(state_databases.PATIENCE * 1000))
  connection.execute(sql.SQL(_SETTINGS).format(patience=milliseconds))
  return connection


def _run(link, statement: LiteralString, parameters=None) -> psycopg.Cursor:
  """Runs a statement, {schema} of which is that of the run."""
  return _ready(link).execute(_composed(link, statement), parameters)


def _composed(link, statement: LiteralString) -> sql.Composed:
  names = {
    'schema': sql.Identifier(link.schema),
    'version': sql.Literal(_VERSION),
  }
  return sql.SQL(statement).format(**names)


def _ready(link) -> psycopg.Connection:
  """The connection; outside of `_writing` another one if it was cut."""
  if not link.is_writing:
    try:
      link.connection.execute('')
    except psycopg.OperationalError:
      if not link.connection.closed:
        raise
      link.connection = _connect(link.url)
  return link.connection


@contextlib.contextmanager
def _writing(link):
  if link.is_writing:
    yield
    return
  with _ready(link).transaction():  # commits, or rolls back
    link.is_writing = True
    try:
      link.connection.execute(_LOCK, (link.schema,))
      yield
      _check_whole(link)
    finally:
      link.is_writing = False


def _check_whole(link):
  """Whoever has caught an error inside cannot write the rest."""
  status = link.connection.info.transaction_status
  if status != psycopg.pq.TransactionStatus.INTRANS:
    raise psycopg.OperationalError('what was written failed in the middle')


def _find(link, keys: Sequence[int | str]) -> list[tuple]:
  rows = _run(link, _FIND, ([*map(_to_key, keys)],)).fetchall()
  return [(place, _from_key(key), *rest) for place, key, *rest in rows]


def _every(link) -> Iterator[list[tuple]]:
  connection = _ready(link)
  with connection.transaction(), connection.cursor('every') as cursor:
    cursor.execute(_composed(link, _EVERY))
    while rows := cursor.fetchmany(state_databases.AT_ONCE):
      yield [(_from_key(key), *rest) for key, *rest in rows]


def _put(link, rows: Iterable[state_databases.Row]) -> None:
  with _writing(link), link.connection.cursor() as cursor:
    cursor.executemany(
      _composed(link, _PUT), [(_to_key(key), *rest) for key, *rest in rows]
    )


def _count(link) -> int:
  return _value(_run(link, 'SELECT COUNT(*) FROM {schema}.users')) or 0


def _about(link, name) -> str | None:
  query = 'SELECT value FROM {schema}.about WHERE name = %s'
  return _value(_run(link, query, (name,)))


def _tell(link, name, value):
  _run(link, _TELL, (name, str(value)))


def _value(cursor):
  row = cursor.fetchone()
  return None if row is None else row[0]


def _begin(link, name, create):
  """The tables, made if the run has none."""
  if not _is_there(link):
    if not create:
      raise types.UserError(
        f'{name} holds no states of this run; check the database and the run,'
        ' or begin with --out_states in place of --states'
      )
    with _writing(link):
      if not _is_there(link):  # another process was faster
        for statement in _SCHEMA.split(';'):
          _run(link, statement)
  version = _about(link, 'version')
  if version != _VERSION:
    raise types.UserError(
      f'{name}: tables of version {version}, and this program reads {_VERSION};'
      ' use the program that wrote them, or name another database'
    )


def _is_there(link) -> bool:
  query = 'SELECT COUNT(*) FROM pg_namespace WHERE nspname = %s'
  return bool(_value(_run(link, query, (link.schema,))))


def _to_key(key: int | str) -> bytes:
  """Bytes whose order is numbers before texts, each ascending."""
  if isinstance(key, str):
    return _TEXT + key.encode()
  return _NUMBER + (key - _LEAST).to_bytes(8, 'big')


def _from_key(key: bytes) -> int | str:
  if key[:1] == _TEXT:
    return key[1:].decode()
  return int.from_bytes(key[1:], 'big') + _LEAST


@contextlib.contextmanager
def _explained(name):
  """Turns an error of the server, or of the way to it, into one of the user."""
  try:
    yield
  except psycopg.Error as error:
    said = ' '.join(str(error).split())
    if isinstance(error, errors.LockNotAvailable):
      raise state_databases.busy(name) from error
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn):
      raise types.UserError(
        f'{name}: tables of this run are missing or of another program: {said};'
        ' restore them, or name another database'
      ) from error
    if isinstance(error, errors.InsufficientPrivilege):
      raise types.UserError(
        f'{name}: {said}; grant the user the right to create schemas in it, or'
        ' name another database'
      ) from error
    if isinstance(error, psycopg.OperationalError):
      raise types.Unavailable(
        f'cannot use {name}: {said}; check that the server runs, the password'
        ' (PGPASSWORD), and the URL: postgresql://USER@HOST:5432/DATABASE'
      ) from error
    raise types.UserError(
      f'cannot use {name}: {said}; write postgresql://USER@HOST:5432/DATABASE'
    ) from error
