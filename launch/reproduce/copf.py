"""Trains the runs of COPF's tables and writes them beside the paper's numbers.

    python launch/reproduce/copf.py --data_root=DIR --out=runs/copf
    python launch/reproduce/copf.py --table=3 --variants=copf,wo_con,wo_back \
        --epochs=60 --data_root=DIR --out=runs/copf
    python launch/reproduce/copf.py --table=2 --tried=slow,middle,fast \
        --epochs=20 --data_root=DIR --out=runs/equal
    python launch/reproduce/copf.py --prepared=data/mine --out=runs/mine
    python launch/reproduce/copf.py --table=1,fig6 --data_root=DIR --out=runs/1

The same command again goes on where it stopped. The document is OUT/copf.md,
its numbers are in OUT/copf.json; configs/papers/copf.py declares the runs.
"""

import pathlib
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import reproducing

main = reproducing.main_of('copf')
flags.adopt_module_key_flags(reproducing)


if __name__ == '__main__':
  cli.run(main)
