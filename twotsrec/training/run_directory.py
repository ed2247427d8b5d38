"""A run directory: everything about one training run, and enough to serve it.

Layout:
  config.json      the configuration; the same resumes, another is refused
  metrics.jsonl    one JSON object per line
  checkpoints/     latest/ to resume from, best/ to evaluate and recommend
  report.json      written last; per_target.npz and rules.npz have the ranks of
                   held-out items, by the model and by the rules beside it
  own/             copies of own parts, files that the configuration names
  ids/             the prepared data, so that no other directory is needed
"""

from collections.abc import Callable, Collection, Iterator, Mapping
import contextlib
import json
import logging
import os
import pathlib
from typing import Any

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.training import files
from twotsrec.training import own_files

_LOGGER = logging.getLogger('twotsrec')
_ABSENT = object()
_SHOWN = 6  # differing fields in an error

write_json = files.write_json


# ---- Where things are


def _place(*names: str) -> Callable[[str | os.PathLike], pathlib.Path]:
  return lambda workdir: pathlib.Path(workdir, *names)


config_path = _place('config.json')
metrics_path = _place('metrics.jsonl')
report_path = _place('report.json')
targets_path = _place('per_target.npz')
rules_path = _place('rules.npz')
ids_path = _place('ids')
# Folders for `checkpoints`.
latest_path = _place('checkpoints', 'latest')
best_path = _place('checkpoints', 'best')


def best_paths(
  workdir: str | os.PathLike, num_groups: int | None
) -> list[pathlib.Path]:
  """The selected checkpoint, or one per group if groups select on their own."""
  best = best_path(workdir)
  if num_groups is None:
    return [best]
  return [best / f'group{j + 1}' for j in range(num_groups)]


def snapshot_path(workdir: str | os.PathLike, epoch: int) -> pathlib.Path:
  """Parameters kept after an epoch, a folder for `checkpoints`."""
  return pathlib.Path(workdir) / 'checkpoints' / f'epoch{epoch}'


# ---- One run, one configuration, one process


def open_run(
  workdir: str | os.PathLike,
  config: Mapping[str, Any],
  may_differ: Collection[str] = (),
  defaults: Mapping[str, Any] | None = None,
) -> pathlib.Path:
  """Makes the directory, or verifies that it was made with this config.

  Args:
    workdir: made if missing, with its parents.
    config: nested dict of settings.
    may_differ: dotted names of settings that do not change the result.
    defaults: what a setting means that the run does not know: its default
      keeps what was there before it.
  Returns:
    The directory.
  """
  workdir = pathlib.Path(workdir)
  with files.explained(workdir, 'write'):
    workdir.mkdir(parents=True, exist_ok=True)
  if config_path(workdir).exists():
    saved = _flatten(files.jsonable(defaults or {}))
    saved |= _flatten(read_config(workdir))
    here = _flatten(files.jsonable(config))
    _check_same_config(workdir, saved, here, may_differ)
    return workdir
  if (workdir / 'checkpoints').exists():
    raise types.UserError(
      f'{workdir} has checkpoints but no config.json, so nobody knows what '
      'they are; restore the file or use another --workdir'
    )
  write_json(config_path(workdir), config)
  return workdir


def typed_config(workdir: str | os.PathLike) -> config_lib.Config:
  """The configuration of a run; own parts are the copies that it keeps.

  Raises:
    types.UserError: no run directory, or a field this version does not know.
  """
  return own_files.restored(workdir, config_from_dict(read_config(workdir)))


def config_from_dict(values: dict[str, Any]) -> config_lib.Config:
  """The typed configuration behind a `config.json`.

  Raises:
    types.UserError: a field this version does not know.
  """
  config = config_lib.Config()
  for name, section in vars(config).items():
    for field, value in values.get(name, {}).items():
      if field not in vars(section):
        raise types.UserError(
          f'config.json has an unknown field {name}.{field}; known:'
          f' {", ".join(vars(section))}; use the version of twotsrec that'
          ' wrote it'
        )
      value = tuple(value) if isinstance(value, list) else value
      setattr(section, field, value)
  return config


