import errno
import hashlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import threading
import time

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.downloads import site as site_lib
from twotsrec import types
from twotsrec.downloads import fetching
from twotsrec.training import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(200_000)
PATH = '/data/log.zip'


@pytest.fixture
def site():
  with site_lib.running() as running:
    running.files[PATH] = CONTENT
    yield running


def fetch(source, folder, **manner):
  return fetching.fetch(source, folder, site_lib.AT_ONCE._replace(**manner))


def refused(source, folder, **manner) -> str:
  with pytest.raises(types.UserError) as error:
    fetch(source, folder, **manner)
  assert len(str(error.value).splitlines()) == 1
  return str(error.value)


def names(folder) -> set[str]:
  return {path.name for path in folder.iterdir()}


def ranges(site):
  return [one.range for one in site.asked]


def test_a_file_is_what_the_server_has_and_nothing_stands_beside_it(
  site, tmp_path
):
  source = site.source(PATH, 'md5', 'sha256', size=len(CONTENT))
  folder = tmp_path / 'new' / 'raw'
  path = fetch(source, folder)
  assert path.read_bytes() == CONTENT and path == folder / 'log.zip'
  assert names(folder) == {'log.zip'}
  assert fetch(source, folder) == path  # checked, not fetched again
  assert ranges(site) == [None]


