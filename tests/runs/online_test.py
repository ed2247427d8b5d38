import csv
import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pytest

from tests import small_runs as runs
from tests.serving import online_toys
from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.runs import online as online_recipe
from twotsrec.runs import online_batches
from twotsrec.runs import recommend
from twotsrec.runs import state_files
from twotsrec.runs import state_store
from twotsrec.serving import online
from twotsrec.serving import online_bytes
from twotsrec.training import files
from twotsrec.training import run_directory

_CHANGES = {
  'two_time__variant': '2ts_plus',
  'plugin__name': 'light',
  'plugin__points': 'Z',
}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run') / 'run'
  return online_toys.save_run(online_toys.world(**_CHANGES), folder)


@pytest.fixture(scope='module')
def service(workdir):
  return online_recipe.open_service(workdir)


def _table(path, rows, header='user_id,item_id,timestamp'):
  path.write_text('\n'.join([header, *rows, '']), encoding='utf-8')
  return str(path)


def _read(path):
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _play(workdir, folder, table, **options):
  """Runs it; the line, states and rows."""
  options = online_recipe.Options(
    **{
      'events': table,
      'states': '',
      'out_states': str(folder / 'states.npz'),
      'out': str(folder / 'top.csv'),
      'k': 3,
      **options,
    }
  )
  said = online_recipe.run(workdir, options, quiet=True)
  return said, options.out_states, options.out and _read(options.out)


def _refused(workdir, folder, table, **options):
  with pytest.raises(types.UserError) as error:
    _play(workdir, folder, table, **options)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


def test_a_finished_run_serves_what_it_was_saved_with(service):
  made = online_toys.world(**_CHANGES).service
  assert service.digest == made.digest and service.groups == made.groups
  for first, second in zip(service.known, made.known, strict=True):
    np.testing.assert_array_equal(first, second)
  np.testing.assert_array_equal(service.known.consumed, online_toys.COUNTS)


def test_known_users_are_recommended_what_launch_recommend_says(
  workdir, service, tmp_path
):
  out = tmp_path / 'all.csv'
  recommend.run(workdir, str(out), recommend.Options(k=4), quiet=True)
  expected = {(r['user_id'], int(r['rank'])): r for r in _read(out)}
  prepared = online_toys.world(**_CHANGES).experiment.prepared
  seen = prepared_lib.seen_items(prepared, 'all')
  users = online.users_of(service, service.ids.user)
  found = online.recommend(service, online.start(service, users), 4, seen)
  count = 0
  for user, ids, scores in zip(service.ids.user, *found):
    for rank, (item, score) in enumerate(zip(ids, scores), 1):
      if item:
        row = expected[str(user), rank]
        assert int(row['item_id']) == service.ids.item[item - 1]
        np.testing.assert_allclose(float(row['score']), score, rtol=1e-4)
        count += 1
  assert count == len(expected)


def test_lists_are_of_the_items_that_are_named(workdir, service, tmp_path):
  table = _table(tmp_path / 'e.csv', ['102,1003,500', '99,1001,4'])
  listed, gone = tmp_path / 'items.txt', tmp_path / 'gone.txt'
  listed.write_text('1001\n1002\n1004\n1005\nnone\n', encoding='utf-8')
  gone.write_text('1002\n', encoding='utf-8')
  _, _, every = _play(workdir, tmp_path, table, k=10**12)
  chosen = {'items': str(listed), 'exclude_items': str(gone)}
  _, _, some = _play(workdir, tmp_path, table, k=10**12, **chosen)
  pairs = lambda top: [(row['user_id'], row['item_id']) for row in top]
  left = {'1001', '1004', '1005'}
  assert pairs(some) == [pair for pair in pairs(every) if pair[1] in left]
  assert some and len(every) <= 2 * service.num_items


