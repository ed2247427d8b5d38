"""Sixteen small runs and what they come to, so that a redesign can be tested.

    python -m tests.gold.runs --write[=FILE]

trains them and writes `runs.json`: a digest of each checkpoint and of the rows
per held-out item, and the report without what the clock decides.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sys
import tempfile
from typing import Any
from unittest import mock

import jax
import numpy as np

from tests import compiling
from tests import configured
from tests import small_runs as runs
from tests import two_time_toys
from tests.runs import behavior_runs
from twotsrec import config as config_lib
from twotsrec.runs import run
from twotsrec.training import checkpoints
from twotsrec.training import files
from twotsrec.training import run_directory

PATH = pathlib.Path(__file__).with_name('runs.json')
_BEHAVIORS = {
  **configured.paths(behavior_runs.GRAPHS),
  'behavior.contrastive': 0.1,
  'head.name': 'experts',
}
_PLUGINS = {'plugin.name': 'light', 'plugin.epochs': 2}
_VECTOR_PLUGINS = {
  **_PLUGINS,
  'plugin.points': 'Z',
  'plugin.trunk_learning_rate': 0.0,
  'plugin.learning_rate': 0.01,
  'behavior.prior': 'pattern',
}
_FIGURES = ('hr@10', 'ndcg@10', 'user_auc')  # of the test items
_TWO_TIME = {'two_time.variant': '2ts'}


def sequence() -> dict[str, dict[str, Any]]:
  """Settings of the runs of sequence models, by name; `plugin.trunk` names a
  run of this list."""
  ga = {'aggregator.name': 'backdoor'}
  base = {'aggregator.name': 'joint'}
  return {
    'base': base,
    'ga': ga,
    'ga_pn': {**ga, **_PLUGINS, 'plugin.trunk': 'ga'},
    'fish': {**base, 'train.method': 'fish', 'train.batching': 'balanced'},
    'vrex': {**base, 'train.penalty': 'vrex'},
    'separate': {
      **base,
      'train.method': 'separate',
      'train.log_groups': False,
    },
    'soft': {
      **ga,
      **_PLUGINS,
      'plugin.trunk': 'ga',
      'routing.mode': 'soft',
    },
    'every_position': {
      **base,
      'model.name': 'sasrec',
      'model.hidden': config_lib.ModelConfig().hidden,
      'model.causal': True,
      'train.positions': 'every',
    },
  }


def behaviors() -> dict[str, dict[str, Any]]:
  """The same for several behaviors."""
  return {
    'copf': {},
    'copf_plugins': {**_VECTOR_PLUGINS, 'plugin.trunk': 'copf'},
    'copf_groups': {
      'behavior.aggregate': 'groups',
      'aggregator.name': 'backdoor',
    },
  }


def two_time() -> dict[str, dict[str, Any]]:
  """The same for 2TS."""
  return {
    '2ts': _TWO_TIME,
    '2ts_plus_plugins': {
      'two_time.variant': '2ts_plus',
      **_PLUGINS,
      'plugin.points': 'Z',
    },
    'single_stage': {'two_time.variant': 'single_stage'},
    'one_gru': {'two_time.variant': 'one_gru'},
    'threshold': {
      'two_time.threshold_rule': 'validation',
      'two_time.thresholds': (4, 6),
    },
  }


def everything() -> dict[str, dict[str, Any]]:
  """Settings of all runs, by name; a trunk stands before what needs it."""
  return {**sequence(), **behaviors(), **two_time()}


def measure(folder: pathlib.Path) -> dict[str, Any]:
  """Trains all of them: {name: what `measured` says}."""
  found = {}
  for name in everything():
    saved = train(config(name, folder), folder / name)
    found[name] = measured(folder / name, saved)
  return found


def measured(workdir: pathlib.Path, saved: dict[str, str]) -> dict[str, Any]:
  """Digests of checkpoints, rows per held-out item and report of a run.

  Args:
    workdir: of the finished run.
    saved: what `train` returned.
  """
  rows = {
    path.name: _digest(dict(np.load(path)).values())
    for path in sorted(workdir.glob('*.npz'))
  }
  return {'checkpoints': saved, 'rows': rows, **_report(workdir)}


def machine() -> dict[str, str]:
  """What bits may depend on, besides the code."""
  cpu = pathlib.Path('/proc/cpuinfo')
  lines = cpu.read_text().splitlines() if cpu.is_file() else []
  of = lambda key: next(
    (line.partition(':')[2].strip() for line in lines if line.startswith(key)),
    'unknown',
  )
  flags = hashlib.sha256(of('flags').encode()).hexdigest()[:16]
  return {
    'jax': jax.__version__,
    'numpy': np.__version__,
    'cpu': of('model name'),
    'cpu_flags': flags,
  }


def train(config: config_lib.Config, workdir: pathlib.Path) -> dict[str, str]:
  """{folder of the run: digest of what was saved there last}."""
  with two_time_toys.small_programs(), _watched(workdir) as saved:
    report = run.train(config, str(workdir), quiet=True)
  assert report is not None
  return saved


def config(name: str, folder: pathlib.Path) -> config_lib.Config:
  """The configuration of a run whose trunk, if any, stands in `folder`."""
  changes = dict(everything()[name])
  if 'plugin.trunk' in changes:
    changes['plugin.trunk'] = str(folder / changes['plugin.trunk'])
  if name in two_time():
    path = two_time_toys.prepared_path()
    changes['data.prepared'] = path
    return two_time_toys.config(
      **{path.replace('.', '__'): value for path, value in changes.items()}
    )
  settings = dict(_BEHAVIORS if name in behaviors() else {}) | changes
  return runs.config(
    **{path.replace('.', '__'): value for path, value in settings.items()}
  )


@contextlib.contextmanager
def _watched(workdir):
  """As `train`, for what is saved inside."""
  saved, save = {}, checkpoints.save

  def watching(folder, step, state, *arguments, **keywords):
    place = str(pathlib.Path(folder).relative_to(workdir))
    saved[place] = f'{step} {_digest(jax.tree.leaves(state))}'
    return save(folder, step, state, *arguments, **keywords)

  with mock.patch.object(checkpoints, 'save', watching):
    yield saved


def _digest(arrays) -> str:
  """Of all arrays together, whatever their order and their names."""
  return _hash(sorted(_hash(_facts(array)) for array in arrays))


def _facts(array):
  if jax.dtypes.issubdtype(getattr(array, 'dtype', None), jax.dtypes.prng_key):
    array = jax.random.key_data(array)
  array = np.ascontiguousarray(array)
  return [str(array.dtype), str(array.shape), array.tobytes().hex()]


def _hash(value) -> str:
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _report(workdir):
  """Digests of the report's sections, and its headline."""
  report = _untimed(files.read_json(run_directory.report_path(workdir)))
  del report['versions']
  report.get('verdict', {}).pop('try', None)  # names the folder of the data
  overall = report['test']['overall']
  return {
    'report': {name: _hash(section) for name, section in report.items()},
    'figures': {name: overall[name].get('value') for name in _FIGURES},
  }


def _untimed(value):
  if isinstance(value, dict):
    timing = {*runs.TIMING, 'stage1_seconds'}
    return {k: _untimed(v) for k, v in value.items() if k not in timing}
  return [_untimed(v) for v in value] if isinstance(value, list) else value


def main(path: pathlib.Path) -> None:
  """Writes the record of this machine."""
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    cache = os.environ.get('TWOTSREC_TEST_CACHE') or place / 'compiled'
    with compiling.once(cache), compiling.one_of_a_kind():
      record = {'machine': machine(), 'runs': measure(place)}
  path.write_text(json.dumps(record, indent=1, sort_keys=True) + '\n')


if __name__ == '__main__':
  asked, _, elsewhere = ' '.join(sys.argv[1:]).partition('=')
  if asked != '--write':
    sys.exit('python -m tests.gold.runs --write[=FILE]')
  main(pathlib.Path(elsewhere) if elsewhere else PATH)
