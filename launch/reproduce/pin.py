r"""Trains the runs of PIN's tables and writes them beside the paper's numbers.

    python launch/reproduce/pin.py --data_root=DIR --out=runs/pin
    python launch/reproduce/pin.py --table=2,3 --seeds=0 --data_root=DIR \
        --out=runs/pin
    python launch/reproduce/pin.py --prepared=data/mine --out=runs/mine
    python launch/reproduce/pin.py --datasets=synthetic-impressions \
        --out=runs/impressions

The same command again goes on where it stopped. The document is OUT/pin.md,
its numbers are in OUT/pin.json; configs/papers/pin.py declares the runs.
"""

import pathlib
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import reproducing

main = reproducing.main_of('pin')
flags.adopt_module_key_flags(reproducing)


if __name__ == '__main__':
  cli.run(main)
