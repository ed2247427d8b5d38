import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests import finished
from tests import small_runs as runs
from tests.runs import recommended
from tests.runs import turned
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.evaluation import offline
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend

K = recommended.K
_loaded, _expected = recommended.loaded, recommended.expected
_run, _own, _names = recommended.run, recommended.own, recommended.names


def test_all_users_get_their_best_unseen_items(tmp_path):
  found, message = _run(tmp_path / 'top.csv')
  prepared = _loaded()[0].prepared
  assert list(found) == [str(user) for user in prepared.user_ids]
  assert message.startswith(f'{K * 25} rows for 25 users in ')
  for user, items in enumerate(found.values()):
    own = _own(user)
    assert items == _names(_expected(own))
    assert not set(items) & set(_names(own))


@pytest.fixture
def turned_run(monkeypatch):
  """The run as if group 2 had a plugin that negates the scores."""
  experiment, params = _loaded()
  experiment = turned.by_group(experiment, hysteresis=0.0)
  monkeypatch.setattr(
    experiment_lib, 'load', lambda workdir: (experiment, params)
  )
  return experiment


@pytest.mark.parametrize('mode', ['', 'frozen', 'dynamic'])
def test_known_users_are_served_by_their_group(tmp_path, turned_run, mode):
  found, _ = _run(tmp_path / 'top.csv', routing=mode)
  prepared, groups = turned_run.prepared, turned_run.groups
  group = groups.user_group
  if mode == 'dynamic':
    clicks = np.diff(prepared.user_offsets)
    group = groups_lib.route(clicks - 1, groups.thresholds)
    assert np.any(group != groups.user_group)
  assert list(found) == [str(user) for user in prepared.user_ids]
  for user, items in enumerate(found.values()):
    sign = turned.sign(group[user])
    assert items == _names(_expected(_own(user), sign=sign))


def test_a_raw_history_is_served_by_its_length(tmp_path, turned_run):
  names = turned_run.prepared.item_ids[:7]
  first = int(turned_run.groups.thresholds[0])
  # A first click has no history, so `first` clicks are one short of group 2.
  own = {clicks: np.arange(clicks) % 7 for clicks in (first, first + 1)}
  lines = [f'{n},{names[i]}' for n, items in own.items() for i in items]
  table = tmp_path / 'new.csv'
  table.write_text('user_id,item_id\n' + '\n'.join(lines), encoding='utf-8')
  found, _ = _run(tmp_path / 'top.csv', history=str(table), alone=True)
  for clicks, sign in ((first, 1), (first + 1, -1)):
    expected = _names(_expected(own[clicks] + 1, sign=sign))
    assert found[str(clicks)] == expected


def test_routing_without_plugins_is_refused(tmp_path):
  with pytest.raises(types.UserError, match='would change nothing') as error:
    _run(tmp_path / 'top.csv', routing='dynamic')
  assert len(str(error.value).splitlines()) == 1
  assert not list(tmp_path.iterdir())


def test_seen_items_come_when_asked_for(tmp_path):
  found, _ = _run(tmp_path / 'top.csv', k=10_000, exclude_seen=False)
  own = _own(0)
  everything = len(_loaded()[0].prepared.item_ids)
  assert found['1'] == _names(_expected(own, everything, False))
  without, _ = _run(tmp_path / 'top.csv', k=10_000)
  assert set(found['1']) - set(without['1']) == set(_names(own))


@pytest.fixture
def serving(monkeypatch):
  """A run on views, carts and buys that serves a rule for its users."""
  loaded = experiment_lib.load(str(finished.behaviors()))
  rule = offline.rules(loaded[0])['view_reminder']
  rule = rule._replace(reads_history=False)
  monkeypatch.setattr(experiment_lib, 'load', lambda workdir: loaded)
  monkeypatch.setattr(experiment_lib, 'ranker', lambda *loaded: rule)
  return loaded[0].prepared


def _sets(prepared, user):
  """What a user bought at any time, and what it viewed and did not buy."""
  events = slice(*prepared.user_offsets[user : user + 2])
  items, behavior = prepared.items[events], prepared.behaviors[events]
  bought = set(items[behavior == 2].tolist())
  return bought, set(items[behavior == 0].tolist()) - bought


def test_what_was_viewed_is_recommended_and_what_was_bought_is_not(
  tmp_path, serving
):
  found, _ = _run(tmp_path / 'top.csv', k=10_000)
  assert list(found) == [str(user) for user in serving.user_ids]
  everything = {str(item) for item in serving.item_ids}
  for user, items in enumerate(found.values()):
    bought, viewed = _sets(serving, user)
    names = lambda items: {str(serving.item_ids[i - 1]) for i in items}
    assert set(items) == everything - names(bought)
    # The rule on top shows that it was told who asks.
    assert set(items[: len(viewed)]) == names(viewed)


