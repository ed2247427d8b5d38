import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import lastfm

ID = '{:08x}-0000-4000-8000-000000000000'.format
# user, time, artist id, artist, track id, track
PLAYS = [
  ('u2', '2009-05-04T23:08:57Z', ID(1), 'Deep "Dish', ID(11), 'Flash "12'),
  ('u2', '2009-05-04T13:54:10Z', ID(1), 'Deep "Dish', '', 'Mix'),
  ('u1', '2009-05-04T13:52:04Z', '', 'Björk', '', 'Jóga'),
  ('u1', '2009-04-01T00:00:00Z', '', 'Björk', ID(12), 'Hunter'),
  ('u1', '2009-03-01T00:00:00Z', '', 'Other', ID(12), 'Hunter'),
]


def write(folder, plays, encoding='utf-8', extra=b''):
  lines = ['\t'.join(play) + '\n' for play in plays]
  content = ''.join(lines).encode(encoding) + extra
  (folder / lastfm.FILE).write_bytes(content)
  return str(folder)


def events(raw):
  """(user, item, time)."""
  columns = raw.table.user, raw.table.item, raw.table.time
  return list(zip(*(column.tolist() for column in columns), strict=True))


def seconds(text):
  return int(np.datetime64(text.removesuffix('Z'), 's').astype(np.int64))


@pytest.mark.parametrize('encoding', ['utf-8', 'latin-1'])
@pytest.mark.parametrize('block_bytes', [1, 100, 1 << 20])
def test_tracks_are_known_by_id_or_by_names(tmp_path, encoding, block_bytes):
  root = write(tmp_path, PLAYS, encoding)
  raw = lastfm.load(root, 'full_tracks', block_bytes)
  tracks = [
    ID(11),
    'name:Deep "Dish - Mix',
    'name:Björk - Jóga',
    ID(12),
    ID(12),
  ]
  assert events(raw) == [
    (play[0], track, seconds(play[1]))
    for play, track in zip(PLAYS, tracks, strict=True)
  ]
  assert raw.table.item.names.tolist() == sorted(set(tracks))
  by_track = dict(
    zip(
      raw.features.items.tolist(),
      raw.features.categorical['artist'].tolist(),
      strict=True,
    )
  )
  assert by_track == {
    ID(11): ID(1),
    'name:Deep "Dish - Mix': ID(1),
    'name:Björk - Jóga': 'name:Björk',
    ID(12): 'name:Björk',  # where it first appeared
  }


def test_artists_are_items_without_a_feature(tmp_path):
  raw = lastfm.load(write(tmp_path, PLAYS), 'full_artists')
  artists = [ID(1), ID(1), 'name:Björk', 'name:Björk', 'name:Other']
  assert [item for _, item, _ in events(raw)] == artists
  assert raw.features is None


def test_bad_lines_are_counted_by_cause(tmp_path):
  bad = [
    ('u1', 'yesterday', ID(1), 'A', ID(2), 'B'),
    ('', '2009-05-04T23:08:57Z', ID(1), 'A', ID(2), 'B'),
    ('u1', '2009-05-04T23:08:57Z', '', '', '', ''),
  ]
  extra = b'u1\t2009-05-04T23:08:57Z\ta\tb\tc\td\te\n'
  raw = lastfm.load(write(tmp_path, [*PLAYS, *bad], extra=extra), 'full_tracks')
  assert {cause: rows.rows for cause, rows in raw.table.dropped.items()} == {
    'time is not a time': 1,
    'user is empty': 1,
    lastfm.NAMELESS: 1,
    'wrong number of fields': 1,
  }
  assert len(raw.table.user) + 4 == raw.table.rows_read


def plays_of(month, track, times):
  return [
    ('u', f'2008-{month:02d}-{day + 1:02d}T00:00:00Z', '', 'A', '', track)
    for day in range(times)
  ]


def test_the_small_variants_keep_the_most_played_tracks(tmp_path, monkeypatch):
  monkeypatch.setattr(lastfm, 'TOP_TRACKS', 2)
  plays = (
    plays_of(1, 'x', 5)
    + plays_of(2, 'y', 3)
    + plays_of(2, 'z', 2)
    + plays_of(2, 'b', 1)
    + plays_of(3, 'z', 1)
  )
  root = write(tmp_path, plays)
  # February has six plays.
  month = lastfm.load(root)
  assert {item for _, item, _ in events(month)} == {'name:A - y', 'name:A - z'}
  assert len(month.table.user) == 5
  assert month.table.dropped[lastfm.OTHER_MONTH].rows == 6
  # Over all months y and z are played equally often, so the alphabet decides.
  whole = lastfm.load(root, 'jodie_all')
  assert {item for _, item, _ in events(whole)} == {'name:A - x', 'name:A - y'}
  assert len(whole.table.user) == 8
  assert whole.features.items.tolist() == ['name:A - x', 'name:A - y']


def test_long_names_stay_different_and_bounded(tmp_path):
  long = 'x' * 500
  plays = [
    ('u', '2009-05-04T23:08:57Z', '', 'A', '', long + end) for end in 'abc'
  ]
  raw = lastfm.load(write(tmp_path, plays), 'full_tracks')
  assert len(raw.table.item.names) == 3
  assert max(map(len, raw.table.item.names.tolist())) <= 64


def test_an_unknown_variant_lists_the_known(tmp_path):
  with pytest.raises(types.UserError, match='allowed are jodie_1month, jodie'):
    lastfm.load(str(tmp_path), 'all')
