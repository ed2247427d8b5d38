"""Trains 2TS, its ablations and controls, and checks the paper's claims.

    python launch/reproduce/two_time_scale.py --data_root=DIR --out=runs/2ts
    python launch/reproduce/two_time_scale.py --table=comparison \
        --datasets=ml-100k --systems=ccf,one_gru,2ts --seeds=0 \
        --data_root=DIR --out=runs/2ts
    python launch/reproduce/two_time_scale.py --figure=theory --out=runs/2ts

The same command again goes on where it stopped. The document is
OUT/two_time_scale.md, its numbers are in OUT/two_time_scale.json.
"""

import functools
import pathlib
import signal
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
from twotsrec.recipes import two_time_presets
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_document
from twotsrec.recipes.reproduction import two_time_results
from twotsrec.recipes.reproduction import two_time_theory
from twotsrec.recipes.reproduction import two_time_training

_TABLE = flags.DEFINE_list(
  'table',
  [],
  f'Of {", ".join(two_time.TABLES)}; without --figure too, all of both.',
)
_FIGURE = flags.DEFINE_list(
  'figure', [], f'Of {", ".join(two_time.FIGURES)}; theory trains nothing.'
)
_DATASETS = flags.DEFINE_list(
  'datasets', ['ml-100k'], f'Of {", ".join(two_time.FILES)}.'
)
_SPLITS = flags.DEFINE_list(
  'splits', ['global_time'], f'Of {", ".join(two_time_presets.SPLITS)}.'
)
_SYSTEMS = flags.DEFINE_list(
  'systems',
  list(two_time.ASKED),
  f'Rows of the tables, besides popularity: {", ".join(two_time.SYSTEMS)}.',
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of the training.')
_DATA_ROOT = flags.DEFINE_string('data_root', '', 'Folder of the datasets.')
_CACHE_DIR = flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the runs and the document.')
_REPORT_ONLY = flags.DEFINE_bool(
  'report_only', False, 'Train nothing; what is missing is shown as -.'
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Trains what is missing and writes the document; 143 after a SIGTERM."""
  settings = two_time.check(
    two_time.Settings(
      tuple(_TABLE.value),
      tuple(_FIGURE.value),
      tuple(_DATASETS.value),
      tuple(_SPLITS.value),
      tuple(_SYSTEMS.value),
      tuple(_SEEDS.value),
      _DATA_ROOT.value,
      _CACHE_DIR.value,
      cli.required(_OUT),
    )
  )
  if two_time.runs(settings) and not _REPORT_ONLY.value:
    cli.required(_DATA_ROOT)
    stop = cli.stop_on_signal()
    tell = functools.partial(print, flush=True)
    if not two_time_training.train(settings, stop, _QUIET.value, tell):
      print(f'stopped and saved in {settings.out}; the same command resumes')
      return 128 + signal.SIGTERM
  result = two_time_results.collect(settings)
  theory = None
  if 'theory' in settings.figures:
    theory = two_time_theory.collect(pathlib.Path(settings.out))
  path = two_time_document.write(result, settings.out, theory)
  print(f'written to {path}')
  return 0


if __name__ == '__main__':
  cli.run(main)
