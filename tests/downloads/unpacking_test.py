import io
import os
import shutil
import tarfile
import zipfile

import pytest

from twotsrec import types
from twotsrec.downloads import unpacking

FILES = {'log/README': b'terms', 'log/a.csv': b'1,2\n' * 999, 'log/b.csv': b'3'}
ESCAPES = {'../a.csv': b'outside', '/b.csv': b'outside', 'log/README': b'terms'}


def zipped(path, content):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, data in content.items():
      archive.writestr(name, data)
  return path


def tarred(path, content):
  with tarfile.open(path, 'w:gz') as archive:
    for name, data in content.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return path


MAKE = {'log.zip': zipped, 'log.tar.gz': tarred}


@pytest.mark.parametrize('name', MAKE)
def test_what_is_named_is_unpacked_and_nothing_else(tmp_path, name):
  archive, folder = MAKE[name](tmp_path / name, FILES), tmp_path / 'log'
  paths = unpacking.unpack(archive, folder, ['a.csv', 'README'])
  assert paths == [folder / 'a.csv', folder / 'README']
  assert [path.read_bytes() for path in paths] == [
    FILES['log/a.csv'],
    FILES['log/README'],
  ]
  assert {path.name for path in folder.iterdir()} == {'a.csv', 'README'}
  paths[0].write_bytes(b'cut')  # by an earlier command
  os.utime(paths[1], (1, 1))
  unpacking.unpack(archive, folder, ['a.csv', 'README'])
  assert paths[0].read_bytes() == FILES['log/a.csv']
  assert paths[1].stat().st_mtime == 1  # left as it was


@pytest.mark.parametrize('name', MAKE)
def test_an_archive_does_not_say_where_its_files_go(tmp_path, name):
  archive, folder = MAKE[name](tmp_path / name, ESCAPES), tmp_path / 'x' / 'log'
  unpacking.unpack(archive, folder, ['a.csv', 'b.csv'])
  assert {path.name for path in folder.iterdir()} == {'a.csv', 'b.csv'}
  assert {path.name for path in folder.parent.iterdir()} == {'log'}


@pytest.mark.parametrize('name', MAKE)
@pytest.mark.parametrize('cut', [0.3, 0.9])
def test_a_damaged_archive_leaves_no_half_of_a_file(tmp_path, name, cut):
  content = {'log/a.csv': os.urandom(400_000), 'log/b.csv': b'3'}
  archive, folder = MAKE[name](tmp_path / name, content), tmp_path / 'log'
  whole = archive.read_bytes()
  archive.write_bytes(whole[: int(cut * len(whole))])
  with pytest.raises(types.UserError, match='is damaged .*; delete it'):
    unpacking.unpack(archive, folder, ['a.csv', 'b.csv'])
  assert list(folder.iterdir()) == []


@pytest.mark.parametrize('name', MAKE)
def test_room_is_asked_for_and_a_missing_file_named(
  tmp_path, name, monkeypatch
):
  archive, folder = MAKE[name](tmp_path / name, FILES), tmp_path / 'log'
  with pytest.raises(
    types.UserError, match=f'{archive} holds no c.csv; unpack'
  ):
    unpacking.unpack(archive, folder, ['c.csv'])
  usage = shutil.disk_usage(tmp_path)._replace(free=3_995)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  with pytest.raises(types.UserError, match='3,996 bytes are needed'):
    unpacking.unpack(archive, folder, ['a.csv'])
  assert list(folder.iterdir()) == []
