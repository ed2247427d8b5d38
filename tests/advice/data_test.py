"""What functions of data refuse, and the calls that they advise."""

import pathlib
import re
import shutil
from unittest import mock

import numpy as np
import polars
import pytest

from tests import behavior_toys
from tests import two_time_toys
from tests import worlds
from tests.advice import following
from tests.advice import messages
from tests.advice.following import Call
from tests.advice.logs import ITEMS
from tests.advice.logs import PLAIN
from tests.data import movielens_test
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors
from twotsrec.data import event_feeds
from twotsrec.data import features
from twotsrec.data import feeds
from twotsrec.data import groups
from twotsrec.data import ids
from twotsrec.data import interactions
from twotsrec.data import lastfm
from twotsrec.data import movielens
from twotsrec.data import pipeline
from twotsrec.data import plans
from twotsrec.data import prepared
from twotsrec.data import settings
from twotsrec.data import splits
from twotsrec.data import tables
from twotsrec.data import times

TWENTY = np.arange(20)

# Names that functions take, which a script has as the values of a flag.
NAMED = {
  'interactions.py: {} is {}; allowed are {}': (
    lambda name: interactions.from_table(
      tables.make('t', user=TWENTY, item=TWENTY),
      interactions.Filters(dedup=name),
    )
  ),
  'tables.py: --{}={} is unknown; allowed': (
    lambda name: table_of(id_type=name)
  ),
  '--time_unit={} is unknown; allowed': (
    lambda name: times.check(times.Writing(unit=name))
  ),
  'split is {}; allowed are': lambda name: settings.check(
    settings.Options(table='t', split=settings.SplitOptions(name))
  ),
  'batching {}; known': lambda name: plans.make_plan(
    np.zeros(9, int), 1, 3, name, 0, 0
  ),
  'the split column has {}; allowed': lambda name: splits.given(
    ids.texts(polars.Series(['train', 'test', name]))
  ),
  'exclude is {}; allowed are all and train': lambda name: prepared.seen_items(
    worlds.log()[0], name
  ),
  '{} features are {}; allowed are': lambda name: features.build(
    movielens_rows(), np.array([296, 306]), missing=name, extra='drop'
  ),
}


def table_of(**options):
  folder = two_time_toys.folder() / 'table_of'
  folder.mkdir(exist_ok=True)
  (folder / 'log.csv').write_text(PLAIN, encoding='utf-8')
  return tables.read_table(folder / 'log.csv', tables.Columns(), **options)


def movielens_rows():
  return features.feature_files.Rows(
    items=np.array([296, 306]), dense={'year': np.array([1994.0, 1994.0])}
  )


@pytest.mark.parametrize('words', NAMED)
def test_names_that_are_allowed_are_taken(words):
  with following.made() as at, pytest.raises(types.UserError) as error:
    NAMED[words]('nonsense')
  assert messages.says(at[-1].message, words)
  listed = re.search(r'(?:known|allowed)(?: are)?: ?(.*)', f'{error.value}')
  listed = listed or re.search(r'allowed are (.*)', str(error.value))
  names = re.sub(r' \(.*?\)', '', listed[1]).replace(' and ', ', ').split(', ')
  assert len(names) > 1
  for name in names:
    NAMED[words](name)


# Lists of plays and ratings.


def plays(folder: pathlib.Path, variant: str):
  """Published plays by a variant; nothing but its name is read."""
  with mock.patch.object(
    lastfm.raw_rows, 'find', side_effect=FileNotFoundError
  ):
    try:
      lastfm.load('', variant)
    except FileNotFoundError:  # the name is good
      pass


def ratings(folder: pathlib.Path, name: str):
  if not (folder / 'ml-25m').is_dir():
    movielens_test.folder.__wrapped__(folder)
  movielens.load(str(folder), name)


# Arrays of prepared data.


def with_behaviors(folder: pathlib.Path, target: str) -> prepared.Prepared:
  """A log whose held-out events are of `target`; 'buy' is the last one."""
  kinds = ['view', 'buy', 'buy', 'buy']
  rows = [f'{u},{n},{kind}' for u in range(3) for n, kind in enumerate(kinds)]
  log = folder / 'log.csv'
  log.write_text('\n'.join(['user_id,item_id,event', *rows, '']))
  reading = settings.TableOptions(columns=tables.Columns(behavior='event'))
  data = pipeline.prepare(
    pipeline.Options(table=str(log), reading=reading, behaviors=('view', 'buy'))
  )
  if target == 'view':  # as nobody prepares it now
    kept = np.where(data.split == prepared.TRAIN, data.behaviors, 0)
    data = data._replace(behaviors=kept)
  return data


