"""The file of lastfm-1K (Celma): who listened to which track, and when.

Tab-separated lines without a header: user, ISO time, artist id, artist name,
track id, track name. Ids are MusicBrainz ids and often missing; names are free
text that nobody escaped. One line is one play.
"""

import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import feature_files
from twotsrec.data import raw_rows
from twotsrec.data import tables

FOLDER = 'lastfm-dataset-1K'
FILE = 'userid-timestamp-artid-artname-traid-traname.tsv'
COLUMNS = ('user', 'time', 'artist_id', 'artist', 'track_id', 'track')
VARIANTS = ('jodie_1month', 'jodie_all', 'full_artists', 'full_tracks')
TOP_TRACKS = 1000
NAMELESS = 'neither an id nor a name of the item'
OTHER_MONTH = 'play of another month than the busiest'
RARE = f'track not among the {TOP_TRACKS:,} most played'
_LONGEST = 64  # of an id made of names
_SEPARATOR = ' - '


class _Plays(NamedTuple):
  """Good plays; ids are numbers in order of first appearance.

  Attributes:
    user: i64[N].
    item: i64[N].
    time: i64[N] Unix seconds.
    users: name -> number.
    items: name -> number.
    artists: item -> artist where it first appeared, in order of the numbers.
    rows_read: N and the dropped rows.
    dropped: cause -> rows.
  """

  user: np.ndarray
  item: np.ndarray
  time: np.ndarray
  users: dict[str, int]
  items: dict[str, int]
  artists: dict[str, str]
  rows_read: int
  dropped: raw_rows.Dropped


def load(
  data_root: str,
  variant: str = 'jodie_1month',
  block_bytes: int = 1 << 22,
) -> raw_rows.Raw:
  """Reads plays; besides the columns no more than a block is in memory.

  An item without an id is known by its name ('name:...'), a track by the names
  of artist and track. Lines that are not UTF-8 are read as Latin-1.

  Args:
    data_root: folder that holds lastfm-dataset-1K, or that folder.
    variant: 'jodie_1month', plays of the busiest calendar month (UTC) of its
      `TOP_TRACKS` most played tracks, as JODIE describes its file; 'jodie_all',
      the same of all months: JODIE's file has some 1.3 million plays, more than
      a month of this log can have; 'full_artists', items are artists;
      'full_tracks', items are tracks and their artist is a feature.
    block_bytes: of the file, read at once.
  """
  if variant not in VARIANTS:
    raise types.UserError(
      f'lastfm variant is {variant!r}; allowed are ' + ', '.join(VARIANTS)
    )
  path = raw_rows.find(data_root, FOLDER, FILE)
  plays = _read(path, variant == 'full_artists', block_bytes)
  if variant.startswith('jodie'):
    plays = _jodie(plays, one_month=variant == 'jodie_1month')
  return _raw(path, plays, with_artists=variant != 'full_artists')


def _read(path: pathlib.Path, of_artists: bool, block_bytes: int) -> _Plays:
  blocks = delimited.read(
    path,
    COLUMNS,
    delimiter='\t',
    column_names=COLUMNS,
    block_bytes=block_bytes,
    as_it_is=True,
  )
  parsers = {'user': cells.parse_texts, 'time': cells.parse_times} | {
    name: _parse_any for name in COLUMNS[2:]
  }
  users, items, artists, dropped, rows_read = {}, {}, {}, {}, 0
  columns = {'user': [], 'item': [], 'time': []}
  for rows in raw_rows.parse(blocks, parsers):
    artist = _names(rows.columns['artist_id'], rows.columns['artist'])
    item = artist if of_artists else _tracks(rows.columns, artist)
    nameless = np.array([not name for name in item], bool)
    columns_of_rows = {
      'user': rows.columns['user'],
      'time': rows.columns['time'],
    }
    rows = raw_rows.drop(
      rows._replace(columns=columns_of_rows), nameless, NAMELESS
    )
    rows_read += rows.rows_read
    dropped = raw_rows.add(dropped, rows.dropped)
    named = [pair for pair in zip(item, artist) if pair[0]]
    for name, by in named:
      artists.setdefault(name, by)
    columns['user'].append(_numbers(users, rows.columns['user'].tolist()))
    columns['item'].append(_numbers(items, [name for name, _ in named]))
    columns['time'].append(rows.columns['time'])
  return _Plays(
    **{name: np.concatenate(parts) for name, parts in columns.items()},
    users=users,
    items=items,
    artists=artists,
    rows_read=rows_read,
    dropped=dropped,
  )


