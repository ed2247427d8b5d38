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
from twotsrec.data import parts
from twotsrec.data import prepared
from twotsrec.data import release
from twotsrec.data import splits
from twotsrec.data import synthetic
from twotsrec.data import synthetic_behaviors
from twotsrec.data import tables
from twotsrec.data import target_splits

SYNTHETIC = 'synthetic'
SYNTHETIC_BEHAVIORS = 'synthetic-behaviors'
BUILT_IN = (SYNTHETIC, SYNTHETIC_BEHAVIORS)
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
    validation: whether a validation split is held out; with behaviors it is
      drawn where a given split has none, see `target_splits.hold_out`.
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
    dataset: a named dataset or a built-in log; or '' to read `table`.
    data_root: folder of the named datasets.
    release: folder of a pickled release, see `release.load`; needs
      `behaviors`.
    table: file of interactions; the train part if another part is given.
    validation_table: file of validation interactions, or ''.
    test_table: file of test interactions, or ''.
    reading: how to read these files.
    filters: what to drop.
    behaviors: order of the behaviors, the target last. Every behavior in the
      data is named; a name without rows is allowed, but for the target. () is
      the order of a named dataset, and enough where there is only one.
    split: who is held out.
    groups: groups that must be possible, or None not to ask for any.
    users: users of a built-in log.
    gamma: group-specific share of taste of a built-in log.
    seed: seed of a built-in log, and of a drawn validation.
  """

  dataset: str = ''
  data_root: str = ''
  table: str = ''
  validation_table: str = ''
  test_table: str = ''
  release: str = ''
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
  options = _completed(options)
  events = interactions.from_table(
    _read(options), options.filters, options.behaviors
  )
  _check_target(events, options)
  data = _assemble(events, options)
  if options.groups is not None:
    groups.assign(data, options.groups)
  return prepared.save(data, out_dir, overwrite) if out_dir else data


def from_config(options: config.DataConfig) -> prepared.Prepared:
  """The data a configuration names.

  A prepared directory is loaded as it is. A built-in log is made in memory.
  Another dataset is prepared into `cache_dir` on first use, under a name that
  carries a digest of the options that shape it. A dataset with a split of its
  own keeps it, whether the configuration has that or the default.
  """
  if options.prepared:
    return _load(options)
  if options.split == 'date':
    raise types.UserError(
      'split date needs its dates; run launch/prepare.py with --split=date and '
      'set data.prepared to its --out'
    )
  carries_split = options.split == 'leave_last_out' and _carries_split(
    options.dataset
  )
  wanted = Options(
    dataset=options.dataset,
    data_root=options.data_root,
    filters=interactions.Filters(
      min_user=options.min_user, min_item=options.min_item, core=options.core
    ),
    behaviors=tuple(options.behaviors),
    split=SplitOptions(
      'given' if carries_split else options.split, options.validation
    ),
    users=options.users,
    gamma=options.gamma,
    seed=options.seed,
  )
  if options.dataset in BUILT_IN:
    return prepare(wanted)
  recorded = _recorded(_completed(wanted))
  identity = json.dumps([prepared.VERSION, recorded], sort_keys=True)
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


def _load(options: config.DataConfig) -> prepared.Prepared:
  data = prepared.load(options.prepared)
  order = data.manifest['behaviors']
  if options.behaviors and list(options.behaviors) != order:
    raise types.UserError(
      f'behaviors are {",".join(options.behaviors)}, but {options.prepared} '
      f'was prepared with {",".join(order) or "none"}; prepare it again, or '
      'leave data.behaviors out'
    )
  return data


def _check_source(options: Options) -> None:
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
  _named(options.dataset)
  _check_split(options)


def _check_split(options: Options) -> None:
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
    or _carries_split(options.dataset)
  )
  if carried and name not in ('', 'given'):
    raise types.UserError(
      f'split is {name}, but the data carry a split of their own; use '
      '--split=given or leave out the split column and tables'
    )
  if part_tables and options.reading.columns.split:
    raise types.UserError('give a split column or tables of parts, not both')
  dates = options.split.validation_from or options.split.test_from
  if dates and name != 'date':
    raise types.UserError('validation_from and test_from go with --split=date')


def _check_target(events: interactions.Interactions, options: Options) -> None:
  if len(events.behavior_names) > 1 and not options.behaviors:
    names = ', '.join(events.behavior_names)
    raise types.UserError(
      f'the behavior column has {names}; say their order, the target last, as '
      'in --behaviors=view,cart,buy'
    )


def _named(dataset: str) -> datasets.Dataset | None:
  """The named dataset; None for a built-in log and for a file."""
  if not dataset or dataset in BUILT_IN:
    return None
  return datasets.find(dataset, also=BUILT_IN)


def _carries_split(dataset: str) -> bool:
  named = _named(dataset)
  return named is not None and bool(named.test_file)


def _completed(options: Options) -> Options:
  """Options with what follows from the source and not from the data."""
  named = _named(options.dataset)
  built_in = synthetic_behaviors.NAMES
  behaviors = (
    options.behaviors
    or (named.behaviors if named else ())
    or (built_in if options.dataset == SYNTHETIC_BEHAVIORS else ())
  )
  options = options._replace(behaviors=behaviors)
  dedup = interactions.dedup_rule(options.filters, _has_behaviors(options))
  return options._replace(filters=options.filters._replace(dedup=dedup))


def _has_behaviors(options: Options) -> bool:
  return bool(options.behaviors or options.reading.columns.behavior)


def _read(options: Options) -> tables.Table:
  if options.dataset == SYNTHETIC:
    return synthetic.generate(
      options.users, gamma=options.gamma, seed=options.seed
    )
  if options.dataset == SYNTHETIC_BEHAVIORS:
    return synthetic_behaviors.generate(
      options.users, gamma=options.gamma, seed=options.seed
    )
  if options.dataset:
    return datasets.load(options.dataset, options.data_root)
  if options.release:
    return release.load(options.release, options.behaviors)
  paths = {
    'train': options.table,
    'validation': options.validation_table,
    'test': options.test_table,
  }
  read = {
    name: read_table(path, options.reading)
    for name, path in paths.items()
    if path
  }
  return parts.join(read) if len(read) > 1 else read['train']


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


def _assemble(
  events: interactions.Interactions, options: Options
) -> prepared.Prepared:
  name = _split_name(events, options.split)
  events, split = _split(events, name, options)
  # A stable sort: a held-out event never stands before a train event.
  order = np.lexsort((split, events.user))
  pick = lambda column: None if column is None else column[order]
  ordered_by = 'row' if events.time is None else 'time'
  if events.order is not None:
    ordered_by = events.ordered_by or 'position'
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
    source=options.dataset
    or os.path.basename(options.table or os.path.abspath(options.release)),
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
  events: interactions.Interactions, name: str, options: Options
) -> tuple[interactions.Interactions, np.ndarray]:
  """The events that go into a split, and the split of each, i8[N]."""
  validation = options.split.validation
  cuts = (None, None)
  if name == 'date':
    cuts = (
      splits.parse_time(options.split.validation_from) if validation else None,
      splits.parse_time(options.split.test_from),
    )
  if events.behavior is not None:
    held = target_splits.hold_out(
      events,
      name,
      validation,
      seed=options.seed,
      validation_from=cuts[0],
      test_from=cuts[1],
    )
    rest, kept = interactions.without(events, held.gone)
    return rest, held.split[kept]
  if name == 'leave_last_out':
    return events, splits.leave_last_out(events.user, validation)
  if name == 'global_time':
    return events, splits.global_time(events.time, validation)
  if name == 'given':
    return events, splits.given(events.split, validation)
  return events, splits.date(events.time, *cuts)


def _recorded(options: Options) -> dict[str, Any]:
  """Options for the manifest: no folders, so that a place changes nothing."""
  recorded = options._asdict()
  del recorded['data_root'], recorded['groups'], recorded['release']
  if options.dataset not in BUILT_IN:
    del recorded['users'], recorded['gamma']
    if not _has_behaviors(options):
      del recorded['seed']  # nothing is drawn
  for name in ('table', 'validation_table', 'test_table'):
    recorded[name] = os.path.basename(recorded[name])
  if options.release:
    recorded['release'] = os.path.basename(os.path.abspath(options.release))
  # How to read another file of the same form.
  reading = recorded.pop('reading')
  named = _named(options.dataset)
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
