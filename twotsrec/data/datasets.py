"""Named public datasets, read from files under `data_root`."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.data import tables

BY_TIME = ('global_time', 'per_user_time', 'date')
UNTIMED = 'row of the test part, which has no times'


class CoarseTimes(NamedTuple):
  """Columns that allow a global split where not every event has a time."""

  # Column that is 1 before the moment from which events are test events, else
  # 0; see `label_coarse`.
  early: str
  time: str  # column of the times of early events; some may be empty


class Dataset(NamedTuple):
  """Files of a named dataset, and the counts that they must have."""

  file: str  # path below `data_root`
  columns: tables.Columns  # columns to read
  users: int  # number of distinct users, in both files if there are two
  items: int  # number of distinct items, in both files if there are two
  rows: int  # number of interactions in `file`
  # Path of the test part, which has no times; '' if `file` is all.
  test_file: str = ''
  test_rows: int = 0  # number of interactions in `test_file`
  behaviors: tuple[str, ...] = ()  # order of the behaviors, the target last
  # What a global split goes by instead of times, or None.
  coarse_times: CoarseTimes | None = None


_BY_POSITION = tables.Columns(order='position')
_RATED = tables.Columns(time='timestamp', rating='rating')
_ACTED = tables.Columns(behavior='behavior')
_ACTED_IN_TIME = tables.Columns(behavior='behavior', time='timestamp')


def _with_test(
  file: str,
  columns: tables.Columns,
  counts: tuple[int, int, int],
  test_rows: int,
  *behaviors: str,
) -> Dataset:
  """A dataset with the test part beside its file; counts as in `Dataset`."""
  test_file = os.path.join(os.path.dirname(file), 'test.csv.gz')
  return Dataset(file, columns, *counts, test_file, test_rows, behaviors)


# The counts are those of the datasets' own descriptions.
DATASETS = {
  # Harper and Konstan 2015. Exact times of this copy are unknown, the order
  # inside a user is known. Under a global split the first 80 % of all ratings,
  # which are marked and have coarse times, are train and validation (the
  # latest eighth of them), the rest is test.
  'ml-1m': Dataset(
    'ml-1m/interactions.csv.gz',
    _BY_POSITION,
    6040,
    3706,
    1_000_209,
    coarse_times=CoarseTimes('first80', 'timestamp_approx'),
  ),
  'ml-100k': Dataset('ml-100k/interactions.csv.gz', _RATED, 943, 1682, 100_000),
  'ml-latest-small-2016': Dataset(
    'ml-latest-small-2016/interactions.csv.gz', _RATED, 671, 9066, 100_004
  ),
  # McAuley et al. 2015. Times are whole days, so the position orders.
  'amazon-beauty-5core': Dataset(
    'amazon-beauty-5core/interactions.csv.gz',
    tables.Columns(time='timestamp', order='position'),
    22_363,
    12_101,
    198_502,
  ),
  # Kang and McAuley 2018 (SASRec).
  'amazon-games': Dataset(
    'amazon-games/interactions.csv.gz', _BY_POSITION, 31_013, 23_715, 287_107
  ),
  # MovieLens-1M in the order of the SASRec, BERT4Rec and gSASRec papers: items
  # with at least five ratings, ties in time as there.
  'ml-1m-sas': Dataset(
    'ml-1m-sas/interactions.csv.gz', _BY_POSITION, 6040, 3416, 999_611
  ),
  # Kumar et al. 2019 (JODIE).
  'wikipedia-edits': Dataset(
    'wikipedia-edits/interactions.csv.gz', _BY_POSITION, 8227, 1000, 157_474
  ),
  # The same with seconds from the first edit, without edge features; made for
  # a global split.
  'wikipedia-timed': Dataset(
    'wikipedia-timed/interactions.csv.gz',
    tables.Columns(time='timestamp'),
    8227,
    1000,
    157_474,
  ),
  # Wang et al. 2019 (KGAT): pairs without an order, split at random. Published
  # Recall@20 ranks all that is not in train (evaluation.candidates=unbought).
  'amazon-book-kgat': _with_test(
    'amazon-book-kgat/train.csv.gz', tables.Columns(),
    (70_679, 24_915, 652_514), 193_920,
  ),
  # COPF (KDD 2025), table 1; all of its training rows.
  'taobao-copf': _with_test(
    'taobao-copf/train.csv.gz', _ACTED, (15_449, 11_953, 1_161_610), 15_449,
    'view', 'cart', 'buy',
  ),
  # The same without its views, which no public copy has.
  'beibei-copf-noview': _with_test(
    'beibei-copf-noview/train.csv.gz', _ACTED, (21_716, 7977, 925_482), 21_716,
    'cart', 'buy',
  ),
  # The same; 254 of its 41,738 users have only views.
  'tmall-copf-noview': _with_test(
    'tmall-copf-noview/train.csv.gz', _ACTED, (41_484, 11_953, 479_096), 31_572,
    'collect', 'cart', 'buy',
  ),
  # SSLRec's cut of RetailRocket; held-out pairs are in no behavior.
  'retailrocket-mb': _with_test(
    'retailrocket-mb/interactions.csv.gz', _ACTED_IN_TIME,
    (2174, 30_113, 97_381), 2174, 'view', 'cart', 'buy',
  ),
  # MB-GMN's and KMCLR's Tmall, not that of COPF, without its views.
  'tmall-mbgmn-noview': _with_test(
    'tmall-mbgmn-noview/interactions.csv.gz', _ACTED_IN_TIME,
    (31_882, 31_024, 357_412), 10_000, 'collect', 'cart', 'buy',
  ),
}  # fmt: skip


def find(name: str, also: tuple[str, ...] = ()) -> Dataset:
  """The dataset of a name; an error lists the names, and those of `also`."""
  if name not in DATASETS:
    raise types.UserError(
      f'dataset {name!r} is unknown; known: {", ".join((*DATASETS, *also))}'
    )
  return DATASETS[name]


def resplits(dataset: Dataset, split: str) -> bool:
  """Whether a split by time is made of a dataset that carries another one.

  Then its test part, which has no times, is left out.
  """
  return (
    bool(dataset.test_file)
    and dataset.columns.time is not None
    and split in BY_TIME
  )


def load(
  name: str, data_root: str | os.PathLike, split: str = ''
) -> tables.Table:
  """Reads a named dataset.

  Args:
    name: a key of `DATASETS`.
    data_root: the folder that holds a folder per dataset.
    split: what it is read for, one of `splits.NAMES`. A split by time leaves
      a test file without times out, its rows are counted; global_time has
      the labels of its parts in `split` where the times are coarse.
  Returns:
    All interactions, in file order; `order` (or else `time`) orders them. With
    a test file, `split` tells the parts, and test comes last.
  """
  dataset = find(name)
  if not os.fspath(data_root):
    raise types.UserError(
      f'dataset {name} is read from a folder; pass --data_root=DIR, where '
      f'DIR/{dataset.file} is the file'
    )
  read = lambda file, columns, rows: _read(name, data_root, file, columns, rows)
  train = read(dataset.file, dataset.columns, dataset.rows)
  if split == 'global_time' and dataset.coarse_times:
    return train._replace(split=_coarse_parts(train, dataset.coarse_times))
  if resplits(dataset, split):
    return train._replace(
      rows_read=train.rows_read + dataset.test_rows,
      dropped={**train.dropped, UNTIMED: tables.Dropped(dataset.test_rows, ())},
    )
  if not dataset.test_file:
    return train
  untimed = dataset.columns._replace(time=None)
  test = read(dataset.test_file, untimed, dataset.test_rows)
  return tables.join({'train': train, 'test': test})


def _coarse_parts(table: tables.Table, columns: CoarseTimes) -> np.ndarray:
  """Labels of a global split for the rows of a table, unicode [N]."""
  marked = tables.read_table(table.path, tables.Columns(split=columns.early))
  # Rows without a time are left out; the lines tell which.
  timed = tables.read_table(
    table.path, tables.Columns(time=columns.time), on_bad_rows='drop'
  )
  time = np.full(len(table.user), np.nan)
  lines, timed_lines = np.asarray(table.lines), np.asarray(timed.lines)
  time[np.searchsorted(lines, timed_lines)] = timed.time
  early = np.asarray(marked.split) == '1'
  user, order = np.asarray(table.user), np.asarray(table.order)
  return label_coarse(early, user, order, time)


def label_coarse(
  early: np.ndarray, user: np.ndarray, order: np.ndarray, time: np.ndarray
) -> np.ndarray:
  """Labels of a global split at a marked moment, unicode [N].

  What comes after the moment is test. The latest of the rest by time are
  validation, as many as `splits.FRACTIONS` say of what is not test (an eighth
  of it), and equal times are never divided. An event without a time happened
  at the last known time of its user before it, or else at the next one; a user
  of whom no time is known is as old as the log.

  Args:
    early: bool[N], before the moment.
    user: ids [N].
    order: i64[N], position inside the user; there the early come first.
    time: f64[N], NaN where it is unknown.
  """
  frame = polars.DataFrame(
    {'user': user, 'order': order, 'time': time}, nan_to_null=True
  )
  nearest = polars.col('time').forward_fill().backward_fill()
  filled = frame.select(nearest.over('user', order_by='order'))['time']
  time = filled.fill_null(np.nanmin(time[early])).to_numpy()
  train, validation, _ = splits.FRACTIONS
  ordered = np.sort(time[early])
  share = train / (train + validation)
  rank = min(int(share * len(ordered) + 1e-9), len(ordered) - 1)
  time = np.where(early, time, ordered[-1] + 1)
  codes = splits.date(time, ordered[rank], ordered[-1] + 1)
  return np.array(prepared_lib.SPLITS)[codes]


def _read(
  name: str,
  data_root: str | os.PathLike,
  file: str,
  columns: tables.Columns,
  rows: int,
) -> tables.Table:
  path = pathlib.Path(data_root) / file
  if not path.is_file():
    raise types.UserError(
      f'dataset {name}: no file {path}; pass --data_root=DIR, where '
      f'DIR/{file} is the file'
    )
  table = tables.read_table(path, columns)
  if table.rows_read != rows:
    raise types.UserError(
      f'{path}: {table.rows_read} rows, but {name} has {rows}; copy '
      'the file again, or read another edition with --table'
    )
  return table