def _parse_any(raw: cells.Cells | cells.Typed) -> cells.Parsed:
  """Text of any length, also none; object[R]."""
  strings = np.array([text.strip() for text in cells.texts(raw)], object)
  return cells.Parsed(strings, np.zeros(len(strings), np.uint8))


def _names(ids: np.ndarray, names: np.ndarray) -> list[str]:
  """Ids; 'name:...' where one is missing, '' without a name as well."""
  return [
    known or (_shortened(f'name:{name}') if name else '')
    for known, name in zip(ids, names)
  ]


def _tracks(columns: dict[str, np.ndarray], artist: list[str]) -> list[str]:
  """Track ids; else the names of artist and track."""
  spoken = [
    f'{by or who}{_SEPARATOR}{title}' if title else ''
    for by, who, title in zip(columns['artist'], artist, columns['track'])
  ]
  return _names(columns['track_id'], spoken)


def _shortened(name: str) -> str:
  """An id of bounded length; a unicode array is as wide as its longest."""
  if len(name) <= _LONGEST:
    return name
  digest = hashlib.sha256(name.encode()).hexdigest()[:16]
  return f'{name[: _LONGEST - 17]}#{digest}'


def _numbers(known: dict[str, int], names: list[str]) -> np.ndarray:
  """Numbers of names, i64[R]; a new name gets the next and is added."""
  return np.array(
    [known.setdefault(name, len(known)) for name in names], np.int64
  )


def _jodie(plays: _Plays, one_month: bool) -> _Plays:
  """Plays of the most played tracks, of all months or of the busiest."""
  if one_month and len(plays.time):
    months = plays.time.astype('datetime64[s]').astype('datetime64[M]')
    distinct, month, count = np.unique(
      months, return_inverse=True, return_counts=True
    )
    plays = _kept(plays, month.reshape(-1) == np.argmax(count), OTHER_MONTH)
  count = np.bincount(plays.item, minlength=len(plays.items))
  # By alphabet where tracks are played equally often.
  by_name = np.argsort(np.array(list(plays.items), object), kind='stable')
  ranked = by_name[np.argsort(-count[by_name], kind='stable')]
  top = np.zeros(len(count), bool)
  top[ranked[:TOP_TRACKS]] = True
  return _kept(plays, top[plays.item], RARE)


def _kept(plays: _Plays, kept: np.ndarray, cause: str) -> _Plays:
  gone = int(np.sum(~kept))
  return plays._replace(
    user=plays.user[kept],
    item=plays.item[kept],
    time=plays.time[kept],
    dropped=raw_rows.add(
      plays.dropped, {cause: tables.Dropped(gone, ())} if gone else {}
    ),
  )


def _raw(path: pathlib.Path, plays: _Plays, with_artists: bool) -> raw_rows.Raw:
  """Numbers in the order of names, so that external ids ascend."""
  user_names, user_rank = _ranked(plays.users)
  item_names, item_rank = _ranked(plays.items)
  table = raw_rows.table(
    path,
    plays.rows_read,
    plays.dropped,
    user=user_rank[plays.user],
    item=item_rank[plays.item],
    time=plays.time,
  )
  raw = raw_rows.Raw(table, None, user_names, item_names)
  if not with_artists:
    return raw
  used = np.unique(table.item)
  artist = np.array(list(plays.artists.values()))[np.argsort(item_rank)]
  features = feature_files.Rows(
    items=item_names[used],
    categorical={'artist': artist[used]},
    multivalued={},
    dense={},
    path=str(path),
  )
  return raw._replace(features=features)


def _ranked(numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
  """Names ascending, and the place of every number among them."""
  names, rank = np.unique(np.array(list(numbers), str), return_inverse=True)
  return names, rank.reshape(-1)
