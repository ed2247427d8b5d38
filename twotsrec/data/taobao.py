"""UserBehavior.csv of Taobao (Tianchi data set 649), read in pieces.

Lines without a header: user, item, category, type of behavior, Unix seconds.
"""

import pathlib

import numpy as np
import polars

from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import feature_files
from twotsrec.data import ids
from twotsrec.data import raw_rows
from twotsrec.data import rows as rows_lib

FOLDER, FILE = 'taobao-userbehavior', 'UserBehavior.csv'
COLUMNS = ('user', 'item', 'category', 'behavior', 'time')
# Names in the file -> names here.
BEHAVIORS = {'pv': 'view', 'fav': 'collect', 'cart': 'cart', 'buy': 'buy'}
# From 2017-11-25 to 2017-12-03 in China, which is at UTC+8.
FIRST, LAST = 1_511_539_200, 1_512_316_799
OUTSIDE = 'time outside of 2017-11-25 to 2017-12-03'
STRANGE = 'behavior is none of ' + ', '.join(BEHAVIORS)
CONFLICT = 'item with several categories, most frequent kept'


def load(
  data_root: str, behaviors: bool = False, block_bytes: int = 1 << 25
) -> raw_rows.Raw:
  """Reads the log; besides its columns no more than a block is in memory.

  Times outside of the nine days are dropped: they are errors, and the latest
  would be the test set of a split by time. An item that comes with several
  categories has its most frequent one, and of these the smallest number.

  Args:
    data_root: folder that holds UserBehavior.csv, or its folder.
    behaviors: whether the types of behavior are told apart; else all events
      are alike, as in 2TS.
    block_bytes: of the file, read at once.
  """
  path = raw_rows.find(data_root, FOLDER, FILE)
  blocks = delimited.read(
    path,
    COLUMNS,
    delimiter=',',
    column_names=COLUMNS,
    block_bytes=block_bytes,
  )
  parsers = {name: (name, cells.parse_order) for name in COLUMNS}
  parsers['behavior'] = ('behavior', cells.parse_texts)
  wanted = ('user', 'item', 'time', *(('behavior',) if behaviors else ()))
  parts, pairs = [], []
  for block in blocks:
    rows = _cleaned(rows_lib.parse(block, parsers))
    pairs.append(_counted(rows.columns['item'], rows.columns['category']))
    # Merging when as much is new as is old keeps the work linear.
    if sum(map(len, pairs[1:])) >= len(pairs[0]):
      pairs = [_merged(pairs)]
    columns = {name: rows.columns[name] for name in wanted}
    parts.append(rows._replace(columns=columns))
  rows = rows_lib.join(parts)
  del parts
  columns = rows.columns
  if behaviors:
    columns = {**columns, 'behavior': _names(columns['behavior'])}
  table = raw_rows.table(path, rows, **columns)
  features, conflicts = _categories(path, _merged(pairs))
  return raw_rows.Raw(table, features, {CONFLICT: conflicts})


def _cleaned(rows: rows_lib.Rows) -> rows_lib.Rows:
  """Rows of the nine days; behaviors are numbers i8[R], as in `BEHAVIORS`."""
  time = rows.columns['time']
  rows = rows_lib.drop(rows, (time < FIRST) | (time > LAST), OUTSIDE)
  codes = rows.columns['behavior'].replace_strict(
    list(BEHAVIORS), range(len(BEHAVIORS)), default=-1, return_dtype=polars.Int8
  )
  rows = rows._replace(columns={**rows.columns, 'behavior': codes.to_numpy()})
  return rows_lib.drop(rows, rows.columns['behavior'] < 0, STRANGE)


def _names(codes: np.ndarray) -> ids.Texts:
  """Our names of behaviors from numbers in `BEHAVIORS`."""
  names = sorted(BEHAVIORS.values())
  place = [names.index(name) for name in BEHAVIORS.values()]
  return ids.Texts(np.array(names), np.array(place, np.int32)[codes])


def _counted(item: np.ndarray, category: np.ndarray) -> polars.DataFrame:
  """Counts of every category of every item."""
  frame = polars.DataFrame({'item': item, 'category': category})
  count = polars.len().cast(polars.Int64).alias('count')
  return frame.group_by('item', 'category').agg(count)


def _merged(parts: list[polars.DataFrame]) -> polars.DataFrame:
  """Counts of (item, category), each pair once."""
  pairs = polars.concat(parts).group_by('item', 'category')
  return pairs.agg(polars.col('count').sum())


def _categories(
  path: pathlib.Path, pairs: polars.DataFrame
) -> tuple[feature_files.Rows, int]:
  """One category per item, and how many items had several."""
  ranked = pairs.sort(
    'item', 'count', 'category', descending=[False, True, False]
  )
  chosen = ranked.unique('item', keep='first', maintain_order=True)
  rows = feature_files.Rows(
    items=chosen['item'].to_numpy(),
    categorical={'category': chosen['category'].to_numpy()},
    path=str(path),
  )
  return rows, ranked.filter(polars.col('item').is_duplicated())[
    'item'
  ].n_unique()
