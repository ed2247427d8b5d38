"""Numbered folders that are whole or absent, and verified when read.

`write` fills one under a temporary name, seals it with a manifest of digests
and puts it in its place; a process killed at any moment leaves the old folders
or the new ones. What it left unfinished is cleaned away by the next.
"""

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

from twotsrec.training import files


class DamageError(Exception):
  """A folder that is not what was written."""


def write(
  folder: pathlib.Path,
  step: int,
  fill: Callable[[pathlib.Path], dict[str, Any]],
  keep: int,
) -> pathlib.Path:
  """Makes `<folder>/<step>`, then removes what is no longer needed.

  Args:
    folder: made if missing.
    step: the name. Folders of later steps are removed.
    fill: writes the files into an empty folder, returns what the manifest
      shall say besides their digests.
    keep: how many folders stay.
  Returns:
    Path of the new folder.
  """
  temporary, final = folder / f'.tmp-{step}', folder / str(step)
  folder.mkdir(parents=True, exist_ok=True)
  with _locked(folder, wait=True):
    _clean_up(folder)
    try:
      temporary.mkdir()
      _seal(temporary, fill(temporary))
    except OSError:
      shutil.rmtree(temporary, ignore_errors=True)
      raise
    _put_in_place(temporary, final)
    _prune(folder, step, keep)
  return final


def steps(folder: pathlib.Path) -> list[int]:
  """Names of the folders in `folder`, ascending."""
  if not folder.is_dir():
    return []
  names = [entry.name for entry in folder.iterdir()]
  return sorted(int(name) for name in names if name.isdecimal())


def clean_up_if_idle(folder: pathlib.Path) -> None:
  """Ends what a killed process left unfinished, if nobody is at work."""
  if not folder.is_dir():
    return
  # Reading must work in a read-only folder too, where nothing can be cleaned.
  with contextlib.suppress(OSError), _locked(folder, wait=False) as idle:
    if idle:
      _clean_up(folder)


def verified(path: pathlib.Path) -> dict[str, Any]:
  """Body of the manifest, if it and every file it lists are intact."""
  try:
    manifest = json.loads((path / 'manifest.json').read_bytes())
    body = manifest['body']
    if _text_digest(body) != manifest['sha256']:
      raise DamageError('manifest.json was changed')
    for name, expected in body['files'].items():
      if _digest(path / name) != expected:
        raise DamageError(f'{name} was changed')
  except OSError as error:
    name = pathlib.Path(error.filename or path).name
    raise DamageError(f'{name}: {error.strerror}') from error
  except (ValueError, KeyError, TypeError) as error:
    raise DamageError('manifest.json is not readable') from error
  return body


# ---- Digests


def _digest(path: pathlib.Path) -> dict[str, Any]:
  with open(path, 'rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  return {'bytes': path.stat().st_size, 'sha256': digest}


def _text_digest(body: dict[str, Any]) -> str:
  return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def _seal(path: pathlib.Path, description: dict[str, Any]) -> None:
  """Adds the manifest and forces everything to the disk."""
  entries = [*path.rglob('*'), path]
  names = sorted(e.relative_to(path).as_posix() for e in entries if e.is_file())
  digests = {name: _digest(path / name) for name in names}
  body = {**description, 'files': digests}
  manifest = {'body': body, 'sha256': _text_digest(body)}
  sealed = path / 'manifest.json'
  sealed.write_text(json.dumps(manifest), encoding='utf-8')
  for entry in (sealed, *entries):
    files.fsync(entry)


# ---- Names in the folder


@contextlib.contextmanager
def _locked(folder: pathlib.Path, wait: bool) -> Iterator[bool]:
  """Keeps a reader from cleaning away what a writer is writing.

  Yields whether the lock was free; with `wait` it always is in the end.
  """
  if os.name == 'nt':  # a folder cannot be opened there
    yield wait
    return
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    yield files.flock(descriptor, wait)
  finally:
    os.close(descriptor)


def _clean_up(folder: pathlib.Path) -> None:
  """Ends what a killed process left unfinished."""
  for entry in folder.glob('.replaced-*'):
    final = folder / entry.name.removeprefix('.replaced-')
    if final.exists():
      shutil.rmtree(entry)
    else:  # killed between the two renames
      os.rename(entry, final)
  for entry in (*folder.glob('.tmp-*'), *folder.glob('.trash-*')):
    shutil.rmtree(entry)


def _put_in_place(temporary: pathlib.Path, final: pathlib.Path) -> None:
  replaced = final.with_name(f'.replaced-{final.name}')
  if final.exists():
    os.rename(final, replaced)
  os.rename(temporary, final)
  files.fsync(final.parent)
  if replaced.exists():
    shutil.rmtree(replaced)


def _prune(folder: pathlib.Path, step: int, keep: int) -> None:
  kept = [s for s in steps(folder) if s <= step][-keep:]
  for old in set(steps(folder)) - set(kept):
    # Under its own name a half-removed checkpoint would look damaged.
    trash = folder / f'.trash-{old}'
    os.rename(folder / str(old), trash)
    shutil.rmtree(trash)
