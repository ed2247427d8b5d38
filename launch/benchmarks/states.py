"""Measures the store of states, and tries to break it; writes JSON.

    python launch/benchmarks/states.py --suite=size --users=1000000 \\
        --out=size.json
    python launch/benchmarks/states.py --suite=kills --kills=100 --writers=4 \\
        --out=kills.json

`size` is the bytes of states made up in the size of ML-1M (d = 64), and seconds
of what is done with them. `kills` ends writers with SIGKILL while they write to
one store, and fails if an event is lost or played twice.
"""

import os
import pathlib
import sys
import tempfile

from absl import flags

# Modules beside this script, and what all scripts share one folder up.
sys.path.append(str(pathlib.Path(__file__).resolve().parent))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import state_kills
import state_size
from twotsrec.training import files

_SUITE = flags.DEFINE_enum('suite', 'size', ['size', 'kills'], 'What to do.')
_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_USERS = flags.DEFINE_integer(
  'users', 1_000_000, 'Suite size: states.', lower_bound=1
)
_KILLS = flags.DEFINE_integer('kills', 100, 'Suite kills.', lower_bound=1)
_STATES = flags.DEFINE_string(
  'states',
  '',
  'Suite kills: postgresql://USER@HOST/DATABASE in place of a file; empty.',
)
_WRITERS = flags.DEFINE_integer(
  'writers', 4, 'Suite kills: processes that write.', lower_bound=1
)


def main() -> int:
  """Measures in a folder that is gone afterwards."""
  out = pathlib.Path(cli.required(_OUT))
  say = lambda text: print(text, file=sys.stderr, flush=True)
  with tempfile.TemporaryDirectory() as folder:
    if _SUITE.value == 'kills':
      path = _STATES.value or os.path.join(folder, 'states.db')
      measured = state_kills.run(path, _KILLS.value, _WRITERS.value, say)
    else:
      measured = state_size.size(pathlib.Path(folder), _USERS.value, say)
  files.write_json(out, {'suite': _SUITE.value, **measured})
  print(files.read_json(out))
  return 0


if __name__ == '__main__':
  cli.run(main)
