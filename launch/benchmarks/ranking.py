"""Measures ranking all items by a model that reads a history per candidate.

    python launch/benchmarks/ranking.py --ranked_users=5000 --out=ranking.json

A log of about a million rows is made up, and DIN trains an epoch on it. Then it
ranks by the plain program and by that of a run, in turns. A rank that
differs is an error.
"""

import pathlib
import sys

from absl import flags

# Modules beside this script, and what all scripts share one folder up.
sys.path.append(str(pathlib.Path(__file__).resolve().parent))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
from twotsrec import config as config_lib
from twotsrec.training import files

_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_MODEL = flags.DEFINE_enum(
  'model', 'din', ['din', 'din_original'], 'What ranks.'
)
_USERS = flags.DEFINE_integer('users', 58_043, 'Of the log.', lower_bound=10)
_ITEMS = flags.DEFINE_integer('items', 20_000, 'Of the log.', lower_bound=200)
_RANKED = flags.DEFINE_integer(
  'ranked_users', 5_000, 'A sample of users that is ranked; 0 is all.', 0
)
_REPEATS = flags.DEFINE_integer('repeats', 2, 'Turns.', lower_bound=1)


def main() -> int:
  """Makes the log in memory, and measures."""
  out = pathlib.Path(cli.required(_OUT))
  import ranking_speed

  config = config_lib.Config()
  config.model.name = _MODEL.value
  config.evaluation.users = _RANKED.value
  say = lambda text: print(text, file=sys.stderr, flush=True)
  prepared = ranking_speed.log(_USERS.value, _ITEMS.value)
  measured = ranking_speed.measure(config, prepared, _REPEATS.value, say)
  files.write_json(out, measured)
  print(files.read_json(out))
  return 0


if __name__ == '__main__':
  cli.run(main)
