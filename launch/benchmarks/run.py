"""Measures speed and memory; writes JSON and prints a table.

    python launch/benchmarks/run.py --suite=train --dataset=ml-1m \\
        --data_root=DIR --out=train.json
    python launch/benchmarks/run.py --suite=peers --dataset=ml-1m \\
        --data_root=DIR --out=peers.json
    python launch/benchmarks/run.py --suite=aggregators --dataset=ml-1m \\
        --data_root=DIR --out=aggregators.json [--only=pcgrad,light]
    python launch/benchmarks/run.py --suite=graph --dataset=taobao-copf \\
        --data_root=DIR --out=graph.json
    python launch/benchmarks/run.py --suite=two_time_scale --out=two_time.json
    python launch/benchmarks/run.py --suite=rows --sizes=10000 \\
        --sizes=1000000 --out=rows.json

`train` is the training loop and full ranking, of three models by default;
`peers` is the same of SASRec, GRU4Rec and DIN in the settings at which other
libraries' speed is published;
`aggregators` a step of every aggregator, penalty, sequential method and plugin
stage over one of joint training, for DIN by default. Each model runs in a
process of its own, so that its peak memory is its own. `graph` is products
with the graph of all behaviors, over SciPy's, and the contrastive loss; then,
in a process of its own, an epoch of COPF and its full ranking.
`two_time_scale` is the parts of 2TS, on ids made up in the size of MovieLens.
`rows` is a step of its stage 1 over tables of several sizes, dense and row by
row.
"""

from collections.abc import Mapping
import json
import pathlib
import subprocess
import sys
from typing import Any

from absl import flags

# Modules beside this script, and what all scripts share one folder up.
sys.path.append(str(pathlib.Path(__file__).resolve().parent))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import peers_settings
import timing
from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.training import files

_MODELS_OF = {
  'train': ('din', 'gru4rec', 'sasrec'),
  'peers': tuple(peers_settings.SETTINGS),
  'aggregators': ('din',),
}
_LOOPS = ('train', 'peers')
_SUITES = (*_MODELS_OF, 'graph', 'two_time_scale', 'rows')

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
  [*timing.CLOCKS],
  'All suites but train and peers: what is timed; processor on a machine that'
  ' is shared.',
)
_STEPS = flags.DEFINE_integer(
  'steps', 60, 'Suite aggregators: steps of a measured scan.', lower_bound=1
)
_SIZES = flags.DEFINE_multi_integer(
  'sizes',
  [10_000, 100_000, 1_000_000],
  'Suite rows: users, and as many items. Adam is left out above a million.',
  lower_bound=1,
)
# Flags that only these suites look at.
_SUITES_OF = (
  (_MODELS, tuple(_MODELS_OF)),
  (_ONLY, ('aggregators',)),
  (_STEPS, ('aggregators',)),
  (_CLOCK, ('aggregators', 'graph', 'two_time_scale', 'rows')),
  (_SIZES, ('rows',)),
  (_DATASET, (*_MODELS_OF, 'graph')),
  (_DATA_ROOT, (*_MODELS_OF, 'graph')),
)


def main() -> int:
  """Measures each model in a child process, or one model as such a child."""
  out = pathlib.Path(cli.required(_OUT))
  _check()
  if _CHILD.value:
    files.write_json(out, _in_this_process())
    return 0
  measured = {}
  if _SUITE.value == 'graph':
    children = {'copf': []}
  else:
    models = _MODELS.value or _MODELS_OF.get(_SUITE.value, ())
    children = {model: [f'--models={model}'] for model in models}
  for name, arguments in children.items():
    code, measured[name] = _in_child(out, name, arguments)
    if code:
      return code
  if _SUITE.value in _MODELS_OF:
    measured = {'models': measured}
  elif _SUITE.value == 'graph':
    import graph_products

    measured |= graph_products.measure(
      _config(), _REPEATS.value, _CLOCK.value, _say
    )
  elif _SUITE.value == 'rows':
    import row_steps

    measured = row_steps.measure(
      _SIZES.value,
      _REPEATS.value,
      _CLOCK.value,
      _say,
    )
  else:
    import two_time_scale

    measured = two_time_scale.measure(_REPEATS.value, _CLOCK.value, _say)
  files.write_json(out, {'suite': _SUITE.value, **measured})
  print(_text(measured))
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


