"""What online.py refuses, followed."""

import contextlib
import functools
import sqlite3
import sys
from unittest import mock

import numpy as np
import pytest

from tests.advice import following
from tests.advice.copies import followed
from tests.advice.following import Call
from tests.advice.following import Case
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from tests.advice.following import written
from tests.runs import played
from tests.runs import postgres
from tests.serving import online_toys
from twotsrec.runs import state_databases
from twotsrec.runs import state_files
from twotsrec.runs import state_store
from twotsrec.serving import online
from twotsrec.serving import online_windows
from twotsrec.training import files
from twotsrec.training import run_directory

STATES = {'events.csv': 'user_id,item_id,timestamp\n102,1003,500\n99,1001,7\n'}
LATE = 'user_id,item_id,timestamp\n102,1003,500\n102,1001,7\n'
EVENTS = '--events=@/events.csv'
STORE = '--out_states=@/s.db'
ONLINE = [
  Case(says, ['--workdir=%runs/events', *asked], ways, files or STATES)
  for says, asked, ways, files in (
    (
      '--events is missing; name a table',
      [STORE],
      [given('events', '@/events.csv', says='--(events) is')],
      {},
    ),
    (
      '--out is for the users of --events',
      ['--out=@/t.csv', '--states=@/x.npz', STORE],
      [together(given('events', '@/events.csv'), dropped('states', 'name a'))],
      {},
    ),
    (
      '--out_states is missing: a file',
      [EVENTS],
      [given('out_states', '@/states.db', says='such as (states.db)')],
      {},
    ),
    (
      'goes back in time, from {} to {}; --late',
      [EVENTS, STORE],
      [given('late', says='--late=(drop)')],
      {'events.csv': LATE},
    ),
    (
      'goes back in time, from {} to {}; --late',
      [EVENTS, STORE],
      [given('late', says='--late=(replay)')],
      {'events.csv': LATE},
    ),
    (
      'goes back in time, from {} to {}; --late',
      [EVENTS, STORE],
      [
        written(
          'events.csv',
          'user_id,item_id,timestamp\n99,1001,7\n99,1003,500\n',
          'sort the table',
        )
      ],
      {'events.csv': LATE.replace('102', '99')},
    ),
    (
      'there is no such file; check the name, or begin',
      [EVENTS, '--states=@/s.db'],
      [together(given('out_states'), dropped('states', 'or begin with'))],
      {},
    ),
    (
      '{} holds no states, or is damaged',
      [EVENTS, '--states=@/events.csv', STORE],
      [dropped('states', 'leave --states out')],
      {},
    ),
    (
      '{}: nothing reads it/them {}',
      [EVENTS, STORE, '--k=3'],
      [given('out', '@/top.csv')],
      {},
    ),
    (
      '{}: nothing reads it/them {}',
      [EVENTS, STORE, '--k=3'],
      [dropped('k')],
      {},
    ),
  )
]


def with_states(name):
  """Plays events into a store or file of the folder."""

  def make(path, runs):
    table = played.table(path.with_suffix('.csv'), ['99,1001,7'])
    workdir = str(runs / 'events')
    played.play(workdir, path.parent, table, out_states=str(path), out='')

  return {name: make}


def of_ease(path, runs):
  """A run that has no states."""
  path.mkdir()
  config = run_directory.config_path(path)
  files.write_json(config, {'model': {'name': 'ease'}})


def of_another_version(path, runs):
  with_states(path.name)[path.name](path, runs)
  with contextlib.closing(sqlite3.connect(path)) as database:
    database.execute('PRAGMA user_version=99')


