"""Measures speed and memory; writes JSON.

    python launch/benchmark.py --suite=train --dataset=ml-1m --data_root=DIR \
        --out=train.json
    python launch/benchmark.py --suite=aggregators --dataset=ml-1m \
        --data_root=DIR --out=aggregators.json [--only=pcgrad,light]
    python launch/benchmark.py --suite=graph --dataset=taobao-copf \
        --data_root=DIR --out=graph.json

`train` is the training loop and full ranking, of three models by default;
`aggregators` a step of every aggregator, penalty, sequential method and plugin
stage over one of joint training, for DIN by default. Each model runs in a
process of its own, so that its peak memory is its own. `graph` is products
with the graph of all behaviors, over SciPy's, and the contrastive loss; it has
no models.
"""

from collections.abc import Mapping
import json
import pathlib
import subprocess
import sys
from typing import Any

from absl import flags

import cli
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.recipes import benchmark
from twotsrec.recipes import benchmark_aggregators
from twotsrec.recipes import benchmark_graph
from twotsrec.training import files

_MODELS_OF = {'train': ('din', 'gru4rec', 'sasrec'), 'aggregators': ('din',)}
_SUITES = (*_MODELS_OF, 'graph')

_SUITE = flags.DEFINE_enum('suite', 'train', _SUITES, 'What to measure.')
_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_DATASET = flags.DEFINE_string('dataset', 'synthetic', 'A named dataset.')
_DATA_ROOT = flags.DEFINE_string('data_root', '', 'Folder of named datasets.')
_CACHE_DIR = flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.')
_MODELS = flags.DEFINE_list('models', [], 'Models; default: by suite.')
_CHILD = flags.DEFINE_bool('child', False, 'Used by the script itself.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Rounds.', lower_bound=1)
_ONLY = flags.DEFINE_list(
  'only', [], 'Suite aggregators: names of rows; default: all.'
)
_CLOCK = flags.DEFINE_enum(
  'clock',
  'wall',
  [*benchmark_aggregators.CLOCKS],
  'Suites aggregators and graph: what is timed; processor on a machine that is'
  ' shared.',
)
_STEPS = flags.DEFINE_integer(
  'steps', 60, 'Suite aggregators: steps of a measured scan.', lower_bound=1
)
# Flags that only these suites look at.
_SUITES_OF = (
  (_MODELS, tuple(_MODELS_OF)),
  (_ONLY, ('aggregators',)),
  (_STEPS, ('aggregators',)),
  (_CLOCK, ('aggregators', 'graph')),
)


def main() -> int:
  """Measures each model in a child process, or one model as such a child."""
  out = pathlib.Path(cli.required(_OUT))
  _check()
  if _CHILD.value:
    files.write_json(out, _measured())
    return 0
  if _SUITE.value == 'graph':
    return _graph(out)
  results = {}
  for model in _MODELS.value or _MODELS_OF[_SUITE.value]:
    part = out.with_name(f'{out.name}.{model}')
    arguments = ['--child', f'--models={model}', f'--out={part}']
    ended = subprocess.run([sys.executable, *sys.argv, *arguments])
    if ended.returncode:
      return ended.returncode
    results[model] = files.read_json(part)
    part.unlink()
  files.write_json(out, {'suite': _SUITE.value, 'models': results})
  print(_shown(results))
  return 0


def _check() -> None:
  """Refuses what would cost a long run, or change nothing in it."""
  for flag, suites in _SUITES_OF:
    if flag.present and _SUITE.value not in suites:
      raise types.UserError(
        f'--{flag.name} changes nothing in suite {_SUITE.value}; leave it out,'
        f' or use --suite={" or ".join(suites)}'
      )
  if _SUITE.value == 'aggregators':
    benchmark_aggregators.select(_ONLY.value)
  if _SUITE.value == 'graph':
    benchmark_graph.import_scipy_sparse()


def _graph(out: pathlib.Path) -> int:
  """Measures what no model is needed for, in this process."""
  measured = benchmark_graph.measure(
    _config(), _REPEATS.value, _CLOCK.value, _say
  )
  files.write_json(out, {'suite': _SUITE.value, **measured})
  print(
    f'{measured["source"]}, {measured["nodes"]:,} nodes,'
    f' {measured["entries"]:,} entries, {measured["rounds"]} rounds,'
    f' {measured["clock"]} time: median, least to largest\n'
    + comparison.aligned(benchmark_graph.table(measured))
  )
  return 0


def _measured() -> dict[str, Any]:
  if _SUITE.value == 'train':
    return benchmark.train(_config(), _REPEATS.value)
  return benchmark_aggregators.measure(
    _config(),
    _REPEATS.value,
    _STEPS.value,
    _ONLY.value,
    _CLOCK.value,
    _say,
  )


def _shown(results: Mapping[str, Any]) -> str:
  """What is printed at the end."""
  if _SUITE.value == 'train':
    return json.dumps(results, indent=1)
  tables = []
  for model, measured in results.items():
    cells = benchmark_aggregators.table(measured)
    tables.append(
      f'{model} on {measured["source"]}, {measured["rounds"]} rounds of'
      f' {measured["steps"]} steps, {measured["clock"]} time: median, least to'
      ' largest\n' + comparison.aligned(cells)
    )
  return '\n\n'.join(tables)


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _config() -> config_lib.Config:
  config = config_lib.Config()
  config.data.dataset = _DATASET.value
  config.data.data_root = _DATA_ROOT.value
  config.data.cache_dir = _CACHE_DIR.value
  if _MODELS.value:
    config.model.name = _MODELS.value[0]
  return config


if __name__ == '__main__':
  cli.run(main)