def pairs_of(mask: float):
  dense = [*behavior_toys.masks()[:2], behavior_toys.masks()[2].copy()]
  dense[2][:] = mask
  log = behavior_toys.behaviors(dense)
  return behavior_feeds.make(
    log, np.arange(behavior_toys.USERS) % 3, behavior_toys.config()
  )


def of_another_target():
  """The same pairs with another behavior last."""
  log = behavior_toys.behaviors()
  log = log._replace(names=log.names[::-1], train=log.train[::-1])
  return behavior_feeds.make(
    log, np.arange(behavior_toys.USERS) % 3, behavior_toys.config()
  )


def stage1_feed(window: int):
  """What stage 1 trains on, without windows of so many events."""
  data, grouped = two_time_toys.log()
  train = np.flatnonzero(data.split == prepared.TRAIN)
  place = train - np.asarray(data.user_offsets)[data.event_users[train]]
  return event_feeds.make(data, grouped.user_group, train[place < window])


def users_with(events: int) -> prepared.Prepared:
  """Users with so many events, of which one is held out."""
  return prepared.build(
    np.repeat(np.arange(4, dtype=np.int32), events),
    (1 + np.arange(4 * events) % 9).astype(np.int32),
    np.tile(np.arange(events) == events - 1, 4).astype(np.int8) * 2,
    user_ids=np.arange(4),
    item_ids=np.arange(9),
  )


def sequences(events: int):
  """A feed of a sequence per user, in groups of the same users before."""
  grouped = groups.assign(users_with(4), config_lib.GroupConfig(num_groups=2))
  data = config_lib.DataConfig()
  return feeds.make_sequence_feed(users_with(events), grouped, data)


class Long(prepared.Prepared):
  """A log that says of itself how long it is."""

  num_events = 2**31


def fed(data: prepared.Prepared):
  columns = (np.zeros(1, np.int32),) * 6
  return feeds._to_device(data, config_lib.DataConfig(), *columns)


def rated(folder: pathlib.Path, forget: bool) -> feeds.Feed:
  """A feed with dislikes; older data did not know their times."""
  rows = [f'{n // 9},{n % 9 + n // 9},{n},{n % 7}' for n in range(54)]
  log = folder / 'log.csv'
  log.write_text('\n'.join(['user_id,item_id,timestamp,rating', *rows, '']))
  columns = tables.Columns(rating='rating', time='timestamp')
  filters = interactions.Filters(min_rating=1, dislikes='negatives')
  data = pipeline.prepare(
    pipeline.Options(
      table=str(log),
      reading=settings.TableOptions(columns=columns),
      filters=filters,
    )
  )
  data = data._replace(disliked_times=None) if forget else data
  grouped = groups.assign(data, config_lib.GroupConfig(num_groups=2))
  return feeds.make_feed(data, grouped, config_lib.DataConfig())


def built(users: np.ndarray) -> prepared.Prepared:
  return prepared.build(
    users.astype(np.int32),
    np.ones(len(users), np.int32),
    np.zeros(len(users), np.int8),
    user_ids=np.arange(2),
    item_ids=np.arange(1),
  )


def without_names(folder: pathlib.Path):
  """A directory whose manifest lacks an array."""
  prepared.save(worlds.log()[0], str(folder / 'data'))
  file = folder / 'data' / prepared.MANIFEST
  file.write_text(file.read_text().replace('"items": ', '"itms": '))
  (folder / 'data' / 'items.npy').rename(folder / 'data' / 'itms.npy')
  return prepared.load(str(folder / 'data'))


def prepared_again(folder: pathlib.Path, deleted: str):
  """Deletes a folder and prepares the data there."""
  shutil.rmtree(deleted)
  prepared.save(worlds.log()[0], str(folder / 'data'))
  return prepared.load(str(folder / 'data'), verify=True)


# Item features.


