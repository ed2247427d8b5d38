"""Measures speed and memory; writes JSON.

    python launch/benchmark.py --suite=train --dataset=ml-1m --data_root=DIR \
        --out=train.json

Each model runs in a process of its own, so that its peak memory is its own.
"""

import json
import pathlib
import subprocess
import sys

from absl import flags

import cli
from twotsrec import config as config_lib
from twotsrec.recipes import benchmark
from twotsrec.training import files

_SUITE = flags.DEFINE_enum('suite', 'train', ['train'], 'What to measure.')
_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_DATASET = flags.DEFINE_string('dataset', 'synthetic', 'A named dataset.')
_DATA_ROOT = flags.DEFINE_string('data_root', '', 'Folder of named datasets.')
_CACHE_DIR = flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.')
_MODELS = flags.DEFINE_list('models', ['din', 'gru4rec', 'sasrec'], 'Models.')
_CHILD = flags.DEFINE_bool('child', False, 'Used by the script itself.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Rounds.', lower_bound=1)


def main() -> int:
  """Measures each model in a child process, or one model as such a child."""
  out = pathlib.Path(cli.required(_OUT))
  if _CHILD.value:
    files.write_json(out, benchmark.train(_config(), _REPEATS.value))
    return 0
  results = {}
  for model in _MODELS.value:
    part = out.with_name(f'{out.name}.{model}')
    arguments = ['--child', f'--models={model}', f'--out={part}']
    ended = subprocess.run([sys.executable, *sys.argv, *arguments])
    if ended.returncode:
      return ended.returncode
    results[model] = files.read_json(part)
    part.unlink()
  files.write_json(out, {'suite': _SUITE.value, 'models': results})
  print(json.dumps(results, indent=1))
  return 0


def _config() -> config_lib.Config:
  config = config_lib.Config()
  config.data.dataset = _DATASET.value
  config.data.data_root = _DATA_ROOT.value
  config.data.cache_dir = _CACHE_DIR.value
  config.model.name = _MODELS.value[0]
  return config


if __name__ == '__main__':
  cli.run(main)
