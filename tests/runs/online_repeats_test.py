import shutil

import numpy as np
import pytest

from tests.runs import played
from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.runs import online as online_recipe
from twotsrec.runs import online_batches
from twotsrec.runs import state_files
from twotsrec.runs import state_store


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return played.saved_run(tmp_path_factory.mktemp('run') / 'run')


@pytest.fixture(scope='module')
def service(workdir):
  return online_recipe.open_run(workdir)[0]


def _numbers(workdir, folder, table, **options):
  """What is said, and how many events every user has consumed."""
  service = online_recipe.open_run(workdir)[0]
  path = str(folder / 'states.db')
  said, _, _ = played.play(
    workdir, folder, table, **{'out': '', 'out_states': path, **options}
  )
  with state_store.opened(path, service, create=False) as store:
    stored = state_store.read_all(store)
  consumed = np.asarray(stored.state.consumed).tolist()
  return said, dict(zip(stored.ids.tolist(), consumed, strict=True))


def _late(late):
  return online_batches.Rules(late=late)


def test_a_table_is_played_once_however_often_it_comes(workdir, tmp_path):
  rows = ['99,1001,4', '99,777,5', '98,1001,4', '98,1001,4']
  table = played.table(tmp_path / 'e.csv', rows)
  for out_states in ('states.db', 'states.npz'):
    path = str(tmp_path / out_states)
    said, _, top = played.play(workdir, tmp_path, table, out_states=path)
    # The last two rows are one event.
    assert '; 1 event was played before; ' in said
    again, _, same = played.play(
      workdir, tmp_path, table, states=path, out_states=path
    )
    assert again.startswith('4 events of 2 users, 0 of them new; 4 events were')
    assert top == same
  more = played.table(tmp_path / 'e.csv', [*rows, '98,1002,4', '98,1001,4.5'])
  said, consumed = _numbers(workdir, tmp_path, more)
  assert consumed == {98: 3, 99: 1} and '4 events were played before' in said


def test_events_of_the_run_are_not_played_again(workdir, service, tmp_path):
  prepared = played.world().experiment.prepared
  offsets = prepared.user_offsets
  rows = [
    f'102,{1000 + prepared.items[n] - 1},{prepared.times[n]}'
    for n in range(offsets[2], offsets[3])
  ]
  table = played.table(tmp_path / 'e.csv', [*rows, '102,1003,500'])
  said, consumed = _numbers(workdir, tmp_path, table)
  assert f'{len(rows)} events were played before' in said
  assert consumed == {102: service.known.consumed[2] + 1}


def test_an_id_tells_an_event_from_others(workdir, tmp_path):
  columns = pipeline.TableOptions(event='n')
  header = 'user_id,item_id,n'
  rows = ['99,1001,a', '99,1001,b', '98,1001,a', '99,1001,a']
  table = played.table(tmp_path / 'e.csv', rows, header)
  said, consumed = _numbers(workdir, tmp_path, table, columns=columns)
  assert consumed == {98: 1, 99: 2} and '1 event was played before' in said
  table = played.table(tmp_path / 'e.csv', ['99,1005,c', *rows], header)
  said, consumed = _numbers(workdir, tmp_path, table, columns=columns)
  assert consumed == {98: 1, 99: 3} and '4 events were played before' in said


def test_late_events_are_dropped_or_played_in_their_place(
  workdir, service, tmp_path
):
  path = tmp_path / 'e.csv'
  first = ['99,1001,4', '99,1002,8', '102,1003,500', '98,1003,1']
  whole = [*first, '99,1005,6', '102,1004,400', '98,1004,2']
  _numbers(workdir, tmp_path, played.table(path, first))
  late = [*whole[4:], '102,1009,3']  # before what the run has seen
  message = played.refused(
    workdir,
    tmp_path,
    played.table(path, late),
    out_states=str(tmp_path / 'states.db'),
  )
  assert "line 2: user '99' goes back in time, from 8 to 6;" in message
  shutil.copy(tmp_path / 'states.db', tmp_path / 'copy.db')
  said, consumed = _numbers(
    workdir, tmp_path, played.table(path, late), rules=_late('drop')
  )
  assert '; 3 events came late and were dropped; ' in said
  known = service.known.consumed[2]
  assert consumed == {98: 2, 99: 2, 102: known + 1}
  shutil.move(tmp_path / 'copy.db', tmp_path / 'states.db')
  said, consumed = _numbers(
    workdir, tmp_path, played.table(path, late), rules=_late('replay')
  )
  assert '; 2 events came late and were played in their place; ' in said
  assert '; 1 event came too late for the events that are stored; ' in said
  assert consumed == {98: 2, 99: 3, 102: known + 2}
  rows = sorted(whole, key=lambda row: float(row.split(',')[2]))
  table = played.table(path, rows)
  _, once, _ = played.play(workdir, tmp_path, table, out='')
  once = state_files.load(once, service)
  with state_store.opened(str(tmp_path / 'states.db'), service) as store:
    stored = state_store.read_all(store)
  for leaf, expected in zip(stored.state, once.state, strict=True):
    assert leaf.tobytes() == expected.tobytes()