def test_a_raw_history_needs_a_model_that_takes_anybody(tmp_path, serving):
  table = tmp_path / 'new.csv'
  table.write_text('user_id,item_id\n1,1\n', encoding='utf-8')
  with pytest.raises(types.UserError, match='training data only') as error:
    _run(tmp_path / 'top.csv', history=str(table))
  assert len(str(error.value).splitlines()) == 1
  assert not (tmp_path / 'top.csv').exists()


def test_listed_users_come_in_their_order(tmp_path):
  users = tmp_path / 'users.txt'
  users.write_bytes(b'\xef\xbb\xbf7\r\n\r\n 3\n12\n')
  found, message = _run(tmp_path / 'top.csv', users=str(users), k=1)
  assert list(found) == ['7', '3', '12'] and message.startswith('3 rows')


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'3\n400\n', "user '400' in .* is not in the training data"),
    (b'3\nanna\n', "user 'anna' in"),
    (b'\n \n', 'names no user'),
    (b'\xff\xfe', 'cannot read'),
    (None, 'cannot read'),
  ],
)
def test_users_that_cannot_be_served_are_named(tmp_path, content, message):
  users = tmp_path / 'users.txt'
  if content is not None:
    users.write_bytes(content)
  with pytest.raises(types.UserError, match=message) as error:
    _run(tmp_path / 'top.csv', users=str(users))
  assert len(str(error.value).splitlines()) <= 2
  assert not (tmp_path / 'top.csv').exists()


def test_an_unseen_user_gets_items_from_the_history_alone(tmp_path):
  ids = [int(i) for i in _loaded()[0].prepared.item_ids[[4, 9, 2, 30, 8, 4]]]
  table = tmp_path / 'new.csv'
  lines = [f'bob,{item}' for item in ids] + [f'amy,{ids[0]}', 'amy,999999']
  table.write_text('user_id,item_id\n' + '\n'.join(lines), encoding='utf-8')
  found, message = _run(tmp_path / 'top.csv', history=str(table))
  assert found == {
    'amy': _names(_expected([5])),
    'bob': _names(_expected([5, 10, 3, 31, 9, 5])),
  }
  assert '1 history rows with items the model does not know' in message


def test_a_time_column_orders_the_history(tmp_path):
  ids = [int(i) for i in _loaded()[0].prepared.item_ids[:3]]
  table = tmp_path / 'new.tsv'
  rows_ = [f'{ids[2]}\t30\t1', f'{ids[0]}\t10\t1', f'{ids[1]}\t20\t1']
  table.write_text('what\twhen\twho\n' + '\n'.join(rows_), encoding='utf-8')
  columns = tables.Columns(user='who', item='what', time='when')
  found, _ = _run(
    tmp_path / 'top.csv',
    history=str(table),
    alone=True,
    columns=pipeline.TableOptions(columns=columns),
  )
  assert found == {'1': _names(_expected([1, 2, 3]))}


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('user_id,item_id\n1,999999\n', 'none of its 1 items'),
    ('user_id,item_id\n1,book\n', 'none of its 1 items'),
    ('user_id,item_id\n', 'no'),
    ('', 'empty'),
    ('user,item_id\n1,1\n', "column 'user_id'"),
  ],
)
def test_a_history_that_says_nothing_is_an_error(tmp_path, content, message):
  table = tmp_path / 'new.csv'
  table.write_text(content, encoding='utf-8')
  with pytest.raises(types.UserError, match=message):
    _run(tmp_path / 'top.csv', history=str(table))
  assert list(tmp_path.iterdir()) == [table]


@pytest.fixture
def renamed(tmp_path):
  """The run as if its ids were text, from a table with other columns."""
  workdir = finished.copy(tmp_path)
  prepared = prepared_lib.load(str(workdir / 'ids'))
  named = lambda ids: np.char.add('n', np.char.zfill(ids.astype(str), 5))
  offsets = np.asarray(prepared.user_offsets)
  text = prepared_lib.build(
    np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets)),
    np.asarray(prepared.items),
    np.asarray(prepared.split),
    user_ids=named(prepared.user_ids),
    item_ids=named(prepared.item_ids),
    options={
      'columns': tables.Columns('who', 'what', 'when')._asdict(),
      'delimiter': ';',
    },
  )
  del prepared
  prepared_lib.save(text, str(workdir / 'ids'), overwrite=True)
  return workdir


