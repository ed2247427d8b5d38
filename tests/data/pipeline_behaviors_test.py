"""What the pipeline does with logs of several behaviors."""

import numpy as np
import pytest

from twotsrec import config
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import tables
from twotsrec.data import target_splits

BUYS = (
  'user_id,item_id,behavior,t\n'
  + ''.join(
    f'{user},{item},{behavior},{10 * item + code}\n'
    for user in range(4)
    for item in range(6)
    for code, behavior in enumerate(('view', 'cart', 'buy'))
    if (user + item) % 5 >= code
  )
  + '0,2,view,99\n'
)


def with_behaviors(path, **options):
  columns = tables.Columns(time='t', behavior='behavior')
  reading = pipeline.TableOptions(columns=columns)
  return pipeline.Options(table=str(path), reading=reading, **options)


def test_a_table_with_behaviors_holds_out_the_target_alone(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text(BUYS)
  names = ('view', 'cart', 'buy')
  once = with_behaviors(path, behaviors=names)._replace(
    filters=interactions.Filters(dedup='first')
  )
  data = pipeline.prepare(once)
  assert data.manifest['behaviors'] == list(names)
  held_out = data.split != prepared.TRAIN
  assert set(data.behaviors[held_out].tolist()) == {2}
  assert np.sum(data.split == prepared.TEST) == 4
  assert data.manifest['options']['filters']['dedup'] == 'first'
  told = data.manifest['report']
  # The same view again, which is the first cause that it meets.
  assert told['dropped']['duplicate, first one kept']['count'] == 1
  dropped = sum(cause['count'] for cause in told['dropped'].values())
  assert data.num_events + dropped == told['rows_read']
  # Upstream events after the test event of their user are no training events.
  for user in range(data.num_users):
    own = slice(*data.user_offsets[user : user + 2])
    test = data.split[own] == prepared.TEST
    assert np.all(data.times[own] <= data.times[own][test])
  # Nothing is dropped for being there twice without being asked for.
  every = pipeline.prepare(once._replace(filters=interactions.Filters()))
  assert every.manifest['options']['filters']['dedup'] == 'none'
  assert every.manifest['report']['duplicates'] == 1
  told = every.manifest['report']['dropped']
  assert not any(cause.startswith('duplicate') for cause in told)
  dropped = sum(cause['count'] for cause in told.values())
  assert every.num_events + dropped == data.manifest['report']['rows_read']


def test_items_that_only_dropped_events_have_are_not_in_the_data(tmp_path):
  path = tmp_path / 'log.csv'
  rows = [f'1,{item},buy,{item}\n' for item in range(3)] + ['1,9,view,9\n']
  path.write_text('user_id,item_id,behavior,t\n' + ''.join(rows))
  data = pipeline.prepare(with_behaviors(path, behaviors=('view', 'buy')))
  assert data.item_ids.tolist() == [0, 1, 2]
  assert data.items.tolist() == [1, 2, 3]
  cause = 'upstream event after the test event of its user'
  assert data.manifest['report']['dropped'][cause]['count'] == 1


@pytest.mark.parametrize(
  ('behaviors', 'message'),
  [
    ((), 'has buy, cart, view; say their order, the target last'),
    (('view', 'buy'), "has 'cart', which is not among view,buy"),
    (('view', 'cart', 'buy', 'sell'), "target behavior 'sell'"),
    (('view', 'cart', 'buy', 'view'), "name 'view' once"),
  ],
)
def test_wrong_behaviors_of_a_table_are_errors(tmp_path, behaviors, message):
  path = tmp_path / 'log.csv'
  path.write_text(BUYS)
  with pytest.raises(types.UserError, match=message):
    pipeline.prepare(with_behaviors(path, behaviors=behaviors))


def test_one_behavior_is_the_target_without_saying_so(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text(BUYS.replace('view', 'buy').replace('cart', 'buy'))
  data = pipeline.prepare(with_behaviors(path))
  assert data.manifest['behaviors'] == ['buy']
  told = data.manifest['report']
  assert told['duplicates'] > 1
  # A pair is not held out and trained on at once, which is told as well.
  assert set(told['dropped']) <= {target_splits.REPEATED}


@pytest.fixture
def shop(tmp_path, monkeypatch):
  """A named dataset with behaviors and a test part, as a configuration."""
  (tmp_path / 'root').mkdir()
  train = ''.join(
    f'{user},{item},{behavior}\n'
    for user in range(9)
    for item in range(5)
    for behavior in ('view', 'buy')
  )
  test = ''.join(f'{user},7,buy\n' for user in range(9))
  for name, rows in (('train', train), ('test', test)):
    text = 'user_id,item_id,behavior\n' + rows
    (tmp_path / 'root' / f'{name}.csv').write_text(text)
  columns = tables.Columns(behavior='behavior')
  known = datasets.Dataset(
    'train.csv', columns, 9, 6, 90, 'test.csv', 9, ('view', 'buy')
  )
  monkeypatch.setitem(datasets.DATASETS, 'shop', known)
  return config.DataConfig(
    dataset='shop',
    data_root=str(tmp_path / 'root'),
    cache_dir=str(tmp_path / 'cache'),
  )


def test_a_dataset_with_a_test_part_keeps_its_split(shop):
  data = pipeline.from_config(shop)
  assert data.manifest['behaviors'] == ['view', 'buy']
  assert data.manifest['options']['split'][0] == 'given'
  counts = data.manifest['counts']
  assert (counts['validation'], counts['test']) == (9, 9)
  assert data.manifest['history_rule'] == prepared.FIXED
  shop.split = 'global_time'
  with pytest.raises(types.UserError, match='carry a split of their own'):
    pipeline.from_config(shop)


def test_the_cache_tells_orders_and_seeds_of_behaviors_apart(shop):
  first = pipeline.from_config(shop)
  assert pipeline.from_config(shop).path == first.path
  shop.behaviors = ('view', 'buy')  # the same, said
  assert pipeline.from_config(shop).path == first.path
  shop.seed = 1  # draws another validation
  other = pipeline.from_config(shop)
  assert other.path != first.path
  assert other.manifest['digest'] != first.manifest['digest']
  shop.behaviors = ('view', 'cart', 'buy')  # without rows, but allowed
  wider = pipeline.from_config(shop)
  assert wider.path != other.path
  assert wider.manifest['behaviors'] == ['view', 'cart', 'buy']
  shop.behaviors = ('buy', 'view')
  with pytest.raises(types.UserError, match='--behaviors=view,buy$'):
    pipeline.from_config(shop)
  shop.behaviors = ('buy',)
  with pytest.raises(types.UserError, match="has 'view', which is not among"):
    pipeline.from_config(shop)


def test_behaviors_of_a_prepared_directory_are_not_changed(shop):
  made = pipeline.from_config(shop)
  wanted = config.DataConfig(prepared=made.path, behaviors=('view', 'buy'))
  assert pipeline.from_config(wanted).manifest == made.manifest
  wanted.behaviors = ('buy', 'view')
  with pytest.raises(types.UserError, match='prepared with view,buy; prepare'):
    pipeline.from_config(wanted)


def test_the_built_in_log_of_behaviors_is_made_in_memory():
  wanted = config.DataConfig(dataset='synthetic-behaviors', users=30, seed=5)
  data = pipeline.from_config(wanted)
  assert (data.path, data.num_users) == ('', 30)
  assert data.manifest['behaviors'] == ['view', 'cart', 'buy']
  assert data.manifest['counts']['test'] == 30
  assert data.manifest['counts']['validation'] == 30
  again = pipeline.from_config(wanted)
  assert again.manifest['digest'] == data.manifest['digest']


@pytest.mark.parametrize(
  ('name', 'validation'),
  [
    # Users with three training purchases or more.
    ('taobao-copf', 12_674),
    ('beibei-copf-noview', 21_716),
    ('tmall-copf-noview', None),
    ('retailrocket-mb', None),
    ('tmall-mbgmn-noview', None),
  ],
)
def test_named_datasets_with_behaviors_are_prepared_as_described(
  shared_data, tmp_path, name, validation
):
  known = datasets.DATASETS[name]
  wanted = config.DataConfig(
    dataset=name, data_root=str(shared_data), cache_dir=str(tmp_path)
  )
  data = pipeline.from_config(wanted)
  counts = data.manifest['counts']
  assert (counts['users'], counts['items']) == (known.users, known.items)
  # Nothing is repeated, and nothing is dropped.
  assert counts['events'] == known.rows + known.test_rows
  assert counts['test'] == known.test_rows
  of_target = data.behaviors == len(known.behaviors) - 1
  lent = of_target & (data.split != prepared.TEST)
  per_user = np.bincount(data.event_users[lent], minlength=data.num_users)
  assert counts['validation'] == np.sum(per_user >= 3)
  assert validation in (None, counts['validation'])
  timed = known.columns.time is not None
  rule = prepared.EARLIER if timed else prepared.FIXED
  assert data.manifest['history_rule'] == rule