def of_items(folder: pathlib.Path):
  """Prepares a log with features of its items, and loads these."""
  (folder / 'log.csv').write_text(PLAIN)
  (folder / 'items.csv').write_text(ITEMS)
  options = pipeline.Options(
    table=str(folder / 'log.csv'),
    features=settings.FeatureOptions(
      str(folder / 'items.csv'), ('genre:categorical',)
    ),
  )
  return features.load(pipeline.prepare(options, str(folder / 'data')))


def without_manifest(folder: pathlib.Path):
  of_items(folder)
  (folder / 'data' / features.FOLDER / features.MANIFEST).unlink()
  return features.load(prepared.load(str(folder / 'data')))


def of_other_items(folder: pathlib.Path):
  of_items(folder)
  prepared.save(worlds.log()[0], str(folder / 'other'))
  shutil.copytree(
    folder / 'data' / features.FOLDER, folder / 'other' / features.FOLDER
  )
  return features.load(prepared.load(str(folder / 'other')))


def made_again(folder: pathlib.Path, deleted: str):
  shutil.rmtree(deleted)
  assert of_items(folder) is not None


CALLS = [
  Call(
    'lastfm variant is {}; allowed are',
    lambda folder: plays(folder, 'best'),
    r'allowed are (\w+), ',
    plays,
  ),
  Call(
    'are {}; allowed are genres, tags',
    lambda folder: ratings(folder, 'stars'),
    r'allowed are genres, (\w+)',
    ratings,
  ),
  Call(
    'holds out events of other behaviors than',
    lambda folder: behaviors.of_prepared(with_behaviors(folder, 'view')),
    'prepare it again',
    lambda folder: behaviors.of_prepared(with_behaviors(folder, 'buy')),
  ),
  *(
    Call(
      'no training pair of the target behavior',
      lambda folder, mask=mask: pairs_of(mask),
      'use another target',
      lambda folder: of_another_target(),
    )
    for mask in (0, 1)
  ),
  Call(
    'no training event is left for stage 1; lower',
    lambda folder: stage1_feed(99),
    'lower two_time.window',
    lambda folder: stage1_feed(2),
  ),
  Call(
    'feeds.py: {}: no user has two training events',
    lambda folder: sequences(2),
    'use .* another split',
    lambda folder: sequences(4),
  ),
  Call(
    'fit one device feed; split the log',
    lambda folder: fed(Long(*worlds.log()[0])),
    'split the log',
    lambda folder: fed(worlds.log()[0]),
  ),
  Call(
    'but without their times; prepare it again',
    lambda folder: rated(folder, forget=True),
    'prepare it again',
    lambda folder: rated(folder, forget=False),
  ),
  Call(
    '{} has no usable row; name another file',
    lambda folder: interactions.from_table(
      tables.make('log.csv', user=TWENTY[:0], item=TWENTY[:0])
    ),
    'name another file',
    lambda folder: interactions.from_table(
      tables.make('log.csv', user=TWENTY, item=TWENTY)
    ),
  ),
  Call(
    'no interactions to prepare; give some',
    lambda folder: built(TWENTY[:0]),
    'give some',
    lambda folder: built(np.array([0, 1])),
  ),
  Call(
    '({} it does not name {} {})',
    without_names,
    'delete (.*) and prepare the data again',
    prepared_again,
  ),
  Call(
    'features.py: {} is damaged: {}; delete {} and',
    without_manifest,
    'delete (.*) and repeat the command that wrote it',
    made_again,
  ),
  Call(
    '{} is of other items than {}; prepare the data',
    of_other_items,
    '(.*) is of other items .* prepare the data again',
    made_again,
  ),
  Call(
    'validation_table and test_table go with',
    lambda folder: settings.check(
      settings.Options(dataset='ml-25m', test_table='t.csv')
    ),
    'go with --(table)',
    lambda folder, name: settings.check(
      settings.Options(test_table='t.csv', **{name: 'log.csv'})
    ),
  ),
  Call(
    'fractions are {}; allowed are three shares',
    lambda folder: splits.global_time(TWENTY, fractions=(0.5, 0.5, 0.5)),
    'three shares that sum to 1',
    lambda folder: splits.global_time(TWENTY, fractions=(0.5, 0.25, 0.25)),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