def test_a_table_moves_the_states_of_its_users(workdir, service, tmp_path):
  rows = ['102,1003,500', '99,1001,4', '102,1004,500', '99,777,5', '111,5,900']
  said, states, top = _play(workdir, tmp_path, _table(tmp_path / 'e.csv', rows))
  assert said.startswith(
    '5 events of 3 users, 1 of them new; 2 events with items the model does not'
    ' know were skipped; '
  )
  assert said.endswith(f'; states of 3 users in {states}')
  kept = state_files.load(states, service)
  np.testing.assert_array_equal(kept.ids, [99, 102, 111])
  np.testing.assert_array_equal(kept.last_time, [5, 500, 900])
  for row, (user, items) in enumerate(((-1, [2, 0]), (2, [4, 5]), (11, [0]))):
    state = online.start(service, user)
    for item in items:
      state = online.update(service, state, item)
    for leaf, expected in zip(kept.state, state, strict=True):
      np.testing.assert_allclose(leaf[row], expected[0], atol=1e-6)
  prepared = online_toys.world(**_CHANGES).experiment.prepared
  seen = prepared_lib.seen_items(prepared)
  also = {'99': {1001}, '102': {1003, 1004}, '111': set()}
  known = {'102': 2, '111': 11}
  assert {row['user_id'] for row in top} <= set(also)
  for row in top:
    old = also[row['user_id']]
    if row['user_id'] in known:
      u = known[row['user_id']]
      items = seen.items[seen.offsets[u] : seen.offsets[u + 1]]
      old = old | set(service.ids.item[items - 1])
    assert int(row['item_id']) not in old
  new = [row for row in top if row['user_id'] == '99']
  found = online.recommend(service, _state_of(kept, [0]), 4)
  best = [i for i in service.ids.item[found.ids[0] - 1] if i != 1001][:3]
  assert [int(row['item_id']) for row in new] == best


def _state_of(kept, chosen):
  return online.State(*(np.asarray(leaf)[chosen] for leaf in kept.state))


def test_two_tables_are_one_table(workdir, service, tmp_path):
  first = ['102,1003,500', '99,1001,4', '103,1009,300']
  second = ['98,1000,2', '102,1004,501', '99,1010,5', '99,1011,5']
  _, once, _ = _play(
    workdir,
    tmp_path,
    _table(tmp_path / 'both.csv', first + second),
    out_states=str(tmp_path / 'new' / 'once.npz'),
  )
  _, states, _ = _play(workdir, tmp_path, _table(tmp_path / '1.csv', first))
  said, twice, _ = _play(
    workdir, tmp_path, _table(tmp_path / '2.csv', second), states=states
  )
  assert said.startswith('4 events of 3 users, 1 of them new; ')
  assert said.endswith(f'; states of 4 users in {twice}') and twice == states
  one, other = (state_files.load(path, service) for path in (once, twice))
  np.testing.assert_array_equal(one.ids, other.ids)
  np.testing.assert_array_equal(one.last_time, other.last_time)
  for leaf, expected in zip(other.state, one.state, strict=True):
    np.testing.assert_array_equal(leaf, expected)


def test_events_that_go_back_in_time_are_named(workdir, tmp_path):
  path = tmp_path / 'e.csv'
  told = lambda rows, **options: _refused(
    workdir, tmp_path, _table(path, rows), **options
  )
  rows = ['99,1001,7', '98,1001,3', '99,1002,6', '98,1002,1']
  assert told(rows) == (
    f"{path}, line 4: user '99' goes back in time, from 7 to 6; sort the table,"
    ' or --late=drop leaves such events out, --late=replay plays them in their'
    ' place'
  )
  # The last of the training events of user 102 was at 45.
  assert told(['99,1001,7', '102,1001,44']) == (
    f"{path}, line 3: user '102' goes back in time, from 45 to 44; --late=drop"
    ' leaves such events out, --late=replay plays them in their place'
  )
  assert not (tmp_path / 'states.npz').exists()
  _, states, _ = _play(workdir, tmp_path, _table(path, ['99,1001,7.5']))
  written = os.stat(states).st_mtime_ns
  message = told(['99,1001,7.25'], states=states)
  assert "line 2: user '99' goes back in time, from 7.5 to 7.25;" in message
  assert os.stat(states).st_mtime_ns == written


