import dataclasses
import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from tests import small_runs as runs
from tests.runs import played
from tests.serving import online_toys
from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.runs import online as online_recipe
from twotsrec.runs import online_batches
from twotsrec.runs import recommend
from twotsrec.runs import state_files
from twotsrec.serving import online
from twotsrec.serving import online_bytes
from twotsrec.training import files
from twotsrec.training import run_directory


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return played.saved_run(tmp_path_factory.mktemp('run') / 'run')


@pytest.fixture(scope='module')
def service(workdir):
  return online_recipe.open_run(workdir)[0]


def test_a_finished_run_serves_what_it_was_saved_with(service):
  made = played.world().service
  assert service.digest == made.digest and service.groups == made.groups
  for first, second in zip(service.known, made.known, strict=True):
    np.testing.assert_array_equal(first, second)
  np.testing.assert_array_equal(service.known.consumed, online_toys.COUNTS)


def test_known_users_are_recommended_what_launch_recommend_says(
  workdir, service, tmp_path
):
  out = tmp_path / 'all.csv'
  recommend.run(workdir, str(out), recommend.Options(k=4), quiet=True)
  expected = {(r['user_id'], int(r['rank'])): r for r in played.read(out)}
  prepared = played.world().experiment.prepared
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
  table = played.table(tmp_path / 'e.csv', ['102,1003,500', '99,1001,4'])
  listed, gone = tmp_path / 'items.txt', tmp_path / 'gone.txt'
  listed.write_text('1001\n1002\n1004\n1005\nnone\n', encoding='utf-8')
  gone.write_text('1002\n', encoding='utf-8')
  _, _, every = played.play(workdir, tmp_path, table, k=10**12)
  chosen = {'items': str(listed), 'exclude_items': str(gone)}
  _, _, some = played.play(workdir, tmp_path, table, k=10**12, **chosen)
  pairs = lambda top: [(row['user_id'], row['item_id']) for row in top]
  left = {'1001', '1004', '1005'}
  assert pairs(some) == [pair for pair in pairs(every) if pair[1] in left]
  assert some and len(every) <= 2 * service.num_items
  # Whoever has all of them is named.
  listed.write_text('1001\n', encoding='utf-8')
  said, _, top = played.play(
    workdir, tmp_path, table, items=str(listed), exclude_seen=True
  )
  clause = 'have no list, as no item is left for them: '
  without = re.search(f'; (.) of them {clause}(.*); states', said)
  assert without is not None
  names = without[2].split(', ')
  assert '99' in names and len(names) == int(without[1])
  assert {row['user_id'] for row in top} == {'99', '102'} - set(names)
  # Before a store is opened, and once for all batches.
  listed.write_text('none\n', encoding='utf-8')
  store = tmp_path / 's.db'
  message = played.refused(
    workdir, tmp_path, table, items=str(listed), out_states=str(store)
  )
  assert 'none of the 1 ids' in message and not store.exists()


