import gzip

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from twotsrec import config
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import dislikes as dislikes_lib
from twotsrec.data import features
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import report
from twotsrec.data import settings
from twotsrec.data import tables

LOG = 'user_id,item_id,t\n' + ''.join(
  f'{user},{user % 3 + item},{10 * item + user}\n'
  for user in range(6)
  for item in range(5)
)


@pytest.fixture
def log(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text(LOG)
  return str(path)


def timed(path, **options):
  reading = pipeline.TableOptions(columns=tables.Columns(time='t'))
  return pipeline.Options(table=path, reading=reading, **options)


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_preparing_twice_gives_identical_bytes_wherever_the_log_lies(
  log, tmp_path
):
  pipeline.prepare(timed(log), str(tmp_path / 'one'))
  (tmp_path / 'elsewhere').mkdir()
  copy = tmp_path / 'elsewhere' / 'log.csv'
  copy.write_text(LOG)
  pipeline.prepare(timed(str(copy)), str(tmp_path / 'two'))
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_the_order_of_the_rows_does_not_matter_when_times_differ(log, tmp_path):
  header, *rows = LOG.splitlines()
  other = tmp_path / 'other.csv'
  other.write_text('\n'.join([header, *reversed(rows)]))
  one, two = (pipeline.prepare(timed(path)) for path in (log, str(other)))
  assert one.manifest['digest'] == two.manifest['digest']


@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
@hypothesis.given(
  strategies.lists(
    strategies.tuples(strategies.integers(0, 4), strategies.integers(0, 9)),
    min_size=4,
    max_size=40,
  ),
  strategies.sampled_from(['leave_last_out', 'global_time', 'per_user_time']),
)
def test_no_split_leaks_and_rows_add_up(tmp_path_factory, rows, split):
  path = tmp_path_factory.mktemp('logs') / 'log.csv'
  path.write_text(
    'user_id,item_id,t\n'
    + ''.join(f'{user},{n % 5},{t}\n' for n, (user, t) in enumerate(rows))
  )
  try:
    data = pipeline.prepare(
      timed(
        str(path),
        split=pipeline.SplitOptions(split),
        filters=interactions.Filters(dedup='last', min_item=2),
      )
    )
  except types.UserError:
    return  # nothing left for a part, which is said
  told = data.manifest['report']
  dropped = sum(cause['count'] for cause in told['dropped'].values())
  assert data.num_events + dropped == told['rows_read'] == len(rows)
  for user in range(data.num_users):
    events = slice(*data.user_offsets[user : user + 2])
    assert np.all(np.diff(data.split[events]) >= 0)
    assert np.all(np.diff(data.times[events]) >= 0)


def test_every_user_is_cut_at_its_own_times(log):
  split = pipeline.SplitOptions('per_user_time')
  data = pipeline.prepare(timed(log, split=split))
  assert data.split.tolist() == [0, 0, 0, 1, 2] * 6
  assert data.manifest['history_rule'] == prepared.EARLIER
  # Positions, or the order of the rows, will do.
  by_row = pipeline.prepare(pipeline.Options(table=log, split=split))
  np.testing.assert_array_equal(by_row.split, data.split)


def test_rows_said_to_be_in_order_are_an_error_if_they_are_not(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('user_id,item_id,t\na,1,1\na,2,5\na,3,4\n')
  wanted = timed(str(path))
  assert pipeline.prepare(wanted).num_events == 3
  wanted = wanted._replace(reading=wanted.reading._replace(in_order=True))
  with pytest.raises(types.UserError, match='line 4: user a goes back in time'):
    pipeline.prepare(wanted, str(tmp_path / 'out'))
  assert [entry.name for entry in tmp_path.iterdir()] == ['log.csv']


def test_a_feature_file_is_saved_beside_the_data(log, tmp_path):
  file = tmp_path / 'items.csv'
  rows = [f'{item},{"odd" if item % 2 else "even"}\n' for item in range(7)]
  file.write_text('item_id,parity\n' + ''.join(rows))
  wanted = settings.FeatureOptions(str(file), ('parity:categorical',))
  data = pipeline.prepare(timed(log, features=wanted), str(tmp_path / 'out'))
  codes = features.load(data).categorical['parity'][1:]
  np.testing.assert_array_equal(codes, 1 + data.item_ids % 2)
  assert data.manifest['options']['features']['file'] == 'items.csv'
  file.write_text('item_id,parity\n' + ''.join(rows[:-2]))
  with pytest.raises(types.UserError, match=r'2 items \(5, 6\) of the data'):
    pipeline.prepare(timed(log, features=wanted), str(tmp_path / 'other'))
  assert not (tmp_path / 'other').exists()


def test_ml_1m_is_split_by_global_time_and_by_user(shared_data):
  options = pipeline.Options(dataset='ml-1m', data_root=str(shared_data))
  data = pipeline.prepare(
    options._replace(split=pipeline.SplitOptions('global_time'))
  )
  counts = data.manifest['counts']
  early = 800_254  # marked as before the cut
  assert counts['test'] == 1_000_209 - early
  assert abs(counts['validation'] / early - 1 / 8) < 1e-3
  assert data.manifest['history_rule'] == prepared.EARLIER
  without = pipeline.prepare(
    options._replace(split=pipeline.SplitOptions('global_time', False))
  )
  assert without.manifest['counts']['train'] == early
  # The order inside users is that of the positions, under any split.
  by_user = pipeline.prepare(
    options._replace(split=pipeline.SplitOptions('per_user_time'))
  )
  np.testing.assert_array_equal(by_user.items, data.items)


def test_a_split_column_and_tables_of_parts_give_the_same(tmp_path):
  rows = {
    'train': 'a,1\na,2\nb,1\n',
    'validation': 'a,3\n',
    'test': 'b,2\na,1\n',
  }
  for name, text in rows.items():
    (tmp_path / f'{name}.csv').write_text('user_id,item_id\n' + text)
  whole = tmp_path / 'whole.csv'
  whole.write_text(
    'user_id,item_id,part\n'
    + ''.join(
      f'{row},{name}\n' for name, text in rows.items() for row in text.split()
    )
  )
  parts = pipeline.prepare(
    pipeline.Options(
      table=str(tmp_path / 'train.csv'),
      validation_table=str(tmp_path / 'validation.csv'),
      test_table=str(tmp_path / 'test.csv'),
    )
  )
  labeled = pipeline.prepare(
    pipeline.Options(
      table=str(whole),
      reading=pipeline.TableOptions(columns=tables.Columns(split='part')),
    )
  )
  assert parts.manifest['digest'] == labeled.manifest['digest']
  # Without times the order inside a part means nothing.
  assert parts.manifest['history_rule'] == prepared.FIXED
  test = prepared.targets(parts, prepared.TEST)
  assert test.history_end.tolist() == [3, 5]
  assert parts.manifest['report']['rows_read'] == 6


def test_a_given_split_with_times_uses_earlier_events(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text(
    'user_id,item_id,t,part\na,1,5,test\na,2,4,test\na,3,9,train\n'
  )
  columns = tables.Columns(time='t', split='part')
  data = pipeline.prepare(
    pipeline.Options(
      table=str(path), reading=pipeline.TableOptions(columns=columns)
    )
  )
  assert data.manifest['history_rule'] == prepared.EARLIER
  assert data.item_ids[data.items - 1].tolist() == [3, 2, 1]


def test_dates_divide_events_in_unix_seconds(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text(
    'user_id,item_id,t\na,1,2021-06-29\na,2,2021-06-30\nb,1,2021-07-01\n'
  )
  split = pipeline.SplitOptions('date', True, '2021-06-30', '2021-07-01')
  data = pipeline.prepare(timed(str(path), split=split))
  assert data.split.tolist() == [0, 1, 2]
  later = split._replace(test_from='2031-07-01')
  with pytest.raises(types.UserError, match='nothing is left for test'):
    pipeline.prepare(timed(str(path), split=later))


def test_a_one_item_catalog_is_prepared(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('user_id,item_id\n' + 'a,x\n' * 4)
  data = pipeline.prepare(pipeline.Options(table=str(path)))
  assert (data.num_items, data.num_events) == (1, 4)
  assert data.manifest['report']['duplicates'] == 3


def test_ids_that_are_text_in_one_table_are_text_in_all(tmp_path):
  for name, user in (('train', '1'), ('test', 'ann')):
    (tmp_path / f'{name}.csv').write_text(f'user_id,item_id\n{user},1\n')
  data = pipeline.prepare(
    pipeline.Options(
      table=str(tmp_path / 'train.csv'),
      test_table=str(tmp_path / 'test.csv'),
      split=pipeline.SplitOptions(validation=False),
    )
  )
  assert data.user_ids.tolist() == ['1', 'ann']


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'table': ''}, 'either --dataset=NAME or --table=FILE'),
    ({'dataset': 'ml-1m'}, 'not both'),
    ({'split': pipeline.SplitOptions('luck')}, "split is 'luck'; allowed are"),
    ({'split': pipeline.SplitOptions(test_from='5')}, 'go with --split=date'),
    ({'split': pipeline.SplitOptions('given')}, 'needs a split column'),
    (
      {'test_table': 'x.csv', 'split': pipeline.SplitOptions('global_time')},
      'carry a split of their own',
    ),
    ({'groups': config.GroupConfig(num_groups=7)}, 'there are 6 users'),
    ({'filters': interactions.Filters(min_user=6)}, 'leave none of 30'),
  ],
)
def test_wrong_options_are_errors_and_nothing_is_written(
  log, tmp_path, options, message
):
  wanted = timed(log)._replace(**options)
  with pytest.raises(types.UserError, match=message):
    pipeline.prepare(wanted, str(tmp_path / 'out'))
  assert [path.name for path in tmp_path.iterdir()] == ['log.csv']


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'user_id,item_id,t\n',
    b'a,b\n1,2\n',
    b'\xff\xfe\xff',
    gzip.compress(LOG.encode())[:-9],
  ],
)
def test_a_bad_file_writes_nothing(tmp_path, content):
  name = 'log.csv.gz' if content[:1] == b'\x1f' else 'log.csv'
  (tmp_path / name).write_bytes(content)
  with pytest.raises(types.UserError, match=name):
    pipeline.prepare(timed(str(tmp_path / name)), str(tmp_path / 'out'))
  assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_built_in_log_is_made_in_memory():
  wanted = config.DataConfig(users=30, seed=5)
  data = pipeline.from_config(wanted)
  assert data.path == ''
  assert data.num_users == 30
  again = pipeline.from_config(wanted)
  assert again.manifest['digest'] == data.manifest['digest']


