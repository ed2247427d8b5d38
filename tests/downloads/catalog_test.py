"""What the catalog says is shown, and its commands read files as published."""

import gzip
import json
import pathlib
import re
import shlex
import string

import pytest

from tests.downloads import site as site_lib
from tests.downloads import unpacking_test as archives
from tests.launch import scripts
from twotsrec.data import prepared
from twotsrec.data import taobao
from twotsrec.downloads import catalog

CATALOG = {
  name: catalog.of_category(entry, '')
  for name, entry in catalog.CATALOG.items()
}
FETCHED = sorted(name for name, entry in CATALOG.items() if entry.address)
BY_HAND = sorted(set(CATALOG) - set(FETCHED))
USERS, ITEMS = range(1, 5), range(1, 9)
EVENTS = [(user, item) for user in USERS for item in ITEMS]
START = taobao.FIRST


def lines(form, first='') -> bytes:
  rows = (form(user, item, START + 100 * user + item) for user, item in EVENTS)
  return (first + ''.join(row + '\n' for row in rows)).encode()


def rated(between, *first):
  return lines(lambda u, i, t: between.join(map(str, (u, i, 4, t))), *first)


def movielens(name, ratings, content, **others):
  """The archive of GroupLens, which has more files than are read."""
  content = {
    ratings: content,
    'README': b'terms',
    'README.txt': b'terms',
    'links.csv': b'movieId\n1\n',
    **others,
  }
  return lambda path: archives.zipped(
    path, {f'{name}/{file}': data for file, data in content.items()}
  )


def packed(content, opened=gzip.compress):
  return lambda path: path.write_bytes(opened(content))


REVIEW = {
  'reviewerName': 'A, "B"',
  'helpful': [3, 4],
  'reviewText': 'Ünder\n\tit: {"x": 1}',
  'overall': 5.0,
  'summary': 'ok',
  'reviewTime': '01 30, 2014',
}
VIEWS = ('view', 'addtocart', 'transaction')
# What their owners publish, made small: name -> writes the file at a path.
AS_PUBLISHED = {
  'ml-100k': movielens('ml-100k', 'u.data', rated('\t'), **{'u.item': b'1|A'}),
  'ml-1m': movielens('ml-1m', 'ratings.dat', rated('::')),
  'ml-25m': movielens(
    'ml-25m',
    'ratings.csv',
    rated(',', 'userId,movieId,rating,timestamp\n'),
    **{
      'movies.csv': (
        'movieId,title,genres\n'
        + ''.join(f'{i},"A, the (19{i}0)",Drama|War\n' for i in ITEMS)
      ).encode(),
      'tags.csv': b'userId,movieId,tag,timestamp\n1,1,"a, b",1\n',
    },
  ),
  'amazon-2014': packed(
    lines(
      lambda u, i, t: json.dumps(
        {
          'reviewerID': f'A{u}',
          'asin': f'00{i}X',
          **REVIEW,
          'unixReviewTime': t // 86400 * 86400,
        }
      )
    )
  ),
  'amazon-2023': packed(
    lines(
      lambda u, i, t: f'A{u}_Z,B0{i},5.0,{t}123',
      'user_id,parent_asin,rating,timestamp\n',
    )
  ),
  'taobao-userbehavior': lambda path: archives.zipped(
    path,
    {'UserBehavior.csv': lines(lambda u, i, t: f'{u},{i},{i % 3},buy,{t}')},
  ),
  'lastfm-1k': lambda path: archives.tarred(
    path,
    {
      f'lastfm-dataset-1K/{file}': content
      for file, content in {
        'README.txt': b'terms',
        'userid-profile.tsv': b'#id\tgender\n',
        'userid-timestamp-artid-artname-traid-traname.tsv': lines(
          lambda u, i, t: '\t'.join(
            (f'user_00000{u}', f'2009-05-0{u}T23:{i:02}:57Z', '')
            + (f'Björk "{i}', f'id-{i}', 'Jóga')
          )
        ),
      }.items()
    },
  ),
  'retailrocket': packed(
    lines(
      lambda u, i, t: (
        f'{t}000,{u},{VIEWS[i % 3]},{i},{"7" if i % 3 == 2 else ""}'
      ),
      'timestamp,visitorid,event,itemid,transactionid\n',
    ),
    bytes,
  ),
}


def download(capsys, *flags) -> scripts.Ended:
  return scripts.run(capsys, 'download', *flags)


def prepare(capsys, command, out) -> prepared.Prepared:
  """Runs a command as it is printed, but for where it writes to."""
  python, script, *flags = shlex.split(command)
  assert (python, script) == ('python', 'launch/prepare.py')
  *flags, place = flags
  assert place.startswith('--out=data/')
  done = scripts.run(capsys, 'prepare', *flags, f'--out={out}')
  assert (done.code, done.err) == (0, ''), done
  return prepared.load(str(out))


@pytest.fixture
def site(monkeypatch):
  with site_lib.running() as running:
    yield running


