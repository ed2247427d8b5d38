"""Trains the runs of COPF's tables and writes them beside the paper's numbers.

    python launch/reproduce/copf.py --data_root=DIR --out=runs/copf
    python launch/reproduce/copf.py --table=3 --variants=copf,wo_con,wo_back \
        --epochs=60 --data_root=DIR --out=runs/copf

The same command again goes on where it stopped. The document is OUT/copf.md,
its numbers are in OUT/copf.json.
"""

import functools
import pathlib
import signal
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_document
from twotsrec.recipes.reproduction import copf_results
from twotsrec.recipes.reproduction import training

_TABLE = flags.DEFINE_list(
  'table', list(copf.TABLES), f'Of {", ".join(copf.TABLES)}.'
)
_DATASETS = flags.DEFINE_list(
  'datasets', ['taobao-copf'], f'Of {", ".join(copf.FILES)}.'
)
_VARIANTS = flags.DEFINE_list(
  'variants',
  list(copf.SYSTEMS),
  f'Rows of the tables and points of the figures: {", ".join(copf.SYSTEMS)}.',
)
_SEEDS = flags.DEFINE_list('seeds', ['0'], 'Of the training.')
_EPOCHS = flags.DEFINE_integer(
  'epochs', 200, 'At most, of every run.', lower_bound=1
)
_DATA_ROOT = flags.DEFINE_string('data_root', '', 'Folder of the datasets.')
_CACHE_DIR = flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the runs and the document.')
_REPORT_ONLY = flags.DEFINE_bool(
  'report_only', False, 'Train nothing; what is missing is shown as -.'
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Trains what is missing and writes the document; 143 after a SIGTERM."""
  settings = copf.check(
    copf.Settings(
      tuple(_TABLE.value),
      tuple(_DATASETS.value),
      tuple(_VARIANTS.value),
      tuple(_SEEDS.value),
      _EPOCHS.value,
      _DATA_ROOT.value,
      _CACHE_DIR.value,
      cli.required(_OUT),
    )
  )
  if not _REPORT_ONLY.value:
    cli.required(_DATA_ROOT)
    stop = cli.stop_on_signal()
    tell = functools.partial(print, flush=True)
    plans = [*copf.plans(settings).values()]
    if not training.train(plans, stop, _QUIET.value, tell):
      print(f'stopped and saved in {settings.out}; the same command resumes')
      return 128 + signal.SIGTERM
  result = copf_results.collect(settings)
  print(f'written to {copf_document.write(result, settings.out)}')
  return 0


if __name__ == '__main__':
  cli.run(main)