@hypothesis.settings(
  max_examples=15,
  deadline=None,
  derandomize=True,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(strategies.lists(strategies.integers(1, 90_000), max_size=6))
def test_cut_connections_send_no_byte_twice(site, tmp_path_factory, cuts):
  site.asked.clear()
  site.cuts = list(cuts)
  folder = tmp_path_factory.mktemp('raw')
  path = fetch(site.source(PATH, 'sha256'), folder)
  assert path.read_bytes() == CONTENT and names(folder) == {'log.zip'}
  assert sum(one.sent for one in site.asked) == len(CONTENT)
  begins = np.cumsum([one.sent for one in site.asked])[:-1]
  assert ranges(site) == [None, *(f'bytes={n}-' for n in begins)]
  assert {one.if_range for one in site.asked[1:]} <= {site.tag(PATH)}


def test_a_command_goes_on_where_the_last_one_gave_up(site, tmp_path):
  source = site.source(PATH, 'md5')
  site.cuts = [100_000, 0, 0, 0]
  told = refused(source, tmp_path)
  assert f'{tmp_path / "log.zip.partial"} keeps 100,000 bytes, repeat' in told
  assert source.address in told and 'ended after 100,000 of 300,000' in told
  assert names(tmp_path) == {'log.zip.partial', 'log.zip.partial.json'}
  site.asked.clear()
  assert fetch(source, tmp_path).read_bytes() == CONTENT
  assert ranges(site) == ['bytes=100000-'] and names(tmp_path) == {'log.zip'}


def test_a_killed_process_leaves_a_part_that_goes_on(site, tmp_path):
  site.cuts, site.paused = [120_000], threading.Event()
  source = site.source(PATH, 'sha256')
  program = (
    'from twotsrec.downloads import fetching\n'
    f'fetching.fetch(fetching.{source!r}, {str(tmp_path)!r})'
  )
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  part = tmp_path / 'log.zip.partial'
  with subprocess.Popen(
    [sys.executable, '-c', program], env=environment
  ) as process:
    while not part.is_file() or part.stat().st_size < 100_000:
      assert process.poll() is None
      time.sleep(0.02)
    process.kill()
  kept = part.stat().st_size
  site.paused.set()
  assert fetch(source, tmp_path).read_bytes() == CONTENT
  assert ranges(site)[-1] == f'bytes={kept}-'


def test_a_part_that_is_whole_only_takes_its_name(site, tmp_path):
  source = site.source(PATH, 'sha256')
  (tmp_path / 'log.zip.partial').write_bytes(CONTENT)
  note = {
    'address': source.address,
    'validator': '"x"',
    'total': len(CONTENT),
  }
  files.write_json(tmp_path / 'log.zip.partial.json', note)
  site.asked.clear()
  assert fetch(source, tmp_path).read_bytes() == CONTENT
  assert site.asked == [] and names(tmp_path) == {'log.zip'}


def test_a_server_without_ranges_begins_anew(site, tmp_path):
  site.ranges, site.cuts = False, [100_000, 50_000]
  source = site.source(PATH, 'sha256')
  assert fetch(source, tmp_path).read_bytes() == CONTENT
  assert [one.sent for one in site.asked] == [100_000, 50_000, 300_000]


def test_a_server_that_always_cuts_at_one_place_is_given_up(site, tmp_path):
  site.ranges, site.cuts = False, [100_000] * 20
  assert 'keeps 100,000 bytes' in refused(site.source(PATH), tmp_path)
  assert len(site.asked) == 1 + site_lib.AT_ONCE.tries


@pytest.mark.parametrize('tag', ['W/"weak"', None])
def test_what_has_no_strong_name_is_not_put_together(site, tmp_path, tag):
  site.tags[PATH], site.cuts = tag, [100_000]
  assert fetch(site.source(PATH, 'md5'), tmp_path).read_bytes() == CONTENT
  assert ranges(site) == [None, None]


@pytest.mark.parametrize('checks', [True, False])
@pytest.mark.parametrize('other', [OTHER, OTHER + CONTENT, OTHER[:50_000]])
def test_a_file_that_has_changed_is_not_mixed_with_the_old_one(
  site, tmp_path, checks, other
):
  site.cuts = [100_000, 0, 0, 0]
  refused(site.source(PATH), tmp_path)
  # A server that ignores If-Range tells by its ETag, or has less (416).
  site.checks, site.files[PATH] = checks, other
  assert fetch(site.source(PATH, 'sha256'), tmp_path).read_bytes() == other


def test_a_part_of_another_address_is_not_used(site, tmp_path):
  site.files['/other/log.zip'] = OTHER
  site.cuts = [100_000, 0, 0, 0]
  refused(site.source(PATH), tmp_path)
  path = fetch(site.source('/other/log.zip', 'md5'), tmp_path)
  assert path.read_bytes() == OTHER


@pytest.mark.parametrize('kind', ['md5', 'sha256'])
def test_a_wrong_checksum_leaves_nothing(site, tmp_path, kind):
  source = site.source(PATH, kind)
  site.files[PATH] = bytes(len(CONTENT))
  told = refused(source, tmp_path)
  assert source.digests[0].partition(':')[2] in told
  assert hashlib.new(kind, site.files[PATH]).hexdigest() in told
  assert source.page in told and names(tmp_path) == set()
  site.files[PATH] = CONTENT
  assert fetch(source, tmp_path).read_bytes() == CONTENT


def test_another_size_is_told_before_a_byte_is_kept(site, tmp_path):
  told = refused(site.source(PATH, size=7), tmp_path)
  assert 'has 300,000 bytes, but 7 are published' in told
  assert names(tmp_path) == set()


def test_a_server_that_tells_no_length_is_believed_by_size_and_checksum(
  site, tmp_path
):
  site.tells_length = False
  source = site.source(PATH, 'md5', size=len(CONTENT))
  assert fetch(source, tmp_path).read_bytes() == CONTENT
  (tmp_path / 'log.zip').unlink()
  site.cuts = [1000]
  told = refused(source, tmp_path)
  assert 'has 1,000 bytes, not 300,000' in told and names(tmp_path) == set()


@pytest.mark.parametrize('code', [403, 404, 410])
def test_what_is_not_there_is_told_at_once(site, tmp_path, code):
  site.codes = [code]
  told = refused(site.source(PATH), tmp_path)
  assert f'answers {code}' in told and str(tmp_path / 'log.zip') in told
  assert len(site.asked) == 1 and names(tmp_path) == set()


def test_what_passes_is_waited_for(site, tmp_path):
  site.codes = [503, 429]
  assert fetch(site.source(PATH), tmp_path).read_bytes() == CONTENT
  (tmp_path / 'log.zip').unlink()
  site.codes = [503] * 20
  told = refused(site.source(PATH), tmp_path)
  assert '503' in told and names(tmp_path) == {'log.zip.sha256'}


def test_waits_are_told_and_grow(site, tmp_path, capsys, monkeypatch):
  waited = []
  monkeypatch.setattr(fetching.time, 'sleep', waited.append)
  site.cuts = [9_000, 0, 0, 0]
  refused(site.source(PATH), tmp_path, wait=1.0, quiet=False)
  assert waited == [1.0, 1.0, 2.0]
  shown = capsys.readouterr().err
  assert 'log.zip: 9/300 kB' in shown and shown.count('again in') == 3


def test_nobody_at_an_address_is_told_with_the_reason(tmp_path):
  with site_lib.running() as gone:
    source = gone.source(PATH)
  told = refused(source, tmp_path)
  assert 'refused' in told and names(tmp_path) == set()


def test_a_file_that_has_moved_is_followed_and_goes_on(site, tmp_path):
  site.moved['/old/log.zip'] = site.address + PATH
  site.cuts = [100_000]
  source = site.source('/old/log.zip')
  assert fetch(source, tmp_path).read_bytes() == CONTENT
  assert ranges(site)[-1] == 'bytes=100000-'


def test_a_disk_without_room_is_told_before_a_byte_is_kept(
  site, tmp_path, monkeypatch
):
  usage = shutil.disk_usage(tmp_path)._replace(free=299_999)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  told = refused(site.source(PATH), tmp_path)
  assert '300,000 bytes are needed and 299,999 are free' in told
  assert names(tmp_path) == set()


def test_what_is_there_already_needs_no_room(site, tmp_path, monkeypatch):
  site.cuts = [100_000, 0, 0, 0]
  refused(site.source(PATH), tmp_path)
  usage = shutil.disk_usage(tmp_path)._replace(free=200_000)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  assert fetch(site.source(PATH), tmp_path).read_bytes() == CONTENT


def test_a_disk_that_fills_up_keeps_what_it_took(site, tmp_path, monkeypatch):
  def full(file, block):
    room = 70_000 - file.seek(0, os.SEEK_END)
    file.write(block[:room])
    if len(block) > room:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with monkeypatch.context() as patch:
    patch.setattr(fetching, '_append', full)
    told = refused(site.source(PATH), tmp_path)
  assert f'cannot write {tmp_path / "log.zip.partial"}: No space left' in told
  assert 'free some space or choose another folder' in told
  assert names(tmp_path) == {'log.zip.partial', 'log.zip.partial.json'}
  assert fetch(site.source(PATH), tmp_path).read_bytes() == CONTENT
  assert ranges(site) == [None, 'bytes=70000-']


def test_a_disk_that_takes_a_part_of_a_block_keeps_that_part(site, tmp_path):
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (123_456, before[1]))
  try:
    told = refused(site.source(PATH), tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert f'cannot write {tmp_path / "log.zip.partial"}' in told
  assert (tmp_path / 'log.zip.partial').stat().st_size == 123_456
  assert fetch(site.source(PATH), tmp_path).read_bytes() == CONTENT
  assert ranges(site)[-1] == 'bytes=123456-'


def test_the_first_file_is_trusted_and_a_later_one_compared(site, tmp_path):
  path, record = tmp_path / 'log.zip', tmp_path / 'log.zip.sha256'
  assert fetch(site.source(PATH), tmp_path) == path
  checked = subprocess.run(['sha256sum', '-c', record], cwd=tmp_path)
  assert checked.returncode == 0
  path.unlink()
  assert fetch(site.source(PATH), tmp_path) == path
  path.unlink()
  site.files[PATH] = OTHER
  told = refused(site.source(PATH), tmp_path)
  assert "not the first file's" in told and f'delete {record} to trust' in told
  assert names(tmp_path) == {record.name}
  record.unlink()
  assert fetch(site.source(PATH), tmp_path).read_bytes() == OTHER


def test_a_file_that_was_damaged_here_is_not_taken(site, tmp_path):
  source = site.source(PATH, 'md5')
  path = fetch(source, tmp_path)
  path.write_bytes(CONTENT[:-1] + b'?')
  assert f'{path} has the md5' in refused(source, tmp_path)
  assert path.is_file()  # it may be somebody's own
  path.unlink()
  assert fetch(source, tmp_path).read_bytes() == CONTENT


def test_two_processes_do_not_write_one_part(site, tmp_path):
  part = tmp_path / 'log.zip.partial'
  with part.open('a+b') as other:
    assert files.flock(other.fileno(), wait=False)
    assert 'another process fetches' in refused(site.source(PATH), tmp_path)
    assert part.is_file() and site.asked == []
  assert fetch(site.source(PATH), tmp_path).read_bytes() == CONTENT