def test_a_prepared_directory_is_loaded_as_it_is(log, tmp_path):
  made = pipeline.prepare(timed(log), str(tmp_path / 'out'))
  wanted = config.DataConfig(dataset='ml-1m', prepared=str(tmp_path / 'out'))
  assert pipeline.from_config(wanted).manifest == made.manifest


def test_a_configuration_trains_on_data_of_its_split_only(log, tmp_path):
  folder = str(tmp_path / 'out')
  made = pipeline.prepare(
    timed(log, split=pipeline.SplitOptions('global_time')), folder
  )
  load = lambda **named: pipeline.from_config(
    config.DataConfig(prepared=folder, **named)
  )
  assert load().manifest == made.manifest
  assert load(split='global_time').manifest == made.manifest
  with pytest.raises(
    types.UserError, match='prepared with --split=global_time'
  ):
    load(split='per_user_time')


def test_a_named_dataset_is_prepared_on_first_use_only(tmp_path, monkeypatch):
  (tmp_path / 'root').mkdir()
  (tmp_path / 'root' / 'log.csv').write_text(LOG)
  known = datasets.Dataset('log.csv', tables.Columns(time='t'), 6, 7, 30)
  monkeypatch.setitem(datasets.DATASETS, 'tiny', known)
  wanted = config.DataConfig(
    dataset='tiny',
    data_root=str(tmp_path / 'root'),
    cache_dir=str(tmp_path / 'cache'),
  )
  first = pipeline.from_config(wanted)
  (tmp_path / 'root' / 'log.csv').unlink()  # not needed any more
  assert pipeline.from_config(wanted).manifest == first.manifest
  wanted.validation = False  # other options are other data
  with pytest.raises(types.UserError, match='tiny'):
    pipeline.from_config(wanted)
  assert len(list((tmp_path / 'cache').iterdir())) == 1


