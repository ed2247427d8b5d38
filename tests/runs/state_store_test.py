"""A store of states, in SQLite and in PostgreSQL: one contract for both."""

import contextlib
import re
import shutil
import sqlite3
import threading

import jax
import numpy as np
import pytest

from tests.runs import postgres
from tests.serving import online_toys
from twotsrec import types
from twotsrec.runs import state_databases
from twotsrec.runs import state_files
from twotsrec.runs import state_store
from twotsrec.serving import online_windows


@pytest.fixture(scope='module')
def service():
  return online_toys.world().service


def _users(service, ids, time=5.0):
  """States of users with some events behind them."""
  ids = np.asarray(ids)
  nobody = np.full(len(ids), -1)
  stored = online_windows.begin(service, ids, nobody, np.full(len(ids), time))
  events = online_windows.Window(
    offsets=np.append(0, np.cumsum(ids % 3)),
    time=np.where(np.arange(np.sum(ids % 3)) % 2, np.nan, time),
    item=np.arange(np.sum(ids % 3), dtype=np.int32) % 20,
    identity=-np.arange(np.sum(ids % 3)),
  )
  moved = stored.state.state + np.float32(ids[:, None] % 2)
  return stored._replace(
    window=events, state=stored.state._replace(state=moved)
  )


def _put(store, stored):
  with state_store.writing(store):
    state_store.write(store, stored)


def _same(first, second):
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype


def _refused(path, service, **options):
  with pytest.raises(types.UserError) as error:
    with state_store.opened(str(path), service, **options):
      pass
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


@pytest.fixture(params=['sqlite', 'postgres'])
def place(request, tmp_path):
  """Of a store that is not there yet."""
  if request.param == 'postgres':
    return postgres.url()
  return str(tmp_path / 'new' / 's.db')


