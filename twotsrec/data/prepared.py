"""Prepared data: one directory of arrays and a manifest, memory-mapped.

Events are sorted by user, so one user's events are a slice, and the history of
an event is the part of that slice before it: nothing is ever expanded to
[events, L]. The directory holds one `.npy` file per array and `manifest.json`
with counts, options and digests; nothing in it depends on the clock or the
machine, so preparing twice gives identical bytes.
"""

from collections.abc import Callable
import functools
import hashlib
import pathlib
from typing import Any, NamedTuple

import chex
import numpy as np

from twotsrec import types
from twotsrec.data import directories

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = ('train', 'validation', 'test')
EARLIER, FIXED = 'earlier', 'fixed'
VERSION = 1
MANIFEST = 'manifest.json'
# Of `Prepared`, each a file of the directory; the optional ones may lack.
_ARRAYS = ('user_offsets', 'items', 'split', 'user_ids', 'item_ids')
_DISLIKED = ('disliked_offsets', 'disliked_items', 'disliked_times')
_SHOWN = ('shown_offsets', 'shown_items', 'shown_split', 'shown_before')
_OPTIONAL = ('times', 'behaviors', *_DISLIKED, *_SHOWN, 'clicked_before')
# What of the manifest its digest is of.
_IDENTITY = ('arrays', 'behaviors', 'history_rule', 'version')
_PIECE = 1 << 20  # events counted at once
_AGAIN = 'prepare the data again'


class _Arrays(NamedTuple):
  """Interactions of one dataset, ready to train on."""

  user_offsets: np.ndarray  # i64[U + 1]; of user u user_offsets[u : u + 2]
  items: np.ndarray  # i32[N], 1..I, sorted by user, split and time in a user
  split: np.ndarray  # i8[N], TRAIN, VALIDATION or TEST; never falls in a user
  times: np.ndarray | None  # i64[N] or f64[N], or None without a time column
  behaviors: np.ndarray | None  # i8[N], of manifest['behaviors'], or None
  user_ids: np.ndarray  # external ids, i64[U] or unicode [U], ascending
  item_ids: np.ndarray  # external ids [I], ascending; item i is item_ids[i - 1]
  manifest: dict[str, Any]  # counts, options, digests and the history rule
  path: str = ''  # the directory, '' for data that was never saved
  # Items that users rated too low for an event, and that they have in no other:
  # those of user u are disliked_items[disliked_offsets[u : u + 2]], ascending.
  disliked_offsets: np.ndarray | None = None  # i64[U + 1], or None
  disliked_items: np.ndarray | None = None  # i32[M], 1..I, or None
  # [M], when they first did, as `times`; None unless they are trained against.
  disliked_times: np.ndarray | None = None
  # With labels (`data.impressions`): what was shown and not clicked, by user as
  # events, and clicks of the user before each of it and before each click.
  shown_offsets: np.ndarray | None = None  # i64[U + 1]
  shown_items: np.ndarray | None = None  # i32[M], 1..I
  shown_split: np.ndarray | None = None  # i8[M]
  shown_before: np.ndarray | None = None  # i32[M]
  clicked_before: np.ndarray | None = None  # i32[N]


class Prepared(_Arrays):
  """`_Arrays` with what follows from them."""

  @functools.cached_property
  def event_users(self) -> np.ndarray:
    """User of every event, i32[N]; made once, as all parts of a run read it."""
    counts = np.diff(self.user_offsets)
    users = np.repeat(np.arange(self.num_users, dtype=np.int32), counts)
    users.flags.writeable = False
    return users

  @functools.cached_property
  def known(self) -> np.ndarray:
    """Held-out events of items that stand in their history, bool[N].

    By any behavior; the history is that of `targets`.
    """
    return _in_history(self, slice(None))

  @functools.cached_property
  def again(self) -> np.ndarray:
    """The same by the target behavior, which is the last of them, bool[N]."""
    if self.behaviors is None:
      return self.known
    last = len(self.manifest['behaviors']) - 1
    return _in_history(self, np.asarray(self.behaviors) == last)

  @property
  def num_users(self) -> int:
    """U."""
    return len(self.user_ids)

  @property
  def num_items(self) -> int:
    """I."""
    return len(self.item_ids)

  @property
  def num_events(self) -> int:
    """N."""
    return len(self.items)


