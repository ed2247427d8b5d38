"""Trains 2TS, its ablations and controls, and checks the paper's claims.

    python launch/reproduce/two_time_scale.py --data_root=DIR --out=runs/2ts
    python launch/reproduce/two_time_scale.py --table=comparison \
        --datasets=ml-100k --systems=ccf,one_gru,2ts --seeds=0 \
        --data_root=DIR --out=runs/2ts
    python launch/reproduce/two_time_scale.py --figure=theory --out=runs/2ts

The same command again goes on where it stopped. The document is
OUT/two_time_scale.md, its numbers are in OUT/two_time_scale.json;
configs/papers/two_time_scale.py declares the runs.
"""

import pathlib
import sys

from absl import flags

# Scripts here share what those one folder up share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import reproducing

main = reproducing.main_of('two_time_scale')
flags.adopt_module_key_flags(reproducing)


if __name__ == '__main__':
  cli.run(main)
