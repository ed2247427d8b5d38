"""From options to prepared data: read, filter, number, split, save."""

import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import groups
from twotsrec.data import interactions
from twotsrec.data import prepared
from twotsrec.data import splits
from twotsrec.data import synthetic
from twotsrec.data import tables

SYNTHETIC = 'synthetic'
# Names of columns that look like an order -> the flag that uses them.
_ORDERING = {
  'timestamp': 'time',
  'time': 'time',
  'ts': 'time',
  'datetime': 'time',
  'date': 'time',
  'position': 'order',
}


class TableOptions(NamedTuple):
  """How to read a table file; see `tables.read_table`.

  Attributes:
    columns: names of the columns.
    delimiter: '' to tell from the file.
    column_names: names for a file without a header line, or ().
    id_type: 'auto', 'int' or 'string'.
    bad_rows: 'error' or 'drop'.
    engine: 'numpy' or 'polars'.
  """

  columns: tables.Columns = tables.Columns()
  delimiter: str = ''
  column_names: tuple[str, ...] = ()
  id_type: str = 'auto'
  bad_rows: str = 'error'
  engine: str = 'numpy'


class SplitOptions(NamedTuple):
  """Who is held out.

  Attributes:
    name: one of splits.NAMES; '' is given if the data carry a split, else
      leave_last_out.
    validation: whether a validation split is held out.
    validation_from: a time for split date; see splits.parse_time.
    test_from: a time for split date.
  """

  name: str = ''
  validation: bool = True
  validation_from: str = ''
  test_from: str = ''


class Options(NamedTuple):
  """Everything that decides what the prepared data are.

  Attributes:
    dataset: a named dataset or 'synthetic'; or '' to read `table`.
    data_root: folder of the named datasets.
    table: file of interactions; the train part if another part is given.
    validation_table: file of validation interactions, or ''.
    test_table: file of test interactions, or ''.
    reading: how to read these files.
    filters: what to drop.
    behaviors: order of the behaviors, the target last; () sorts the names.
    split: who is held out.
    groups: groups that must be possible, or None not to ask for any.
    users: users of the built-in log.
    gamma: group-specific share of taste of the built-in log.
    seed: seed of the built-in log.
  """

  dataset: str = ''
  data_root: str = ''
  table: str = ''
  validation_table: str = ''
  test_table: str = ''
  reading: TableOptions = TableOptions()
  filters: interactions.Filters = interactions.Filters()
  behaviors: tuple[str, ...] = ()
  split: SplitOptions = SplitOptions()
  groups: config.GroupConfig | None = None
  users: int = 3000
  gamma: float = 1.0
  seed: int = 0


def prepare(
  options: Options, out_dir: str = '', overwrite: bool = False
) -> prepared.Prepared:
  """Makes prepared data, and saves them unless `out_dir` is empty.

  Nothing is written before the data are known to be good.
  """
  _check_source(options)
  events = interactions.from_table(
    _read(options), options.filters, options.behaviors
  )
  data = _assemble(events, options)
  if options.groups is not None:
    groups.assign(data, options.groups)
  return prepared.save(data, out_dir, overwrite) if out_dir else data


def from_config(options: config.DataConfig) -> prepared.Prepared:
  """The data a configuration names.

  A prepared directory is loaded as it is. The built-in log is made in memory.
  Another dataset is prepared into `cache_dir` on first use, under a name that
  carries a digest of the options that shape it.
  """
  if options.prepared:
    return prepared.load(options.prepared)
  if options.split == 'date':
    raise types.UserError(
      'split date needs its dates; run launch/prepare.py with --split=date and '
      'set data.prepared to its --out'
    )
  wanted = Options(
    dataset=options.dataset,
    data_root=options.data_root,
    filters=interactions.Filters(
      min_user=options.min_user, min_item=options.min_item, core=options.core
    ),
    split=SplitOptions(options.split, options.validation),
    users=options.users,
    gamma=options.gamma,
    seed=options.seed,
  )
  if options.dataset == SYNTHETIC:
    return prepare(wanted)
  identity = json.dumps([prepared.VERSION, _recorded(wanted)], sort_keys=True)
  digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
  folder = pathlib.Path(options.cache_dir) / f'{options.dataset}-{digest}'
  if (folder / prepared.MANIFEST).is_file():
    return prepared.load(str(folder))
  return prepare(wanted, str(folder))


def read_table(path: str, reading: TableOptions) -> tables.Table:
  """Reads one file as the options say."""
  return tables.read_table(
    path,
    reading.columns,
    delimiter=reading.delimiter or None,
    column_names=reading.column_names or None,
    id_type=reading.id_type,
    on_bad_rows=reading.bad_rows,
    engine=reading.engine,
  )


def _check_source(options: Options) -> None:
  if bool(options.dataset) == bool(options.table):
    raise types.UserError(
      'give either --dataset=NAME or --table=FILE'
      + (', not both' if options.table else '')
    )
  _named(options)
  name = options.split.name
  if name and name not in splits.NAMES:
    raise types.UserError(
      f'split is {name!r}; allowed are ' + ', '.join(splits.NAMES)
    )
  parts = options.validation_table or options.test_table
  if parts and options.dataset:
    raise types.UserError(
      'validation_table and test_table go with --table, not with --dataset'
    )
  if (parts or options.reading.columns.split) and name not in ('', 'given'):
    raise types.UserError(
      f'split is {name}, but the data carry a split of their own; use '
      '--split=given or leave out the split column and tables'
    )
  if parts and options.reading.columns.split:
    raise types.UserError('give a split column or tables of parts, not both')
  dates = options.split.validation_from or options.split.test_from
  if dates and name != 'date':
    raise types.UserError('validation_from and test_from go with --split=date')


