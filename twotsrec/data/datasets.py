"""Named public datasets, read from files under `data_root`."""

import os
import pathlib
from typing import NamedTuple

from twotsrec import types
from twotsrec.data import tables


class Dataset(NamedTuple):
  """Where a dataset lies and what must be in it.

  Attributes:
    file: path below `data_root`.
    columns: columns to read.
    users: number of distinct users.
    items: number of distinct items.
    rows: number of interactions.
  """

  file: str
  columns: tables.Columns
  users: int
  items: int
  rows: int


_BY_POSITION = tables.Columns(order='position')
_RATED = tables.Columns(time='timestamp', rating='rating')

# The counts are those of the datasets' own descriptions.
DATASETS = {
  # Harper and Konstan 2015. Exact times of this copy are unknown, the order
  # inside a user is known.
  'ml-1m': Dataset(
    'ml-1m/interactions.csv.gz', _BY_POSITION, 6040, 3706, 1_000_209
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
  # Kumar et al. 2019 (JODIE).
  'wikipedia-edits': Dataset(
    'wikipedia-edits/interactions.csv.gz', _BY_POSITION, 8227, 1000, 157_474
  ),
}


def find(name: str, also: tuple[str, ...] = ()) -> Dataset:
  """The dataset of a name; an error lists the names, and those of `also`."""
  if name not in DATASETS:
    raise types.UserError(
      f'dataset {name!r} is unknown; known: {", ".join((*DATASETS, *also))}'
    )
  return DATASETS[name]


def load(name: str, data_root: str | os.PathLike) -> tables.Table:
  """Reads a named dataset.

  Args:
    name: a key of `DATASETS`.
    data_root: the folder that holds a folder per dataset.
  Returns:
    All interactions, in file order; `order` (or else `time`) orders them.
  """
  dataset = find(name)
  if not os.fspath(data_root):
    raise types.UserError(
      f'dataset {name} is read from a folder; pass --data_root=DIR, where '
      f'DIR/{dataset.file} is the file'
    )
  path = pathlib.Path(data_root) / dataset.file
  if not path.is_file():
    raise types.UserError(
      f'dataset {name}: no file {path}; pass --data_root=DIR, where '
      f'DIR/{dataset.file} is the file'
    )
  table = tables.read_table(path, dataset.columns)
  if table.rows_read != dataset.rows:
    raise types.UserError(
      f'{path}: {table.rows_read} rows, but {name} has {dataset.rows}; copy '
      'the file again, or read another edition with --table'
    )
  return table