def test_a_table_moves_the_states_of_its_users(workdir, service, tmp_path):
  rows = ['102,1003,500', '99,1001,4', '102,1004,500', '99,777,5', '111,5,900']
  said, states, top = played.play(
    workdir, tmp_path, played.table(tmp_path / 'e.csv', rows)
  )
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
  prepared = played.world().experiment.prepared
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
  _, once, _ = played.play(
    workdir,
    tmp_path,
    played.table(tmp_path / 'both.csv', first + second),
    out_states=str(tmp_path / 'new' / 'once.npz'),
  )
  _, states, _ = played.play(
    workdir, tmp_path, played.table(tmp_path / '1.csv', first)
  )
  said, twice, _ = played.play(
    workdir, tmp_path, played.table(tmp_path / '2.csv', second), states=states
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
  told = lambda rows, **options: played.refused(
    workdir, tmp_path, played.table(path, rows), **options
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
  _, states, _ = played.play(
    workdir, tmp_path, played.table(path, ['99,1001,7.5'])
  )
  written = os.stat(states).st_mtime_ns
  message = told(['99,1001,7.25'], states=states)
  assert "line 2: user '99' goes back in time, from 7.5 to 7.25;" in message
  assert os.stat(states).st_mtime_ns == written


def test_positions_in_a_table_are_checked_inside_it_alone(
  workdir, service, tmp_path
):
  columns = pipeline.TableOptions(columns=tables.Columns(order='place'))
  header = 'user_id,item_id,timestamp,place'
  table = played.table(
    tmp_path / 'e.csv', ['102,1003,9,1', '102,1001,8,2'], header
  )
  _, states, _ = played.play(workdir, tmp_path, table, columns=columns)
  kept = state_files.load(states, service)
  np.testing.assert_array_equal(kept.last_time, [45])
  played.play(workdir, tmp_path, table, columns=columns, states=states)
  table = played.table(tmp_path / 'e.csv', ['9,1003,8,2', '9,1001,9,1'], header)
  message = played.refused(workdir, tmp_path, table, columns=columns)
  assert "line 3: user '9' goes back in time, from 2 to 1;" in message


def test_a_table_needs_no_times(workdir, service, tmp_path):
  table = played.table(
    tmp_path / 'e.csv', ['102,1003', '99,1001'], 'user_id,item_id'
  )
  said, states, top = played.play(workdir, tmp_path, table, out='')
  assert '; without times or --event_column they are not recognized' in said
  kept = state_files.load(states, service)
  np.testing.assert_array_equal(kept.last_time, [-np.inf, 45])
  assert top == '' and not (tmp_path / 'top.csv').exists()


def test_a_run_with_a_minimum_rating_reads_ratings(workdir, tmp_path):
  rated = str(tmp_path / 'rated')
  shutil.copytree(workdir, rated)
  path = run_directory.ids_path(rated) / 'manifest.json'
  manifest = files.read_json(path)
  manifest['options']['filters'] = {'min_rating': 4.0, 'dislikes': 'seen'}
  manifest['options'] |= {'columns': {'rating': 'stars'}}
  files.write_json(path, manifest)
  rows = ['99,1001,4,5', '99,1002,5,1']
  table = tmp_path / 'e.csv'
  header = 'user_id,item_id,timestamp,stars'
  said, _, top = played.play(
    rated, tmp_path, played.table(table, rows, header), k=99
  )
  assert said.startswith('1 event of 1 user') and 'no ratings' not in said
  assert top and not {'1001', '1002'} & {row['item_id'] for row in top}
  said, _, _ = played.play(
    rated, tmp_path, played.table(table, [row[:-2] for row in rows])
  )
  assert said.startswith('2 events of 1 user')
  assert '; the table has no ratings, so all of its rows count as liked' in said


def test_files_that_are_no_states_are_refused(workdir, service, tmp_path):
  table = played.table(tmp_path / 'e.csv', ['99,1001,7'])
  _, states, _ = played.play(workdir, tmp_path, table)
  data = pathlib.Path(states).read_bytes()
  wrong = str(tmp_path / 'wrong.npz')

  def told(content):
    pathlib.Path(wrong).write_bytes(content)
    return played.refused(workdir, tmp_path, table, states=wrong)

  for content in (b'', b'text', data[:-9], data[: len(data) // 2]):
    assert 'holds no states, or is damaged' in told(content)
  middle = len(data) // 2
  assert wrong in told(data[:middle] + b'xxxx' + data[middle + 4 :])
  kept = state_files.load(states, service)
  other = online_toys.without_users()
  state = online.start(other, [-1])
  state_files.save(wrong, other, kept._replace(state=state))
  message = played.refused(workdir, tmp_path, table, states=wrong)
  assert message.startswith(f'{wrong}: state 1: made with other parameters;')
  with open(wrong, 'wb') as file:
    np.save(file, np.zeros(3))
  message = played.refused(workdir, tmp_path, table, states=wrong)
  assert 'holds no states' in message
  users = service.ids.user.astype(str)
  named = service._replace(ids=service.ids._replace(user=users))
  with pytest.raises(types.UserError, match="user '99': the run has other"):
    state_files.load(states, named)
  absent = played.refused(
    workdir, tmp_path, table, states=str(tmp_path / 'none')
  )
  assert 'cannot read' in absent


def test_an_import_that_fails_can_be_made_again(workdir, tmp_path):
  table = played.table(tmp_path / 'e.csv', ['99,1001,7'])
  _, states, _ = played.play(workdir, tmp_path, table)
  late = played.table(tmp_path / 'late.csv', ['99,1003,3', '7,1001,1'])
  into = {'states': states, 'out_states': str(tmp_path / 's.db'), 'out': ''}
  drop = {'rules': online_batches.Rules('drop')}
  for _ in range(2):
    message = played.refused(workdir, tmp_path, late, **into)
    assert 'goes back in time, from 7 to 3' in message
  said, _, _ = played.play(workdir, tmp_path, late, **into, **drop)
  assert '1 event came late and was dropped; states of 2 users' in said
  message = played.refused(workdir, tmp_path, late, **into, **drop)
  assert 'has states already; leave --states=' in message


def test_people_with_names_and_numbers_are_a_file_too(workdir, tmp_path):
  rows = ['99,1001,7', 'ann,1003,8']
  table = played.table(tmp_path / 'e.csv', rows)
  store = str(tmp_path / 's.db')
  _, states, _ = played.play(workdir, tmp_path, table, out='')
  played.play(workdir, tmp_path, table, states=states, out_states=store, out='')
  said, _, _ = played.play(
    workdir, tmp_path, table, states=store, out_states='', out=''
  )
  assert '0 of them new; 2 events were played before' in said


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
    online_recipe.open_run(str(tmp_path))[0]


def test_states_are_copied_without_events(workdir, service, tmp_path):
  table = played.table(tmp_path / 'e.csv', ['99,1001,7', '102,1003,500'])
  _, states, _ = played.play(workdir, tmp_path, table)
  store, back = str(tmp_path / 's.db'), str(tmp_path / 'back.npz')
  copy = lambda states, out_states, **options: played.play(
    workdir, tmp_path, '', states=states, out_states=out_states, out='',
    **options,
  )[0]  # fmt: skip
  assert copy(states, store) == f'states of 2 users in {store}'
  assert copy(store, back) == f'states of 2 users in {back}'
  for name in np.load(states).files:
    np.testing.assert_array_equal(np.load(states)[name], np.load(back)[name])
  said, _, _ = played.play(
    workdir, tmp_path, table, states=store, out_states=''
  )
  assert said.endswith(f'; states of 2 users in {store}')
  for states, out_states, message in (
    (back, store, 'has states already; leave'),
    (store, str(tmp_path / 'other.db'), 'is a store, which is updated where'),
    ('', store, '--events is missing'),
    (back, '', '--events is missing'),
  ):
    assert message in played.refused(
      workdir, tmp_path, '', states=states, out_states=out_states, out=''
    )
  assert '--out_states is missing' in played.refused(
    workdir, tmp_path, table, states=back, out_states=''
  )
