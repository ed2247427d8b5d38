"""Serves an exported folder with JAX and NumPy alone."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import jax
from jax import export
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.serving import answers
from twotsrec.serving import approximate
from twotsrec.serving import export_folder
from twotsrec.serving import requests as requests_lib
from twotsrec.serving import similar
from twotsrec.serving import state_steps
from twotsrec.serving import tensors

_ROWS = 256  # users of a call
_CELLS = 1 << 26  # users and items of a call, at most


def load(path: str, search: str = 'exact') -> answers.Answers:
  """The answers of an exported folder, those of its run.

  Args:
    path: of the folder.
    search: exact, or approximate in the folder's index, see `approximate`.
  Raises:
    types.UserError: a file that is missing, damaged or of another version, or
      no index.
  """
  folder = export_folder.read(pathlib.Path(path))
  people = export_folder.people_of(folder)
  programs = _programs(folder, people)
  if export_folder.is_searched(path, search):
    programs = programs._replace(top=_searching(folder, programs.top))
  return answers.make(people, programs, folder.manifest['model'])


def open_program(
  folder: export_folder.Folder,
) -> Callable[[str], Callable[..., Any]]:
  """(name) -> a program of a folder, a function of its inputs."""
  saved = tensors.read(folder.path / export_folder.WEIGHTS)
  weight = functools.cache(lambda name: jnp.asarray(saved[name]))

  @functools.cache
  def program(name):
    names = folder.manifest['programs'][name]['weights']
    weights = [weight(one) for one in names]
    return functools.partial(rebuilt(folder, name, weights), *weights)

  return program


def _programs(folder, people) -> answers.Programs:
  manifest, num_items = folder.manifest, len(people.item_ids)
  program, places = open_program(folder), manifest['places']

  def top(requests, k, exclude_seen, allowed):
    k = min(k, num_items)
    length = min(n for n in manifest['lengths'] if n >= k)
    for request in requests:
      if len(request.history):
        yield _top(program(f'top_{length}'), request, k, exclude_seen, allowed)

  def _top(best, request, k, exclude_seen, allowed):
    made = []
    for part in _parts(request, num_items):
      own = requests_lib.some(request, part)
      out = np.tile(~allowed, (len(part), 1))
      if exclude_seen:
        row = np.repeat(np.arange(len(part)), own.seen.counts)
        out[row, own.seen.items] = True
      who = _who(own, places)
      ids, scores, has_nan = best(*_padded([*who, out]))
      check_scores(has_nan)
      made.append([np.asarray(x)[: len(part), :k] for x in (ids, scores)])
    return answers.Chunk(*map(np.concatenate, zip(*made)))

  def scores(request, items):
    made = of_pairs('scores', request, items)
    check_scores(np.any(np.isnan(made)))
    return made

  def of_pairs(name, request, items):
    made = []
    for part in _parts(request, num_items):
      who = _who(requests_lib.some(request, part), places)
      wide = np.pad(items[part], ((0, 0), (0, _power(items.shape[1]))))
      (found,) = program(name)(*_padded([*who, wide]))
      made.append(np.asarray(found)[: len(part), : items.shape[1]])
    return np.concatenate(made)

  steps = reasons = None
  if 'reasons' in manifest['programs']:
    reasons = functools.partial(of_pairs, 'reasons')
  if 'update' in manifest['programs']:
    steps = functools.cache(lambda: _steps(folder, program))
  return answers.Programs(
    top=top,
    scores=scores,
    similarity=functools.cache(lambda: _similarity(folder, num_items)),
    steps=steps,
    reasons=reasons,
  )


def _searching(folder, top) -> approximate.Top:
  """Lists by the index of a folder."""
  program, places = open_program(folder), folder.manifest['places']
  index = approximate.read(
    folder.path / export_folder.INDEX, folder.manifest['search']['probes']
  )

  def queries(request):
    (found,) = program('queries')(*_padded(_who(request, places)))
    return np.asarray(found)[: len(request.history)]

  return approximate.around(top, queries, index)


def _steps(folder, program) -> state_steps.Steps:
  """What moves and reads the states of a folder."""
  arrays, names = folder.people, state_steps.FIELDS
  of = lambda kind: {name: arrays[f'{kind}.{name}'] for name in names}

  def update(now, items):
    values = _padded([*(now[name] for name in names), items])
    moved = program('update')(*values)
    return {
      name: np.asarray(leaf)[: len(items)] for name, leaf in zip(names, moved)
    }

  def query(now):
    (found,) = program('query')(*_padded([now[name] for name in names]))
    return np.asarray(found)[: len(now['last'])]

  return state_steps.Steps(
    known=of('known'),
    new=of('new'),
    update=update,
    query=query,
    vectors=np.asarray(
      tensors.read(folder.path / export_folder.WEIGHTS)['states.item']
    ),
  )


def rebuilt(
  folder: export_folder.Folder, name: str, weights: Sequence[jax.Array]
) -> Callable[..., Any]:
  """A program of a folder, compiled for every size when it is met.

  `jax.export` makes a blank of the same signature, which gets the code that was
  saved. `Exported.serialize` would ask for one more package, flatbuffers.
  """
  about, scope = folder.manifest['programs'][name], export.SymbolicScope()

  def shaped(shape):
    return export.symbolic_shape(''.join(f'{n},' for n in shape), scope=scope)

  shapes = [
    jax.ShapeDtypeStruct(shaped(shape), dtype)
    for _, dtype, shape in about['inputs']
  ]

  def blank(*arguments):
    return tuple(
      jnp.zeros(shaped(shape), dtype) for _, dtype, shape in about['outputs']
    )

  platforms = folder.manifest['platforms']
  made = export.export(jax.jit(blank), platforms=platforms)(*weights, *shapes)
  made = dataclasses.replace(
    made,
    mlir_module_serialized=(folder.path / about['file']).read_bytes(),
    module_kept_var_idx=tuple(about['kept']),
    calling_convention_version=about['version'],
    uses_global_constants=about['uses_global_constants'],
  )
  return jax.jit(made.call)


def _parts(request, num_items) -> Iterator[np.ndarray]:
  """Rows of a request in pieces that are scored at once."""
  rows = np.arange(len(request.history))
  size = max(1, min(_ROWS, _CELLS // num_items))
  for first in range(0, len(rows), size):
    yield rows[first : first + size]


def _who(request, places) -> list[np.ndarray]:
  """What a program is told of the users of a request."""
  size = len(request.history)
  user, route = request.user, request.route
  if route is None:
    first = np.eye(1, places, dtype=np.float32)
    route = types.Route(
      np.zeros((size, places), np.int32), np.repeat(first, size, axis=0)
    )
  user = np.full(size, -1) if user is None else user
  return [request.history, user.astype(np.int32), *route]


def _padded(values) -> list[np.ndarray]:
  """Rows up to a power of four, by the first: few sizes are compiled."""
  size, target = len(values[0]), 1
  while target < size:
    target *= 4
  rows = np.where(np.arange(target) < size, np.arange(target), 0)
  return [value[rows] for value in values]


def _power(count) -> int:
  """What lacks to the next power of two."""
  return (1 << max(count - 1, 0).bit_length()) - count


def check_scores(has_nan: Any) -> None:
  """A user error where a score is not a number."""
  if bool(has_nan):
    raise types.UserError(
      'the exported model gives scores that are not numbers; train with a lower'
      ' learning_rate, and export that run'
    )


def _similarity(folder, num_items) -> similar.Similarity:
  arrays = folder.people
  if 'vectors' in arrays:
    return similar.of_vectors(arrays['vectors'])
  return similar.of_users(arrays['pairs.user'], arrays['pairs.item'], num_items)
