"""What fetching and unpacking refuse, followed."""

import functools
import pathlib
import shutil
from unittest import mock

import pytest

from tests.advice import following
from tests.advice.following import Call
from tests.downloads import catalog_test
from tests.downloads import site as site_lib
from tests.downloads import unpacking_test as archives
from tests.launch import scripts
from twotsrec.downloads import catalog
from twotsrec.downloads import fetching
from twotsrec.downloads import unpacking
from twotsrec.training import files

PATH = '/log.zip'
_SITES: list[site_lib.Site] = []


@pytest.fixture(autouse=True)
def site():
  """A site for every call, which `here` gives."""
  with site_lib.running() as running:
    running.files[PATH] = bytes(100_000)
    _SITES[:] = [running]
    yield


def here() -> site_lib.Site:
  return _SITES[0]


def fetch(folder, source=None):
  source = source or here().source(PATH, 'md5')
  return fetching.fetch(source, folder, site_lib.AT_ONCE)


def cut(folder):
  here().cuts = [50_000, 0, 0, 0]
  fetch(folder)


def moved(folder):
  here().codes = [404]
  fetch(folder)


def put_by_hand(folder, place):
  assert place == str(folder / 'log.zip')
  pathlib.Path(place).write_bytes(here().files[PATH])
  fetch(folder)


def damaged(folder):
  (folder / 'log.zip').write_bytes(b'?')
  fetch(folder)


def deleted(folder, place):
  pathlib.Path(place).unlink()
  fetch(folder)


def changed(folder):
  """The second file is not that of the first time, or not the published."""
  untrusted = here().source(PATH)
  fetch(folder, untrusted).unlink()
  here().files[PATH] = b'?'
  fetch(folder, untrusted)


def trusted(folder, place):
  pathlib.Path(place).unlink()
  fetch(folder, here().source(PATH))


def crowded(folder):
  with open(folder / 'log.zip.partial', 'a+b') as part:
    assert files.flock(part.fileno(), wait=False)
    fetch(folder)


def full(folder):
  usage = shutil.disk_usage(folder)._replace(free=9)
  with mock.patch.object(shutil, 'disk_usage', lambda path: usage):
    fetch(folder)


def unpacked(names, cut_at, folder):
  archive = archives.zipped(folder / 'a.zip', archives.FILES)
  archive.write_bytes(archive.read_bytes()[:cut_at])
  unpacking.unpack(archive, folder / 'log', names)


def of_books(category):
  catalog.of_category(catalog.CATALOG['amazon-2023'], category)


CALLS = [
  Call(
    'repeat the command to go on',
    cut,
    'repeat the command',
    fetch,
  ),
  Call(
    'the server answers {} ({}); see',
    moved,
    r'put the file at (\S+)$',
    put_by_hand,
  ),
  Call(
    'the server has {} bytes, but',
    lambda folder: fetch(folder, here().source(PATH, size=7)),
    r'put the file that is meant at (\S+)$',
    put_by_hand,
  ),
  Call(
    '{} {}; delete it to fetch it again',
    damaged,
    r'^(\S+) .*; delete it',
    deleted,
  ),
  Call(
    'what came {}, and was deleted',
    changed,
    r'or delete (\S+) to trust',
    trusted,
  ),
  Call('another process fetches', crowded, 'wait for it', fetch),
  Call('bytes are needed and {} are free', full, 'free some space', fetch),
  Call(
    '{} holds no {}; unpack it by hand',
    functools.partial(unpacked, ['c.csv'], None),
    r'no (\S+); unpack it by hand into (\S+)$',
    lambda folder, name, place: pathlib.Path(place, name).write_text('1'),
  ),
  Call(
    'is damaged ({}); delete it, and repeat',
    functools.partial(unpacked, ['a.csv'], 200),
    'delete it, and repeat',
    functools.partial(unpacked, ['a.csv'], None),
  ),
  Call(
    '--category={}: letters, digits and _',
    lambda folder: of_books('../Books'),
    'as in (Video_Games)',
    lambda folder, category: of_books(category),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_who_does_what_is_advised_has_the_file(call, tmp_path):
  following.obey(call, tmp_path)


def shown(text, asked, folder):
  """The advice about an account, followed as far as a program can."""
  assert 'leave out --accept to see what reads it' in text
  catalog_test.AS_PUBLISHED['retailrocket'](folder / 'events.csv')
  return [flag for flag in asked if flag != '--accept']


@pytest.mark.parametrize(
  'case',
  [
    following.Case(
      'cannot be fetched without an account',
      ['--dataset=retailrocket', '--out=@', '--accept'],
      [shown],
    )
  ],
)
def test_who_has_no_account_is_told_where_to_go(case, capsys, tmp_path):
  def attempt(asked):
    ended = scripts.run(capsys, 'download', *asked)
    assert ended.code in (0, 2), ended
    return ended.err.removeprefix('error: ').strip() if ended.code else ''

  following.follow(case, attempt, tmp_path)