def test_a_named_dataset_records_its_columns(tmp_path, monkeypatch):
  (tmp_path / 'log.csv').write_text(LOG)
  columns = tables.Columns(order='t')
  known = datasets.Dataset('log.csv', columns, 6, 7, 30)
  monkeypatch.setitem(datasets.DATASETS, 'tiny', known)
  wanted = pipeline.Options(dataset='tiny', data_root=str(tmp_path))
  recorded = pipeline.prepare(wanted).manifest['options']
  named = columns._asdict()
  del named['label']  # there where a table has one: older caches keep names
  assert recorded['columns'] == named


def test_a_table_records_how_it_was_read(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('7;1;3\n7;2;4\n7;3;5\n')
  reading = pipeline.TableOptions(
    columns=tables.Columns(user='who', item='what', time='when'),
    delimiter=';',
    column_names=('who', 'when', 'what'),
    id_type='string',
  )
  recorded = pipeline.prepare(
    pipeline.Options(table=str(path), reading=reading)
  ).manifest['options']
  again = pipeline.TableOptions(
    columns=tables.Columns(**recorded['columns']),
    delimiter=recorded['delimiter'],
    column_names=tuple(recorded['column_names']),
    id_type=recorded['id_type'],
  )
  assert again == reading


def test_an_unknown_dataset_lists_the_named_and_the_built_in(tmp_path):
  for make in (
    lambda: pipeline.prepare(pipeline.Options(dataset='ml-2m')),
    lambda: pipeline.from_config(
      config.DataConfig(dataset='ml-2m', cache_dir=str(tmp_path))
    ),
  ):
    with pytest.raises(types.UserError, match="'ml-2m' is unknown") as caught:
      make()
    for name in (*pipeline.BUILT_IN, *datasets.DATASETS):
      assert name in str(caught.value)


def test_lines_of_several_tables_are_not_told(tmp_path):
  for name in ('train', 'test'):
    rows = '1,1,5\n1,2,3\n'
    (tmp_path / f'{name}.csv').write_text('user_id,item_id,stars\n' + rows)
  told = pipeline.prepare(
    pipeline.Options(
      table=str(tmp_path / 'train.csv'),
      test_table=str(tmp_path / 'test.csv'),
      reading=pipeline.TableOptions(columns=tables.Columns(rating='stars')),
      filters=interactions.Filters(min_rating=4),
      split=pipeline.SplitOptions(validation=False),
    )
  ).manifest['report']
  assert told['dropped'] == {'rating below 4': {'count': 2, 'first_lines': []}}


def test_a_configuration_cannot_carry_dates():
  with pytest.raises(types.UserError, match='run launch/prepare.py'):
    pipeline.from_config(config.DataConfig(split='date'))


@pytest.mark.parametrize('dislikes', interactions.DISLIKES)
def test_what_is_rated_low_is_forgotten_only_where_that_was_asked_for(
  tmp_path, dislikes
):
  path = tmp_path / 'log.csv'
  rows = [(u, i, 1 + (u + i) % 5) for u in range(4) for i in range(9)]
  text = ''.join(f'{u},{i},{stars},view\n' for u, i, stars in rows)
  path.write_text('user_id,item_id,stars,what\n' + text)
  options = pipeline.Options(
    table=str(path),
    reading=pipeline.TableOptions(columns=tables.Columns(rating='stars')),
    filters=interactions.Filters(min_rating=2, dislikes=dislikes),
  )
  data = pipeline.prepare(options)
  low = sum(stars < 2 for *_, stars in rows)
  kept = 0 if data.disliked_items is None else len(data.disliked_items)
  assert kept + dislikes_lib.forgotten(data) == low
  assert (kept == 0) == (dislikes == 'drop')
  assert data.num_events + low == len(rows)
  assert dislikes_lib.teaches(data) == (dislikes == 'negatives')
  columns = tables.Columns(rating='stars', behavior='what')
  told = pipeline.prepare(
    options._replace(reading=pipeline.TableOptions(columns=columns))
  )
  # The report needs no model, whatever a model would not read.
  assert report.describe(told)['counts']['items'] == data.num_items
  if dislikes == 'negatives':
    with pytest.raises(types.UserError, match='--dislikes=seen'):
      dislikes_lib.refuse(told, 'a model of several behaviors')


def test_a_named_dataset_with_a_test_file_lends_a_validation(
  tmp_path, monkeypatch
):
  """One random train event of every user with three; none if it is off."""
  counts = {0: 5, 1: 3, 2: 2, 3: 1}
  rows = [(user, item) for user, n in counts.items() for item in range(n)]
  held = [(user, item) for user in counts for item in (7, 8)]
  for name, pairs in (('train', rows), ('test', held)):
    text = '\n'.join(f'{user},{item}' for user, item in pairs)
    path = tmp_path / 'tiny' / f'{name}.csv.gz'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(f'user_id,item_id\n{text}\n'.encode()))
  known = datasets.Dataset(
    'tiny/train.csv.gz', tables.Columns(), 4, 7, rows=len(rows),
    test_file='tiny/test.csv.gz', test_rows=len(held),
  )  # fmt: skip
  monkeypatch.setitem(datasets.DATASETS, 'tiny', known)
  of = lambda **changes: pipeline.from_config(
    config.DataConfig(
      dataset='tiny', data_root=str(tmp_path), cache_dir=str(tmp_path / 'c'),
      **changes,
    )
  )  # fmt: skip

  def parts(data):
    return [
      set(zip(data.user_ids[data.event_users[there]].tolist(),
              data.item_ids[np.asarray(data.items)[there] - 1].tolist()))
      for there in (np.asarray(data.split) == code for code in range(3))
    ]  # fmt: skip

  train, validation, test = parts(of())
  assert test == set(held) and train | validation == set(rows)
  assert sorted(user for user, _ in validation) == [0, 1]
  assert parts(of()) == [train, validation, test]
  assert parts(of(validation=False)) == [set(rows), set(), set(held)]
  assert of().manifest['history_rule'] == prepared.FIXED
  others = [parts(of(seed=seed))[1] for seed in range(1, 6)]
  assert any(other != validation for other in others)
