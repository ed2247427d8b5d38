r"""Prepares an interaction log for training and prints a data report.

python launch/prepare.py --table=log.csv --time_column=timestamp --out=DIR
python launch/prepare.py --dataset=ml-1m --data_root=DIR --out=DIR
python launch/prepare.py --dataset=ml-1m --data_root=DIR --split=per_user_time \
  --out=DIR
python launch/prepare.py --dataset=taobao-userbehavior --data_root=DIR \
  --split=global_time --out=DIR
python launch/prepare.py --dataset=synthetic-stream --events=100000000 --out=DIR
python launch/prepare.py --release=DIR --behaviors=view,cart,buy --out=DIR
python launch/prepare.py --table=shown.csv --time_column=timestamp \
  --label_column=clicked --split=date --validation_from=2021-06-24 \
  --test_from=2021-07-01 --out=DIR
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

import cli
import column_flags
from twotsrec import config
from twotsrec import types
from twotsrec.data import choices

if TYPE_CHECKING:
  from twotsrec.data import settings

_DATASET = flags.DEFINE_string(
  'dataset',
  '',
  'A named dataset; a public log in the files its owner publishes: '
  + ', '.join(choices.PUBLISHED)
  + '; or a built-in log: '
  + ', '.join(choices.BUILT_IN),
)
_DATA_ROOT = flags.DEFINE_string(
  'data_root', '', 'Folder of named datasets, or of published files.'
)
_TABLE = flags.DEFINE_string(
  'table', '', 'A CSV, TSV, JSON lines or Parquet file, or several of a kind.'
)
_COLUMNS = column_flags.define()
flags.adopt_module_key_flags(column_flags)
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
  choices.SPLITS,
  'Who is held out; default: given if the data say so, else leave_last_out.',
)
_SHARES = flags.DEFINE_list(
  'shares',
  ['0.7', '0.1', '0.2'],
  'Of train, validation and test, with --split=global_time or per_user_time.',
)
_VALIDATION = flags.DEFINE_bool('validation', True, 'Hold out a validation.')
_VALIDATION_FROM = flags.DEFINE_string(
  'validation_from', '', 'First date of validation, with --split=date.'
)
_TEST_FROM = flags.DEFINE_string(
  'test_from', '', 'First date of test, with --split=date.'
)
_MIN_RATING = flags.DEFINE_float(
  'min_rating', None, 'Lower ratings are no events.'
)
_DISLIKES = flags.DEFINE_enum(
  'dislikes',
  'seen',
  choices.DISLIKES,
  'Items rated lower: neither recommended nor ranked, and never negatives of'
  ' sequence models of one behavior (seen); forgotten (drop); or as seen, and'
  ' such models train each event against one of those before it, or of all'
  ' without times (negatives).',
)
_DEDUP = flags.DEFINE_enum(
  'dedup',
  None,
  choices.DEDUP,
  'Which of equal user, item and behavior to keep, or none is dropped; default:'
  ' first for the datasets of COPF, else none.',
)
_MIN_USER = flags.DEFINE_integer('min_user', 1, 'Fewest events of a user.')
_MIN_ITEM = flags.DEFINE_integer('min_item', 1, 'Fewest events of an item.')
_CORE = flags.DEFINE_enum(
  'core', 'fixed_point', choices.CORES, 'How often minima are applied.'
)
_NUM_GROUPS = flags.DEFINE_integer(
  'num_groups', None, 'Groups in the report; default 5, if they are possible.'
)
_GROUP_KEY = flags.DEFINE_enum(
  'group_key',
  'user_train_count',
  choices.GROUP_KEYS,
  'What makes a user active.',
)
_GROUP_BALANCE = flags.DEFINE_enum(
  'group_balance',
  'users',
  choices.GROUP_BALANCES,
  'What groups have equally many of.',
)
_ROWS_IN_ORDER = flags.DEFINE_bool(
  'rows_in_order',
  False,
  'Rows of a user are in order of time, or it is an error.',
)
_FEATURES = flags.DEFINE_string(
  'features', '', 'A table as for --table, with a row per item.'
)
_FEATURE_COLUMNS = flags.DEFINE_list(
  'feature_columns',
  [],
  f'NAME:KIND of its columns, kinds: {", ".join(choices.FEATURE_KINDS)}.',
)
_FEATURE_ITEM_COLUMN = flags.DEFINE_string(
  'feature_item_column', 'item_id', 'Its column of item ids.'
)
_FEATURE_SEPARATOR = flags.DEFINE_string(
  'feature_separator', '|', 'Between the values of a multivalued cell.'
)
_MISSING_FEATURES = flags.DEFINE_enum(
  'missing_features', 'error', choices.MISSING_FEATURES, 'Items without a row.'
)
_EXTRA_FEATURES = flags.DEFINE_enum(
  'extra_features',
  'error',
  choices.EXTRA_FEATURES,
  'Rows of items not in the data.',
)
_USERS = flags.DEFINE_integer('users', 3000, 'Users of a built-in log.', 1)
_EVENTS = flags.DEFINE_integer(
  'events', 0, 'Events of synthetic-stream, instead of users.', 0
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Seed of a built-in log, and of a drawn validation.', 0
)
_OF_TEXT = ('delimiter', 'column_names')
_OUT = flags.DEFINE_string('out', None, 'Directory to write.')
_OVERWRITE = flags.DEFINE_bool('overwrite', False, 'Replace prepared data.')


def main() -> int:
  """Prepares, saves and reports."""
  from twotsrec.data import interactions
  from twotsrec.data import pipeline
  from twotsrec.data import report
  from twotsrec.data import splits
  from twotsrec.presets import for_data

  _refuse_unread()
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
      reading=_COLUMNS()._replace(in_order=_ROWS_IN_ORDER.value),
      filters=interactions.Filters(
        min_rating=_MIN_RATING.value,
        dislikes=_DISLIKES.value,
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
        splits.parse_shares(_SHARES.value),
      ),
      features=_features(),
      users=_USERS.value,
      events=_EVENTS.value,
      seed=_SEED.value,
      groups=None if _NUM_GROUPS.value is None else grouping,
    ),
    cli.required(_OUT),
    _OVERWRITE.value,
  )
  print(report.text(data, grouping))
  print(f'\nprepared data in {_OUT.value}')
  print(
    'train a model: python launch/train.py'
    f' --config=configs/{for_data.file_for(data)}'
    f' --config.data.prepared={_OUT.value} --workdir=runs/mine'
  )
  groups = (
    ''
    if _NUM_GROUPS.value is None
    else ' --num_groups=' + str(_NUM_GROUPS.value)
  )
  print(
    'which model, and what it has to beat: python launch/advise.py'
    f' --data={_OUT.value}{groups}'
  )
  return 0


def _refuse_unread() -> None:
  """Refuses flags that say nothing about what is prepared here."""
  from twotsrec.data import tables

  table, dataset = _TABLE.value, _DATASET.value
  reading = _COLUMNS()
  columns, forms = reading.columns, reading.forms
  drawn = _BEHAVIORS.value or columns.behavior or dataset in choices.BUILT_IN
  of_text = not table or tables.is_delimited(table, reading.delimiter or None)
  parts = [_VALIDATION_TABLE.name, _TEST_TABLE.name]
  of_features = ('feature_item_column', 'feature_separator')
  of_features += ('missing_features', 'extra_features')
  for unread, why, names in (
    (not table, 'without --table=FILE', column_flags.names() + parts),
    (not of_text, f'of {table}, which names its columns', _OF_TEXT),
    (not columns.time, 'without --time_column', ('time_unit', 'time_format')),
    (not columns.rating, 'without --rating_column', ('decimal',)),
    (
      _MIN_RATING.value is None,
      'without --min_rating',
      ('dislikes', 'rating_column'),
    ),
    (
      reading.id_type == 'int' and forms.keep_ids,
      'with --id_type=int',
      ('keep_ids',),
    ),
    (
      not dataset or dataset in choices.BUILT_IN,
      'without a --dataset in files',
      ('data_root',),
    ),
    (
      dataset not in choices.BUILT_IN,
      'without a built-in log (--dataset=' + ', '.join(choices.BUILT_IN) + ')',
      ('users',),
    ),
    (
      dataset != choices.BUILT_IN[-1],
      f'without --dataset={choices.BUILT_IN[-1]}',
      ('events',),
    ),
    (bool(_EVENTS.value), 'beside --events', ('users',)),
    (
      max(_MIN_USER.value, _MIN_ITEM.value) <= 1,
      'without --min_user or --min_item',
      ('core',),
    ),
    (not _FEATURES.value, 'without --features=FILE', of_features),
    (
      not drawn and not _named_with_behaviors(),
      'here, because nothing is drawn',
      ('seed',),
    ),
  ):
    if unread:
      cli.refuse_unread(why + '; leave it out', names)


def _named_with_behaviors() -> bool:
  """Whether the dataset has behaviors, so that a validation may be drawn."""
  from twotsrec.data import settings

  source = settings.named(_DATASET.value)
  return bool(_RELEASE.value or (source and source.behaviors))


def _features() -> settings.FeatureOptions | None:
  from twotsrec.data import settings

  if not _FEATURES.value:
    if _FEATURE_COLUMNS.value:
      raise types.UserError('--feature_columns go with --features=FILE')
    return None
  return settings.FeatureOptions(
    file=_FEATURES.value,
    columns=tuple(_FEATURE_COLUMNS.value),
    item_column=_FEATURE_ITEM_COLUMN.value,
    separator=_FEATURE_SEPARATOR.value,
    missing=_MISSING_FEATURES.value,
    extra=_EXTRA_FEATURES.value,
  )


if __name__ == '__main__':
  cli.run(main, compiles=False)