FAR = 'user_id,item_id,timestamp\n102,1003,1700000000\n'
OF_STORES = [
  Case(
    says,
    [*(['--workdir=%runs/events'] if len(asked) < 3 else []), EVENTS, *asked],
    [way],
    files,
  )
  for says, asked, way, files in (
    (
      'is a store, which is updated where it is',
      ['--states=@/a.db', STORE],
      dropped('out_states'),
      {**STATES, **with_states('a.db')},
    ),
    (
      'is a store, which is updated where it is',
      ['--states=@/a.db', STORE],
      given('out_states', '@/s.npz', says=r'name a (\.npz) file'),
      {**STATES, **with_states('a.db')},
    ),
    (
      'has states already; leave --states={} out',
      ['--states=@/a.npz', '--out_states=@/a.db'],
      dropped('states'),
      {**STATES, **with_states('a.npz'), **with_states('a.db')},
    ),
    (
      'has states already; leave --states={} out',
      ['--states=@/a.npz', '--out_states=@/a.db'],
      given('out_states', '@/other.db', says='another --(out_states)'),
      {**STATES, **with_states('a.npz'), **with_states('a.db')},
    ),
    (
      'which has no states that move; use one with',
      ['--workdir=@/other', STORE, '--late=drop'],
      given('workdir', '%runs/events', says='use (one) with model.name='),
      {
        **STATES,
        'other': of_ease,
      },
    ),
    (
      'the times of all users are far from those of',
      [STORE],
      written('events.csv', STATES['events.csv'], 'as the training table has'),
      {'events.csv': FAR},
    ),
    (
      'version {} of the format, and this program',
      ['--out_states=@/a.db'],
      given('out_states', '@/other.db', says='another file with --(out_st)'),
      {**STATES, 'a.db': of_another_version},
    ),
    (
      'state_sqlite.py: cannot read {}: {}; name a file',
      ['--states=@/folder'],
      together(
        dropped('states', 'name a file that you can read'),
        given('out_states', '@/s.db', says='(name a file)'),
      ),
      {**STATES, 'folder/x': ''},
    ),
    (
      'none of its {} items is in the training data',
      [STORE],
      written('events.csv', STATES['events.csv'], 'of the training table'),
      {'events.csv': 'user_id,item_id,timestamp\n102,shoe,500\n'},
    ),
  )
]


@functools.cache
def service():
  return online_toys.world().service


def with_names() -> online.Service:
  """A run whose users have names."""
  ids = service().ids
  return service()._replace(ids=ids._replace(user=ids.user.astype('U9')))


def users(run: online.Service, count: int = 3) -> online_windows.Stored:
  nobody, at = np.full(count, -1), np.full(count, 5.0)
  return online_windows.begin(run, np.arange(count), nobody, at)


def saved(folder, run: online.Service) -> str:
  """A file of states of a run."""
  path = str(folder / 'states.npz')
  state_files.save(path, run, users(run))
  return path


def loaded(folder, by: online.Service, of: online.Service | None = None):
  """Reads states of a run by another, or by itself."""
  return state_files.load(saved(folder, of or by), by)


def put(
  path, by: online.Service, of: online.Service | None = None, damage: int = 0
):
  """Writes a store of a run, and opens it by another or by itself."""
  with state_store.opened(str(path), of or by) as store:
    with state_store.writing(store):
      state_store.write(store, users(of or by))
      if damage:
        state = bytes(damage)
        store.database.run('UPDATE user SET state = ?', (state,))
  with state_store.opened(str(path), by) as store:
    return state_store.read_all(store)


def written_by_two(folder, ended: bool):
  """Writes to a store while another process does, or after it has ended."""
  path = str(folder / 's.db')
  with (
    mock.patch.object(state_databases, 'PATIENCE', 0.05),
    state_store.opened(path, service()) as store,
    state_store.opened(path, service()) as other,
  ):
    with contextlib.nullcontext() if ended else state_store.writing(store):
      with state_store.writing(other):
        state_store.write(other, users(service()))


@functools.cache
def database(folder, name='') -> str:
  """URL of a database for a test."""
  return postgres.url()


def asked(folder, *statements, name='', secret=postgres.PASSWORD, **options):
  """Opens a store at a URL after these statements, and reads in it."""
  url = database(folder, name).replace(postgres.PASSWORD, secret)
  if statements:
    with state_store.opened(database(folder, name), service()) as store:
      for statement in statements:
        store.database.run(statement)
  with state_store.opened(url, service(), **options) as store:
    return state_store.count(store)


def as_guest(folder, *statements):
  """Opens a store as somebody who may only connect."""
  import psycopg

  url = database(folder)
  with psycopg.connect(url, autocommit=True) as connection:
    for statement in statements:
      connection.execute(statement)
  guest = url.replace(f'{postgres.USER}:', 'guest:')
  with state_store.opened(guest, service()):
    pass


