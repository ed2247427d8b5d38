"""Options that decide how a log is prepared, and the part that is recorded."""

import json
from typing import Any, NamedTuple

from twotsrec import config
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import datasets
from twotsrec.data import interactions
from twotsrec.data import raw
from twotsrec.data import release
from twotsrec.data import splits
from twotsrec.data import synthetic_behaviors
from twotsrec.data import tables
from twotsrec.data import text_files

BUILT_IN = choices.BUILT_IN
SplitOptions = splits.Rule
SYNTHETIC, SYNTHETIC_BEHAVIORS = BUILT_IN[:2]
SYNTHETIC_IMPRESSIONS, SYNTHETIC_STREAM = BUILT_IN[2:]


class TableOptions(NamedTuple):
  """Options of reading a table file; see `tables.read_table`."""

  columns: tables.Columns = tables.Columns()  # names of the columns
  delimiter: str = ''  # '' to tell from the file
  # Names for a file without a header line, or ().
  column_names: tuple[str, ...] = ()
  id_type: str = 'auto'  # 'auto', 'int' or 'string'
  bad_rows: str = 'error'  # 'error' or 'drop'
  forms: tables.Forms = tables.Forms()  # of cells, and which rows to read
  # Whether the rows of a user are said to be in the order of time; if they are
  # not, it is an error.
  in_order: bool = False
  event: str = ''  # column with ids of the events, or ''


class FeatureOptions(NamedTuple):
  """Item features to save beside the data; see `features.read`."""

  file: str  # CSV, TSV or Parquet with a row per item
  columns: tuple[str, ...]  # 'name:kind' of its columns
  item_column: str = 'item_id'  # column of the item ids
  separator: str = '|'  # between the values of a multivalued cell
  missing: str = 'error'  # 'error' or 'zero', for items without a row
  # 'error' or 'drop', for rows of items that are not in the data.
  extra: str = 'error'


class Options(NamedTuple):
  """Everything that decides what the prepared data are."""

  # A named dataset, a public log in its published files (a name of
  # `raw.SOURCES`) or a built-in log; or '' to read `table`.
  dataset: str = ''
  data_root: str = ''  # folder of the named datasets, or of the published files
  # File of interactions; the train part if another part is given.
  table: str = ''
  validation_table: str = ''  # file of validation interactions, or ''
  test_table: str = ''  # file of test interactions, or ''
  # Folder of a pickled release, see `release.load`; needs `behaviors`.
  release: str = ''
  reading: TableOptions = TableOptions()  # how to read these files
  filters: interactions.Filters = interactions.Filters()  # what to drop
  # Order of the behaviors, the target last. Every behavior in the data is
  # named; a name without rows is allowed, but for the target. () is the order
  # of a named dataset, and enough where there is only one.
  behaviors: tuple[str, ...] = ()
  split: SplitOptions = SplitOptions()  # who is held out
  # Groups that must be possible, or None not to ask for any.
  groups: config.GroupConfig | None = None
  # Item features to save beside the data, or None; some public and built-in
  # logs have features of their own, which need no options.
  features: FeatureOptions | None = None
  users: int = 3000  # users of a built-in log
  events: int = 0  # events of 'synthetic-stream' instead of `users`, if above 0
  gamma: float = 1.0  # group-specific share of taste of a built-in log
  seed: int = 0  # seed of a built-in log, and of a drawn validation


def check(options: Options) -> None:
  """Raises UserError for options that do not go together."""
  given = (options.dataset, options.table, options.release)
  if sum(map(bool, given)) != 1:
    raise types.UserError(
      'give either --dataset=NAME or --table=FILE (or --release=DIR)'
      + (', not both' if any(given) else '')
    )
  if options.release and not options.behaviors:
    raise types.UserError(
      '--release needs the names of its behaviors, the target last, as in '
      f'--behaviors=view,cart,buy; {release.found(options.release)}'
    )
  source = named(options.dataset)
  name = options.split.name
  if name and name not in splits.NAMES:
    raise types.UserError(
      f'split is {name!r}; allowed are ' + ', '.join(splits.NAMES)
    )
  part_tables = options.validation_table or options.test_table
  if part_tables and not options.table:
    raise types.UserError(
      'validation_table and test_table go with --table, not with '
      + ('--release' if options.release else '--dataset')
    )
  carried = (
    part_tables
    or options.reading.columns.split
    or options.release
    or (source and source.test_file and not datasets.resplits(source, name))
  )
  if carried and name not in ('', 'given'):
    raise types.UserError(
      f'split is {name}, but the data carry a split of their own; use '
      '--split=given or leave out the split column and tables'
    )
  if part_tables and options.reading.columns.split:
    raise types.UserError('give a split column or tables of parts, not both')
  splits.check_shares(options.split, source and source.coarse_times)
  dates = options.split.validation_from or options.split.test_from
  if dates and name != 'date':
    raise types.UserError('validation_from and test_from go with --split=date')
  if has_labels(options):
    _check_labels(options)