def test_a_run_with_a_minimum_rating_reads_ratings(tmp_path, renamed):
  path = renamed / 'ids'
  prepared = prepared_lib.load(str(path))
  filters = {'min_rating': 4.0, 'dislikes': 'seen'}
  options = prepared.manifest['options'] | {'filters': filters}
  options['columns'] = options['columns'] | {'rating': 'stars'}
  manifest = prepared.manifest | {'options': options}
  (path / 'manifest.json').write_text(json.dumps(manifest), encoding='utf-8')
  liked, bad = (f'n{int(name):05d}' for name in _names([7, 2]))
  table = tmp_path / 'new.csv'
  text = f'who;what;stars\nzoe;{liked};5\nzoe;{bad};1\n'
  table.write_text(text, encoding='utf-8')
  found, message = _run(tmp_path / 'a.csv', renamed, history=str(table), k=99)
  assert "1 history rows below the run's --min_rating" in message
  names = [f'n{int(name):05d}' for name in _names(_expected([7], 99))]
  assert found == {'zoe': [name for name in names if name != bad]}
  table.write_text(f'who;what\nzoe;{liked}\n', encoding='utf-8')
  _, message = _run(tmp_path / 'a.csv', renamed, history=str(table))
  assert 'no ratings, so all of its rows count as liked' in message


def test_text_ids_are_those_of_the_training_table(tmp_path, renamed):
  ids = prepared_lib.load(str(renamed / 'ids')).item_ids
  table = tmp_path / 'new.csv'
  rows_ = [f'20;{ids[1]};7', f'10;{ids[6]};7']  # not in order of time
  table.write_text('when;what;who\n' + '\n'.join(rows_), encoding='utf-8')
  found, _ = _run(tmp_path / 'top.csv', renamed, history=str(table))
  expected = [f'n{int(name):05d}' for name in _names(_expected([7, 2]))]
  assert found == {'7': expected}
  # One name given leaves the others, and the delimiter, as in training.
  table.write_text('when;what;person\n' + '\n'.join(rows_), encoding='utf-8')
  columns = pipeline.TableOptions(columns=tables.Columns(user='person'))
  again, _ = _run(
    tmp_path / 'top.csv', renamed, history=str(table), columns=columns
  )
  assert again == found
  users = tmp_path / 'users.txt'
  users.write_text('n00003\n', encoding='utf-8')
  found, _ = _run(tmp_path / 'top.csv', renamed, users=str(users))
  assert list(found) == ['n00003']


def test_the_run_directory_is_all_it_needs(tmp_path, monkeypatch):
  """Data of a named directory are gone, and so is the cache."""
  workdir = finished.copy(tmp_path)
  config = runs.config(
    data__prepared='gone', data__dataset='', data__cache_dir='gone'
  )
  config = json.dumps(dataclasses.asdict(config))
  (workdir / 'config.json').write_text(config, encoding='utf-8')
  moved = shutil.move(workdir, tmp_path / 'elsewhere')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(pipeline, 'from_config', None)
  found, _ = _run(tmp_path / 'top.csv', moved, k=1)
  assert found['1'] == _names(_expected(_own(0), 1))


@pytest.mark.parametrize('ending', ['jsonl', 'parquet'])
def test_other_formats_hold_the_same(tmp_path, ending):
  out = tmp_path / f'top.{ending}'
  options = recommend.Options(k=2)
  recommend.run(str(finished.run()), str(out), options, quiet=True)
  if ending == 'jsonl':
    lines = [json.loads(line) for line in out.read_text('utf-8').splitlines()]
  else:
    lines = pytest.importorskip('polars').read_parquet(out).to_dicts()
  assert len(lines) == 50
  assert [line['rank'] for line in lines[:2]] == [1, 2]
  found = [str(line['item_id']) for line in lines[:2]]
  assert found == _names(_expected(_own(0), 2))
  assert lines[0]['score'] >= lines[1]['score']


def test_what_cannot_be_asked_is_refused_before_work(tmp_path, monkeypatch):
  monkeypatch.setattr(experiment_lib, 'load', None)
  both = recommend.Options(users='a', history='b')
  for out, options, message in (
    ('top.csv', both, 'not two of them'),
    ('top.xlsx', recommend.Options(), 'must end in .csv, .jsonl, .parquet'),
  ):
    with pytest.raises(types.UserError, match=message):
      recommend.run(str(tmp_path), str(tmp_path / out), options, quiet=True)
