"""Writes a finished run as a folder that JAX and NumPy alone can serve."""

from collections.abc import Sequence
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

import twotsrec
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import directories
from twotsrec.runs import indexing
from twotsrec.runs import opened as opened_lib
from twotsrec.runs import similar
from twotsrec.serving import approximate
from twotsrec.serving import export_folder
from twotsrec.serving import exporting
from twotsrec.serving import tensors


class Search(NamedTuple):
  """How lists may be searched for.

  Attributes:
    how: of `export_folder.SEARCHES`; approximate makes an index of the items.
    recall: the least that is found of the exact lists.
  """

  how: str = 'exact'
  recall: float = 0.95


_EXACT = Search()


def run(
  workdir: str,
  out: str,
  platforms: Sequence[str] = exporting.PLATFORMS,
  overwrite: bool = False,
  search: Search = _EXACT,
) -> str:
  """Exports a finished run; a line that says what was written.

  Args:
    workdir: of the run.
    out: folder, which appears whole or not at all.
    platforms: that its programs can be compiled for.
    overwrite: put it in the place of an older folder.
    search: whether it gets an index.
  Raises:
    types.UserError: a run that cannot be exported, a folder that is in use or
      cannot be written.
  """
  target = pathlib.Path(out)
  if directories.holds_data(target) and not (
    overwrite and export_folder.is_exported(out)
  ):
    raise types.UserError(
      f'{out} exists; name another folder, or give --overwrite to put the'
      ' export in the place of an older one'
    )
  opened = opened_lib.load(workdir)
  name = opened.experiment.config.model.name
  if not isinstance(opened.ranker.params, types.Params):
    raise types.UserError(
      f'{workdir}: a run of {name} whose groups have parameters of their own'
      ' cannot be exported; serve it with twotsrec.serving.open, or train with'
      ' plugin.select=global'
    )
  has_index = search.how == 'approximate'
  if has_index:
    indexing.check(workdir, opened)
    approximate.package()
  num_items = opened.experiment.prepared.num_items
  made = exporting.make(
    opened.ranker, num_items, _places(opened), platforms, has_index
  )
  states = None
  if service := recipes.of(opened.experiment.config).service:
    states = service(opened.experiment, opened.params)
    moving = exporting.of_states(states, platforms)
    made = exporting.Exported(
      made.weights | moving.weights, made.programs | moving.programs
    )
  index = indexing.make(opened, search.recall) if has_index else None
  try:
    fill = lambda folder: _fill(folder, opened, made, platforms, states, index)
    directories.write(target, fill)
  except OSError as error:
    raise directories.cannot_write(target, error) from error
  size = sum(file.stat().st_size for file in target.iterdir())
  return (
    f'{name} for {len(opened.people.user_ids):,} users and'
    f' {len(opened.people.item_ids):,} items in {out}: {size / 1e6:,.1f} MB,'
    f' {len(made.programs)} programs for {", ".join(platforms)}'
    + (_told(index[1]) if index else '')
  )


def _told(about) -> str:
  return (
    f'; its index finds {about["recall"]:.1%} of the exact lists of'
    f' {about["k"]} items, of {about["users"]:,} users'
  )


def _fill(folder: pathlib.Path, opened, made, platforms, states, index) -> None:
  """Writes all files, the manifest last."""
  people = opened.people
  tensors.write(folder / export_folder.WEIGHTS, made.weights)
  arrays = export_folder.arrays_of(people) | _near(opened)
  if states is not None:
    for kind in ('known', 'new'):
      for name, leaf in getattr(states, kind)._asdict().items():
        arrays[f'{kind}.{name}'] = np.asarray(leaf)
  tensors.write(folder / export_folder.PEOPLE, arrays)
  for name in export_folder.IDS:
    np.save(folder / f'{name}.npy', getattr(people, name), allow_pickle=False)
  if index:
    approximate.write(folder / export_folder.INDEX, index[0])
  programs = {}
  for name, program in made.programs.items():
    file = f'{name}.stablehlo'
    (folder / file).write_bytes(program.code)
    about = {'weights': program.weights, 'inputs': program.inputs}
    about |= {'outputs': program.outputs, **program.calling}
    programs[name] = {'file': file, **about}
  manifest = {
    'format': export_folder.FORMAT,
    'version': export_folder.VERSION,
    'twotsrec': twotsrec.__version__,
    'jax': jax.__version__,
    'model': opened.experiment.config.model.name,
    'users': len(people.user_ids),
    'items': len(people.item_ids),
    'history_length': people.history_length,
    'reads_history': people.reads_history,
    'exclude_seen': people.exclude_seen,
    'places': _places(opened),
    'lengths': exporting.lengths(len(people.item_ids)),
    'platforms': list(platforms),
    'programs': programs,
    **({'search': index[1]} if index else {}),
    'files': {
      file.name: {
        'bytes': file.stat().st_size,
        'sha256': export_folder.digest(file),
      }
      for file in sorted(folder.iterdir())
    },
  }
  content = directories.json_bytes(manifest)
  (folder / export_folder.MANIFEST).write_bytes(content)


def _places(opened) -> int:
  """K, plugins of a route."""
  routes = opened.people.routes
  return 1 if routes is None else routes.groups.shape[1]


def _near(opened) -> dict[str, Any]:
  """What `similar` needs: vectors of items, or who had what in training."""
  vectors = similar.vectors(opened.params)
  if vectors is not None:
    return {'vectors': vectors}
  user, item = similar.pairs(opened.experiment.prepared)
  return {'pairs.user': user, 'pairs.item': item}