def without(package):
  """A store at a URL where a package is not installed."""
  url = postgres.url()
  with mock.patch.dict(sys.modules, {package: None} if package else {}):
    sys.modules.pop('twotsrec.runs.state_postgres', None)
    with state_store.opened(url, service()):
      pass


def written_to(folder, pages: int):
  """Writes to a store on a disk with room for so many pages."""
  folder.mkdir(exist_ok=True)
  with state_store.opened(str(folder / 's.db'), service()) as store:
    store.database.run(f'PRAGMA max_page_count={pages}')
    with state_store.writing(store):
      state_store.write(store, users(service(), 4_000))


OTHER = online_toys.without_users
CALLS = [
  Call(
    'the run has other user ids, like {}; use the run',
    lambda folder: loaded(folder, by=with_names(), of=service()),
    'use the run that it was made with',
    lambda folder: loaded(folder, by=service()),
  ),
  *(
    Call(
      says,
      lambda folder: loaded(folder, by=service(), of=OTHER()),
      'made with other parameters; .*use the run that',
      lambda folder: loaded(folder, by=service()),
    )
    for says in ('state_files.py: {}: {}', 'online_bytes.py: state {}1: {}')
  ),
  Call(
    'states made with other {} ({}; the run has {})',
    lambda folder: put(folder / 's.db', by=service(), of=OTHER()),
    'use the run that they were made with',
    lambda folder: put(folder / 's.db', by=OTHER()),
  ),
  Call(
    'states made with other {} ({}; the run has {})',
    lambda folder: put(folder / 's.db', by=service(), of=OTHER()),
    'or begin another file with --out_states',
    lambda folder: put(folder / 'other.db', by=service()),
  ),
  Call(
    'state_store.py: {}: {}',
    lambda folder: put(folder / 's.db', by=service(), damage=40),
    'restore them from a copy, or start the user anew',
    lambda folder: put(folder / 's.db', by=service()),
  ),
  Call(
    'another process has been writing for more than',
    lambda folder: written_by_two(folder, ended=False),
    'wait for it, or end it',
    lambda folder: written_by_two(folder, ended=True),
  ),
  Call(
    'cannot use {}: {}; choose a folder with room',
    lambda folder: written_to(folder, 9),
    'choose a folder with room',
    lambda folder: written_to(folder / 'other', 9_000),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    lambda folder: without('psycopg'),
    r"pip install -e '\.\[postgres\]'",
    lambda folder: without(''),
  ),
  Call(
    'holds no states of this run; check the database',
    lambda folder: asked(folder, create=False),
    'or begin with --out_states',
    lambda folder: asked(folder),
  ),
  Call(
    '{}: tables of version {}, and this program',
    lambda folder: asked(folder, 'UPDATE {schema}.about SET value = 7'),
    'name another database',
    lambda folder: asked(folder, name='another'),
  ),
  Call(
    'tables of this run are missing or of another',
    lambda folder: asked(folder, 'DROP TABLE {schema}.users'),
    'name another database',
    lambda folder: asked(folder, name='another'),
  ),
  Call(
    '{}: {}; grant the user the right to create',
    lambda folder: as_guest(
      folder, f"CREATE ROLE guest LOGIN PASSWORD '{postgres.PASSWORD}'"
    ),
    'grant the user the right to (create) schemas in it',
    lambda folder, what: as_guest(
      folder,
      f'GRANT {what} ON DATABASE {database(folder).split("/")[-1]} TO guest',
    ),
  ),
  Call(
    'cannot use {}: {}; check that the server runs',
    lambda folder: asked(folder, secret='wrong'),
    'check .* the password',
    lambda folder: asked(folder),
  ),
  Call(
    'cannot use {}: {}; write postgresql',
    lambda folder: asked(folder, secret=f'{postgres.PASSWORD}@h%'),
    'write postgresql://USER@HOST:5432/DATABASE',
    lambda folder: asked(folder),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_states_are_kept_as_advised(call, tmp_path):
  following.obey(call, tmp_path)


@pytest.mark.parametrize(
  'case', [*ONLINE, *OF_STORES], ids=lambda case: case.name
)
def test_states_are_moved_as_advised(case, streams, capsys, tmp_path):
  followed('online', case, streams, capsys, tmp_path)
