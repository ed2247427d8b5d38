"""Trains the runs of PIN's tables and writes them beside the paper's numbers.

    python launch/reproduce/pin.py --data_root=DIR --out=runs/pin
    python launch/reproduce/pin.py --table=2,3 --seeds=0 --data_root=DIR \
        --out=runs/pin

The same command again goes on where it stopped. The document is OUT/pin.md,
its numbers are in OUT/pin.json.
"""

import pathlib
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import reproducing
from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import pin_document
from twotsrec.recipes.reproduction import pin_results
from twotsrec.recipes.reproduction import training

_TABLE = flags.DEFINE_list(
  'table', list(pin.TABLES), f'Of {", ".join(pin.TABLES)}.'
)
_DATASETS = flags.DEFINE_list(
  'datasets', ['ml-1m'], f'Of {", ".join(pin.FILES)}.'
)
_MODELS = flags.DEFINE_list(
  'models', list(pin.MODELS), 'Of Table 4; everything else is DIN.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of the training.')
_EPOCHS = flags.DEFINE_integer(
  'epochs', 8, 'Of stage 1 and of systems with one stage.', lower_bound=1
)
_STAGE2_EPOCHS = flags.DEFINE_integer(
  'stage2_epochs', 4, 'Of stage 2, with the plugins.', lower_bound=1
)
_COMMON = reproducing.define()
flags.adopt_module_key_flags(reproducing)


def main() -> int:
  """Trains what is missing and writes the document; 143 after a SIGTERM."""
  settings = pin.check(
    pin.Settings(
      tuple(_TABLE.value),
      tuple(_DATASETS.value),
      tuple(_MODELS.value),
      tuple(_SEEDS.value),
      _EPOCHS.value,
      _STAGE2_EPOCHS.value,
      *_COMMON.places(),
    )
  )

  def train(*how):
    return training.train([*pin.plans(settings).values()], *how)

  def write():
    return pin_document.write(pin_results.collect(settings), settings.out)

  return reproducing.run(_COMMON, train, write)


if __name__ == '__main__':
  cli.run(main)
