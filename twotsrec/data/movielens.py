"""The folder of MovieLens 25M as GroupLens publishes it.

ratings.csv (userId, movieId, rating, timestamp), movies.csv (movieId, title,
genres as 'A|B'), tags.csv (userId, movieId, tag, timestamp).
"""

import collections

import numpy as np

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
  if features == 'genres':
    rows = _genres(data_root)
  elif features == 'tags':
    rows = _tags(data_root)
  else:
    raise types.UserError(
      f'features of {FOLDER} are {features!r}; allowed are genres, tags'
    )
  return raw_rows.Raw(tables.read_table(ratings, COLUMNS), rows)


def _genres(data_root: str) -> feature_files.Rows:
  path = raw_rows.find(data_root, FOLDER, 'movies.csv')
  rows = feature_files.read(path, ['genres:multivalued'], item_column='movieId')
  row, value = rows.multivalued['genres']
  named = value != NO_GENRE
  return rows._replace(multivalued={'genres': (row[named], value[named])})


def _tags(data_root: str) -> feature_files.Rows:
  path = raw_rows.find(data_root, FOLDER, 'tags.csv')
  counts = collections.Counter()
  wanted = ('movieId', 'tag')
  for block in delimited.read(path, wanted, delimiter=','):
    movies = cells.parse_order(block.columns['movieId'])
    tags = cells.texts(block.columns['tag'])
    good = movies.faults == 0
    counts.update(
      (movie, tag.strip().lower())
      for movie, tag, is_good in zip(movies.values.tolist(), tags, good)
      if is_good and tag.strip()
    )
  # By movie, the most frequent first, then by alphabet.
  ranked = sorted(counts, key=lambda pair: (pair[0], -counts[pair], pair[1]))
  if not ranked:
    raise types.UserError(f'{path}: no tag of any movie; use ml-25m instead')
  movie = np.array([pair[0] for pair in ranked], np.int64)
  tag = np.array([pair[1] for pair in ranked])
  items, row = np.unique(movie, return_inverse=True)
  place = np.arange(len(movie)) - np.searchsorted(movie, movie)
  frequent = place < TAGS_OF_ITEM
  return feature_files.Rows(
    items=items,
    multivalued={'tags': (row.reshape(-1)[frequent], tag[frequent])},
    path=str(path),
  )
