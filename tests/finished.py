"""Finished runs that tests look at, each trained once by whoever asks first.

All workers of a test session share them. Leave them as they are; `copy` gives
one to be changed at will.
"""

import atexit
from collections.abc import Iterator
import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
import tempfile

import numpy as np

from tests import configured
from tests import jodie_toys
from tests import small_runs as runs
from tests import two_time_toys
from tests.gold import runs as gold
from tests.runs import behavior_runs
from twotsrec import config as config_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.training import run_directory

FOLDER = 'TWOTSREC_TEST_RUNS'  # variable: where the runs of this session are


@functools.cache
def run(name: str = 'ga') -> pathlib.Path:
  """Directory of one of the runs of `gold.everything()`."""
  changes = gold.everything()[name]
  if 'plugin.trunk' in changes:
    run(changes['plugin.trunk'])
  return kept(name, gold.config(name, folder()))


@functools.cache
def two_time(variant: str = '2ts') -> pathlib.Path:
  """Directory of a variant of 2TS on the small log."""
  if variant in gold.everything():
    return run(variant)
  path = two_time_toys.prepared_path()
  made = two_time_toys.config(data__prepared=path, two_time__variant=variant)
  return kept(variant, made)


@functools.cache
def behaviors() -> pathlib.Path:
  """Directory of a sequence model on the log with behaviors."""
  return kept('behaviors', runs.config(**behavior_runs.SETTINGS))


@functools.cache
def coming_back() -> pathlib.Path:
  """Directory of EASE on a log where users come back to items."""
  rng = np.random.default_rng(5)
  user = np.repeat(np.arange(30, dtype=np.int32), rng.integers(5, 12, 30))
  item = rng.integers(1, 16, user.size).astype(np.int32)
  again = np.flatnonzero(np.diff(user, prepend=-1) == 0)
  again = again[rng.random(again.size) < 0.4]
  item[again] = item[again - 1]
  split = splits.leave_last_out(user, True)
  ids = {'user_ids': np.arange(30), 'item_ids': np.arange(15)}
  data = prepared_lib.build(user, item, split, **ids)
  path = folder() / 'coming_back.data'
  with _alone(path.name):
    prepared_lib.save(data, str(path))
  changes = {'model.name': 'ease', 'data.prepared': str(path)}
  changes |= {'groups.num_groups': 3, 'evaluation.bootstrap': 20}
  changes |= {'closed_form.l2': 2.0, 'evaluation.ks': (1, 3)}
  return kept('coming_back', configured.by(changes))


@functools.cache
def prior(terms: tuple[str, ...] = config_lib.PRIOR_TERMS) -> pathlib.Path:
  """Directory of a model with a history prior where users come back."""
  coming_back()
  changes = {
    'data.prepared': str(folder() / 'coming_back.data'),
    'model.name': 'sasrec',
    'model.num_heads': 2,
    'prior.terms': terms,
    'evaluation.ks': (1, 3),
    'train.log_groups': False,
  }
  config = runs.config()
  config.model.hidden = config_lib.ModelConfig().hidden
  config_lib.change(config, changes)
  return kept('prior' if terms else 'without_prior', config)


@functools.cache
def jodie() -> pathlib.Path:
  """Directory of JODIE on its small log."""
  path = folder() / 'jodie.data'
  with _alone(path.name):
    prepared_lib.save(jodie_toys.log(), str(path))
  config = jodie_toys.config(train__epochs=1)
  config.data = type(config.data)(prepared=str(path))
  return kept('jodie', config)


@functools.cache
def untrained(name: str, **changes) -> pathlib.Path:
  """Directory of a model without a phase on the log with behaviors."""
  data = behavior_runs.SETTINGS['data__dataset']
  named = {'data.dataset': data, 'data.users': 40, 'model.name': name}
  named |= {'groups.num_groups': 3, 'evaluation.bootstrap': 20, **changes}
  key = '_'.join([name, *map(str, changes.values())])
  return kept(key, configured.by(named))


def kept(name: str, config: config_lib.Config) -> pathlib.Path:
  """Directory of a run that is trained unless some worker has.

  Args:
    name: of the directory, one for every configuration.
    config: of the run.
  """
  workdir = folder() / name
  with _alone(name):
    if not run_directory.report_path(workdir).is_file():
      gold.train(config, workdir)
  return workdir


def copy(to: pathlib.Path, name: str = 'ga') -> pathlib.Path:
  """A copy of a run as `to`/run."""
  return pathlib.Path(shutil.copytree(run(name), to / 'run'))


def folder() -> pathlib.Path:
  """Where they are: that of the session, or one of this process."""
  shared = os.environ.get(FOLDER)
  path = pathlib.Path(shared) if shared else _own()
  path.mkdir(parents=True, exist_ok=True)
  return path


@functools.cache
def _own():
  path = pathlib.Path(tempfile.mkdtemp(prefix='twotsrec-'))
  atexit.register(shutil.rmtree, path, ignore_errors=True)
  return path


@contextlib.contextmanager
def _alone(name) -> Iterator[None]:
  """One process at a time."""
  with open(folder() / f'{name}.lock', 'w', encoding='utf-8') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