def _in_this_process() -> dict[str, Any]:
  if _SUITE.value in _LOOPS:
    import training_loop

    return training_loop.measure(_config(), _REPEATS.value)
  if _SUITE.value == 'graph':
    import graph_products

    return graph_products.train(_config().data, _REPEATS.value)
  import group_updates

  return group_updates.measure(
    _config(),
    _REPEATS.value,
    _STEPS.value,
    _ONLY.value,
    _CLOCK.value,
    _say,
  )


def _check() -> None:
  """Refuses what would cost a long run, or change nothing in it."""
  if _SUITE.value == 'peers':
    for name in _MODELS.value:
      fields.refuse_unknown('model', name, peers_settings.SETTINGS)
  for flag, suites in _SUITES_OF:
    if flag.present and _SUITE.value not in suites:
      raise types.UserError(
        f'--{flag.name} changes nothing in suite {_SUITE.value}; leave it out,'
        f' or use --suite={" or ".join(suites)}'
      )
  if _SUITE.value == 'aggregators':
    import group_updates

    group_updates.select(_ONLY.value)
  if _SUITE.value == 'graph':
    from twotsrec.presets import copf

    copf.preset(
      _config().data.dataset
    )  # refuses a dataset it has no settings of


def _text(measured: Mapping[str, Any]) -> str:
  """What is printed at the end."""
  if _SUITE.value in _LOOPS:
    return json.dumps(measured['models'], indent=1)
  if _SUITE.value == 'aggregators':
    return '\n\n'.join(
      _table(part, f'{model} on {part["source"]}, {part["steps"]} steps a turn')
      for model, part in measured['models'].items()
    )
  if _SUITE.value == 'two_time_scale':
    return _table(measured, 'parts of 2TS')
  if _SUITE.value == 'rows':
    slopes = measured['exponents'].items()
    grows = ', '.join(f'{name} {slope:.2f}' for name, slope in slopes)
    return (
      _table(measured, 'a step over id tables')
      + f'\na step grows with the tables to the power: {grows}'
    )
  trained = measured['copf']
  of_graph = (
    f'{measured["source"]}, {measured["nodes"]:,} nodes,'
    f' {measured["entries"]:,} entries'
  )
  return (
    f'copf: {trained["epoch_seconds"]["median"]:.1f} s an epoch of'
    f' {trained["steps_per_epoch"]} steps,'
    f' {trained["ranking_seconds"]["median"]:.1f} s to rank'
    f' {trained["items"]:,} items for {trained["users"]:,} users, peak memory'
    f' {trained["peak_rss_mb"]:.0f} MB\n' + _table(measured, of_graph)
  )


def _table(measured: Mapping[str, Any], title: str) -> str:
  from twotsrec.evaluation import comparison

  return (
    f'{title}, {measured["rounds"]} rounds, {measured["clock"]} time: median,'
    f' least to largest; peak memory {measured["peak_rss_mb"]:.0f} MB\n'
    + comparison.aligned(timing.table(measured))
  )


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _config() -> config_lib.Config:
  config = config_lib.Config()
  config.data.dataset = _DATASET.value
  if _SUITE.value == 'graph' and not _DATASET.present:
    from twotsrec.data import settings

    config.data.dataset = settings.SYNTHETIC_BEHAVIORS
  config.data.data_root = _DATA_ROOT.value
  config.data.cache_dir = _CACHE_DIR.value
  if _SUITE.value == 'peers':
    peers_settings.change(config, _MODELS.value[0])
  elif _MODELS.value:
    config.model.name = _MODELS.value[0]
  return config


if __name__ == '__main__':
  cli.run(main)
