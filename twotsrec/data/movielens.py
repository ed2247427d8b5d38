"""The folder of MovieLens 25M as GroupLens publishes it.

ratings.csv (userId, movieId, rating, timestamp), movies.csv (movieId, title,
genres as 'A|B'), tags.csv (userId, movieId, tag, timestamp).
"""

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import feature_files
from twotsrec.data import raw_rows
from twotsrec.data import tables

FOLDER = 'ml-25m'
COLUMNS = tables.Columns(
  user='userId', item='movieId', time='timestamp', rating='rating'
)
NO_GENRE = '(no genres listed)'
TAGS_OF_ITEM = 10


def load(data_root: str, features: str = 'genres') -> raw_rows.Raw:
  """Reads all ratings as events, with a multivalued item feature.

  Args:
    data_root: folder that holds ml-25m, or that folder.
    features: 'genres'; or 'tags', the `TAGS_OF_ITEM` most frequent of an item
      in small letters, ties by alphabet. People went on tagging after any
      moment at which a split may cut, so tags know a little of the future.
  """
  ratings = raw_rows.find(data_root, FOLDER, 'ratings.csv')
  if features not in ('genres', 'tags'):
    raise types.UserError(
      f'features of {FOLDER} are {features!r}; allowed are genres, tags'
    )
  rows = _genres(data_root) if features == 'genres' else _tags(data_root)
  table = tables.read_table(ratings, COLUMNS)
  # Many a movie has no tag.
  missing = 'zero' if features == 'tags' else 'error'
  return raw_rows.Raw(table, rows, missing=missing)


def _genres(data_root: str) -> feature_files.Rows:
  path = raw_rows.find(data_root, FOLDER, 'movies.csv')
  rows = feature_files.read(path, ['genres:multivalued'], item_column='movieId')
  row, value = rows.multivalued['genres']
  named = value != NO_GENRE
  return rows._replace(multivalued={'genres': (row[named], value[named])})


def _tags(data_root: str) -> feature_files.Rows:
  path = raw_rows.find(data_root, FOLDER, 'tags.csv')
  pairs = []
  for block in delimited.read(path, ('movieId', 'tag'), delimiter=','):
    movies = cells.parse_order(block.columns['movieId'])
    tags = [tag.strip().lower() for tag in cells.texts(block.columns['tag'])]
    frame = polars.DataFrame({'movie': movies.values, 'tag': tags})
    good = polars.Series(movies.faults == 0)
    pairs.append(frame.filter(good & (frame['tag'] != '')))
  counts = polars.concat(pairs).group_by('movie', 'tag').len()
  if not len(counts):
    raise types.UserError(f'{path}: no tag of any movie; use ml-25m instead')
  # By movie, the most frequent first, then by alphabet.
  ranked = counts.sort('movie', 'len', 'tag', descending=[False, True, False])
  top = ranked.group_by('movie', maintain_order=True).head(TAGS_OF_ITEM)
  items, row = np.unique(top['movie'].to_numpy(), return_inverse=True)
  width = ranked['tag'].str.len_chars().max()  # of all, not of these alone
  tags = np.array(top['tag'].to_list(), f'U{width}')
  return feature_files.Rows(
    items=items, multivalued={'tags': (row.reshape(-1), tags)}, path=str(path)
  )