def read_config(workdir: str | os.PathLike) -> dict[str, Any]:
  """The configuration of a run, as nested dicts."""
  path = config_path(workdir)
  if not path.is_file():
    raise types.UserError(
      f'{workdir} is not a run directory: it has no config.json; '
      'name the --workdir of a training run'
    )
  config = files.read_json(path)
  if not isinstance(config, dict):
    raise types.UserError(
      f'{path} does not hold a configuration; restore it from a copy'
    )
  return config


def unfinished(workdir: str | os.PathLike) -> types.UserError:
  """The error of a run without a report, with both ways to one."""
  return types.UserError(
    f'{workdir}: training has not finished (no {report_path(workdir).name});'
    ' run launch/train.py with the same --workdir to finish it, or with'
    ' --finish to take it as it is'
  )


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[None]:
  """Keeps a second process out of the directory; dies with this one."""
  workdir = pathlib.Path(workdir)
  with files.explained(workdir, 'write'):
    workdir.mkdir(parents=True, exist_ok=True)
    file = open(workdir / '.lock', 'a+', encoding='utf-8')
  with file:
    if not files.flock(file.fileno(), wait=False):
      file.seek(0)
      raise types.UserError(
        f'another process (pid {file.read().strip() or "unknown"}) is '
        f'training in {workdir}; wait for it or use another --workdir'
      )
    with files.explained(workdir, 'write'):
      file.truncate(0)
      file.write(str(os.getpid()))
      file.flush()
    yield


def _flatten(config: Any, prefix: str = '') -> dict[str, Any]:
  if not isinstance(config, dict):
    return {prefix: config}
  flat = {}
  for name, value in config.items():
    flat |= _flatten(value, f'{prefix}.{name}' if prefix else name)
  return flat


def _check_same_config(workdir, there, here, may_differ):
  """Refuses settings that differ, {dotted name: JSON value} here and there."""
  say = lambda of, name: json.dumps(of[name]) if name in of else 'absent'
  lines = [
    f'{name}: {say(there, name)} there, {say(here, name)} here'
    for name in here | there
    if name not in may_differ
    and there.get(name, _ABSENT) != here.get(name, _ABSENT)
  ]
  if len(lines) > _SHOWN:
    lines[_SHOWN:] = [f'and {len(lines) - _SHOWN} more']
  if lines:
    raise types.UserError(
      f'{workdir} holds a run with another config ({"; ".join(lines)})\n'
      'Use another --workdir, or the settings it was started with.'
    )


# ---- Metrics


def append_metrics(
  workdir: str | os.PathLike, record: Mapping[str, Any]
) -> None:
  """Adds one line; a non-finite number becomes null."""
  path = metrics_path(workdir)
  line = json.dumps(files.jsonable(record), allow_nan=False).encode() + b'\n'
  with files.explained(path, 'write'), open(path, 'ab') as file:
    file.write(line)


def sync_metrics(workdir: str | os.PathLike) -> int:
  """Forces the lines to the disk; their bytes, for the checkpoint to keep."""
  path = metrics_path(workdir)
  with files.explained(path, 'write'), open(path, 'ab') as file:
    os.fsync(file.fileno())
    return file.tell()


def truncate_metrics(workdir: str | os.PathLike, num_bytes: int) -> None:
  """Takes back what was logged after a checkpoint, so that it can come again.

  Args:
    workdir: the run.
    num_bytes: what `sync_metrics` returned then; 0 for a new start.
  """
  path = metrics_path(workdir)
  with files.explained(path, 'write'), open(path, 'ab') as file:
    if file.tell() < num_bytes:
      _LOGGER.warning(
        '%s has %d bytes where the checkpoint knows of %d: lines were lost',
        path, file.tell(), num_bytes,
      )  # fmt: skip
    file.truncate(min(file.tell(), num_bytes))


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Every complete line; a run that is being written may end in half a line."""
  path = metrics_path(workdir)
  if not path.exists():
    return []
  with files.explained(path, 'read'):
    lines = path.read_bytes().split(b'\n')[:-1]
  try:
    return [json.loads(line) for line in lines]
  except ValueError as error:
    raise types.UserError(
      f'{path} is not valid JSON lines: {error}; restore it from a copy, or'
      ' delete it'
    ) from error