class TestStores:
  """What every database gives."""

  def test_users_come_back_as_they_were(self, service, place):
    stored = _users(service, range(9))
    with state_store.opened(place, service) as store:
      assert state_store.count(store) == 0
      assert not len(state_store.read_all(store).ids)
      _put(store, stored)
      _put(store, _users(service, [4, 20], time=-np.inf))
    with state_store.opened(place, service, create=False) as store:
      assert state_store.count(store) == 10
      found, at = state_store.read(store, np.array([20, 77, 4, 0]))
      _same(found.ids, np.array([20, 4, 0]))
      np.testing.assert_array_equal(at, [0, 2, 3])
      np.testing.assert_array_equal(found.last_time, [-np.inf, -np.inf, 5])
      some, _ = state_store.read(store, stored.ids[:4])
      _same(some, _users(service, range(4)))
      for nobody in (np.array([77]), np.array([], np.int64)):
        found, at = state_store.read(store, nobody)
        assert not len(found.ids) and not len(at)
      every = state_store.read_all(store)
      np.testing.assert_array_equal(every.ids, [*range(9), 20])

  def test_somebody_with_a_name_may_join_people_with_numbers(
    self, service, place
  ):
    names = np.array(['-7', '5', '30', 'a\0b', 'bob', 'Żółw', '\U0001f6d2'])
    with state_store.opened(place, service) as store:
      _put(store, _users(service, range(7))._replace(ids=names))
      _put(store, _users(service, np.array([5]), time=6.0))
      stored, at = state_store.read(store, names)
      assert stored.ids.tolist() == names.tolist()
      assert at.tolist() == [*range(7)]
      assert stored.last_time.tolist() == [5.0, 6.0, *[5.0] * 5]
      assert state_store.read_all(store).ids.tolist() == names.tolist()

  def test_a_store_and_a_file_are_the_same_states(
    self, service, place, tmp_path
  ):
    file, stored = str(tmp_path / 's.npz'), _users(service, range(7))
    state_files.save(file, service, stored)
    with state_store.opened(place, service) as store:
      _put(store, state_files.load(file, service))
      _same(state_store.read_all(store), stored)
    _same(state_files.load(file, service), stored)

  def test_the_latest_time_stays(self, service, place):
    for latest, expected in ((-np.inf, -np.inf), (0.1, 0.1), (0.05, 0.1)):
      with state_store.opened(place, service) as store:
        with state_store.writing(store):
          state_store.reach(store, latest)
        assert state_store.reached(store) == expected

  def test_what_fails_inside_was_never_there(self, service, place):
    with state_store.opened(place, service) as store:
      _put(store, _users(service, [1, 2]))
      with contextlib.suppress(KeyError), state_store.writing(store):
        state_store.write(store, _users(service, [2, 3], time=9))
        with state_store.writing(store):  # a part of the outer one
          state_store.reach(store, 9.0)
        raise KeyError
      _same(state_store.read_all(store), _users(service, [1, 2]))
      assert state_store.reached(store) == -np.inf

  def test_a_writer_waits_for_another_one(self, service, place):
    inside, order = threading.Event(), []

    def later():
      with state_store.opened(place, service) as store:
        inside.wait()
        with state_store.writing(store):
          found, _ = state_store.read(store, np.array([1]))
          order.append(int(found.last_time[0]))

    thread = threading.Thread(target=later)
    with state_store.opened(place, service) as store:
      thread.start()
      with state_store.writing(store):
        inside.set()
        state_store.write(store, _users(service, [1], time=7))
        order.append(0)
    thread.join()
    assert order == [0, 7]

  def test_a_writer_waits_no_longer_than_it_should(
    self, service, place, monkeypatch
  ):
    with state_store.opened(place, service) as store:
      monkeypatch.setattr(state_databases, 'PATIENCE', 0.1)
      with state_store.opened(place, service) as other:
        with state_store.writing(store):
          with pytest.raises(types.Unavailable, match='another process'):
            with state_store.writing(other):
              pass
        _put(other, _users(service, [1]))

  def test_a_reader_waits_for_no_writer(self, service, place, monkeypatch):
    monkeypatch.setattr(state_databases, 'PATIENCE', 60.0)  # then an error
    with state_store.opened(place, service) as store:
      _put(store, _users(service, [1, 2]))
      with state_store.writing(store):
        state_store.write(store, _users(service, [1, 2, 3], time=9))
        for create in (False, True):
          with state_store.opened(place, service, create) as other:
            _same(state_store.read_all(other), _users(service, [1, 2]))
            some, _ = state_store.read(other, np.array([1, 2, 3]))
            _same(some, _users(service, [1, 2]))
            assert state_store.count(other) == 2

  def test_several_may_make_it_at_once(self, service, place):
    ready, errors = threading.Barrier(4), []

    def make(number):
      ready.wait()
      try:
        with state_store.opened(place, service) as store:
          _put(store, _users(service, [number]))
      except Exception as error:
        errors.append(error)

    threads = [threading.Thread(target=make, args=[n]) for n in range(4)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert errors == []
    with state_store.opened(place, service, create=False) as store:
      assert state_store.read_all(store).ids.tolist() == [0, 1, 2, 3]

  def test_states_of_another_run_are_refused(self, service, place):
    """A database has a schema for each, which somebody may have renamed."""
    other = online_toys.without_users(two_time__cell='lstm')
    for run, says in (
      (online_toys.without_users(), 'states made with other parameters ('),
      (other, 'other networks (lstm of width 4; the run has gru'),
    ):
      fresh = postgres.url() if '://' in place else f'{place}{run.cell}'
      with state_store.opened(fresh, run) as store:
        if '://' in place:
          name = f'twotsrec_{service.digest.hex()}'
          store.database.run(f'ALTER SCHEMA {{schema}} RENAME TO {name}')
      message = _refused(fresh, service)
      assert message.startswith(state_store.shown(fresh)) and says in message

  def test_a_damaged_row_is_named(self, service, place):
    mark = '%s' if '://' in place else '?'
    table = '{schema}.users' if '://' in place else 'user'
    with state_store.opened(place, service) as store:
      _put(store, _users(service, [1, 2]))
      run = store.database.run
      where = 'WHERE last_time = 5 AND start IS NOT NULL'
      (state,) = run(f'SELECT state FROM {table} {where}').fetchone()
      damaged = (b'x' + bytes(state)[1:],)
      run(f'UPDATE {table} SET state = {mark} {where}', damaged)
      shown = re.escape(state_store.shown(place))
      with pytest.raises(types.UserError, match=rf'{shown}: state 1: damaged'):
        state_store.read_all(store)


def test_a_file_without_events_is_read(service, tmp_path):
  file, stored = str(tmp_path / 's.npz'), _users(service, range(7))
  state_files.save(file, service, stored)
  with np.load(file) as archive:
    arrays = {n: archive[n] for n in ('user_ids', 'last_times', 'states')}
  np.savez(file, **arrays)
  expected = stored._replace(
    start=stored.state, floor=stored.last_time, window=online_windows.empty(7)
  )
  _same(state_files.load(file, service), expected)


def test_files_that_are_no_store_are_refused_and_left_alone(service, tmp_path):
  path = tmp_path / 's.db'
  assert 'there is no such file' in _refused(path, service, create=False)
  assert not path.exists()
  path.write_text('user,item\n1,2\n')
  assert 'holds no states' in _refused(path, service)
  assert path.read_text() == 'user,item\n1,2\n'
  path.write_bytes(b'')
  assert 'holds no states' in _refused(path, service, create=False)
  assert path.read_bytes() == b''
  path.unlink()
  with contextlib.closing(sqlite3.connect(path)) as database:
    database.execute('CREATE TABLE mine (a)')
  assert 'holds no states' in _refused(path, service)
  path.unlink()
  with state_store.opened(str(path), service) as store:
    store.database.run('PRAGMA user_version=7')
  assert 'version 7 of the format' in _refused(path, service)
  assert 'cannot' in _refused(tmp_path, service)


def test_what_a_killed_process_leaves_is_the_last_batch(service, tmp_path):
  # A copy of the files while they are in use is what the disk has then.
  path, copy = tmp_path / 's.db', tmp_path / 'copy'
  with state_store.opened(str(path), service) as store:
    _put(store, _users(service, range(50)))
    with state_store.writing(store):
      state_store.write(store, _users(service, range(40, 90), time=9))
      copy.mkdir()
      for file in tmp_path.glob('s.db*'):
        shutil.copy(file, copy / file.name)
  with state_store.opened(str(copy / 's.db'), service, False) as store:
    _same(state_store.read_all(store), _users(service, range(50)))


def test_a_url_is_shown_without_its_secrets():
  for url, shown in (
    ('postgresql://ann:a:b/c@d@h:5/shop', 'postgresql://ann@h:5/shop'),
    ('postgres://h/shop?password=x', 'postgres://h/shop'),
    ('postgresql:///shop', 'postgresql:///shop'),
    ('a/postgresql://b:c@d', 'a/postgresql://b:c@d'),
  ):
    assert state_store.shown(url) == shown


def _secretly_refused(url, service, **options):
  message = _refused(url, service, **options)
  assert postgres.PASSWORD not in message and 'wrong' not in message
  return message


def test_databases_that_cannot_be_used_are_told(service):
  url = postgres.url()
  whom = f'{postgres.USER}:{postgres.PASSWORD}@'
  for bad, says in (
    (url.replace(whom, f'{postgres.USER}:wrong@'), 'authentication failed'),
    (url.replace(f':{postgres.port()}/', ':1/'), 'refused'),
    (f'{url}_elsewhere', 'does not exist'),
    (url.replace(f':{postgres.port()}/', ':port/'), 'invalid integer'),
    (f'{url}?sslmod=1', 'HOST:5432/DATABASE'),
  ):
    assert says in _secretly_refused(bad, service)
  assert 'no states of this run' in _secretly_refused(
    url, service, create=False
  )
  with state_store.opened(url, service) as store:
    store.database.tell('version', '7')
  assert 'tables of version 7' in _secretly_refused(url, service)
  with state_store.opened(postgres.url(), service) as store:
    store.database.run('DROP TABLE {schema}.users')
    with pytest.raises(types.UserError, match='missing or of another'):
      state_store.count(store)


def _cut(url, service):
  """Ends all other connections to a database, as a server that restarts."""
  with state_store.opened(url, service) as store:
    store.database.run(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
      ' WHERE datname = current_database() AND pid <> pg_backend_pid()'
    )


def test_a_connection_that_was_cut_is_made_anew(service):
  url = postgres.url()
  with state_store.opened(url, service) as store:
    _put(store, _users(service, [1]))
    _cut(url, service)
    _put(store, _users(service, [2]))
    _cut(url, service)
    assert state_store.read_all(store).ids.tolist() == [1, 2]


def test_what_is_cut_inside_was_never_there(service):
  url = postgres.url()
  with state_store.opened(url, service) as store:
    with pytest.raises(types.Unavailable), state_store.writing(store):
      state_store.write(store, _users(service, [1]))
      _cut(url, service)
      for _ in range(2):  # nothing goes on outside of the transaction
        with contextlib.suppress(types.Unavailable):
          state_store.write(store, _users(service, [2]))
    assert state_store.count(store) == 0