class Targets(NamedTuple):
  """Events to predict, each with the slice that is its history."""

  event: np.ndarray  # i64[T], index into `items`, ascending
  user: np.ndarray  # i32[T]
  item: np.ndarray  # i32[T], 1..I
  # i64[T]; the history is items[user_offsets[user] : end].
  history_end: np.ndarray


class SeenItems(NamedTuple):
  """Sorted distinct items per user: items[offsets[u] : offsets[u + 1]]."""

  offsets: np.ndarray  # i64[U + 1]
  items: np.ndarray  # i32[M], 1..I

  @property
  def users(self) -> np.ndarray:
    """User of every item, i32[M]."""
    counts = np.diff(self.offsets)
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)

  def numbers(self, num_items: int) -> np.ndarray:
    """`pairs` of the users and their items, i64[M], ascending."""
    return pairs(self.users, self.items, num_items)


def build(
  user: np.ndarray,
  item: np.ndarray,
  split: np.ndarray,
  *,
  user_ids: np.ndarray,
  item_ids: np.ndarray,
  times: np.ndarray | None = None,
  behaviors: np.ndarray | None = None,
  disliked: Any = None,
  shown: dict[str, Any] | None = None,
  **facts: Any,
) -> Prepared:
  """Prepared data in memory, with path ''.

  `disliked` has pairs of user i32[M] and item i32[M], in any order, and their
  time [M] or None; or is None. `shown` has the arrays of what was not clicked.

  Events are sorted by user i32[N], 0..U-1, and by split inside a user. See
  `_Arrays` for the other columns and `assemble` for the facts.
  """
  chex.assert_equal_shape([user, item, split])
  if len(user) == 0:
    raise types.UserError('no interactions to prepare; give some')
  user_order = np.diff(user)
  if np.any(user_order < 0) or np.any((user_order == 0) & (np.diff(split) < 0)):
    raise ValueError('events must be sorted by (user, split)')
  offsets = np.searchsorted(user, np.arange(len(user_ids) + 1))
  arrays = {
    'user_offsets': offsets.astype(np.int64),
    'items': np.asarray(item, np.int32),
    'split': np.asarray(split, np.int8),
    'times': times,
    'behaviors': None if behaviors is None else np.asarray(behaviors, np.int8),
    'user_ids': user_ids,
    'item_ids': item_ids,
  }
  if disliked is not None:
    arrays |= _disliked(disliked, pairs(user, item, len(item_ids)), arrays)
  arrays |= shown or {}
  return assemble(arrays, **facts)


def _disliked(low, events, arrays) -> dict[str, np.ndarray]:
  """Arrays of what has no event, the first of each pair; {} of none."""
  num_users, num_items = len(arrays['user_ids']), len(arrays['item_ids'])
  numbers = pairs(low.user, low.item, num_items)
  order = np.arange(len(numbers))
  if low.time is not None:
    order = np.argsort(low.time, kind='stable')
  distinct, first = np.unique(numbers[order], return_index=True)
  left = ~np.isin(distinct, events)
  if not np.any(left):
    return {}
  columns = [*items_of_pairs(distinct[left], num_users, num_items)]
  if low.time is not None:
    columns.append(low.time[order][first[left]])
  return dict(zip(_DISLIKED, columns))


def assemble(
  arrays: dict[str, Any],
  *,
  behavior_names: tuple[str, ...] = (),
  history_rule: str = EARLIER,
  source: str = '',
  options: dict[str, Any] | None = None,
  report: dict[str, Any] | None = None,
) -> Prepared:
  """Prepared data of finished arrays, which may be memory-mapped.

  Args:
    arrays: those of `Prepared` by name.
    behavior_names: names, the target behavior last.
    history_rule: EARLIER, every earlier event of the user is history; FIXED,
      the history of a held-out event ends where its split begins, because the
      order inside a given split means nothing.
    source: name shown in reports.
    options: how the data were made, JSON values.
    report: rows read and dropped, JSON values.
  """
  identity = {
    'arrays': {
      name: directories.describe(array)
      for name, array in arrays.items()
      if array is not None
    },
    'behaviors': list(behavior_names),
    'history_rule': history_rule,
    'version': VERSION,
  }
  per_split = split_counts(arrays['split']).tolist()
  manifest = {
    **identity,
    'digest': _digest(identity),
    'source': source,
    'counts': {
      'users': len(arrays['user_ids']),
      'items': len(arrays['item_ids']),
      'events': len(arrays['items']),
      **dict(zip(SPLITS, per_split, strict=True)),
    },
    'options': options or {},
    'report': report or {},
  }
  return Prepared(**arrays, manifest=manifest)


