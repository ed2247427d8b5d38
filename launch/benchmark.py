"""Measures speed and memory; writes JSON.

    python launch/benchmark.py --suite=train --dataset=ml-1m --data_root=DIR \
        --out=train.json
    python launch/benchmark.py --suite=aggregators --dataset=ml-1m \
        --data_root=DIR --out=aggregators.json [--only=pcgrad,light]
    python launch/benchmark.py --suite=graph --dataset=taobao-copf \
        --data_root=DIR --out=graph.json
    python launch/benchmark.py --suite=two_time_scale --out=two_time.json

`train` is the training loop and full ranking, of three models by default;
`aggregators` a step of every aggregator, penalty, sequential method and plugin
stage over one of joint training, for DIN by default. Each model runs in a
process of its own, so that its peak memory is its own. `graph` is products
with the graph of all behaviors, over SciPy's, and the contrastive loss; then,
in a process of its own, an epoch of COPF and its full ranking.
`two_time_scale` is the parts of 2TS, on ids made up in the size of MovieLens.
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
from twotsrec.data import settings
from twotsrec.evaluation import comparison
from twotsrec.recipes import benchmark
from twotsrec.recipes import benchmark_aggregators
from twotsrec.recipes import benchmark_graph
from twotsrec.recipes import benchmark_two_time
from twotsrec.recipes import copf
from twotsrec.training import files

_MODELS_OF = {'train': ('din', 'gru4rec', 'sasrec'), 'aggregators': ('din',)}
_SUITES = (*_MODELS_OF, 'graph', 'two_time_scale')

_SUITE = flags.DEFINE_enum('suite', 'train', _SUITES, 'What to measure.')
_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_DATASET = flags.DEFINE_string(
  'dataset', 'synthetic', 'A named dataset; default: a built-in log.'
)
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
  [*benchmark.CLOCKS],
  'All suites but train: what is timed; processor on a machine that is shared.',
)
_STEPS = flags.DEFINE_integer(
  'steps', 60, 'Suite aggregators: steps of a measured scan.', lower_bound=1
)
# Flags that only these suites look at.
_SUITES_OF = (
  (_MODELS, tuple(_MODELS_OF)),
  (_ONLY, ('aggregators',)),
  (_STEPS, ('aggregators',)),
  (_CLOCK, ('aggregators', 'graph', 'two_time_scale')),
  (_DATASET, (*_MODELS_OF, 'graph')),
  (_DATA_ROOT, (*_MODELS_OF, 'graph')),
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
  if _SUITE.value == 'two_time_scale':
    return _two_time(out)
  results = {}
  for model in _MODELS.value or _MODELS_OF[_SUITE.value]:
    code, results[model] = _in_child(out, model, [f'--models={model}'])
    if code:
      return code
  files.write_json(out, {'suite': _SUITE.value, 'models': results})
  print(_shown(results))
  return 0


def _in_child(
  out: pathlib.Path, name: str, arguments: list[str]
) -> tuple[int, dict[str, Any]]:
  """Exit code and result of this script in a process of its own."""
  part = out.with_name(f'{out.name}.{name}')
  arguments = ['--child', *arguments, f'--out={part}']
  ended = subprocess.run([sys.executable, __file__, *sys.argv[1:], *arguments])
  if ended.returncode:
    return ended.returncode, {}
  result = files.read_json(part)
  part.unlink()
  return 0, result


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
    copf.preset(_config().data.dataset)  # refuses what it does not know


def _graph(out: pathlib.Path) -> int:
  """Products in this process, training and ranking in another."""
  code, trained = _in_child(out, 'copf', [])
  if code:
    return code
  measured = benchmark_graph.measure(
    _config(), _REPEATS.value, _CLOCK.value, _say
  )
  files.write_json(out, {'suite': _SUITE.value, **measured, 'copf': trained})
  print(
    f'copf: {trained["epoch_seconds"]["median"]:.1f} s an epoch of'
    f' {trained["steps_per_epoch"]} steps,'
    f' {trained["ranking_seconds"]["median"]:.1f} s to rank'
    f' {trained["items"]:,} items for {trained["users"]:,} users, peak memory'
    f' {trained["peak_rss_mb"]:.0f} MB\n'
    f'{measured["source"]}, {measured["nodes"]:,} nodes,'
    f' {measured["entries"]:,} entries, {measured["rounds"]} rounds,'
    f' {measured["clock"]} time: median, least to largest\n'
    + comparison.aligned(benchmark_graph.table(measured))
  )
  return 0


def _two_time(out: pathlib.Path) -> int:
  """The parts of 2TS take turns in this process."""
  measured = benchmark_two_time.measure(_REPEATS.value, _CLOCK.value, _say)
  files.write_json(out, {'suite': _SUITE.value, **measured})
  print(
    f'{measured["rounds"]} rounds, {measured["clock"]} time: median, least to'
    f' largest; peak memory {measured["peak_rss_mb"]:.0f} MB\n'
    + comparison.aligned(benchmark_two_time.table(measured))
  )
  return 0


def _measured() -> dict[str, Any]:
  if _SUITE.value == 'train':
    return benchmark.train(_config(), _REPEATS.value)
  if _SUITE.value == 'graph':
    return benchmark_graph.train(_config().data, _REPEATS.value)
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
  if _SUITE.value == 'graph' and not _DATASET.present:
    config.data.dataset = settings.SYNTHETIC_BEHAVIORS
  config.data.data_root = _DATA_ROOT.value
  config.data.cache_dir = _CACHE_DIR.value
  if _MODELS.value:
    config.model.name = _MODELS.value[0]
  return config


if __name__ == '__main__':
  cli.run(main)
