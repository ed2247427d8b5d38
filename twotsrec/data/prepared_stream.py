"""Prepared data of more events than memory holds, written piece by piece.

The columns are memory-mapped files; only what there is of users and items is
in memory. The directory is the one that `prepared.save` would write.
"""

from collections.abc import Callable, Iterator
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits

SPLITS = ('global_time', 'per_user_time', 'leave_last_out')
_PIECE = 1 << 20  # events read again at once
_BUCKET_BITS = 12
_COLUMNS = {'items': np.int32, 'split': np.int8, 'times': np.int64}


class Log(NamedTuple):
  """A log to write.

  Attributes:
    user_offsets: i64[U + 1]; everybody has events.
    pieces: () -> (items i32[n], times i64[n]) of consecutive events, sorted by
      user and by time inside a user. Items are 1..I of `item_ids`, of which
      some may have no events; times are seconds from 0 on.
    user_ids: external ids [U], ascending.
    item_ids: external ids [I], ascending.
  """

  user_offsets: np.ndarray
  pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
  user_ids: np.ndarray
  item_ids: np.ndarray


class Split(NamedTuple):
  """The split of a streamed log; `name` is one of SPLITS."""

  name: str = 'global_time'
  validation: bool = True


def write(
  log: Log,
  split: Split,
  out_dir: str,
  *,
  overwrite: bool = False,
  source: str = '',
  options: dict[str, Any] | None = None,
) -> prepared_lib.Prepared:
  """Writes a log; one of the same source and options stays as it is.

  Args:
    log: the events.
    split: who is held out.
    out_dir: see `prepared.write`, as `overwrite`.
    overwrite: whether other prepared data are replaced.
    source: name shown in reports.
    options: how the log is made, JSON values.
  """
  if split.name not in SPLITS:
    raise types.UserError(
      f'split {split.name} of a streamed log is unknown; allowed are '
      + ', '.join(SPLITS)
    )

  def fill(folder):
    arrays = _arrays(folder, log, split)
    count = int(log.user_offsets[-1])
    report = {'rows_read': count, 'ordered_by': 'time', 'dropped': {}}
    data = prepared_lib.assemble(
      arrays, source=source, options=options, report=report
    )
    prepared_lib.fill(data, folder)

  def holds(manifest):
    return (manifest['source'], manifest['options']) == (source, options or {})

  return prepared_lib.write(out_dir, fill, holds, overwrite)


def _arrays(folder: pathlib.Path, log: Log, split: Split) -> dict[str, Any]:
  """The arrays of prepared data; those of events are mapped in the folder."""
  count = int(log.user_offsets[-1])
  columns: dict[str, np.ndarray] = {
    name: np.lib.format.open_memmap(
      folder / f'{name}.npy', mode='w+', dtype=dtype, shape=(count,)
    )
    for name, dtype in _COLUMNS.items()
  }
  used = np.zeros(len(log.item_ids) + 1, bool)
  stop = 0
  for items, times in log.pieces():
    start, stop = stop, stop + len(items)
    columns['items'][start:stop] = items
    columns['times'][start:stop] = times
    used[items] = True
  if stop != count:
    raise ValueError(f'{stop} events, but the offsets end at {count}')
  _finish(columns, log, split, np.cumsum(used) - used[0])
  return {
    **columns,
    'behaviors': None,
    'user_offsets': log.user_offsets.astype(np.int64),
    'user_ids': log.user_ids,
    'item_ids': log.item_ids[used[1:]],
  }


def _finish(
  columns: dict[str, np.ndarray],
  log: Log,
  split: Split,
  number: np.ndarray,
) -> None:
  """Numbers the items that occur, and splits."""
  times, count = columns['times'], len(columns['times'])
  cuts = (0, 0)
  if split.name == 'global_time':
    cuts = global_cuts(times, splits.FRACTIONS)
  for start in range(0, count, _PIECE):
    piece = slice(start, min(start + _PIECE, count))
    columns['items'][piece] = number[columns['items'][piece]]
    codes = _codes(log.user_offsets, times[piece], piece, split, cuts)
    columns['split'][piece] = codes
  for code, held in enumerate(prepared_lib.split_counts(columns['split'])):
    if not held and (split.validation or code != prepared_lib.VALIDATION):
      raise splits.nothing_left(code, f'{count} events')


def _codes(
  offsets: np.ndarray,
  times: np.ndarray,
  piece: slice,
  split: Split,
  cuts: tuple[int, int],
) -> np.ndarray:
  """Split of the events of a piece, i8[n]."""
  if split.name == 'global_time':
    codes = np.full(len(times), prepared_lib.TRAIN, np.int8)
    if split.validation:
      codes[times >= cuts[0]] = prepared_lib.VALIDATION
    codes[times >= cuts[1]] = prepared_lib.TEST
    return codes
  user = users_of(offsets, piece.start, piece.stop)
  rank = np.arange(piece.start, piece.stop) - offsets[user]
  count = np.diff(offsets)[user]
  if split.name == 'per_user_time':
    return splits.codes_by_rank(rank, count, validation=split.validation)
  return splits.last_by_rank(rank, count, split.validation)


def users_of(offsets: np.ndarray, start: int, stop: int) -> np.ndarray:
  """User of events start..stop - 1, i64[stop - start]."""
  first = int(np.searchsorted(offsets, start, side='right')) - 1
  last = int(np.searchsorted(offsets, stop, side='left'))
  borders = np.clip(offsets[first : last + 1], start, stop)
  return np.repeat(np.arange(first, last), np.diff(borders))


def global_cuts(
  times: np.ndarray, fractions: tuple[float, float, float]
) -> tuple[int, int]:
  """The two cuts of `splits.global_time`, without sorting all times.

  Times are i64[N] from 0 on and may be memory-mapped.
  """
  ranks = np.floor(np.cumsum(fractions)[:2] * len(times) + 1e-9).astype(int)
  ranks = np.minimum(ranks, len(times) - 1)
  pieces = range(0, len(times), _PIECE)
  coarse = np.zeros(0, np.int64)
  for start in pieces:
    counts = np.bincount(times[start : start + _PIECE] >> _BUCKET_BITS)
    coarse = np.pad(coarse, (0, max(len(counts) - len(coarse), 0)))
    coarse[: len(counts)] += counts
  before = np.cumsum(coarse) - coarse
  buckets = np.searchsorted(np.cumsum(coarse), ranks, side='right')
  fine = np.zeros((2, 1 << _BUCKET_BITS), np.int64)
  for start in pieces:
    piece = times[start : start + _PIECE]
    for row, bucket in enumerate(buckets):
      inside = piece[piece >> _BUCKET_BITS == bucket]
      inside = inside & ((1 << _BUCKET_BITS) - 1)
      fine[row] += np.bincount(inside, minlength=fine.shape[1])
  cuts = [
    (int(bucket) << _BUCKET_BITS)
    + int(np.searchsorted(np.cumsum(row), rank - before[bucket], side='right'))
    for bucket, row, rank in zip(buckets, fine, ranks)
  ]
  return cuts[0], cuts[1]
