"""What is refused of files that training writes, and what is advised."""

import errno
import os
import pathlib
import shutil
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from tests.advice import following
from tests.advice.following import Call
from tests.advice.parts_test import OWN
from tests.studies import online_finished
from tests.training import checkpoints_test
from tests.training import loops
from twotsrec import config as config_lib
from twotsrec.serving import writers
from twotsrec.training import checkpoints
from twotsrec.training import compilation
from twotsrec.training import loop
from twotsrec.training import online_rows
from twotsrec.training import own_files
from twotsrec.training import run_directory

# Checkpoints.


def saved(folder: pathlib.Path, *numbers: int, version: int = 1):
  """Checkpoints of some steps."""
  with mock.patch.object(checkpoints, '_FORMAT', version):
    for step in numbers:
      checkpoints.save(folder, step, {'x': jnp.arange(3)}, {})
  return folder


def read(folder: pathlib.Path, step: int | None = None, count: int = 3):
  template = {'x': jnp.arange(count)}
  if step is None:
    return checkpoints.restore(folder, template)
  return checkpoints.restore_step(folder, template, step)


def damaged(folder: pathlib.Path, *numbers: int) -> pathlib.Path:
  for step in numbers:
    checkpoints_test.damage(saved(folder, step) / str(step))
  return folder


def begun_again(folder: pathlib.Path, deleted: str):
  shutil.rmtree(deleted)
  assert read(folder) is None
  read(saved(folder, 1))


def of_another_version(folder: pathlib.Path, version: str):
  with mock.patch.object(checkpoints, '_FORMAT', int(version)):
    read(folder, 1)


CHECKPOINTS = [
  Call(
    'every checkpoint in {} is damaged (steps {})',
    lambda folder: read(damaged(folder, 1, 2)),
    r'every checkpoint in (\S+) is damaged .* or delete it to start over',
    begun_again,
  ),
  Call(
    'no checkpoint of step {} in {}, which has {}',
    lambda folder: read(saved(folder / 'run', 5), 6),
    'no checkpoint of step .* restore it from a copy',
    lambda folder: read(saved(folder / 'run', 6), 6),
  ),
  Call(
    'checkpoint {} is damaged ({}); train again in a',
    lambda folder: read(damaged(folder / 'run', 2), 2),
    'train again in a new --workdir',
    lambda folder: read(saved(folder / 'other', 2), 2),
  ),
  Call(
    'checkpoint {} has format {}, this version reads',
    lambda folder: read(saved(folder, 1, version=9), 1),
    r'has format (\d+), .* use the version of twotsrec that wrote it',
    of_another_version,
  ),
  Call(
    'does not fit this run: state{} is {} there',
    lambda folder: read(saved(folder, 1), 1, count=4),
    r'is \w+\[(\d)\] there and .*\nUse the config it was trained with',
    lambda folder, count: read(folder, 1, count=int(count)),
  ),
]

# The loop.


def fitted(workdir: pathlib.Path, finish: bool):
  config = config_lib.TrainConfig(epochs=1, select_metric='none')
  phase, updates = loops.changed(judge=None, train=config), loops.compiled()
  compiled = lambda phase, live: (updates, live)
  with mock.patch.object(loop, '_compile', compiled):
    return loop.fit(phase, str(workdir), quiet=True, finish=finish)


def stepped(folder: pathlib.Path, name: str, rate: float):
  """Trains with a rate by which updates are finite or not."""
  updates = loops.compiled()

  def runner(*arguments):
    train, totals = updates(*arguments)
    if rate > 1:
      totals = totals._replace(bad_step=jnp.int32(3))
    return train, totals

  loops.fit(folder / name, runner=runner, epochs=1, learning_rate=rate)


def judged(folder: pathlib.Path, name: str, value: float | None, **how):
  """Trains an epoch, and judges it by a value."""
  metric = how.get('select_metric', 'loss')
  judge = None if metric == 'none' else lambda params: {metric: value}
  phase = loops.changed(judge=judge)
  loops.fit(folder / name, phase, epochs=1, **how)