def test_positions_in_a_table_are_checked_inside_it_alone(
  workdir, service, tmp_path
):
  columns = pipeline.TableOptions(columns=tables.Columns(order='place'))
  header = 'user_id,item_id,timestamp,place'
  table = _table(tmp_path / 'e.csv', ['102,1003,9,1', '102,1001,8,2'], header)
  _, states, _ = _play(workdir, tmp_path, table, columns=columns)
  kept = state_files.load(states, service)
  np.testing.assert_array_equal(kept.last_time, [45])
  _play(workdir, tmp_path, table, columns=columns, states=states)
  table = _table(tmp_path / 'e.csv', ['9,1003,8,2', '9,1001,9,1'], header)
  message = _refused(workdir, tmp_path, table, columns=columns)
  assert "line 3: user '9' goes back in time, from 2 to 1;" in message


def test_a_table_needs_no_times(workdir, service, tmp_path):
  table = _table(tmp_path / 'e.csv', ['102,1003', '99,1001'], 'user_id,item_id')
  said, states, top = _play(workdir, tmp_path, table, out='')
  assert '; without times or --event_column they are not recognized' in said
  kept = state_files.load(states, service)
  np.testing.assert_array_equal(kept.last_time, [-np.inf, 45])
  assert top == '' and not (tmp_path / 'top.csv').exists()


