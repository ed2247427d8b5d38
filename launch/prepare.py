"""Prepares an interaction log for training and prints a data report.

python launch/prepare.py --table=log.csv --time_column=timestamp --out=DIR
python launch/prepare.py --dataset=ml-1m --data_root=DIR --out=DIR
python launch/prepare.py --release=DIR --behaviors=view,cart,buy --out=DIR
"""

from absl import flags

import cli
from twotsrec import config
from twotsrec.data import groups
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import report
from twotsrec.data import splits

_DATASET = flags.DEFINE_string(
  'dataset',
  '',
  "A named dataset, or a built-in log: 'synthetic', 'synthetic-behaviors'.",
)
_DATA_ROOT = flags.DEFINE_string('data_root', '', 'Folder of named datasets.')
_TABLE = flags.DEFINE_string('table', '', 'A CSV, TSV or Parquet file.')
_COLUMNS = cli.column_flags()
flags.adopt_module_key_flags(cli)
_VALIDATION_TABLE = flags.DEFINE_string(
  'validation_table', '', 'Validation part; --table is then the train part.'
)
_TEST_TABLE = flags.DEFINE_string('test_table', '', 'Test part.')
_RELEASE = flags.DEFINE_string(
  'release', '', 'Folder of a pickled release: trn_NAME per behavior, tst_int.'
)
_BEHAVIORS = flags.DEFINE_list(
  'behaviors', [], 'Order of the behaviors, the target last.'
)
_SPLIT = flags.DEFINE_enum(
  'split',
  None,
  splits.NAMES,
  'Who is held out; default: given if the data say so, else leave_last_out.',
)
_VALIDATION = flags.DEFINE_bool('validation', True, 'Hold out a validation.')
_VALIDATION_FROM = flags.DEFINE_string(
  'validation_from', '', 'First date of validation, with --split=date.'
)
_TEST_FROM = flags.DEFINE_string(
  'test_from', '', 'First date of test, with --split=date.'
)
_MIN_RATING = flags.DEFINE_float('min_rating', None, 'Drop lower ratings.')
_DEDUP = flags.DEFINE_enum(
  'dedup',
  None,
  interactions.DEDUP,
  'Which of equal interactions to keep; default: first with behaviors, else'
  ' none.',
)
_MIN_USER = flags.DEFINE_integer('min_user', 1, 'Fewest events of a user.')
_MIN_ITEM = flags.DEFINE_integer('min_item', 1, 'Fewest events of an item.')
_CORE = flags.DEFINE_enum(
  'core', 'fixed_point', interactions.CORES, 'How often minima are applied.'
)
_NUM_GROUPS = flags.DEFINE_integer(
  'num_groups', None, 'Groups in the report; default 5, if they are possible.'
)
_GROUP_KEY = flags.DEFINE_enum(
  'group_key', 'user_train_count', groups.KEYS, 'What makes a user active.'
)
_GROUP_BALANCE = flags.DEFINE_enum(
  'group_balance', 'users', groups.BALANCES, 'What groups have equally many of.'
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of a built-in log, and of a drawn validation.', 0
)
_OUT = flags.DEFINE_string('out', None, 'Directory to write.')
_OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace prepared data.')


def main() -> int:
  """Prepares, saves and reports."""
  grouping = config.GroupConfig(
    key=_GROUP_KEY.value, balance=_GROUP_BALANCE.value
  )
  if _NUM_GROUPS.value is not None:
    grouping.num_groups = _NUM_GROUPS.value
  data = pipeline.prepare(
    pipeline.Options(
      dataset=_DATASET.value,
      data_root=_DATA_ROOT.value,
      table=_TABLE.value,
      validation_table=_VALIDATION_TABLE.value,
      test_table=_TEST_TABLE.value,
      release=_RELEASE.value,
      reading=_COLUMNS(),
      filters=interactions.Filters(
        min_rating=_MIN_RATING.value,
        dedup=_DEDUP.value or '',
        min_user=_MIN_USER.value,
        min_item=_MIN_ITEM.value,
        core=_CORE.value,
      ),
      behaviors=tuple(_BEHAVIORS.value),
      split=pipeline.SplitOptions(
        _SPLIT.value or '',
        _VALIDATION.value,
        _VALIDATION_FROM.value,
        _TEST_FROM.value,
      ),
      seed=_SEED.value,
      groups=None if _NUM_GROUPS.value is None else grouping,
    ),
    cli.required(_OUT),
    _OVERWRITE.value,
  )
  print(report.text(data, grouping))
  print(f'\nprepared data in {_OUT.value}')
  return 0


if __name__ == '__main__':
  cli.run(main)
