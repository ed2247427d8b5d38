"""Files of an archive that are wanted, and no other, into one folder."""

from collections.abc import Callable, Generator, Iterator, Sequence
import contextlib
import os
import pathlib
import shutil
import tarfile
from typing import IO, NamedTuple, cast
import zipfile
import zlib

from twotsrec import types
from twotsrec.downloads import fetching
from twotsrec.training import files

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)


class _Member(NamedTuple):
  name: str  # without its folders
  size: int  # bytes
  open: Callable[[], IO[bytes]]


def unpack(
  archive: pathlib.Path, folder: str | os.PathLike, names: Sequence[str]
) -> list[pathlib.Path]:
  """Unpacks files of a .zip or .tar.gz, each wholly or not at all.

  A file that is there with the right size is left as it is.

  Args:
    archive: of a checked download.
    folder: where they go; the archive has no say in it.
    names: of the files, without their folders there.
  Returns:
    The files, in the order of the names.
  Raises:
    types.UserError: a damaged archive, one that lacks a file, or no room.
  """
  folder, missing = pathlib.Path(folder), set(names)
  with files.explained(folder, 'write'):
    folder.mkdir(parents=True, exist_ok=True)
    with _explained(archive), contextlib.closing(_members(archive)) as members:
      for member in members:
        if member.name not in missing:
          continue
        missing.remove(member.name)
        path = folder / member.name
        if not path.is_file() or path.stat().st_size != member.size:
          fetching.check_space(folder, member.size)
          with member.open() as source, files.replacing(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        if not missing:
          break
  if missing:
    raise types.UserError(
      f'{archive} holds no {", ".join(sorted(missing))}; unpack it by hand into'
      f' {folder}'
    )
  return [folder / name for name in names]


def _members(archive: pathlib.Path) -> Generator[_Member, None, None]:
  """Files of an archive, in its order."""
  if archive.suffix == '.zip':
    with zipfile.ZipFile(archive) as opened:
      for info in opened.infolist():
        if not info.is_dir():
          take = lambda info=info: opened.open(info)
          name = info.filename.rpartition('/')[2]
          yield _Member(name, info.file_size, take)
    return
  # Read from the beginning to the end: finding a member unpacks all before it.
  with tarfile.open(archive, 'r|gz') as opened:
    for info in opened:
      if info.isfile():
        # None would be a folder.
        take = lambda info=info: cast(IO[bytes], opened.extractfile(info))
        yield _Member(info.name.rpartition('/')[2], info.size, take)


@contextlib.contextmanager
def _explained(archive: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except _DAMAGED as error:
    raise types.UserError(
      f'{archive} is damaged ({error}); delete it, and repeat the command to'
      ' fetch it again'
    ) from error
