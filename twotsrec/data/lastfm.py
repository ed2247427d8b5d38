"""The file of lastfm-1K (Celma): who listened to which track, and when.

Tab-separated lines without a header: user, ISO time, artist id, artist name,
track id, track name. Ids are MusicBrainz ids and often missing; names are free
text that nobody escaped. One line is one play.
"""

import hashlib
import pathlib
from typing import NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import feature_files
from twotsrec.data import ids
from twotsrec.data import raw_rows
from twotsrec.data import rows as rows_lib

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
# What `str.strip` takes off; polars knows a few less.
_SPACES = ''.join(filter(str.isspace, map(chr, range(0x3001))))


class _Plays(NamedTuple):
  """Good plays.

  Attributes:
    rows: user and item are numbers in order of first appearance, i64[N]; time
      is i64[N] Unix seconds.
    users: name -> number.
    items: name -> number.
    artists: item -> artist where it first appeared, in order of the numbers.
  """

  rows: rows_lib.Rows
  users: dict[str, int]
  items: dict[str, int]
  artists: dict[str, str]


def load(
  data_root: str,
  variant: str = 'jodie_1month',
  block_bytes: int = 1 << 25,
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
  parsers = {name: (name, cells.parse_any) for name in COLUMNS}
  parsers['user'] = ('user', cells.parse_texts)
  parsers['time'] = ('time', cells.parse_times)
  users, items, artists, parts = {}, {}, {}, []
  for block in blocks:
    rows = rows_lib.parse(block, parsers)
    names = polars.DataFrame(
      {name: rows.columns[name] for name in COLUMNS if name != 'time'}
    )
    names = names.with_columns(polars.col(COLUMNS[2:]).str.strip_chars(_SPACES))
    names = names.select(
      'user', _artist().alias('artist'), _track().alias('item')
    )
    if of_artists:
      names = names.with_columns(item='artist')
    rows = rows._replace(columns={'time': rows.columns['time']})
    named = (names['item'] != '').to_numpy()
    rows = rows_lib.drop(rows, ~named, NAMELESS)
    names = names.filter(named)
    # The first artist of an item stays, in this block and over all blocks.
    first = names.unique('item', keep='first', maintain_order=True)
    for item, artist in first.select('item', 'artist').rows():
      artists.setdefault(item, artist)
    columns = {
      'user': _numbers(users, names['user']),
      'item': _numbers(items, names['item']),
    }
    parts.append(rows._replace(columns={**rows.columns, **columns}))
  return _Plays(rows_lib.join(parts), users, items, artists)


def _artist() -> polars.Expr:
  """Artist ids; 'name:...' where one is missing, '' without a name as well."""
  return _id_or_name(polars.col('artist_id'), polars.col('artist'))


def _track() -> polars.Expr:
  """Track ids; else the names of artist and track."""
  by, title = polars.col('artist'), polars.col('track')
  who = polars.when(by != '').then(by).otherwise(_artist())
  spoken = polars.when(title != '').then(who + _SEPARATOR + title)
  return _id_or_name(polars.col('track_id'), spoken.otherwise(polars.lit('')))


def _id_or_name(external: polars.Expr, name: polars.Expr) -> polars.Expr:
  spoken = ('name:' + name).map_batches(_shortened)
  named = polars.when(name != '').then(spoken).otherwise(polars.lit(''))
  return polars.when(external != '').then(external).otherwise(named)


def _shortened(names: polars.Series) -> polars.Series:
  """Ids of bounded length; a unicode array is as wide as its longest."""
  long = names.filter(names.str.len_chars() > _LONGEST).unique().to_list()
  digests = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in long]
  short = [
    f'{name[: _LONGEST - 17]}#{digest}' for name, digest in zip(long, digests)
  ]
  return names.replace(long, short) if long else names


def _numbers(numbers: dict[str, int], names: polars.Series) -> np.ndarray:
  """Numbers of names, i64[R]; a new name gets the next and is added."""
  distinct = names.unique(maintain_order=True).to_list()
  codes = [numbers.setdefault(name, len(numbers)) for name in distinct]
  return names.replace_strict(
    distinct, codes, return_dtype=polars.Int64
  ).to_numpy()


def _jodie(plays: _Plays, one_month: bool) -> _Plays:
  """Plays of the most played tracks, of all months or of the busiest."""
  time = plays.rows.columns['time']
  if one_month and len(time):
    months = time.astype('datetime64[s]').astype('datetime64[M]')
    distinct, month, count = np.unique(
      months, return_inverse=True, return_counts=True
    )
    plays = _without(plays, month.reshape(-1) != np.argmax(count), OTHER_MONTH)
  item = plays.rows.columns['item']
  count = np.bincount(item, minlength=len(plays.items))
  # By alphabet where tracks are played equally often.
  by_name = np.argsort(np.array(list(plays.items), object), kind='stable')
  ranked = by_name[np.argsort(-count[by_name], kind='stable')]
  top = np.zeros(len(count), bool)
  top[ranked[:TOP_TRACKS]] = True
  return _without(plays, ~top[item], RARE)


def _without(plays: _Plays, gone: np.ndarray, cause: str) -> _Plays:
  """The plays but some, left out by intent; their lines say nothing."""
  rows = rows_lib.drop(plays.rows, gone, cause)
  dropped = {**rows.dropped}
  if cause in dropped:
    dropped[cause] = dropped[cause]._replace(first_lines=())
  return plays._replace(rows=rows._replace(dropped=dropped))


def _raw(path: pathlib.Path, plays: _Plays, with_artists: bool) -> raw_rows.Raw:
  """Users and items in the order of their names."""
  columns = plays.rows.columns
  item_names, item_rank = _ranked(plays.items)
  items = ids.Texts(item_names, item_rank[columns['item']])
  user_names, user_rank = _ranked(plays.users)
  table = raw_rows.table(
    path,
    plays.rows,
    user=ids.Texts(user_names, user_rank[columns['user']]),
    item=items,
    time=columns['time'],
  )
  if not with_artists:
    return raw_rows.Raw(table)
  used, _ = ids.number(items.codes)
  artist = np.array(list(plays.artists.values()))[np.argsort(item_rank)]
  features = feature_files.Rows(
    items=item_names[used],
    categorical={'artist': artist[used]},
    path=str(path),
  )
  return raw_rows.Raw(table, features)


def _ranked(numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
  """Names ascending, and the place of every number among them, i32."""
  names, rank = np.unique(np.array(list(numbers), str), return_inverse=True)
  return names, rank.reshape(-1).astype(np.int32)