def served(site, monkeypatch, tmp_path, name) -> catalog.Entry:
  """The entry of a log, of which the site has a small one, as published."""
  entry = CATALOG[name]
  AS_PUBLISHED[name](tmp_path / entry.file)
  path = f'/published/{entry.file}'
  site.files[path] = (tmp_path / entry.file).read_bytes()
  kinds = [digest.partition(':')[0] for digest in entry.digests]
  source = site.source(path, *kinds)
  entry = entry._replace(
    address=source.address,
    size=len(site.files[path]) if entry.size else 0,
    digests=source.digests,
  )
  monkeypatch.setitem(catalog.CATALOG, name, entry)
  return entry


@pytest.mark.parametrize('name', FETCHED)
def test_a_log_is_fetched_checked_unpacked_and_read(
  name, site, tmp_path, monkeypatch, capsys
):
  entry = served(site, monkeypatch, tmp_path, name)
  out = tmp_path / 'raw files'
  flags = [f'--dataset={name}', f'--out={out}']
  shown = download(capsys, *flags)
  assert shown.code == 0 and 'nothing is fetched; add --accept' in shown.out
  assert entry.terms in shown.out and entry.address in shown.out
  assert site.asked == [] and not out.exists()
  done = download(capsys, *flags, '--accept')
  assert done.code == 0, done
  assert done.out.startswith(shown.out.partition('\n\n')[0])
  assert f'fetched and checked: {out / entry.file}' in done.out
  *_, last = done.out.strip().splitlines()
  commands = re.findall(r'read by   (.*)', done.out)
  assert last == f'read it: {commands[0]}'
  for number, command in enumerate(commands):
    data = prepare(capsys, command, tmp_path / f'prepared{number}')
    counts = data.manifest['counts']
    assert (counts['users'], counts['items']) == (len(USERS), len(ITEMS))
    assert data.num_events == len(EVENTS)


@pytest.mark.parametrize('name', BY_HAND)
def test_a_log_that_is_fetched_by_hand_is_read_as_it_is(name, tmp_path, capsys):
  entry, out = CATALOG[name], tmp_path / 'raw'
  flags = [f'--dataset={name}', f'--out={out}']
  refused = download(capsys, *flags, '--accept')
  assert refused.code == 2 and entry.by_hand in refused.err
  assert entry.page in refused.err and not out.exists()
  shown = download(capsys, *flags)
  assert shown.code == 0 and entry.by_hand in shown.out
  out.mkdir()
  AS_PUBLISHED[name](out / entry.file)
  for number, command in enumerate(re.findall(r'read by   (.*)', shown.out)):
    data = prepare(capsys, command, tmp_path / f'prepared{number}')
    assert data.manifest['counts']['users'] == len(USERS)
    assert data.num_events == len(EVENTS)


def test_the_list_shows_all_and_fetches_nothing(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  done = download(capsys, '--list')
  assert done.code == 0 and not any(tmp_path.iterdir())
  for name, entry in CATALOG.items():
    (own,) = [part for part in done.out.split('\n\n') if part.startswith(name)]
    assert entry.page in own and entry.terms in own
    size = f'{entry.size:,} bytes' if entry.size else entry.about
    assert size in own
    for digest in entry.digests:
      assert digest in own
    assert (catalog.UNPUBLISHED in own) == bool(
      entry.address and not entry.digests
    )


def test_entries_have_the_form_of_what_they_are():
  lengths = {'md5': 32, 'sha256': 64}
  for name, entry in CATALOG.items():
    assert entry.address.startswith('https://') or entry.by_hand, name
    assert entry.page.startswith('https://') and entry.commands and entry.terms
    for digest in entry.digests:
      kind, _, value = digest.partition(':')
      assert len(value) == lengths[kind] and set(value) <= set(string.hexdigits)
      assert entry.digests_by
    assert bool(entry.members) == bool(entry.folder)
    assert pathlib.PurePath(entry.file).name == entry.file
  asked = {'ml-100k', 'ml-1m', 'ml-25m', 'amazon-2014', 'amazon-2023'}
  asked |= {'taobao-userbehavior', 'lastfm-1k', 'retailrocket'}
  assert asked == set(CATALOG)


def test_another_category_has_another_address_and_no_known_checksum(capsys):
  games = CATALOG['amazon-2023']
  books = catalog.of_category(catalog.CATALOG['amazon-2023'], 'Books')
  assert games.digests and not books.digests
  assert books.address == games.address.replace('Video_Games', 'Books')
  assert books.file == 'Books.csv.gz' and 'Books' in books.commands[0]
  done = download(capsys, '--dataset=amazon-2023', '--category=Books')
  assert done.code == 0 and catalog.UNPUBLISHED in done.out
  done = download(capsys, '--dataset=ml-1m', '--category=Books')
  assert done.code == 2 and 'nothing reads it for ml-1m; leave' in done.err
  done = download(capsys, '--list', '--accept')
  assert done.code == 2 and 'nothing reads it beside --list' in done.err


def test_what_fails_is_one_line_and_leaves_the_folder_empty(
  site, tmp_path, monkeypatch, capsys
):
  served(site, monkeypatch, tmp_path, 'ml-100k')
  site.files.clear()
  out = tmp_path / 'raw'
  done = download(capsys, '--dataset=ml-100k', f'--out={out}', '--accept')
  assert done.code == 2 and len(done.err.splitlines()) == 1
  assert done.err.startswith('error: http') and 'answers 404' in done.err
  assert list(out.iterdir()) == []