def _named(options: Options) -> datasets.Dataset | None:
  """The named dataset; None for the built-in log and for a table."""
  if options.dataset in ('', SYNTHETIC):
    return None
  return datasets.find(options.dataset, also=(SYNTHETIC,))


def _read(options: Options) -> tables.Table:
  if options.dataset == SYNTHETIC:
    return synthetic.generate(
      options.users, gamma=options.gamma, seed=options.seed
    )
  if options.dataset:
    return datasets.load(options.dataset, options.data_root)
  paths = {
    'train': options.table,
    'validation': options.validation_table,
    'test': options.test_table,
  }
  parts = {
    name: read_table(path, options.reading)
    for name, path in paths.items()
    if path
  }
  return _join(parts) if len(parts) > 1 else parts['train']


def _unused_order(options: Options) -> dict[str, str]:
  """A column that could order the rows of a table without any, and its flag."""
  reading = options.reading
  columns = reading.columns
  if not options.table or columns.time or columns.order:
    return {}
  names = reading.column_names or tables.column_names(
    options.table, reading.delimiter or None
  )
  by_rank = sorted(
    (list(_ORDERING).index(name.lower()), name)
    for name in set(names) - set(columns)
    if name.lower() in _ORDERING
  )
  if not by_rank:
    return {}
  _, name = by_rank[0]
  return {'column': name, 'flag': f'--{_ORDERING[name.lower()]}_column'}


def _join(parts: dict[str, tables.Table]) -> tables.Table:
  """One table with a split column from a table for each split."""
  columns = {}
  for role in ('user', 'item', 'time', 'rating', 'behavior', 'order'):
    arrays = [getattr(part, role) for part in parts.values()]
    if role in ('user', 'item') and len({a.dtype.kind for a in arrays}) > 1:
      raise types.UserError(
        f'{role} ids are integers in one table and text in another; use '
        '--id_type=string'
      )
    columns[role] = None if arrays[0] is None else np.concatenate(arrays)
  labels = [np.full(len(part.user), name) for name, part in parts.items()]
  return next(iter(parts.values()))._replace(
    **columns,
    split=np.concatenate(labels),
    lines=None,  # a line number does not tell the file
    rows_read=sum(part.rows_read for part in parts.values()),
    dropped={
      f'{cause} ({name} table)': rows
      for name, part in parts.items()
      for cause, rows in part.dropped.items()
    },
  )


def _assemble(
  events: interactions.Interactions, options: Options
) -> prepared.Prepared:
  split = _split(events, options.split)
  # A stable sort: a held-out event never stands before a train event.
  order = np.lexsort((split, events.user))
  pick = lambda column: None if column is None else column[order]
  name = _split_name(events, options.split)
  ordered_by = 'row' if events.time is None else 'time'
  ordered_by = ordered_by if events.order is None else 'position'
  fixed = name == 'given' and ordered_by == 'row'
  return prepared.build(
    events.user[order],
    events.item[order],
    split[order],
    user_ids=events.user_ids,
    item_ids=events.item_ids,
    times=pick(events.time),
    behaviors=pick(events.behavior),
    behavior_names=events.behavior_names,
    history_rule=prepared.FIXED if fixed else prepared.EARLIER,
    source=options.dataset or os.path.basename(options.table),
    options=_recorded(
      options._replace(split=options.split._replace(name=name))
    ),
    report={
      'rows_read': events.rows_read,
      'ordered_by': ordered_by,
      'dropped': {
        cause: {
          'count': int(rows.count),
          'first_lines': [int(line) for line in rows.first_lines],
        }
        for cause, rows in events.dropped.items()
      },
      'duplicates': events.duplicates,
      'unused_order': _unused_order(options),
    },
  )


def _split_name(events: interactions.Interactions, split: SplitOptions) -> str:
  carried = 'leave_last_out' if events.split is None else 'given'
  return split.name or carried


def _split(
  events: interactions.Interactions, split: SplitOptions
) -> np.ndarray:
  name = _split_name(events, split)
  if name == 'leave_last_out':
    return splits.leave_last_out(events.user, split.validation)
  if name == 'global_time':
    return splits.global_time(events.time, split.validation)
  if name == 'given':
    return splits.given(events.split, split.validation)
  return splits.date(
    events.time,
    splits.parse_time(split.validation_from) if split.validation else None,
    splits.parse_time(split.test_from),
  )


def _recorded(options: Options) -> dict[str, Any]:
  """Options for the manifest: no folders, so that a place changes nothing."""
  recorded = options._asdict()
  del recorded['data_root'], recorded['groups']
  if options.dataset != SYNTHETIC:
    del recorded['users'], recorded['gamma'], recorded['seed']
  for name in ('table', 'validation_table', 'test_table'):
    recorded[name] = os.path.basename(recorded[name])
  # How to read another file of the same form.
  reading = recorded.pop('reading')
  named = _named(options)
  if named is not None:
    recorded['columns'] = named.columns._asdict()
  if options.table:
    recorded['columns'] = reading.columns._asdict()
    for name in ('delimiter', 'column_names', 'id_type'):
      recorded[name] = getattr(reading, name)
  recorded['filters'] = options.filters._asdict()
  # The split becomes a list, its name first.
  # Through JSON, so that the saved and the loaded manifest are equal.
  return json.loads(json.dumps(recorded))
