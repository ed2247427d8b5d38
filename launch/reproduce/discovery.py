"""Measures reminding against discovery over the share of new places.

    python launch/reproduce/discovery.py --data_root=DIR \
        --out=launch/reproduce/results/discovery.json
    python launch/reproduce/render.py

`--runs=NAME=DIR,...` adds finished runs on the same data. A system that stands
in --out is not measured again; a picture, .svg, stands beside it where
matplotlib is installed. `twotsrec/studies/trade_off.py` says what is measured.
"""

import pathlib
import sys
import time

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli

SHARES = (0.0, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)

_DATA_ROOT = flags.DEFINE_string('data_root', None, 'Folder of the datasets.')
_CACHE_DIR = flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.')
_DATASET = flags.DEFINE_string('dataset', 'taobao-copf', 'With behaviors.')
_SYSTEMS = flags.DEFINE_list(
  'systems',
  ['pair_experts', 'view_reminder', 'cascading_rank'],
  'Models without training and rules beside them, measured in this order.',
)
_RUNS = flags.DEFINE_list('runs', [], 'Finished runs, NAME=DIR each.')
_OUT = flags.DEFINE_string('out', None, 'A .json, as render.py draws it.')


def main() -> int:
  """Measures what --out does not have yet."""
  from twotsrec.studies import trade_off

  out = cli.required(_OUT)
  runs = dict(one.split('=', 1) for one in _RUNS.value)
  experiment = trade_off.experiment(
    _DATASET.value, cli.required(_DATA_ROOT), _CACHE_DIR.value
  )
  rankers = trade_off.rankers(experiment, _SYSTEMS.value, runs)
  for name, make in rankers.items():
    if trade_off.has(out, name):
      continue
    begin = time.process_time()
    measured = trade_off.curves(experiment, make(), SHARES)
    trade_off.add(out, name, measured)
    print(f'{name}: {time.process_time() - begin:.0f} s of processor time')
  picture = pathlib.Path(out).with_suffix('.svg')
  if trade_off.draw(trade_off.tables(out), _DATASET.value, picture):
    print(f'drawn in {picture}')
  print(f'written to {out}')
  return 0


if __name__ == '__main__':
  cli.run(main)