def test_one_bad_clock_stops_nobody_else(workdir, tmp_path):
  rows = ['99,1001,500', '98,1001,500', '98,1002,4070908800', '97,1001,501']
  table = played.table(tmp_path / 'e.csv', rows)
  top = str(tmp_path / 'top.csv')
  said, consumed = _numbers(workdir, tmp_path, table, out=top)
  assert consumed == {97: 1, 99: 1}
  assert {row['user_id'] for row in played.read(top)} == {'97', '99'}
  assert said.startswith('4 events of 3 users, 2 of them new; ')
  assert (
    '; 2 events of 1 user (98), left out of states and lists, were refused:'
    ' line 4 has 4070908800, and times from'
  ) in said
  table = played.table(tmp_path / 'e.csv', [*rows[:2], rows[3]])
  said, consumed = _numbers(workdir, tmp_path, table)
  assert consumed == {97: 1, 98: 1, 99: 1}
  message = played.refused(
    workdir, tmp_path, played.table(tmp_path / 'e.csv', ['9,1001,4070908800'])
  )
  assert 'the times of all users are far from those of the run' in message


def test_one_user_with_many_events_scales_nobody_else(workdir, tmp_path):
  now = 1_740_000_000
  rows = [f'{user},1001,{now + user}' for user in range(91, 95)]
  rows += [f'99,{1001 + n},{(now + n) * 1000}' for n in range(10)]
  table = played.table(tmp_path / 'e.csv', rows)
  _, states, _ = played.play(workdir, tmp_path, table, out='')
  stored = state_files.load(states, online_recipe.open_run(workdir)[0])
  wanted = [now + user for user in range(91, 95)] + [now + 9]
  np.testing.assert_array_equal(stored.last_time, wanted)


def test_batches_of_a_table_are_the_table(workdir, tmp_path, monkeypatch):
  rows = [f'{user},{1001 + user % 7},{time}' for time in (500, 501)
          for user in range(90, 99)]  # fmt: skip
  table = played.table(tmp_path / 'e.csv', rows)
  said, _, top = played.play(workdir, tmp_path, table)
  monkeypatch.setattr(online_recipe, '_BATCH', 2)
  again, states, same = played.play(
    workdir, tmp_path, table, out_states=str(tmp_path / 's.db')
  )
  assert said.split('; states')[0] == again.split('; states')[0]
  score = lambda rows: [float(row.pop('score')) for row in rows]
  np.testing.assert_allclose(score(top), score(same), rtol=1e-5)
  assert top == same
  # A late event of the last batch is seen before the first is played.
  later = [f'{user},1001,502' for user in range(90, 98)]
  table = played.table(tmp_path / 'e.csv', [*later, '98,1001,4'])
  service = online_recipe.open_run(workdir)[0]
  message = played.refused(workdir, tmp_path, table, out_states=states)
  assert "user '98' goes back in time, from 501 to 4;" in message
  with state_store.opened(states, service) as store:
    np.testing.assert_array_equal(state_store.read_all(store).last_time, 501)


def test_a_failed_list_has_not_played_its_events(
  workdir, tmp_path, monkeypatch
):
  table = played.table(tmp_path / 'e.csv', ['99,1001,7'])
  states = str(tmp_path / 's.db')
  made = []

  def write(path, rows):
    made.append(next(rows))  # the events are played by now
    raise types.UserError(f'cannot write {path}')

  with monkeypatch.context() as patch:
    patch.setattr(online_recipe.writers, 'write', write)
    message = played.refused(workdir, tmp_path, table, out_states=states)
  assert 'cannot write' in message and len(made[0].user_id) == 3
  said, _, _ = played.play(workdir, tmp_path, table, out_states=states)
  assert '1 of them new' in said and 'before' not in said