def test_files_that_are_no_states_are_refused(workdir, service, tmp_path):
  table = _table(tmp_path / 'e.csv', ['99,1001,7'])
  _, states, _ = _play(workdir, tmp_path, table)
  data = pathlib.Path(states).read_bytes()
  wrong = str(tmp_path / 'wrong.npz')

  def told(content):
    pathlib.Path(wrong).write_bytes(content)
    return _refused(workdir, tmp_path, table, states=wrong)

  for content in (b'', b'text', data[:-9], data[: len(data) // 2]):
    assert 'holds no states, or is damaged' in told(content)
  middle = len(data) // 2
  assert wrong in told(data[:middle] + b'xxxx' + data[middle + 4 :])
  kept = state_files.load(states, service)
  other = online_toys.without_users()
  state = online.start(other, [-1])
  state_files.save(wrong, other, kept._replace(state=state))
  message = _refused(workdir, tmp_path, table, states=wrong)
  assert message.startswith(f'{wrong}: state 1: made with other parameters;')
  with open(wrong, 'wb') as file:
    np.save(file, np.zeros(3))
  message = _refused(workdir, tmp_path, table, states=wrong)
  assert 'holds no states' in message
  state_files.save(wrong, service, kept._replace(ids=np.array(['ann'])))
  assert "user 'ann'" in _refused(workdir, tmp_path, table, states=wrong)
  absent = _refused(workdir, tmp_path, table, states=str(tmp_path / 'none'))
  assert 'cannot read' in absent


def test_no_user_is_a_file_too(service, tmp_path):
  path = str(tmp_path / 'states.npz')
  state_files.save(path, service, state_files.nobody(service))
  kept = state_files.load(path, service)
  assert len(kept.ids) == len(kept.state.last) == 0
  size = online_bytes.record_size(service)
  assert size == 64 + 4 * service.state_width


def test_a_run_of_another_model_has_no_states(tmp_path):
  config = dataclasses.asdict(runs.config())
  files.write_json(run_directory.config_path(tmp_path), config)
  with pytest.raises(types.UserError, match='is a run of din, which has no'):
    online_recipe.open_service(str(tmp_path))


def _numbers(workdir, folder, table, **options):
  """What is said, and how many events every user has consumed."""
  service = online_recipe.open_service(workdir)
  path = str(folder / 'states.db')
  said, _, _ = _play(
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
  table = _table(tmp_path / 'e.csv', rows)
  for out_states in ('states.db', 'states.npz'):
    path = str(tmp_path / out_states)
    said, _, top = _play(workdir, tmp_path, table, out_states=path)
    # The last two rows are one event.
    assert '; 1 event was played before; ' in said
    again, _, same = _play(
      workdir, tmp_path, table, states=path, out_states=path
    )
    assert again.startswith('4 events of 2 users, 0 of them new; 4 events were')
    assert top == same
  more = _table(tmp_path / 'e.csv', [*rows, '98,1002,4', '98,1001,4.5'])
  said, consumed = _numbers(workdir, tmp_path, more)
  assert consumed == {98: 3, 99: 1} and '4 events were played before' in said


def test_events_of_the_run_are_not_played_again(workdir, service, tmp_path):
  prepared = online_toys.world(**_CHANGES).experiment.prepared
  offsets = prepared.user_offsets
  rows = [
    f'102,{1000 + prepared.items[n] - 1},{prepared.times[n]}'
    for n in range(offsets[2], offsets[3])
  ]
  table = _table(tmp_path / 'e.csv', [*rows, '102,1003,500'])
  said, consumed = _numbers(workdir, tmp_path, table)
  assert f'{len(rows)} events were played before' in said
  assert consumed == {102: service.known.consumed[2] + 1}


def test_an_id_tells_an_event_from_others(workdir, tmp_path):
  columns = pipeline.TableOptions(event='n')
  header = 'user_id,item_id,n'
  rows = ['99,1001,a', '99,1001,b', '98,1001,a', '99,1001,a']
  table = _table(tmp_path / 'e.csv', rows, header)
  said, consumed = _numbers(workdir, tmp_path, table, columns=columns)
  assert consumed == {98: 1, 99: 2} and '1 event was played before' in said
  table = _table(tmp_path / 'e.csv', ['99,1005,c', *rows], header)
  said, consumed = _numbers(workdir, tmp_path, table, columns=columns)
  assert consumed == {98: 1, 99: 3} and '4 events were played before' in said


def test_late_events_are_dropped_or_played_in_their_place(
  workdir, service, tmp_path
):
  path = tmp_path / 'e.csv'
  first = ['99,1001,4', '99,1002,8', '102,1003,500', '98,1003,1']
  whole = [*first, '99,1005,6', '102,1004,400', '98,1004,2']
  _numbers(workdir, tmp_path, _table(path, first))
  late = [*whole[4:], '102,1009,3']  # before what the run has seen
  message = _refused(
    workdir,
    tmp_path,
    _table(path, late),
    out_states=str(tmp_path / 'states.db'),
  )
  assert "line 2: user '99' goes back in time, from 8 to 6;" in message
  shutil.copy(tmp_path / 'states.db', tmp_path / 'copy.db')
  said, consumed = _numbers(
    workdir, tmp_path, _table(path, late), rules=_late('drop')
  )
  assert '; 3 events came late and were dropped; ' in said
  known = service.known.consumed[2]
  assert consumed == {98: 2, 99: 2, 102: known + 1}
  shutil.move(tmp_path / 'copy.db', tmp_path / 'states.db')
  said, consumed = _numbers(
    workdir, tmp_path, _table(path, late), rules=_late('replay')
  )
  assert '; 2 events came late and were played in their place; ' in said
  assert '; 1 event came too late for the events that are stored; ' in said
  assert consumed == {98: 2, 99: 3, 102: known + 2}
  rows = sorted(whole, key=lambda row: float(row.split(',')[2]))
  table = _table(path, rows)
  _, once, _ = _play(workdir, tmp_path, table, out='')
  once = state_files.load(once, service)
  with state_store.opened(str(tmp_path / 'states.db'), service) as store:
    stored = state_store.read_all(store)
  for leaf, expected in zip(stored.state, once.state, strict=True):
    assert leaf.tobytes() == expected.tobytes()


def test_one_bad_clock_stops_nobody_else(workdir, tmp_path):
  rows = ['99,1001,500', '98,1001,500', '98,1002,4070908800', '97,1001,501']
  table = _table(tmp_path / 'e.csv', rows)
  said, consumed = _numbers(workdir, tmp_path, table)
  assert consumed == {97: 1, 98: 0, 99: 1}
  assert (
    '; 2 events of 1 user were refused: line 4 has 4070908800, and times from'
  ) in said
  table = _table(tmp_path / 'e.csv', [*rows[:2], rows[3]])
  said, consumed = _numbers(workdir, tmp_path, table)
  assert consumed == {97: 1, 98: 1, 99: 1}
  message = _refused(
    workdir, tmp_path, _table(tmp_path / 'e.csv', ['9,1001,4070908800'])
  )
  assert 'the times of all users are far from those of the run' in message


def test_batches_of_a_table_are_the_table(workdir, tmp_path, monkeypatch):
  rows = [f'{user},{1001 + user % 7},{time}' for time in (500, 501)
          for user in range(90, 99)]  # fmt: skip
  table = _table(tmp_path / 'e.csv', rows)
  said, _, top = _play(workdir, tmp_path, table)
  monkeypatch.setattr(online_recipe, '_BATCH', 2)
  again, states, same = _play(
    workdir, tmp_path, table, out_states=str(tmp_path / 's.db')
  )
  assert said.split('; states')[0] == again.split('; states')[0]
  score = lambda rows: [float(row.pop('score')) for row in rows]
  np.testing.assert_allclose(score(top), score(same), rtol=1e-5)
  assert top == same
  # A late event of the last batch is seen before the first is played.
  later = [f'{user},1001,502' for user in range(90, 98)]
  table = _table(tmp_path / 'e.csv', [*later, '98,1001,4'])
  service = online_recipe.open_service(workdir)
  message = _refused(workdir, tmp_path, table, out_states=states)
  assert "user '98' goes back in time, from 501 to 4;" in message
  with state_store.opened(states, service) as store:
    np.testing.assert_array_equal(state_store.read_all(store).last_time, 501)


def test_a_failed_list_has_not_played_its_events(workdir, tmp_path):
  table = _table(tmp_path / 'e.csv', ['99,1001,7'])
  (tmp_path / 'file').write_text('')
  states = str(tmp_path / 's.db')
  message = _refused(
    workdir,
    tmp_path,
    table,
    out_states=states,
    out=str(tmp_path / 'file' / 'top.csv'),
  )
  assert 'cannot write' in message
  said, _, _ = _play(workdir, tmp_path, table, out_states=states)
  assert '1 of them new' in said and 'before' not in said


def test_states_are_copied_without_events(workdir, service, tmp_path):
  table = _table(tmp_path / 'e.csv', ['99,1001,7', '102,1003,500'])
  _, states, _ = _play(workdir, tmp_path, table)
  store, back = str(tmp_path / 's.db'), str(tmp_path / 'back.npz')
  copy = lambda states, out_states, **options: _play(
    workdir, tmp_path, '', states=states, out_states=out_states, out='',
    **options,
  )[0]  # fmt: skip
  assert copy(states, store) == f'states of 2 users in {store}'
  assert copy(store, back) == f'states of 2 users in {back}'
  for name in np.load(states).files:
    np.testing.assert_array_equal(np.load(states)[name], np.load(back)[name])
  said, _, _ = _play(workdir, tmp_path, table, states=store, out_states='')
  assert said.endswith(f'; states of 2 users in {store}')
  for states, out_states, message in (
    (back, store, 'has states already; leave'),
    (store, str(tmp_path / 'other.db'), 'is a store, which is updated where'),
    ('', store, '--events is missing'),
    (back, '', '--events is missing'),
  ):
    assert message in _refused(
      workdir, tmp_path, '', states=states, out_states=out_states, out=''
    )
  assert '--out_states is missing' in _refused(
    workdir, tmp_path, table, states=back, out_states=''
  )
