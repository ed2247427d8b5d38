"""Plays new events through the states of a finished 2TS run.

python launch/online.py --workdir=runs/2ts --events=today.csv \\
    --out_states=states.db --out=top.csv
python launch/online.py --workdir=runs/2ts --states=states.db \\
    --out_states=states.npz

The first command makes states.db if there is none, and goes on from it if there
is; several may run at once. Events that it was given before are recognized by
user, item and time, or by --event_column, so a command that failed is repeated
as it is. Users without a state start as new, events with unknown items are
skipped and counted. The second command copies all states to one file, which
--states and --out_states take as well.
"""

from absl import flags

import cli
import column_flags
import item_flags
from twotsrec.data import choices

_WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory.')
_EVENTS = flags.DEFINE_string(
  'events', '', 'Table with the columns of the training table.'
)
_STATES = flags.DEFINE_string(
  'states',
  '',
  'States to go on from: a store, which is updated where it is, or a .npz'
  ' file. A store is a file, or postgresql://USER@HOST/DATABASE.',
)
_OUT_STATES = flags.DEFINE_string(
  'out_states',
  '',
  'States afterwards: a store, which is made if there is none and gone on from'
  ' if there is, or a .npz file with all states, which may be --states.',
)
_LATE = flags.DEFINE_enum(
  'late',
  'error',
  choices.LATE,
  'Events earlier than the last one played of their user: stop, drop and count'
  ' them, or play the stored events again with them in their place.',
)
_KEEP_EVENTS = flags.DEFINE_integer(
  'keep_events',
  64,
  'Last events of every user that are stored, to be recognized and replayed.',
  lower_bound=1,
)
_EVENT_COLUMN = flags.DEFINE_string(
  'event_column', '', 'Column of ids by which events are recognized.'
)
_OUT = flags.DEFINE_string(
  'out',
  '',
  'Recommendations to the users of the table: a .csv, .jsonl or .parquet file.',
)
_K = flags.DEFINE_integer('k', 10, 'Items per user.', lower_bound=1)
_EXCLUDE_SEEN = flags.DEFINE_bool(
  'exclude_seen',
  None,
  'Leave out what the run, the table and the stored events say the user has;'
  ' default: unless the evaluation of the run ranked such items.',
)
_ITEMS = item_flags.define()
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')
_COLUMNS = column_flags.define()
flags.adopt_module_key_flags(column_flags)


def main() -> int:
  """Plays the events; says what was done."""
  from twotsrec.runs import online
  from twotsrec.runs import online_batches

  if _EVENTS.value:
    cli.refuse_unread('in a table of events; leave it out', ['split_column'])
  else:
    cli.refuse_unread(
      'without --events=TABLE; leave it out, or name a table',
      [*column_flags.names(), 'event_column', 'late', 'keep_events'],
    )
  if not _OUT.value:
    cli.refuse_unread(
      'without --out=FILE; leave it out, or name a file',
      ['k', 'exclude_seen', 'items', 'exclude_items', 'items_where'],
    )
  options = online.Options(
    events=_EVENTS.value,
    states=_STATES.value,
    out_states=_OUT_STATES.value,
    out=_OUT.value,
    k=_K.value,
    exclude_seen=_EXCLUDE_SEEN.value,
    rules=online_batches.Rules(_LATE.value, _KEEP_EVENTS.value),
    **_ITEMS(),
    columns=_COLUMNS()._replace(event=_EVENT_COLUMN.value),
  )
  print(online.run(cli.required(_WORKDIR), options, quiet=_QUIET.value))
  return 0


if __name__ == '__main__':
  cli.run(main)
