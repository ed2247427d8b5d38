"""UserBehavior.csv of Taobao (Tianchi data set 649), read in pieces.

Lines without a header: user, item, category, type of behavior, Unix seconds.
"""

import pathlib

import numpy as np

from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import feature_files
from twotsrec.data import raw_rows

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
  data_root: str, behaviors: bool = False, block_bytes: int = 1 << 22
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
  parsers = dict.fromkeys(COLUMNS, cells.parse_order)
  parsers['behavior'] = cells.parse_texts
  wanted = ('user', 'item', 'time', *(('behavior',) if behaviors else ()))
  kept = {name: [] for name in wanted}
  pairs, pending, dropped, rows_read = np.zeros((3, 0), np.int64), [], {}, 0
  for rows in raw_rows.parse(blocks, parsers):
    rows = _cleaned(rows)
    rows_read += rows.rows_read
    dropped = raw_rows.add(dropped, rows.dropped)
    for name, parts in kept.items():
      parts.append(rows.columns[name])
    item, category = rows.columns['item'], rows.columns['category']
    pending.append(_merged([np.stack([item, category, np.ones_like(item)])]))
    # Merging when as much is new as is old keeps the work linear.
    if sum(part.shape[1] for part in pending) >= pairs.shape[1]:
      pairs, pending = _merged([pairs, *pending]), []
  columns = {name: np.concatenate(kept.pop(name)) for name in wanted}
  table = raw_rows.table(path, rows_read, dropped, **columns)
  features, conflicts = _categories(path, _merged([pairs, *pending]))
  return raw_rows.Raw(table, features, notes={CONFLICT: conflicts})


def _cleaned(rows: raw_rows.Rows) -> raw_rows.Rows:
  """Rows of the nine days and of known behaviors, with our names of them."""
  time = rows.columns['time']
  rows = raw_rows.drop(rows, (time < FIRST) | (time > LAST), OUTSIDE)
  code = np.full(len(rows.lines), -1)
  for number, name in enumerate(BEHAVIORS):
    code[rows.columns['behavior'] == name] = number
  rows = raw_rows.drop(rows, code < 0, STRANGE)
  names = np.array(list(BEHAVIORS.values()))[code[code >= 0]]
  return rows._replace(columns={**rows.columns, 'behavior': names})


def _merged(parts: list[np.ndarray]) -> np.ndarray:
  """Counts of (item, category), i64[3, P], each pair once and ascending."""
  item, category, count = np.concatenate(parts, axis=1)
  order = np.lexsort((category, item))
  item, category, count = item[order], category[order], count[order]
  fresh = np.ones(len(item), bool)
  fresh[1:] = (np.diff(item) != 0) | (np.diff(category) != 0)
  start = np.flatnonzero(fresh)
  if not len(start):
    return np.zeros((3, 0), np.int64)
  return np.stack([item[start], category[start], np.add.reduceat(count, start)])


def _categories(
  path: pathlib.Path, pairs: np.ndarray
) -> tuple[feature_files.Rows, int]:
  """One category per item, and how many items had several."""
  item, category, count = pairs
  order = np.lexsort((category, -count, item))
  distinct, first, several = np.unique(
    item[order], return_index=True, return_counts=True
  )
  rows = feature_files.Rows(
    items=distinct,
    categorical={'category': category[order][first]},
    multivalued={},
    dense={},
    path=str(path),
  )
  return rows, int(np.sum(several > 1))
