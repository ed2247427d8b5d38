"""Plays new events through the states of a finished 2TS run.

python launch/online.py --workdir=runs/2ts --events=today.csv \\
    --out_states=states.npz --out=top.csv
python launch/online.py --workdir=runs/2ts --events=tomorrow.csv \\
    --states=states.npz --out_states=states.npz --out=top.csv

The rows of a user stand in the order in which they happened; with a column of
times that is checked. Users without a state start as new, events with unknown
items are skipped and counted.
"""

from absl import flags

import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory.')
_EVENTS = flags.DEFINE_string(
  'events', None, 'Table with the columns of the training table.'
)
_STATES = flags.DEFINE_string(
  'states', '', 'States to go on from, of an earlier call.'
)
_OUT_STATES = flags.DEFINE_string(
  'out_states', None, 'File for the states afterwards; may be --states.'
)
_OUT = flags.DEFINE_string(
  'out',
  '',
  'Recommendations to the users of the table: a .csv, .jsonl or .parquet file.',
)
_K = flags.DEFINE_integer('k', 10, 'Items per user.', lower_bound=1)
_EXCLUDE_SEEN = flags.DEFINE_bool(
  'exclude_seen',
  True,
  'Leave out items of the run and of the table that the user already has.',
)
_ITEMS = cli.item_flags()
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')
_COLUMNS = cli.column_flags()
flags.adopt_module_key_flags(cli)


def main() -> int:
  """Plays the events; says what was done."""
  from twotsrec.runs import online

  cli.refuse_unread('in a table of events; leave it out', ['split_column'])
  if not _OUT.value:
    cli.refuse_unread(
      'without --out=FILE; leave it out, or name a file',
      ['k', 'exclude_seen', 'items', 'exclude_items', 'items_where'],
    )
  options = online.Options(
    events=cli.required(_EVENTS),
    states=_STATES.value,
    out_states=cli.required(_OUT_STATES),
    out=_OUT.value,
    k=_K.value,
    exclude_seen=_EXCLUDE_SEEN.value,
    **_ITEMS(),
    columns=_COLUMNS(),
  )
  print(online.run(cli.required(_WORKDIR), options, quiet=_QUIET.value))
  return 0


if __name__ == '__main__':
  cli.run(main)
