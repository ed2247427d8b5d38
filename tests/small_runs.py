"""Settings of small runs, and what runs compare by."""

import pathlib

import jax
import numpy as np

from tests import configured
from twotsrec import config as config_lib
from twotsrec.training import files
from twotsrec.training import run_directory

# Whatever depends on the clock or the machine's memory.
TIMING = (
  'seconds',
  'compile_seconds',
  'evaluation_seconds',
  'test_seconds',
  'examples_per_second',
  'input_wait_share',
  'peak_rss_mb',
)

# The same as flags, for the scripts.
SETTINGS = {
  'data.users': 25,
  'data.history_length': 4,
  'model.width': 4,
  'model.hidden': (4,),
  'groups.num_groups': 3,
  'aggregator.name': 'backdoor',
  'train.epochs': 3,
  'train.batch_size': 48,
  'train.learning_rate': 0.01,
  'train.log_groups': True,
  'train.checkpoint_every': 0.0,
  'plugin.epochs': 3,
  'evaluation.bootstrap': 20,
}


def config(**changes) -> config_lib.Config:
  """The small experiment; `train__epochs=1` changes train.epochs."""
  return configured.by(SETTINGS, **changes)


def flags() -> list[str]:
  """The small experiment as command line flags."""
  return [f'--config.{path}={value}' for path, value in SETTINGS.items()]


def untimed_report(workdir: pathlib.Path) -> dict:
  """The report without what the clock decides."""
  report = files.read_json(run_directory.report_path(workdir))
  for name in TIMING:
    del report['training'][name]
  return report


def untimed_metrics(workdir: pathlib.Path) -> list[dict]:
  """The lines of metrics.jsonl without what the clock decides."""
  lines = run_directory.read_metrics(workdir)
  return [{k: v for k, v in x.items() if k != 'train_seconds'} for x in lines]


def assert_same_arrays(first, second) -> None:
  """Equal trees of arrays, bit for bit."""
  assert jax.tree.structure(first) == jax.tree.structure(second)
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
