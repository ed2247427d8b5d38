"""A PostgreSQL server for the tests, with a database for each that asks."""

import atexit
from collections.abc import Iterator
import contextlib
import functools
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

USER, PASSWORD = 'shop', 'secret'
_FOLDERS = '/usr/lib/postgresql/*/bin', '/usr/pgsql-*/bin', '/opt/*/bin'
_NOBODY = 'nobody'  # a server refuses to be root
_PATIENCE = 60.0  # seconds in which it must answer
_NUMBERS = itertools.count()


def url() -> str:
  """Of a new database; the test is skipped where there is no PostgreSQL."""
  psycopg = pytest.importorskip('psycopg')
  name = f'of_{next(_NUMBERS)}'
  place = f'postgresql://{USER}:{PASSWORD}@127.0.0.1:{port()}'
  with psycopg.connect(f'{place}/postgres', autocommit=True) as connection:
    connection.execute(f'CREATE DATABASE {name}')
  return f'{place}/{name}'


@contextlib.contextmanager
def closed(place: str) -> Iterator[None]:
  """Nobody is connected to a database of `url` inside, and nobody can be."""
  import psycopg

  base, _, name = place.rpartition('/')
  with psycopg.connect(f'{base}/postgres', autocommit=True) as connection:
    run = connection.execute
    run(f'ALTER DATABASE {name} ALLOW_CONNECTIONS false')
    run(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
      ' WHERE datname = %s',
      (name,),
    )
    try:
      yield
    finally:
      run(f'ALTER DATABASE {name} ALLOW_CONNECTIONS true')


def port() -> int:
  """Of a server of this process."""
  if _programs() is None:
    pytest.skip('no PostgreSQL here: neither initdb nor the package pgserver')
  return _started()


@functools.cache
def _programs() -> pathlib.Path | None:
  """The folder of `initdb` and `postgres`."""
  there = shutil.which('initdb')
  if there:
    return pathlib.Path(there).resolve().parent
  for pattern in _FOLDERS:
    for path in sorted(pathlib.Path('/').glob(f'{pattern[1:]}/initdb')):
      return path.parent
  with contextlib.suppress(ImportError):
    import pgserver

    return pathlib.Path(pgserver.__file__).parent / 'pginstall' / 'bin'
  return None


@functools.cache
def _started() -> int:
  folder = pathlib.Path(tempfile.mkdtemp(prefix='twotsrec_postgres_'))
  owner = {}
  if os.getuid() == 0:
    shutil.chown(folder, _NOBODY)
    owner = {'user': _NOBODY}
  secret, data = folder / 'secret', folder / 'data'
  secret.write_text(PASSWORD)
  secret.chmod(0o644)
  subprocess.run(
    [
      *(_programs() / 'initdb', '-D', data, '-N', '-A', 'scram-sha-256'),
      *('-U', USER, '--pwfile', secret, '--locale=C', '-E', 'UTF8'),
    ],
    check=True,
    stdout=subprocess.DEVNULL,
    cwd=folder,
    **owner,
  )
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    number = free.getsockname()[1]
  settings = {'port': number, 'unix_socket_directories': '', 'fsync': 'off'}
  process = subprocess.Popen(
    [
      *(_programs() / 'postgres', '-D', data),
      *(f'--{name}={value}' for name, value in settings.items()),
    ],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    cwd=folder,
    **owner,
  )
  atexit.register(_end, process, folder)
  _await(process, number)
  return number


def _await(process, number):
  import psycopg

  place = f'postgresql://{USER}:{PASSWORD}@127.0.0.1:{number}/postgres'
  end = time.monotonic() + _PATIENCE
  while True:
    assert process.poll() is None, 'the server has ended'
    try:
      psycopg.connect(place, connect_timeout=5).close()
      return
    except psycopg.OperationalError:
      assert time.monotonic() < end, 'the server does not answer'
      time.sleep(0.05)


def _end(process, folder):
  process.send_signal(signal.SIGINT)  # without waiting for connections
  process.wait()
  shutil.rmtree(folder, ignore_errors=True)
