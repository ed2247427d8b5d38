"""Which files a table is in, and of what kind they are."""

import atexit
import functools
import glob
import os
import pathlib
import shutil
import stat
import tempfile

from twotsrec import types
from twotsrec.data import text_files

# None: told by the first line; .inter is a file of RecBole.
_DELIMITERS = {'.csv': ',', '.tsv': '\t', '.txt': None, '.inter': '\t'}
JSON_LINES = ('.jsonl', '.ndjson', '.json')
PARQUET = '.parquet'


def named(path: str | os.PathLike) -> list[pathlib.Path]:
  """The files that a path names, each as it can be read several times.

  Raises:
    types.UserError: none.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    found = [
      file
      for file in sorted(path.rglob('*'))
      if file.is_file()
      and not any(
        part.startswith(('.', '_')) for part in file.relative_to(path).parts
      )
    ]
    if not found:
      raise types.UserError(f'{path}: a folder without a file; name a table')
    kinds = sorted({_kind(file) for file in found})
    if len(kinds) > 1:
      raise types.UserError(
        f'{path}: a folder with files of several kinds ({", ".join(kinds)}); '
        f'name those to read, as in {path}/*{kinds[0]}'
      )
    return found
  text = str(path)
  if not path.exists() and ',' in text:
    return [file for part in text.split(',') for file in named(part)]
  if not path.exists() and set(text) & set('*?['):
    found = sorted(map(pathlib.Path, glob.glob(text, recursive=True)))
    if not found:
      raise types.UserError(
        f'{path}: no file has a name of this pattern; give another'
      )
    return found
  return [_at_rest(path)]


def _at_rest(path: pathlib.Path) -> pathlib.Path:
  """The path, or a copy of what can be read but once, such as a pipe."""
  try:
    mode = path.stat().st_mode
    if not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode):
      return path
    return _copied(str(path))
  except (FileNotFoundError, NotADirectoryError) as error:
    raise types.UserError(
      f'{path}: no such file; looked in {path.absolute().parent}, check the '
      'name'
    ) from error
  except OSError as error:
    raise text_files.unreadable(path, error) from error


@functools.cache  # read once
def _copied(path: str) -> pathlib.Path:
  """A copy of all that comes out of a pipe, until the program ends."""
  folder = tempfile.mkdtemp(prefix='twotsrec-')
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  copy = pathlib.Path(folder) / f'{os.path.basename(path)}.txt'
  with open(path, 'rb') as source, copy.open('wb') as target:
    shutil.copyfileobj(source, target)
  with copy.open('rb') as file:
    first = file.read(1)
  return copy.rename(copy.with_suffix('.jsonl')) if first == b'{' else copy


def of(path: pathlib.Path, delimiter: str | None) -> tuple[str, str | None]:
  """The kind of a file by its name, and its delimiter if that tells.

  A delimiter that is given goes with any extension but those of Parquet and
  JSON lines.
  """
  kind = _kind(path)
  if path.suffix.lower() == PARQUET or kind in JSON_LINES:
    return kind, None
  if delimiter is not None:
    return kind, delimiter.replace('\\t', '\t')  # as typed in a shell
  if kind not in _DELIMITERS:
    raise types.UserError(
      f'{path}: unknown extension {kind!r}; known: {", ".join(_DELIMITERS)}, '
      f'{", ".join(JSON_LINES)} (also with {", ".join(text_files.COMPRESSED)})'
      ' and .parquet; for another text file pass --delimiter'
    )
  return kind, _DELIMITERS[kind]


def _kind(path: pathlib.Path) -> str:
  """The extension of a file, but for that of its compression."""
  name = path.name.lower()
  for packed in text_files.COMPRESSED:
    name = name.removesuffix(packed)
  return pathlib.PurePath(name).suffix