def _digest(identity: dict[str, Any]) -> str:
  content = {name: identity[name] for name in _IDENTITY}
  return hashlib.sha256(directories.json_bytes(content)).hexdigest()


def split_counts(split: np.ndarray) -> np.ndarray:
  """Events of train, validation and test, i64[3], counted in pieces."""
  counts = np.zeros(len(SPLITS), np.int64)
  for start in range(0, len(split), _PIECE):
    piece = split[start : start + _PIECE]
    counts += np.bincount(piece, minlength=len(SPLITS))
  return counts


def targets(data: Prepared, split: int) -> Targets:
  """Events of a split to predict.

  For TRAIN these are the train positives: train events with at least one
  earlier event of the same user (a first event has no history to learn from).
  For the held-out splits they are all events, with or without a history.
  """
  user = data.event_users
  chosen = np.asarray(data.split) == split
  start = np.asarray(data.user_offsets)[user]
  if split == TRAIN:
    chosen &= np.arange(data.num_events) > start
  event = np.flatnonzero(chosen)
  history_end = event
  if split != TRAIN and data.manifest['history_rule'] == FIXED:
    earlier_events = np.bincount(
      user[np.asarray(data.split) < split], minlength=data.num_users
    )
    history_end = start[event] + earlier_events[user[event]]
  return Targets(
    event=event.astype(np.int64),
    user=user[event],
    item=np.asarray(data.items)[event],
    history_end=history_end.astype(np.int64),
  )


def _in_history(data: Prepared, among: Any) -> np.ndarray:
  """Held-out events whose item the chosen events of their history have."""
  user, items = data.event_users, np.asarray(data.items)
  of_user = np.zeros(data.num_users, bool)
  of_user[user[np.asarray(data.split) != TRAIN]] = True
  number = lambda rows: pairs(user[rows], items[rows], data.num_items)
  # In the order of events, so that the first of a pair stands first.
  own = np.arange(data.num_events)[among]
  own = own[of_user[user[own]]]
  distinct, first = np.unique(number(own), return_index=True)
  found = np.zeros(data.num_events, np.bool_)
  for split in (VALIDATION, TEST) if own.size else ():
    held = targets(data, split)
    wanted = number(held.event)
    place = np.searchsorted(distinct, wanted)
    place = np.minimum(place, distinct.size - 1)
    before = own[first[place]] < held.history_end
    found[held.event] = (distinct[place] == wanted) & before
  found.flags.writeable = False
  return found


def train_counts(data: Prepared) -> np.ndarray:
  """Training events of each user, i64[U]."""
  users = data.event_users[np.asarray(data.split) == TRAIN]
  return np.bincount(users, minlength=data.num_users)


def seen_items(data: Prepared, exclude: str = 'all') -> SeenItems:
  """Distinct items of every user's events: 'all', or those of 'train' only.

  Items that the user rated too low for an event are among them.
  """
  if exclude not in ('all', 'train'):
    raise types.UserError(f'exclude is {exclude!r}; allowed are all and train')
  chosen = slice(None) if exclude == 'all' else np.asarray(data.split) == TRAIN
  return with_disliked(data, distinct_items(data, chosen))


def with_disliked(data: Prepared, items: SeenItems) -> SeenItems:
  """Items of users, and those that they rated too low for an event."""
  if data.disliked_offsets is None or data.disliked_items is None:
    return items
  low = SeenItems(data.disliked_offsets, data.disliked_items)
  return joined(items, low, data.num_items)


def joined(first: SeenItems, second: SeenItems, num_items: int) -> SeenItems:
  """Items that are in either of two."""
  both = np.union1d(first.numbers(num_items), second.numbers(num_items))
  return items_of_pairs(both, len(first.offsets) - 1, num_items)


