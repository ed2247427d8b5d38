"""Trains the runs of COPF's tables and writes them beside the paper's numbers.

    python launch/reproduce/copf.py --data_root=DIR --out=runs/copf
    python launch/reproduce/copf.py --table=3 --variants=copf,wo_con,wo_back \
        --epochs=60 --data_root=DIR --out=runs/copf

The same command again goes on where it stopped. The document is OUT/copf.md,
its numbers are in OUT/copf.json.
"""

import pathlib
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import reproducing
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
_COMMON = reproducing.define()
flags.adopt_module_key_flags(reproducing)


def main() -> int:
  """Trains what is missing and writes the document; 143 after a SIGTERM."""
  settings = copf.check(
    copf.Settings(
      tuple(_TABLE.value),
      tuple(_DATASETS.value),
      tuple(_VARIANTS.value),
      tuple(_SEEDS.value),
      _EPOCHS.value,
      *_COMMON.places(),
    )
  )

  def train(*how):
    return training.train([*copf.plans(settings).values()], *how)

  def write():
    return copf_document.write(copf_results.collect(settings), settings.out)

  return reproducing.run(_COMMON, train, write)


if __name__ == '__main__':
  cli.run(main)
