"""Published files go all the way to prepared data with item features."""

import numpy as np
import pytest

from tests.data import lastfm_test
from tests.data import movielens_test
from tests.data import taobao_test
from twotsrec import config
from twotsrec import types
from twotsrec.data import features
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import raw
from twotsrec.data import taobao

folder = movielens_test.folder


def taobao_rows():
  types_of = ['pv', 'pv', 'pv', 'fav', 'cart', 'buy', 'buy', 'buy', 'pv', 'pv']
  return [
    (user, 100 + (user + n) % 7, n % 3, behavior, taobao.FIRST + 60 * n + user)
    for user in range(5)
    for n, behavior in enumerate(types_of)
  ]


def test_taobao_is_split_by_time_with_categories_beside(tmp_path):
  taobao_test.write(tmp_path, [*taobao_rows(), (1, 999, 5, 'pv', 3)])
  data = pipeline.prepare(
    pipeline.Options(
      dataset='taobao-userbehavior',
      data_root=str(tmp_path),
      split=pipeline.SplitOptions('global_time'),
    ),
    str(tmp_path / 'out'),
  )
  assert data.behaviors is None
  assert data.manifest['counts']['events'] == 50
  told = data.manifest['report']
  assert told['dropped'][taobao.OUTSIDE]['count'] == 1
  assert told['item_features'] == ['category:categorical']
  assert told['source_notes'] == {taobao.CONFLICT: 7}
  category = features.load(data).categorical['category']
  assert category.shape == (data.num_items + 1,)
  assert np.all(category[1:] > 0)


def test_taobao_keeps_its_behaviors_if_they_are_named(tmp_path):
  taobao_test.write(tmp_path, taobao_rows())
  wanted = pipeline.Options(
    dataset='taobao-userbehavior',
    data_root=str(tmp_path),
    behaviors=('view', 'collect', 'cart', 'buy'),
  )
  data = pipeline.prepare(wanted)
  assert data.manifest['behaviors'][-1] == 'buy'
  assert data.manifest['counts']['test'] == 5


def test_movies_without_tags_have_none(folder, tmp_path):
  wanted = config.DataConfig(
    dataset='ml-25m-tags',
    data_root=str(folder),
    cache_dir=str(tmp_path / 'cache'),
    validation=False,
  )
  data = pipeline.from_config(wanted)
  tags = features.load(data).multivalued['tags']
  assert np.sum(tags > 0, axis=1).tolist() == [0, 3, 0]
  # The data without their features are not taken for complete.
  place = f'{data.path}/{features.FOLDER}/{features.MANIFEST}'
  for entry in (tmp_path / 'cache').glob(f'*/{features.FOLDER}/*'):
    entry.unlink()
  (tmp_path / 'cache').joinpath(place).parent.rmdir()
  assert features.load(pipeline.from_config(wanted)) is not None


def test_external_ids_of_lastfm_are_names(tmp_path):
  root = lastfm_test.write(tmp_path, lastfm_test.PLAYS)
  wanted = pipeline.Options(
    dataset='lastfm-1k-tracks',
    data_root=root,
    split=pipeline.SplitOptions('per_user_time', False),
  )
  data = pipeline.prepare(wanted, str(tmp_path / 'out'))
  assert data.user_ids.tolist() == ['u1', 'u2']
  first = data.item_ids[data.items[data.user_offsets[1]] - 1]
  assert first == 'name:Deep "Dish - Mix'  # the earlier of two plays
  assert list(data.item_ids) == sorted(data.item_ids)
  artists = features.load(data)
  codes = artists.categorical['artist'][1:]
  named = artists.vocabularies['artist'][codes - 1]
  assert named[data.item_ids.tolist().index(first)] == lastfm_test.ID(1)
  assert prepared.load(data.path, verify=True).num_events == 5


@pytest.mark.parametrize('name', list(raw.SOURCES))
def test_every_source_says_which_file_is_missing(tmp_path, name):
  with pytest.raises(types.UserError, match='is in DIR or in DIR/'):
    raw.load(name, str(tmp_path))


def test_behaviors_of_a_log_without_any_are_refused(folder):
  with pytest.raises(types.UserError, match='ml-25m has no behaviors'):
    raw.load('ml-25m', str(folder), ('view', 'buy'))
