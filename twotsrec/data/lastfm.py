"""The file of lastfm-1K (Celma): who listened to which track, and when.

Tab-separated lines without a header: user, ISO time, artist id, artist name,
track id, track name. Ids are MusicBrainz ids and often missing; names are free
text that nobody escaped. One line is one play.
"""

import hashlib
import pathlib

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import delimited
from twotsrec.data import feature_files
from twotsrec.data import ids
from twotsrec.data import raw_rows
from twotsrec.data import rows as rows_lib
from twotsrec.data import times

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
  rows = _read(path, variant == 'full_artists', block_bytes)
  _, first = np.unique(rows.columns['item'].codes, return_index=True)
  artists = np.array(rows.columns['artist'][first].tolist())
  if variant.startswith('jodie'):
    rows = _jodie(rows, one_month=variant == 'jodie_1month')
  columns = {name: rows.columns[name] for name in ('user', 'item', 'time')}
  table = raw_rows.table(path, rows, **columns)
  if variant == 'full_artists':
    return raw_rows.Raw(table)
  used, _ = ids.number(columns['item'].codes)
  features = feature_files.Rows(
    items=columns['item'].names[used],
    categorical={'artist': artists[used]},
    path=str(path),
  )
  return raw_rows.Raw(table, features)


def _read(
  path: pathlib.Path, of_artists: bool, block_bytes: int
) -> rows_lib.Rows:
  """Good plays: time i64[N], and texts of user, item and artist."""
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
  parsers['time'] = ('time', times.parse)
  parts = []
  for block in blocks:
    rows = rows_lib.parse(block, parsers)
    texts = {n: c for n, c in rows.columns.items() if n != 'time'}
    names = polars.DataFrame(texts)
    names = names.with_columns(polars.col(COLUMNS[2:]).str.strip_chars(_SPACES))
    item = _artist() if of_artists else _track()
    names = names.select('user', artist=_artist(), item=item)
    nameless = (names['item'] == '').to_numpy()
    # Categories hold a text once, whatever the number of blocks.
    columns = names.cast(polars.Categorical).to_dict()
    columns = {'time': rows.columns['time'], **columns}
    rows = rows._replace(columns=columns)
    parts.append(rows_lib.drop(rows, nameless, NAMELESS))
  rows = rows_lib.join(parts)
  texts = {n: ids.texts(rows.columns[n]) for n in ('user', 'item', 'artist')}
  return rows._replace(columns={**rows.columns, **texts})


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


def _jodie(rows: rows_lib.Rows, one_month: bool) -> rows_lib.Rows:
  """Plays of the most played tracks, of all months or of the busiest."""
  time = rows.columns['time']
  if one_month and len(time):
    months = time.astype('datetime64[s]').astype('datetime64[M]')
    _, month, count = np.unique(months, return_inverse=True, return_counts=True)
    rows = _without(rows, month.reshape(-1) != np.argmax(count), OTHER_MONTH)
  item = rows.columns['item'].codes
  count = np.bincount(item, minlength=item.max(initial=0) + 1)
  # By alphabet where tracks are played equally often.
  ranked = np.argsort(-count, kind='stable')
  return _without(rows, ~np.isin(item, ranked[:TOP_TRACKS]), RARE)


def _without(
  rows: rows_lib.Rows, gone: np.ndarray, cause: str
) -> rows_lib.Rows:
  """The plays but some, left out by intent; their lines say nothing."""
  rows = rows_lib.drop(rows, gone, cause)
  dropped = {**rows.dropped}
  if cause in dropped:
    dropped[cause] = dropped[cause]._replace(first_lines=())
  return rows._replace(dropped=dropped)