def named(dataset: str) -> datasets.Dataset | None:
  """The named dataset; None for another source."""
  others = (*BUILT_IN, *raw.SOURCES)
  if not dataset or dataset in others:
    return None
  return datasets.find(dataset, also=others)


def complete(options: Options) -> Options:
  """Options with what follows from the source and not from the data."""
  source = named(options.dataset)
  built_in = synthetic_behaviors.NAMES
  behaviors = (
    options.behaviors
    or (source.behaviors if source else ())
    or (built_in if options.dataset == SYNTHETIC_BEHAVIORS else ())
  )
  options = options._replace(behaviors=behaviors)
  # The datasets of COPF keep the first of equal rows (COPF sec. 5.1.1); of a
  # table nothing is dropped without being asked.
  first = not options.table and _has_behaviors(options)
  dedup = options.filters.dedup or ('first' if first else 'none')
  return options._replace(filters=options.filters._replace(dedup=dedup))


def recorded(options: Options, split: str = '') -> dict[str, Any]:
  """Options for the manifest: no folders, so that a place changes nothing.

  `split` is the name of the split, where the options leave it to the data.
  """
  values = options._asdict()
  rule = options.split._replace(name=split or options.split.name)
  usual = rule.shares == splits.FRACTIONS
  values['split'] = rule[:-1] if usual else rule
  del values['data_root'], values['groups'], values['release']
  if options.dataset not in BUILT_IN:
    del values['users'], values['gamma']
    source = named(options.dataset)
    lends = source is not None and source.test_file  # a validation is drawn
    if not _has_behaviors(options) and not lends:
      del values['seed']  # nothing is drawn
  if options.dataset != SYNTHETIC_STREAM:
    del values['events']
  if options.features is None:
    del values['features']
  else:
    file = text_files.name_of(options.features.file)
    values['features'] = options.features._replace(file=file)._asdict()
  for name in ('table', 'validation_table', 'test_table'):
    values[name] = text_files.name_of(values[name]) if values[name] else ''
  if options.release:
    values['release'] = text_files.name_of(options.release)
  # How to read another file of the same form.
  reading = values.pop('reading')
  source = named(options.dataset)
  if source is not None:
    values['columns'] = _columns(source.columns)
  if options.table:
    values['columns'] = _columns(reading.columns)
    for name in ('delimiter', 'column_names', 'id_type'):
      values[name] = getattr(reading, name)
    values['forms'] = reading.forms._asdict()
  values['filters'] = options.filters._asdict()
  if options.filters.min_rating is None:
    del values['filters']['dislikes']  # nothing is rated too low
  # The split becomes a list, its name first.
  # Through JSON, so that the saved and the loaded manifest are equal.
  return json.loads(json.dumps(values))


def _columns(columns: tables.Columns) -> dict[str, Any]:
  """Names by role; a label is there where a table has one."""
  named = columns._asdict()
  if not columns.label:
    del named['label']
  return named


def has_labels(options: Options) -> bool:
  """Whether the rows are impressions, with a label that tells the clicks."""
  of_column = bool(options.reading.columns.label)
  return of_column or options.dataset == SYNTHETIC_IMPRESSIONS


def _check_labels(options: Options) -> None:
  """Raises UserError for what makes no sense of impressions."""
  label, filters = options.reading.columns.label, options.filters
  for what, given, why in (
    (
      '--behavior_column',
      options.reading.columns.behavior,
      'impressions have one behavior, which --where may choose',
    ),
    (
      '--min_rating',
      filters.min_rating is not None,
      'the label alone tells what is liked',
    ),
    (
      f'--dedup={filters.dedup}',
      filters.dedup not in ('', 'none'),
      'what is shown twice has two labels',
    ),
    (
      '--split=leave_last_out',
      options.split.name == 'leave_last_out',
      'the last row of a user is a click or none, and an AUC needs both',
    ),
  ):
    if given:
      named = f'--label_column={label}' if label else options.dataset
      raise types.UserError(
        f'{what} does not go with {named}: {why}; leave it out'
      )


def _has_behaviors(options: Options) -> bool:
  return bool(options.behaviors or options.reading.columns.behavior)
