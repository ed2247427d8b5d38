"""Top-k recommendations from a run directory alone.

python launch/recommend.py --workdir=runs/demo --k=20 --out=top.csv
python launch/recommend.py --workdir=runs/demo --history=new.csv --out=top.csv
python launch/recommend.py --workdir=runs/demo --exclude_items=sold_out.txt
  --categories=genre --at_most=2 --new_share=0.3 --out=top.csv
python launch/recommend.py --workdir=runs/demo --reasons=3 --out=top.csv
"""

from absl import flags

import cli
import column_flags
import item_flags
from twotsrec.data import choices

_WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory.')
_OUT = flags.DEFINE_string('out', None, 'A .csv, .jsonl or .parquet file.')
_K = flags.DEFINE_integer('k', 20, 'Items per user.', lower_bound=1)
_USERS = flags.DEFINE_string(
  'users', None, 'File with one user id per line; default: all users.'
)
_UNKNOWN_USERS = flags.DEFINE_enum(
  'unknown_users',
  'error',
  choices.UNKNOWN_USERS,
  'What becomes of users in --users whom the run does not know.',
)
_HISTORY = flags.DEFINE_string(
  'history',
  None,
  'Table of new events, read like the training table; of users of the run,'
  ' whose events are added to what the run knows, and of new ones.',
)
_HISTORY_ALONE = flags.DEFINE_bool(
  'history_alone', False, 'Take users of the run from --history alone, too.'
)
_ITEMS = item_flags.define()
_SIMILAR_TO = flags.DEFINE_string(
  'similar_to',
  None,
  'File of item ids, or ids with commas: write the nearest items of each.',
)
_CATEGORIES = flags.DEFINE_string(
  'categories',
  None,
  'For --at_most: a feature of the data, or a .csv file of items and their'
  ' categories.',
)
_AT_MOST = flags.DEFINE_integer(
  'at_most', 0, 'Items of a category in a list; 0: any number.', lower_bound=0
)
_NEW_SHARE = flags.DEFINE_float(
  'new_share',
  0.0,
  'Share of the places, from the first on, for items that a user has not'
  ' touched.',
  lower_bound=0.0,
  upper_bound=1.0,
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
_REASONS = flags.DEFINE_integer(
  'reasons',
  0,
  'Columns reason_1, weight_1, ...: items of the history that count most for an'
  ' item, of din, din_original, dien, ease and item_knn.',
  lower_bound=0,
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')
_COLUMNS = column_flags.define()
flags.adopt_module_key_flags(column_flags)


def main() -> int:
  """Writes the recommendations; says how many."""
  from twotsrec.runs import recommend

  _refuse_unread()
  options = recommend.Options(
    k=_K.value,
    users=_USERS.value,
    unknown_users=_UNKNOWN_USERS.value,
    history=_HISTORY.value,
    alone=_HISTORY_ALONE.value,
    exclude_seen=_EXCLUDE_SEEN.value,
    **_ITEMS(),
    similar_to=_SIMILAR_TO.value,
    columns=_COLUMNS(),
    routing=_ROUTING.value or '',
    categories=_CATEGORIES.value,
    at_most=_AT_MOST.value,
    new_share=_NEW_SHARE.value,
    reasons=_REASONS.value,
  )
  out = cli.required(_OUT)
  print(recommend.run(cli.required(_WORKDIR), out, options, quiet=_QUIET.value))
  return 0


def _refuse_unread() -> None:
  if _HISTORY.value:
    cli.refuse_unread('in a history; leave it out', ['split_column'])
  else:
    cli.refuse_unread(
      'without --history=TABLE; leave it out, or name a table',
      [*column_flags.names(), 'history_alone'],
    )
  if _SIMILAR_TO.value:
    cli.refuse_unread(
      'with --similar_to; leave it out',
      [
        'exclude_seen',
        'routing',
        'categories',
        'at_most',
        'new_share',
        'reasons',
      ],
    )
  if not _USERS.value:
    cli.refuse_unread(
      'without --users=FILE; leave it out, or name a file', ['unknown_users']
    )


if __name__ == '__main__':
  cli.run(main)
