"""Checkpoints: whole or absent, verified when read, bit-exact.

Layout of a checkpoint:
    <folder>/<step>/state/         arrays, one orbax tree keyed by leaf number
                    host.json      what is not an array: counters, positions
                    manifest.json  the leaves, and digest and size of each file

Leaves may be jax or NumPy arrays of any dtype with a fixed width, and raw
(uint32) or typed PRNG keys. Containers may be anything that `jax.tree` knows;
they are not stored, `restore` takes them from its template. `host` is strict
JSON, so a tuple in it comes back as a list. Only this module knows orbax, and
imports it where it writes or reads: that takes as long as all of jax.
"""

from collections.abc import Iterator
import contextlib
import json
import logging
import os
import pathlib
import re
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.training import files
from twotsrec.training import versions

_FORMAT = 1
_LOGGER = logging.getLogger('twotsrec')
_OS_ERROR_CODE = re.compile(r"os_error_code='(\d+)'")


class Restored(NamedTuple):
  """Contents of a checkpoint.

  Attributes:
    state: arrays in the containers of the template.
    host: dict of JSON values.
    step: the step it was saved under.
  """

  state: types.PyTree
  host: dict[str, Any]
  step: int


def save(
  folder: str | os.PathLike,
  step: int,
  state: types.PyTree,
  host: dict[str, Any],
  keep: int = 2,
) -> pathlib.Path:
  """Writes `<folder>/<step>`, then removes what is no longer needed.

  Killed at any moment, the folder holds the old checkpoints or the new ones.
  Checkpoints of later steps are removed too: whoever saves an earlier step
  went back to it, and takes another way from there.

  Args:
    folder: made if missing.
    step: not negative.
    state: pytree of arrays.
    host: JSON values, without NaN or infinities.
    keep: how many checkpoints stay, at least 1.
  Returns:
    Path of the new checkpoint.
  """
  chex.assert_scalar_non_negative(step)
  folder = pathlib.Path(folder)
  host_text = json.dumps(host, allow_nan=False)
  named = _named_leaves(state)

  def fill(path):
    _write_arrays(path / 'state', [_as_numpy(leaf) for _, leaf in named])
    (path / 'host.json').write_text(host_text, encoding='utf-8')
    return {
      'format': _FORMAT,
      'step': int(step),
      'leaves': [_describe(*pair)._asdict() for pair in named],
    }

  with files.explained(folder, 'write'):
    return versions.write(folder, step, fill, keep)


def steps(folder: str | os.PathLike) -> list[int]:
  """Steps that have a checkpoint in `folder`, ascending."""
  with files.explained(folder, 'read'):
    return versions.steps(pathlib.Path(folder))


def restore(
  folder: str | os.PathLike, template: types.PyTree
) -> Restored | None:
  """Reads the newest checkpoint that is not damaged; None if there is none.

  A damaged one is skipped with a warning that names it.

  Args:
    folder: where `save` wrote; need not exist.
    template: pytree of arrays or `jax.ShapeDtypeStruct`. A NumPy array in it
      comes back as a NumPy array, anything else as a jax array.
  """
  folder = pathlib.Path(folder)
  versions.clean_up_if_idle(folder)
  damaged = []
  # Listed anew each time: a training process may remove the one we open.
  while left := [s for s in steps(folder) if s not in damaged]:
    path = folder / str(left[-1])
    try:
      return _read(path, template)
    except versions.DamageError as error:
      damaged.append(left[-1])
      if path.is_dir():
        _LOGGER.warning(
          'checkpoint %s is damaged (%s); using the one before', path, error
        )
  if any((folder / str(s)).is_dir() for s in damaged):
    raise types.UserError(
      f'every checkpoint in {folder} is damaged (steps '
      f'{", ".join(map(str, sorted(damaged)))}); restore the folder from a '
      'copy, or delete it to start over'
    )
  return None


def restore_step(
  folder: str | os.PathLike, template: types.PyTree, step: int
) -> Restored:
  """Reads the checkpoint of one step, into a template as in `restore`.

  Raises:
    types.UserError: it is not there, or damaged.
  """
  folder = pathlib.Path(folder)
  versions.clean_up_if_idle(folder)
  path, there = folder / str(step), steps(folder)
  if step not in there:
    raise types.UserError(
      f'no checkpoint of step {step} in {folder}, which has'
      f' {", ".join(map(str, there)) or "none"}; restore it from a copy, or'
      ' train again in a new --workdir'
    )
  try:
    return _read(path, template)
  except versions.DamageError as error:
    raise types.UserError(
      f'checkpoint {path} is damaged ({error}); train again in a new --workdir'
    ) from error


# ---- One checkpoint