LOOP = [
  Call(
    'nothing has been trained in {}, so there is',
    lambda folder: fitted(folder, finish=True),
    'run the same command without --finish',
    lambda folder: fitted(folder, finish=False),
  ),
  Call(
    'is not finite at step {} (epoch {}1); the last',
    lambda folder: stepped(folder, 'run', 90.0),
    r'lower train.learning_rate \(now 90.0; .* start in a new --workdir',
    lambda folder: stepped(folder, 'new', 0.1),
  ),
  *(
    Call(
      '{} {} has no value on these data; choose another',
      lambda folder: judged(folder, 'run', None),
      f'choose another select_metric, or .*{word}',
      lambda folder, how=how: judged(folder, 'new', **how),
    )
    for word, how in (
      ('', {'value': 0.5, 'select_metric': 'hr@10'}),
      ('none for the last epoch', {'value': None, 'select_metric': 'none'}),
    )
  ),
  Call(
    '{} {} is {} after epoch {}; lower the learning',
    lambda folder: judged(folder, 'run', np.nan, learning_rate=90.0),
    r'lower the learning rate \(now 90.0\) and start in a new --workdir',
    lambda folder: judged(folder, 'new', 0.5, learning_rate=0.1),
  ),
]

# Files of a run.


def rows_of(folder: pathlib.Path, size: int | None = None):
  model = online_finished.ranked()
  online_rows.save(folder, model, {'popularity': model})
  path = folder / online_rows.NAME
  path.write_bytes(path.read_bytes()[:size])
  return online_rows.read(folder)


def with_own(folder: pathlib.Path, content: str = OWN) -> config_lib.Config:
  """A configuration with an aggregator of one's own."""
  (folder / 'mine.py').write_text(content)
  config = config_lib.Config()
  config.aggregator.name = f'{folder}/mine.py:make'
  return config


def changed_copy(folder: pathlib.Path):
  config = with_own(folder)
  own_files.keep(folder, config)
  (copy,) = folder.glob('own/*/mine.py')
  copy.write_text(f'{OWN}\n')
  own_files.restored(folder, config)


def put_back(folder: pathlib.Path, path: str):
  shutil.copyfile(folder / 'mine.py', path)
  own_files.restored(folder, with_own(folder))


def changed_file(folder: pathlib.Path, workdir: str = ''):
  own_files.keep(folder, with_own(folder))
  own_files.keep(folder / workdir, with_own(folder, f'{OWN}\n'))


def metrics_of(folder: pathlib.Path):
  run_directory.metrics_path(folder).write_text('{"epoch": 1\n')
  return run_directory.read_metrics(folder)


def without_metrics(folder: pathlib.Path, path: str):
  pathlib.Path(path).unlink()
  assert run_directory.read_metrics(folder) == []


def compiled_in(where: str | pathlib.Path):
  with mock.patch.object(compilation.jax.config, 'update'):
    compilation.keep(str(where))


def file_in(folder: pathlib.Path) -> pathlib.Path:
  (folder / 'file').write_text('')
  return folder / 'file'


def listed(folder: pathlib.Path, has_room: bool):
  """Writes a list, on a disk that is full or not."""
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  rows = writers.Rows(*(np.ones(1, np.int64) for _ in range(4)))
  replace = os.replace if has_room else mock.Mock(side_effect=full)
  with mock.patch.object(writers.os, 'replace', replace):
    writers.write(str(folder / 'top.csv'), [rows])


FILES = [
  Call(
    'online_rows.py: is damaged or of another version',
    lambda folder: rows_of(folder, 200),
    'restore it from a copy',
    rows_of,
  ),
  Call(
    'this copy of {} was changed since the run was',
    changed_copy,
    r'^(\S+): this copy .* put the file there again',
    put_back,
  ),
  Call(
    'the file has changed since the run in {} was',
    changed_file,
    r'its copy is in own/\); restore it',
    lambda folder: own_files.keep(folder, with_own(folder)),
  ),
  Call(
    'the file has changed since the run in {} was',
    changed_file,
    'or use another --workdir',
    lambda folder: own_files.keep(folder / 'other', with_own(folder)),
  ),
  Call(
    '{} is not valid JSON lines: {}; restore it from',
    metrics_of,
    r'^(\S+) is not valid .* or delete it',
    without_metrics,
  ),
  Call(
    '--compile_cache (or TWOTSREC_COMPILE_CACHE) {}:',
    lambda folder: compiled_in(file_in(folder) / 'x'),
    'name a folder that can be written',
    lambda folder: compiled_in(folder / 'x'),
  ),
  Call(
    '--compile_cache (or TWOTSREC_COMPILE_CACHE) {}:',
    lambda folder: compiled_in(file_in(folder) / 'x'),
    ', or (off)',
    lambda folder, off: compiled_in(off),
  ),
  Call(
    'writers.py: cannot write {}: {}; choose a folder',
    lambda folder: listed(folder, has_room=False),
    'choose a folder with room',
    lambda folder: listed(folder, has_room=True),
  ),
]

CASES = [*CHECKPOINTS, *LOOP, *FILES]


@pytest.mark.parametrize('call', CASES, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
