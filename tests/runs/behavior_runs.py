"""A small finished run on a log with behaviors, and runs that serve others."""

import atexit
import functools
import pathlib
import shutil
import tempfile

from tests import small_runs as runs
from twotsrec import types
from twotsrec.data import settings
from twotsrec.runs import run as run_lib

SETTINGS = {
  'data__dataset': settings.SYNTHETIC_BEHAVIORS,
  'data__users': 40,
  'aggregator__name': 'joint',
  'train__epochs': 1,
  'train__log_groups': False,
  'evaluation__candidates': 'unbought',
}


@functools.cache
def finished() -> pathlib.Path:
  """Its directory; leave it as it is."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='twotsrec-'))
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  run_lib.train(runs.config(**SETTINGS), str(folder / 'run'), quiet=True)
  return folder / 'run'


def serving(experiment, model, params) -> types.Experiment:
  """The experiment as if its model, once trained, ranked by another."""
  return experiment._replace(
    model=object(), serve=lambda *_: params, ranker=model
  )
