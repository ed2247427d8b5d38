import contextlib
import shutil
import sqlite3
import threading

import jax
import numpy as np
import pytest

from tests.serving import online_toys
from twotsrec import types
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


def test_users_come_back_as_they_were(service, tmp_path):
  path, stored = str(tmp_path / 'new' / 's.db'), _users(service, range(9))
  with state_store.opened(path, service) as store:
    _put(store, stored)
    _put(store, _users(service, [4, 20], time=-np.inf))
  with state_store.opened(path, service, create=False) as store:
    assert state_store.count(store) == 10
    found, place = state_store.read(store, np.array([20, 77, 4, 0]))
    _same(found.ids, np.array([20, 4, 0]))
    np.testing.assert_array_equal(place, [0, 2, 3])
    np.testing.assert_array_equal(found.last_time, [-np.inf, -np.inf, 5])
    _same(state_store.read(store, stored.ids[:4])[0], _users(service, range(4)))
    nobody, place = state_store.read(store, np.array([77]))
    assert not len(nobody.ids) and not len(place)
    every = state_store.read_all(store)
    np.testing.assert_array_equal(every.ids, [*range(9), 20])


def test_somebody_with_a_name_may_join_people_with_numbers(service, tmp_path):
  path = str(tmp_path / 'states.sqlite')
  texts, numbers = np.array(['5', 'bob']), np.array([5])
  with state_store.opened(path, service) as store:
    _put(store, _users(service, [5, 6])._replace(ids=texts))
    _put(store, _users(service, numbers, time=6.0))
    assert state_store.count(store) == 2
    stored, place = state_store.read(store, texts)
    assert stored.ids.tolist() == ['5', 'bob'] and place.tolist() == [0, 1]
    assert stored.last_time.tolist() == [6.0, 5.0]


def test_a_store_and_a_file_are_the_same_states(service, tmp_path):
  file, stored = str(tmp_path / 's.npz'), _users(service, range(7))
  state_files.save(file, service, stored)
  with state_store.opened(str(tmp_path / 's.db'), service) as store:
    _put(store, state_files.load(file, service))
    _same(state_store.read_all(store), stored)
  _same(state_files.load(file, service), stored)


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


def test_what_fails_inside_was_never_there(service, tmp_path):
  with state_store.opened(str(tmp_path / 's.db'), service) as store:
    _put(store, _users(service, [1, 2]))
    with contextlib.suppress(KeyError), state_store.writing(store):
      state_store.write(store, _users(service, [2, 3], time=9))
      state_store.reach(store, 9.0)
      raise KeyError
    _same(state_store.read_all(store), _users(service, [1, 2]))
    assert state_store.reached(store) == -np.inf


def test_a_writer_waits_for_another_one(service, tmp_path):
  path = str(tmp_path / 's.db')
  inside, order = threading.Event(), []

  def later():
    with state_store.opened(path, service) as store:
      inside.wait()
      with state_store.writing(store):
        order.append(
          int(state_store.read(store, np.array([1]))[0].last_time[0])
        )

  thread = threading.Thread(target=later)
  with state_store.opened(path, service) as store:
    thread.start()
    with state_store.writing(store):
      inside.set()
      state_store.write(store, _users(service, [1], time=7))
      order.append(0)
  thread.join()
  assert order == [0, 7]


def test_a_reader_waits_for_no_writer(service, tmp_path, monkeypatch):
  path = str(tmp_path / 's.db')
  monkeypatch.setattr(state_store, '_PATIENCE', 0.1)  # seconds, then an error
  with state_store.opened(path, service) as store:
    _put(store, _users(service, [1, 2]))
    with state_store.writing(store):
      state_store.write(store, _users(service, [1, 2, 3], time=9))
      for create in (False, True):
        with state_store.opened(path, service, create) as other:
          _same(state_store.read_all(other), _users(service, [1, 2]))
          some, _ = state_store.read(other, np.array([1, 2, 3]))
          _same(some, _users(service, [1, 2]))


def test_states_of_another_run_are_refused(service, tmp_path):
  path = tmp_path / 's.db'
  with state_store.opened(str(path), online_toys.without_users()):
    pass
  message = _refused(path, service)
  assert message.startswith(f'{path}: states made with other parameters (')
  assert service.digest.hex() in message
  other = online_toys.without_users(two_time__cell='lstm')
  assert 'other networks (gru of width 4; the run has lstm' in _refused(
    path, other
  )


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
    store.database.execute('PRAGMA user_version=7')
  assert 'version 7 of the format' in _refused(path, service)
  assert 'cannot' in _refused(tmp_path, service)


def test_a_damaged_row_is_named(service, tmp_path):
  path = str(tmp_path / 's.db')
  with state_store.opened(path, service) as store:
    _put(store, _users(service, [1, 2]))
    run = store.database.execute
    (state,) = run('SELECT state FROM user WHERE id = 2').fetchone()
    run('UPDATE user SET state = ? WHERE id = 2', (b'x' + state[1:],))
    with pytest.raises(types.UserError, match=r's\.db: state 2: damaged'):
      state_store.read_all(store)


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
