"""An exported folder: what stands in it, and that its files are whole.

    manifest.json        what is there: sizes, programs with their signatures,
                         digest of every file
    weights.safetensors  of the model
    people.safetensors   what the run knows of its users and items
    *_ids.npy            external ids
    *.stablehlo          programs, see `exporting`
    items.faiss          an index of the items, where one was asked for

Every file is compared with its digest before anything is computed.
"""

import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.serving import people as people_lib
from twotsrec.serving import tensors

FORMAT, VERSION = 'twotsrec export', 1
SEARCHES = ('exact', 'approximate')
MANIFEST = 'manifest.json'
WEIGHTS, PEOPLE = 'weights.safetensors', 'people.safetensors'
INDEX = 'items.faiss'
IDS = ('user_ids', 'item_ids')
_AGAIN = 'copy the folder again, or export the run again with launch/export.py'
_PIECE = 1 << 24  # bytes that a digest is made of at once
_SETS = ('owned', 'touched')
_ROUTES = ('routes', 'stranger_routes')


class Folder(NamedTuple):
  """An exported folder, whose files are whole.

  Attributes:
    path: of the folder.
    manifest: what it says of itself.
    people: arrays of `people.safetensors`.
  """

  path: pathlib.Path
  manifest: dict[str, Any]
  people: dict[str, np.ndarray]


def is_exported(path: str) -> bool:
  """Whether a folder says that it was exported."""
  return (pathlib.Path(path) / MANIFEST).is_file()


def is_searched(path: str, search: str) -> bool:
  """Whether lists of a folder are to be searched for in its index.

  Args:
    path: of a run, or of an exported folder.
    search: of `SEARCHES`.
  Raises:
    types.UserError: another search, or a folder without an index.
  """
  if search not in SEARCHES:
    raise types.UserError(
      f'search is {search!r}; it must be one of {", ".join(SEARCHES)}'
    )
  if search == 'exact':
    return False
  if not (pathlib.Path(path) / INDEX).is_file():
    raise types.UserError(
      f'{path} has no index of items for search=approximate; use search=exact,'
      ' or export the run with launch/export.py --search=approximate'
    )
  return True


def arrays_of(people: people_lib.People) -> dict[str, np.ndarray]:
  """What is saved of people, numbers only; `people_of` puts it together."""
  arrays = {
    'user_offsets': people.user_offsets,
    'items': people.items,
    'counts': people.counts,
  }
  for name in _SETS:
    have = getattr(people, name)
    arrays[f'{name}.offsets'], arrays[f'{name}.items'] = have[:2]
  for name in _ROUTES:
    route = getattr(people, name)
    if route is not None:
      arrays[f'{name}.groups'], arrays[f'{name}.weights'] = route
  return {name: np.asarray(values) for name, values in arrays.items()}


def people_of(folder: Folder) -> people_lib.People:
  """What a folder knows of users and items."""
  arrays, manifest = folder.people, folder.manifest
  sets = {
    name: gathers.Exclusions(arrays[f'{name}.offsets'], arrays[f'{name}.items'])
    for name in _SETS
  }
  routes = {
    name: types.Route(arrays[f'{name}.groups'], arrays[f'{name}.weights'])
    for name in _ROUTES
    if f'{name}.groups' in arrays
  }
  ids = {
    name: np.load(folder.path / f'{name}.npy', allow_pickle=False)
    for name in IDS
  }
  return people_lib.People(
    user_ids=ids['user_ids'],
    item_ids=ids['item_ids'],
    user_offsets=arrays['user_offsets'],
    items=arrays['items'],
    counts=arrays['counts'],
    owned=sets['owned'],
    touched=sets['touched'],
    routes=routes.get('routes'),
    stranger_routes=routes.get('stranger_routes'),
    history_length=manifest['history_length'],
    reads_history=manifest['reads_history'],
    exclude_seen=manifest['exclude_seen'],
  )


def digest(path: pathlib.Path) -> str:
  """SHA-256 of a file."""
  made = hashlib.sha256()
  with open(path, 'rb') as file:
    while piece := file.read(_PIECE):
      made.update(piece)
  return made.hexdigest()


def read(path: pathlib.Path) -> Folder:
  """A folder whose files are those that were written.

  Raises:
    types.UserError: a file that is not, by its name.
  """
  manifest = _manifest(path / MANIFEST)
  for name, about in manifest['files'].items():
    file = path / name
    try:
      size = file.stat().st_size
      whole = size == about['bytes'] and digest(file) == about['sha256']
    except FileNotFoundError as error:
      raise _damaged(file, 'it is missing') from error
    except OSError as error:
      raise _damaged(file, f'it cannot be read ({error.strerror})') from error
    if not whole:
      raise _damaged(file, 'its content is not what was exported')
  return Folder(path, manifest, tensors.read(path / PEOPLE))


def _manifest(path) -> dict[str, Any]:
  try:
    manifest = json.loads(path.read_bytes())
    is_ours = manifest['format'] == FORMAT
    version, files = manifest['version'], manifest['files']
  except FileNotFoundError as error:
    raise _damaged(path, 'it is missing') from error
  except OSError as error:
    raise _damaged(path, f'it cannot be read ({error.strerror})') from error
  except (ValueError, KeyError, TypeError) as error:
    raise _damaged(path, 'it is not a manifest of an export') from error
  if not is_ours or not isinstance(files, dict):
    raise _damaged(path, 'it is not a manifest of an export')
  if version != VERSION:
    raise types.UserError(
      f'{path} has version {version} of an export, and this program reads'
      f' {VERSION}; use the version of twotsrec that wrote it, or export the'
      ' run again with launch/export.py'
    )
  return manifest


def _damaged(path, why) -> types.UserError:
  return types.UserError(f'{path}: {why}; {_AGAIN}')
