"""Top-k recommendations from a run directory alone.

python launch/recommend.py --workdir=runs/demo --k=20 --out=top.csv
python launch/recommend.py --workdir=runs/demo --history=new.csv --out=top.csv
"""

from absl import flags

import cli
from twotsrec.data import choices

_WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory.')
_OUT = flags.DEFINE_string('out', None, 'A .csv, .jsonl or .parquet file.')
_K = flags.DEFINE_integer('k', 20, 'Items per user.', lower_bound=1)
_USERS = flags.DEFINE_string(
  'users', None, 'File with one user id per line; default: all users.'
)
_HISTORY = flags.DEFINE_string(
  'history',
  None,
  'Table with the columns of the training table; its users need not be known.',
)
_EXCLUDE_SEEN = flags.DEFINE_bool(
  'exclude_seen',
  None,
  'Leave out items the user already has; default: unless the evaluation of the'
  ' run ranked such items.',
)
_ROUTING = flags.DEFINE_enum(
  'routing',
  None,
  choices.ROUTING,
  'Which plugin serves whom; default: as trained.',
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')
_COLUMNS = cli.column_flags()
flags.adopt_module_key_flags(cli)


def main() -> int:
  """Writes the recommendations; says how many."""
  from twotsrec.runs import recommend

  options = recommend.Options(
    k=_K.value,
    users=_USERS.value,
    history=_HISTORY.value,
    exclude_seen=_EXCLUDE_SEEN.value,
    columns=_COLUMNS(),
    routing=_ROUTING.value or '',
  )
  out = cli.required(_OUT)
  print(recommend.run(cli.required(_WORKDIR), out, options, quiet=_QUIET.value))
  return 0


if __name__ == '__main__':
  cli.run(main)