def pairs(user: np.ndarray, item: np.ndarray, num_items: int) -> np.ndarray:
  """One number for every pair of user and item, i64[M]."""
  return np.asarray(user, np.int64) * (num_items + 1) + np.asarray(item)


def distinct_items(data: Prepared, chosen: Any) -> SeenItems:
  """Distinct items of every user's events in `chosen`, bool[N] or a slice."""
  user, items = data.event_users[chosen], np.asarray(data.items)[chosen]
  # Sorting and comparing neighbors is several times faster than np.unique.
  numbers = np.sort(pairs(user, items, data.num_items))
  numbers = numbers[np.diff(numbers, prepend=-1) > 0]
  return items_of_pairs(numbers, data.num_users, data.num_items)


def items_of_pairs(
  pairs: np.ndarray, num_users: int, num_items: int
) -> SeenItems:
  """Items by user of ascending numbers user * (I + 1) + item, i64[M]."""
  width = num_items + 1
  borders = np.arange(num_users + 1, dtype=np.int64) * width
  return SeenItems(
    offsets=np.searchsorted(pairs, borders).astype(np.int64),
    items=(pairs % width).astype(np.int32),
  )


def save(data: Prepared, out_dir: str, overwrite: bool = False) -> Prepared:
  """Writes data from `build` or `load`, see `write`; returns them mapped."""
  return write(
    out_dir,
    functools.partial(fill, data),
    lambda manifest: manifest['digest'] == data.manifest['digest'],
    overwrite,
  )


def write(
  out_dir: str,
  fill: Callable[[pathlib.Path], None],
  holds: Callable[[dict[str, Any]], bool],
  overwrite: bool = False,
) -> Prepared:
  """Makes a prepared directory by `fill`, and returns it memory-mapped.

  An existing one is kept if its manifest is of the same data, as `holds` says,
  replaced if it is a prepared directory and `overwrite` is set, and otherwise
  an error.
  """
  target = pathlib.Path(out_dir)
  try:
    if not _holds(target, holds, overwrite):
      directories.write(target, fill)
  except OSError as error:
    # Another process may have prepared the same data in the meantime.
    if not _holds(target, holds, overwrite):
      raise directories.cannot_write(target, error) from error
  return load(out_dir)


def fill(data: Prepared, folder: pathlib.Path) -> None:
  """Writes the files of prepared data; what is mapped there already stays."""
  arrays = {name: getattr(data, name) for name in (*_ARRAYS, *_OPTIONAL)}
  directories.save(folder, arrays, MANIFEST, data.manifest)


def load(path: str, verify: bool = False, again: str = _AGAIN) -> Prepared:
  """Memory-maps a prepared directory.

  With `verify` all of it is read, and refused unless it is what was written;
  `again` tells how to make it again.
  """
  file = pathlib.Path(path) / MANIFEST
  try:
    manifest, arrays = directories.load(
      file, VERSION, ('digest', *_IDENTITY), again, verify
    )
  except FileNotFoundError as error:
    way_out = again if again != _AGAIN else 'make one with launch/prepare.py'
    raise types.UserError(
      f'{file.parent} is not a prepared directory (no {MANIFEST}); {way_out}'
    ) from error
  if verify and _digest(manifest) != manifest['digest']:
    raise directories.damaged(file, 'its content has changed', again)
  for name in _ARRAYS:
    if name not in arrays:
      raise directories.damaged(file, f'it does not name {name}', again)
  columns: dict[str, Any] = {**dict.fromkeys(_OPTIONAL), **arrays}
  return Prepared(**columns, manifest=manifest, path=str(path))


def _holds(
  target: pathlib.Path,
  holds: Callable[[dict[str, Any]], bool],
  overwrite: bool,
) -> bool:
  """Whether `target` holds the data already; an error if it must not change."""
  if not directories.holds_data(target):
    return False
  if not (target / MANIFEST).is_file():
    raise types.UserError(
      f'{target} exists and is not a prepared directory; choose another --out'
    )
  try:
    if holds(load(str(target), verify=True).manifest):
      return True
  except types.UserError:
    if not overwrite:
      raise
  if not overwrite:
    raise types.UserError(
      f'{target} holds other prepared data; choose another --out or replace it '
      'with --overwrite'
    )
  return False
