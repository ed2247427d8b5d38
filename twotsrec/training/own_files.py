"""Files of one's own that a run's configuration names, copied into the run.

    own/own.json                  {setting: digest}
    own/<digest>/<name>.py        the file as it was when the run was started

A run is loaded from its copies, so it needs nothing else.
"""

import copy
import os
import pathlib
import shutil

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import own
from twotsrec import types
from twotsrec.training import files

_FOLDER, _RECORD = 'own', 'own.json'


def settings(config: config_lib.Config) -> dict[str, str]:
  """Settings that name a file of one's own, {section.field: file.py:name}."""
  return {
    f'{section}.{field}': value
    for section, options in vars(config).items()
    for field, value in vars(options).items()
    if isinstance(value, str) and fields.is_own(value)
  }


def keep(workdir: str | os.PathLike, config: config_lib.Config) -> None:
  """Copies the files into the run, which then needs nothing else.

  Raises:
    types.UserError: a file has changed since the run was started.
  """
  named = settings(config)
  digests = {setting: own.digest(name) for setting, name in named.items()}
  record = pathlib.Path(workdir) / _FOLDER / _RECORD
  if record.is_file():
    _check(workdir, named, digests, files.read_json(record))
  elif named:
    for setting, name in named.items():
      target = _place(workdir, digests[setting], name)
      with files.explained(target, 'write'):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(own.split(name)[0], target)
    files.write_json(record, digests)


def restored(
  workdir: str | os.PathLike, config: config_lib.Config
) -> config_lib.Config:
  """The configuration of a run with the copies in place of the files.

  Raises:
    types.UserError: a copy is missing, or is not what was copied.
  """
  record = pathlib.Path(workdir) / _FOLDER / _RECORD
  if not record.is_file():
    return config
  config = copy.deepcopy(config)
  for setting, digest in files.read_json(record).items():
    section, field = setting.split('.')
    name = getattr(getattr(config, section), field)
    place = _place(workdir, digest, name)
    value = f'{place}:{own.split(name)[1]}'
    if own.digest(value, f'{setting}, of the run') != digest:
      raise types.UserError(
        f'{place}: this copy of {own.split(name)[0].name} was changed since the'
        ' run was started; put the file there again, or train in a new'
        ' --workdir'
      )
    setattr(getattr(config, section), field, value)
  return config


def _place(workdir, digest, name):
  path = own.split(name)[0]
  return pathlib.Path(workdir) / _FOLDER / digest[:16] / path.name


def _check(workdir, named, here, there):
  for setting, digest in there.items():
    if here.get(setting) != digest:
      raise types.UserError(
        f'{setting} {named.get(setting)}: the file has changed since the run in'
        f' {workdir} was started (its copy is in {_FOLDER}/); restore it, or'
        ' use another --workdir'
      )