class _Leaf(NamedTuple):
  """A leaf as the manifest lists it; `key_impl` of typed keys only."""

  path: str
  dtype: str
  shape: list[int]
  key_impl: str | None = None

  def __str__(self) -> str:
    return f'{self.dtype}{self.shape}'


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named_leaves(tree: types.PyTree) -> list[tuple[str, Any]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  named = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
  for name, leaf in named:
    if not hasattr(leaf, 'dtype'):
      raise TypeError(f'state{name} is {type(leaf).__name__}, not an array')
  return named


def _describe(name: str, leaf: Any) -> _Leaf:
  stored = isinstance(leaf, jax.Array) and _is_key(leaf)
  impl = str(jax.random.key_impl(leaf)) if stored else None
  return _Leaf(name, str(leaf.dtype), list(leaf.shape), impl)


def _as_numpy(leaf: Any) -> np.ndarray:
  return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _read(path: pathlib.Path, template: types.PyTree) -> Restored:
  """Reads a checkpoint after verifying every byte of it."""
  body = versions.verified(path)
  if body['format'] != _FORMAT:
    raise types.UserError(
      f'checkpoint {path} has format {body["format"]}, this version reads '
      f'format {_FORMAT}; use the version of twotsrec that wrote it'
    )
  named = _named_leaves(template)
  leaves = [_Leaf(**leaf) for leaf in body['leaves']]
  _check_same_leaves(path, leaves, [_describe(*pair) for pair in named])
  try:
    arrays = _read_arrays(path / 'state', leaves)
    host = json.loads((path / 'host.json').read_text(encoding='utf-8'))
  except OSError as error:  # removed since it was verified
    raise versions.DamageError(str(error)) from error
  like = [_like(*one) for one in zip(arrays, leaves, named, strict=True)]
  state = jax.tree.unflatten(jax.tree.structure(template), like)
  return Restored(state, host, body['step'])


def _like(array: np.ndarray, leaf: _Leaf, named: tuple[str, Any]) -> Any:
  """A stored array as the kind of array that the template has there."""
  _, model = named
  if leaf.key_impl is not None:
    return jax.random.wrap_key_data(jnp.array(array), impl=leaf.key_impl)
  if isinstance(model, np.ndarray | np.generic):
    return array
  if isinstance(model, jax.Array) and len(model.sharding.device_set) > 1:
    return jax.device_put(array, model.sharding)
  # A copy that jax owns can be donated; a view of NumPy memory cannot.
  return jnp.array(array)


def _check_same_leaves(
  path: pathlib.Path, stored: list[_Leaf], wanted: list[_Leaf]
) -> None:
  """Names the first leaf that differs."""
  there = {leaf.path: leaf for leaf in stored}
  here = {leaf.path: leaf for leaf in wanted}
  for name in [*here, *there]:
    saved, now = there.get(name), here.get(name)
    if saved is None or now is None or str(saved) != str(now):
      raise types.UserError(
        f'checkpoint {path} does not fit this run: state{name} is '
        f'{saved or "absent"} there and {now or "absent"} here\n'
        'Use the config it was trained with, or another --workdir.'
      )


# ---- Orbax


def _numbered(leaves: list[Any]) -> dict[str, Any]:
  """Leaves under the names orbax stores; it knows no arrays of size zero."""
  return {
    f'{i:05d}': leaf for i, leaf in enumerate(leaves) if 0 not in leaf.shape
  }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without orbax's log lines, which absl prints at level INFO."""
  logger = logging.getLogger('absl')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


def _write_arrays(path: pathlib.Path, arrays: list[np.ndarray]) -> None:
  import orbax.checkpoint as ocp

  numbered = _numbered(arrays)
  if not numbered:
    return
  try:
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
      writer.save(path.absolute(), args=ocp.args.PyTreeSave(numbered))
  except ValueError as error:  # how tensorstore reports a full disk
    code = _OS_ERROR_CODE.search(str(error))
    if code is None:
      raise
    number = int(code.group(1))
    raise OSError(number, os.strerror(number), str(path)) from error


def _read_arrays(path: pathlib.Path, leaves: list[_Leaf]) -> list[np.ndarray]:
  import orbax.checkpoint as ocp

  numbered = _numbered(leaves)
  restored = {}
  if numbered:
    how = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in numbered}
    what = ocp.args.PyTreeRestore(dict.fromkeys(numbered, 0), restore_args=how)
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
      restored = reader.restore(path.absolute(), args=what)
  empty = lambda leaf: np.zeros(leaf.shape, jnp.dtype(leaf.dtype))
  return [
    restored[f'{i:05d}'] if 0 not in leaf.shape else empty(leaf)
    for i, leaf in enumerate(leaves)
  ]
