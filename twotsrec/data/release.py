"""The release format of multi-behavior papers: a sparse matrix per behavior.

A folder holds `trn_NAME` for every behavior, a pickled SciPy matrix of users
and items, and `tst_int`, a pickled list with the held-out item, several or
None for every user (NMTR, MB-GMN, CIGF, PKEF, COPF). Users and items are
numbered from 0. Stored values are 1, or the time in Unix seconds.
"""

import os
import pathlib

import numpy as np

from twotsrec import types
from twotsrec.data import arrays_only
from twotsrec.data import ids
from twotsrec.data import tables

_TRAIN, _TEST = 'trn_', 'tst_int'
# Larger stored values are times (this one is in 1973), smaller ones counts.
_EARLIEST_TIME = 100_000_000


def load(
  directory: str | os.PathLike, behaviors: tuple[str, ...]
) -> tables.Table:
  """Reads a release as a table with behaviors and a split.

  Behaviors are the NAMEs in order, the target last; held-out items are of it.
  Training rows come behavior by behavior, each by user and in stored order;
  then the test rows. Without stored times this order is all there is.
  """
  folder = pathlib.Path(directory)
  matrices = {
    name: arrays_only.read_matrix(_existing(folder, _TRAIN + name))
    for name in behaviors
  }
  shapes = [f'{_TRAIN}{name} {m.shape}' for name, m in matrices.items()]
  target = behaviors[-1]
  shape = matrices[target].shape
  if any(matrix.shape != shape for matrix in matrices.values()):
    raise types.UserError(
      f'{folder}: matrices of other shapes: {", ".join(shapes)}; copy them'
      ' again from one release'
    )
  train = _train_table(folder, matrices)
  test = _test_table(_existing(folder, _TEST), shape, target)
  return tables.join({'train': train, 'test': test})._replace(path=str(folder))


def found(directory: str | os.PathLike) -> str:
  """A sentence that names the files of the format in a folder."""
  folder = pathlib.Path(directory)
  if not folder.is_dir():
    return f'{folder} is no folder'
  names = sorted(path.name for path in folder.glob(f'{_TRAIN}*'))
  names += [_TEST] if (folder / _TEST).is_file() else []
  return f'{folder} has {", ".join(names) or f"no {_TRAIN}* or {_TEST}"}'


def _existing(folder: pathlib.Path, name: str) -> pathlib.Path:
  path = folder / name
  if not path.is_file():
    raise types.UserError(
      f'no file {path}; {found(folder)}. Behaviors are named as after {_TRAIN}'
    )
  return path


def _train_table(
  folder: pathlib.Path, matrices: dict[str, arrays_only.Matrix]
) -> tables.Table:
  values = np.concatenate([matrix.value for matrix in matrices.values()])
  stored = values != 0
  labels = [ids.constant(name, len(m.row)) for name, m in matrices.items()]
  zeros = int(np.sum(~stored))
  joined = lambda part: np.concatenate(
    [getattr(matrix, part) for matrix in matrices.values()]
  )
  return tables.make(
    str(folder),
    {'stored zero': tables.Dropped(zeros, ())} if zeros else {},
    len(values),
    user=joined('row')[stored],
    item=joined('column')[stored],
    behavior=ids.concatenate(labels)[stored],
    time=_times(values[stored]),
  )


def _times(values: np.ndarray) -> np.ndarray | None:
  if not len(values) or not np.all(np.isfinite(values)):
    return None
  if np.min(values) < _EARLIEST_TIME:
    return None
  seconds = values.astype(np.int64)
  return seconds if np.all(seconds == values) else values.astype(np.float64)


def _test_table(
  path: pathlib.Path, shape: tuple[int, int], target: str
) -> tables.Table:
  held_out = arrays_only.read_lists(path)
  if len(held_out) != shape[0]:
    raise types.UserError(
      f'{path} has {len(held_out)} entries, but the matrices have {shape[0]} '
      'users; copy them again from one release'
    )
  counts = [len(items) for items in held_out]
  item = np.array([i for items in held_out for i in items], object)
  if not len(item):
    raise types.UserError(f'{path} holds out no item; copy it again')
  if np.min(item) < 0 or np.max(item) >= shape[1]:
    raise types.UserError(
      f'{path} holds out an item that is not among 0 to {shape[1] - 1}, the '
      'columns of the matrices; copy them again from one release'
    )
  user = np.repeat(np.arange(shape[0], dtype=np.int64), counts)
  return tables.make(
    str(path.parent),
    user=user,
    item=item.astype(np.int64),
    behavior=ids.constant(target, len(user)),
  )
