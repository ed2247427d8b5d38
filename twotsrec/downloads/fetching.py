"""Fetches a file over HTTP, goes on where it was cut, and checks what came.

Until a file is whole and right it is NAME.partial, and NAME.partial.json beside
it says what it is a part of. Only then it takes its name. A partial file goes
on where the server has ranges and says that its file is the same (If-Range,
RFC 9110 sec. 13.1.5), and begins anew elsewhere.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import time
from typing import BinaryIO, NamedTuple
import urllib.error
import urllib.request

from twotsrec import types
from twotsrec.training import files
from twotsrec.training import progress

_BLOCK = 1 << 18
# Answers that may be another one a little later.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_PART, _NOT_THERE = 206, 416


class Source(NamedTuple):
  """A file that somebody publishes."""

  address: str
  page: str  # where its owner tells about it
  name: str  # of the file here
  size: int = 0  # bytes, 0 if unknown
  digests: tuple[str, ...] = ()  # 'md5:...', 'sha256:...'; () if unknown


class Manner(NamedTuple):
  """How patiently a file is fetched."""

  tries: int = 5  # one after the other that bring nothing new
  wait: float = 1.0  # seconds after the first of them, doubled each time
  timeout: float = 60.0  # seconds without a byte
  quiet: bool = False


class _Cut(Exception):
  """What came is not all, and the next try may bring more."""


class _Part(NamedTuple):
  """Where a file stands until it is whole."""

  path: pathlib.Path
  note: pathlib.Path

  def clear(self) -> None:
    """Deletes what there is."""
    self.path.unlink(missing_ok=True)
    self.note.unlink(missing_ok=True)


def fetch(
  source: Source, folder: str | os.PathLike, manner: Manner | None = None
) -> pathlib.Path:
  """The file in a folder, fetched if it is not there, and checked.

  Where no checksum is published, the first file is trusted: its SHA-256 is
  written to NAME.sha256, as for `sha256sum -c`, and a later one must be equal.

  Raises:
    types.UserError: the file cannot be had, or is not what it should be. Beside
      the named partial file nothing is left then.
  """
  manner = manner or Manner()
  path = pathlib.Path(folder) / source.name
  record = path.with_name(f'{path.name}.sha256')
  with files.explained(folder, 'write'):
    path.parent.mkdir(parents=True, exist_ok=True)
  if path.is_file():
    _check_old(source, path, record)
    return path
  part = _Part(
    path.with_name(f'{path.name}.partial'),
    path.with_name(f'{path.name}.partial.json'),
  )
  with _alone(part) as file:
    if path.is_file():  # another process was faster
      part.clear()
      return path
    _complete(source, file, part, manner)
    _check_new(source, part, record)
    with files.explained(path, 'write'):
      os.fsync(file.fileno())
      os.replace(part.path, path)
      files.fsync(path.parent)
      part.note.unlink(missing_ok=True)
  return path


def check_space(folder: str | os.PathLike, needed: int) -> None:
  """Raises UserError if a folder has no room for so many bytes."""
  free = shutil.disk_usage(folder).free
  if needed > free:
    raise types.UserError(
      f'{folder}: {needed:,} bytes are needed and {free:,} are free; free some'
      ' space or choose another --out'
    )


@contextlib.contextmanager
def _alone(part: _Part) -> Iterator[BinaryIO]:
  """The partial file, which no other process writes meanwhile.

  It is not buffered, so that a full disk is met where something is written.
  What has no byte in the end is deleted.
  """
  with files.explained(part.path, 'write'):
    file = open(part.path, 'a+b', buffering=0)
  with file:
    if not files.flock(file.fileno(), wait=False):
      raise types.UserError(
        f'another process fetches {part.path}; wait for it, or choose another'
        ' --out'
      )
    try:
      yield file
    finally:
      if part.path.is_file() and not part.path.stat().st_size:
        part.clear()


def _complete(
  source: Source, file: BinaryIO, part: _Part, manner: Manner
) -> None:
  """Tries until the partial file has all bytes."""
  fruitless, most = 0, 0
  while True:
    try:
      _try(source, file, part, manner)
      return
    except _Cut as cut:
      here = file.seek(0, os.SEEK_END)
      fruitless = 0 if here > most else fruitless + 1
      most = max(most, here)
      if fruitless >= manner.tries:
        kept = f'{part.path} keeps {here:,} bytes, ' if here else ''
        raise types.UserError(
          f'{source.address}: {cut}; {kept}repeat the command to go on'
        ) from cut
      seconds = manner.wait * 2 ** max(fruitless - 1, 0)
      again = f'{source.name}: {cut}; again in {seconds:g} s'
      progress.say(again, manner.quiet)
      time.sleep(seconds)


def _try(source: Source, file: BinaryIO, part: _Part, manner: Manner) -> None:
  """One request for what is missing; raises _Cut if that may change."""
  noted = _noted(part.note, source.address)
  if not noted:
    file.truncate(0)
  here = file.seek(0, os.SEEK_END)
  if here and here == noted.get('total'):
    return  # it was killed before it took its name
  asked = {'User-Agent': 'twotsrec', 'Accept-Encoding': 'identity'}
  if here:
    asked |= {'Range': f'bytes={here}-', 'If-Range': noted['validator']}
  request = urllib.request.Request(source.address, headers=asked)
  with _answer(request, file, manner, source, part) as response:
    begins, total = _extent(response)
    said = _validator(response)
    known = here, noted.get('validator'), noted.get('total')
    if begins and (begins, said, total) != known:
      file.truncate(0)
      raise _Cut('the file at the server has changed')
    if source.size and total and total != source.size:
      raise types.UserError(
        f'{source.address}: the server has {total:,} bytes, but'
        f' {source.size:,} are published; see {source.page}, and put the file'
        f' that is meant at {part.path.with_suffix("")}'
      )
    if not begins:
      file.truncate(0)
      note = {'address': source.address, 'validator': said, 'total': total}
      files.write_json(part.note, note)
    check_space(part.path.parent, max(total - begins, 0))
    _copy(response, file, part, (begins, total), manner)


@contextlib.contextmanager
def _answer(
  request: urllib.request.Request,
  file: BinaryIO,
  manner: Manner,
  source: Source,
  part: _Part,
):
  """The response of a server; raises _Cut for what may pass."""
  try:
    response = urllib.request.urlopen(request, timeout=manner.timeout)
  except urllib.error.HTTPError as error:
    error.close()
    if error.code == _NOT_THERE:  # the file has become shorter
      file.truncate(0)
      raise _Cut('the file at the server has changed') from error
    if error.code in _PASSING:
      raise _Cut(f'the server answers {error.code} ({error.reason})') from error
    raise types.UserError(
      f'{source.address}: the server answers {error.code} ({error.reason}); see'
      f' {source.page}, or put the file at {part.path.with_suffix("")}'
    ) from error
  except (OSError, http.client.HTTPException) as error:
    raise _Cut(_reason(error)) from error
  with response:
    yield response


def _extent(response: http.client.HTTPResponse) -> tuple[int, int]:
  """Where the body begins in the file, and bytes of the file (0: unknown)."""
  if response.status != _PART:
    return 0, response.length or 0
  told = response.headers.get('Content-Range', '')
  match = re.fullmatch(r'bytes (\d+)-\d+/(\d+)', told)
  return (int(match[1]), int(match[2])) if match else (-1, 0)


def _validator(response: http.client.HTTPResponse) -> str:
  """What names this version of the file, or ''; a weak ETag does not."""
  etag = response.headers.get('ETag', '')
  if etag and not etag.startswith('W/'):
    return etag
  return response.headers.get('Last-Modified', '')


def _copy(
  response: http.client.HTTPResponse,
  file: BinaryIO,
  part: _Part,
  extent: tuple[int, int],
  manner: Manner,
) -> None:
  """Appends the body; raises _Cut if it ends too early."""
  done, total = extent
  thousands = -(-total // 1000)
  with progress.reporter(
    thousands,
    part.path.stem,
    unit='kB',
    start=done // 1000,
    quiet=manner.quiet or not total,
  ) as report:
    shown = progress.of_totals(report)
    shown(done // 1000, thousands)
    while block := _block(response):
      with files.explained(part.path, 'write'):
        _append(file, block)
      done += len(block)
      shown(done // 1000, thousands)
  if total and done != total:
    raise _Cut(f'the connection ended after {done:,} of {total:,} bytes')


def _block(response: http.client.HTTPResponse) -> bytes:
  try:
    return response.read1(_BLOCK)  # what is there, without waiting for more
  except (OSError, http.client.HTTPException) as error:
    raise _Cut(_reason(error)) from error


def _append(file: BinaryIO, block: bytes) -> None:
  """Writes all of a block, of which a disk may take a part at once."""
  view = memoryview(block)
  while view:
    view = view[file.write(view) :]


def _reason(error: Exception) -> str:
  """Why there is no answer, in words."""
  cause = getattr(error, 'reason', error)
  return str(getattr(cause, 'strerror', None) or cause or 'no answer')


def _noted(note: pathlib.Path, address: str) -> dict:
  """What is known of a partial file; {} if it cannot go on."""
  if not note.is_file():
    return {}
  noted = files.read_json(note)
  usable = noted.get('address') == address and noted.get('validator')
  return noted if usable else {}


def _check_new(source: Source, part: _Part, record: pathlib.Path) -> None:
  """Raises UserError if what came is wrong; it is deleted then."""
  fault = _fault(source, part.path, record)
  if not fault:
    return
  part.clear()
  trusted = '' if source.digests else f', or delete {record} to trust it'
  raise types.UserError(
    f'{source.address}: what came {fault}, and was deleted; repeat the command'
    f' once; if it says so again, the file was changed: see'
    f' {source.page}{trusted}'
  )


def _check_old(
  source: Source, path: pathlib.Path, record: pathlib.Path
) -> None:
  """Raises UserError if a file that stands there is another one."""
  fault = _fault(source, path, record)
  if fault:
    raise types.UserError(
      f'{path} {fault}; delete it to fetch it again, or choose another --out'
    )


def _fault(source: Source, path: pathlib.Path, record: pathlib.Path) -> str:
  """What is wrong with a file, or ''; a first one is recorded."""
  size = path.stat().st_size
  if source.size and size != source.size:
    return f'has {size:,} bytes, not {source.size:,}'
  if source.digests:
    wanted, whose = source.digests, 'the published'
  elif record.is_file():
    with files.explained(record, 'read'):
      wanted = (f'sha256:{record.read_text("utf-8").split()[0]}',)
    whose = "the first file's"
  else:
    with files.explained(record, 'write'), files.replacing(record) as file:
      name = path.name.removesuffix('.partial')
      file.write(f'{_digest(path, "sha256")}  {name}\n'.encode())
    return ''
  for one in wanted:
    kind, _, expected = one.partition(':')
    found = _digest(path, kind)
    if found != expected:
      return f'has the {kind} {found}, not {whose} {expected}'
  return ''


def _digest(path: pathlib.Path, kind: str) -> str:
  with files.explained(path, 'read'), path.open('rb') as file:
    return hashlib.file_digest(file, kind).hexdigest()
