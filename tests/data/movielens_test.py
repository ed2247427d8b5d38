import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import movielens

RATINGS = """userId,movieId,rating,timestamp
1,296,5.0,1147880044
1,306,3.5,1147868817
2,296,0.5,1141415820
"""
MOVIES = """movieId,title,genres
296,"Pulp Fiction (1994)",Comedy|Crime
306,"Three Colors: Red (Trois couleurs: Rouge) (1994)",Drama
307,"Film, A ""Quoted"" (1990)",(no genres listed)
"""
TAGS = """userId,movieId,tag,timestamp
3,260,classic,1439472355
3,296,Classic,1439472355
4,296,sci-fi,1439472256
5,296,"classic ",1573942598
6,296,"dark, ""very"" dark",1573942598
7,306,,1573942598
"""


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'ml-25m').mkdir()
  for name, text in (('ratings', RATINGS), ('movies', MOVIES), ('tags', TAGS)):
    (tmp_path / 'ml-25m' / f'{name}.csv').write_text(text)
  return tmp_path


def values_of(rows, name):
  row, value = rows.multivalued[name]
  return {
    int(item): value[row == number].tolist()
    for number, item in enumerate(rows.items)
  }


def test_ratings_and_genres_are_read(folder):
  raw = movielens.load(str(folder))
  assert raw.table.user.tolist() == [1, 1, 2]
  assert raw.table.item.tolist() == [296, 306, 296]
  assert raw.table.rating.tolist() == [5.0, 3.5, 0.5]
  assert raw.table.time[0] == 1147880044
  assert values_of(raw.features, 'genres') == {
    296: ['Comedy', 'Crime'],
    306: ['Drama'],
    307: [],
  }


def test_tags_are_the_most_frequent_in_small_letters(folder, monkeypatch):
  rows = movielens.load(str(folder), 'tags').features
  assert values_of(rows, 'tags') == {
    260: ['classic'],
    296: ['classic', 'dark, "very" dark', 'sci-fi'],
  }
  monkeypatch.setattr(movielens, 'TAGS_OF_ITEM', 2)
  rows = movielens.load(str(folder), 'tags').features
  assert values_of(rows, 'tags')[296] == ['classic', 'dark, "very" dark']


def test_the_folder_itself_will_do_and_a_lack_is_told(folder):
  raw = movielens.load(str(folder / 'ml-25m'))
  assert len(np.unique(raw.table.item)) == 2
  (folder / 'ml-25m' / 'movies.csv').unlink()
  with pytest.raises(types.UserError, match=r'movies\.csv is in DIR'):
    movielens.load(str(folder))
  with pytest.raises(types.UserError, match='allowed are genres, tags'):
    movielens.load(str(folder), 'plot')
