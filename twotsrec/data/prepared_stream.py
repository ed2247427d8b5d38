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
_TIME_BITS, _DIGIT_BITS = 48, 16  # of times, and counted in a pass
_COLUMNS = {'items': np.int32, 'split': np.int8, 'times': np.int64}


class Log(NamedTuple):
  """A log to write."""

  user_offsets: np.ndarray  # i64[U + 1]; everybody has events
  # () -> (items i32[n], times i64[n]) of consecutive events, sorted by user and
  # by time inside a user. Items are 1..I of `item_ids`, of which some may have
  # no events; times are seconds from 0 on.
  pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
  user_ids: np.ndarray  # external ids [U], ascending
  item_ids: np.ndarray  # external ids [I], ascending


def write(
  log: Log,
  split: splits.Rule,
  out_dir: str,
  *,
  overwrite: bool = False,
  source: str = '',
  options: dict[str, Any] | None = None,
) -> prepared_lib.Prepared:
  """Writes a log, split by a rule of SPLITS, as `prepared.write` does.

  One of the same source and options stays as it is.
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


def _arrays(
  folder: pathlib.Path, log: Log, split: splits.Rule
) -> dict[str, Any]:
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
  split: splits.Rule,
  number: np.ndarray,
) -> None:
  """Numbers the items that occur, and splits."""
  times, count = columns['times'], len(columns['times'])
  cuts = (0, 0)
  if split.name == 'global_time':
    cuts = global_cuts(times, split.shares)
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
  split: splits.Rule,
  cuts: tuple[int, int],
) -> np.ndarray:
  """Split of the events of a piece, i8[n]."""
  if split.name == 'global_time':
    first = cuts[0] if split.validation else None
    return splits.codes_by_time(times, first, cuts[1])
  user = users_of(offsets, piece.start, piece.stop)
  rank = np.arange(piece.start, piece.stop) - offsets[user]
  count = np.diff(offsets)[user]
  if split.name == 'per_user_time':
    return splits.codes_by_rank(rank, count, split.shares, split.validation)
  return splits.last_by_rank(rank, count, split.validation)


def users_of(offsets: np.ndarray, start: int, stop: int) -> np.ndarray:
  """User of events start..stop - 1, i64[stop - start]."""
  first = int(np.searchsorted(offsets, start, side='right')) - 1
  last = int(np.searchsorted(offsets, stop, side='left'))
  borders = np.clip(offsets[first : last + 1], start, stop)
  return np.repeat(np.arange(first, last), np.diff(borders))


def global_cuts(
  times: np.ndarray, fractions: tuple[float, ...]
) -> tuple[int, int]:
  """The two cuts of `splits.global_time`, without sorting all times.

  Times are i64[N] from 0 on and may be memory-mapped.
  """
  ranks = np.floor(np.cumsum(fractions)[:2] * len(times) + 1e-9).astype(int)
  first, second = (min(rank, len(times) - 1) for rank in ranks.tolist())
  return _time_at(times, first), _time_at(times, second)


def _time_at(times: np.ndarray, rank: int) -> int:
  """The time of a rank, from 0, by counting the digits of times."""
  low, base = 0, 1 << _DIGIT_BITS
  for shift in range(_TIME_BITS - _DIGIT_BITS, -1, -_DIGIT_BITS):
    counts = np.zeros(base, np.int64)
    for start in range(0, len(times), _PIECE):
      digit = (times[start : start + _PIECE] - low) >> shift
      digit = digit[(digit >= 0) & (digit < base)]
      counts += np.bincount(digit, minlength=base)
    below = np.cumsum(counts)
    place = int(np.searchsorted(below, rank, side='right'))
    rank -= int(below[place] - counts[place])
    low += place << shift
  return low
