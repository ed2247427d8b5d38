"""Trains 2TS, its ablations and controls, and checks the paper's claims.

    python launch/reproduce/two_time_scale.py --data_root=DIR --out=runs/2ts
    python launch/reproduce/two_time_scale.py --table=comparison \
        --datasets=ml-100k --systems=ccf,one_gru,2ts --seeds=0 \
        --data_root=DIR --out=runs/2ts
    python launch/reproduce/two_time_scale.py --figure=theory --out=runs/2ts

The same command again goes on where it stopped. The document is
OUT/two_time_scale.md, its numbers are in OUT/two_time_scale.json.
"""

import pathlib
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import reproducing
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_document
from twotsrec.recipes.reproduction import two_time_results
from twotsrec.recipes.reproduction import two_time_theory
from twotsrec.recipes.reproduction import two_time_training
from twotsrec.recipes.two_time import presets as two_time_presets

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
_COMMON = reproducing.define()
flags.adopt_module_key_flags(reproducing)


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
      *_COMMON.places(),
    )
  )

  def train(*how):
    return two_time_training.train(settings, *how)

  def write():
    result, theory = two_time_results.collect(settings), None
    if 'theory' in settings.figures:
      theory = two_time_theory.collect(pathlib.Path(settings.out))
    return two_time_document.write(result, settings.out, theory)

  needs_runs = bool(two_time.runs(settings))
  return reproducing.run(_COMMON, train if needs_runs else None, write)


if __name__ == '__main__':
  cli.run(main)
