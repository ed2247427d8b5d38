import pytest

from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import raw
from twotsrec.data import settings
from twotsrec.data import tables

Options, Split = settings.Options, settings.SplitOptions


def test_a_timed_dataset_can_be_split_by_time_though_it_carries_a_split():
  for name in ('global_time', 'per_user_time'):
    settings.check(Options(dataset='retailrocket-mb', split=Split(name)))
  for dataset, name in (
    ('retailrocket-mb', 'leave_last_out'),
    ('taobao-copf', 'per_user_time'),
  ):
    with pytest.raises(types.UserError, match='carry a split of their own'):
      settings.check(Options(dataset=dataset, split=Split(name)))


def test_an_unknown_name_lists_every_source():
  with pytest.raises(types.UserError) as caught:
    settings.check(Options(dataset='ml-9'))
  for name in (*settings.BUILT_IN, *raw.SOURCES, *datasets.DATASETS):
    assert name in str(caught.value)


def test_what_shapes_nothing_is_not_recorded():
  plain = settings.recorded(Options(dataset='ml-1m', data_root='here'))
  assert 'features' not in plain and 'events' not in plain
  assert plain == settings.recorded(Options(dataset='ml-1m', users=5))
  wanted = settings.FeatureOptions('folder/f.csv', ('a:dense',))
  told = settings.recorded(Options(dataset='ml-1m', features=wanted))
  assert told['features']['file'] == 'f.csv'
  stream = settings.recorded(Options(dataset='synthetic-stream', events=7))
  assert stream['events'] == 7


def test_reading_of_a_table_is_recorded_without_its_folder():
  reading = settings.TableOptions(columns=tables.Columns(order='n'))
  told = settings.recorded(Options(table='a/b.csv', reading=reading))
  assert (told['table'], told['columns']['order']) == ('b.csv', 'n')
