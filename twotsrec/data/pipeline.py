"""From options to prepared data: read, filter, number, split, save."""

from collections.abc import Sequence
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from twotsrec import config
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import doubts
from twotsrec.data import feature_files
from twotsrec.data import features
from twotsrec.data import groups
from twotsrec.data import impressions
from twotsrec.data import interactions
from twotsrec.data import orders
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import raw
from twotsrec.data import raw_rows
from twotsrec.data import release
from twotsrec.data import settings
from twotsrec.data import splits
from twotsrec.data import synthetic
from twotsrec.data import synthetic_behaviors
from twotsrec.data import synthetic_impressions
from twotsrec.data import synthetic_stream
from twotsrec.data import tables
from twotsrec.data import target_splits
from twotsrec.data import text_files
from twotsrec.data import usual_names

# Names of columns that look like an order -> the flag that uses them.
_TIMES = ('timestamp', 'time', 'ts', 'datetime', 'date')
_ORDERING = {**dict.fromkeys(_TIMES, 'time'), 'position': 'order'}

Options = settings.Options
SplitOptions = settings.SplitOptions
TableOptions = settings.TableOptions
BUILT_IN = settings.BUILT_IN


def prepare(
  options: Options, out_dir: str = '', overwrite: bool = False
) -> prepared_lib.Prepared:
  """Makes prepared data, and saves them unless `out_dir` is empty.

  Nothing is written before the data are known to be good. Item features are
  saved in the same directory, see `features.load`.
  """
  settings.check(options)
  options = settings.complete(options)
  if options.dataset == settings.SYNTHETIC_STREAM and out_dir:
    return _stream(options, out_dir, overwrite)
  source = _read(options)
  events = interactions.from_table(
    source.table,
    options.filters,
    options.behaviors,
    options.reading.in_order,
    options.reading.bad_rows == 'drop',
  )
  several = len(events.behavior_names) > 1
  if events.behavior is not None and several and not options.behaviors:
    counts = np.bincount(events.behavior).tolist()
    order = usual_names.steps(events.behavior_names, counts)
    raise types.UserError(
      f'the behavior column has {", ".join(events.behavior_names)}; say their '
      f'order, the target last, perhaps --behaviors={",".join(order)}'
    )
  data = _assemble(events, options, source)
  if options.groups is not None:
    groups.assign(data, options.groups)
  of_items = _item_features(data.item_ids, source, options)
  if not out_dir:
    return data
  data = prepared_lib.save(data, out_dir, overwrite)
  if of_items is not None:
    features.save(of_items, data)
  return data


def from_config(options: config.DataConfig) -> prepared_lib.Prepared:
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
  source, split = settings.named(options.dataset), options.split
  if split == 'leave_last_out':
    if source and source.test_file:
      split = 'given'
    elif options.dataset == settings.SYNTHETIC_IMPRESSIONS:
      split = 'global_time'
  wanted = Options(
    dataset=options.dataset,
    data_root=options.data_root,
    filters=interactions.Filters(
      min_user=options.min_user, min_item=options.min_item, core=options.core
    ),
    behaviors=tuple(options.behaviors),
    split=SplitOptions(split, options.validation, shares=tuple(options.shares)),
    users=options.users,
    gamma=options.gamma,
    seed=options.seed,
  )
  if options.dataset in BUILT_IN:
    return prepare(wanted)
  recorded = settings.recorded(settings.complete(wanted))
  identity = json.dumps([prepared_lib.VERSION, recorded], sort_keys=True)
  digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
  folder = pathlib.Path(options.cache_dir) / f'{options.dataset}-{digest}'
  if (folder / prepared_lib.MANIFEST).is_file():
    data = prepared_lib.load(str(folder), verify=True)
    # A process may have ended between the data and their features.
    wants_features = data.manifest['report'].get('item_features')
    if not wants_features or features.load(data) is not None:
      return data
  return prepare(wanted, str(folder))


def read_table(
  path: str,
  reading: TableOptions,
  one_scale: bool = True,
  every_value: bool = True,
) -> tables.Table:
  """Reads one file as the options say; see `tables.read_table`."""
  return tables.read_table(
    path,
    reading.columns,
    delimiter=reading.delimiter or None,
    column_names=reading.column_names or None,
    id_type=reading.id_type,
    on_bad_rows=reading.bad_rows,
    event=reading.event or None,
    forms=reading.forms,
    one_scale=one_scale,
    every_value=every_value,
  )


def _load(options: config.DataConfig) -> prepared_lib.Prepared:
  data = prepared_lib.load(options.prepared, verify=True)
  order = data.manifest['behaviors']
  if options.behaviors and list(options.behaviors) != order:
    raise types.UserError(
      f'behaviors are {",".join(options.behaviors)}, but {options.prepared} '
      f'was prepared with {",".join(order) or "none"}; prepare it again, or '
      'leave data.behaviors out'
    )
  # A configuration for timed events names its split; the default names none.
  split = data.manifest['options'].get('split', ['given'])[0]
  if options.split not in (config.DataConfig().split, split):
    raise types.UserError(
      f'data.split is {options.split}, but {options.prepared} was prepared '
      f'with --split={split}; prepare it again, or set data.split={split}'
    )
  return data


def _stream(
  options: Options, out_dir: str, overwrite: bool
) -> prepared_lib.Prepared:
  """The built-in log of any size, which is never in memory as a whole."""
  for what, given in (
    ('the filters', options.filters != interactions.Filters(dedup='none')),
    ('num_groups', options.groups is not None),
    ('item features', options.features is not None),
    ('behaviors', bool(options.behaviors)),
  ):
    if given:
      raise types.UserError(
        f'{options.dataset} is written as it is drawn; leave out {what}'
      )
  name = options.split.name or 'leave_last_out'
  return synthetic_stream.write(
    _world(options),
    out_dir,
    options.split._replace(name=name),
    overwrite=overwrite,
    options=settings.recorded(options, name),
  )


def _world(options: Options) -> synthetic_stream.World:
  return synthetic_stream.World(
    num_users=options.users, num_events=options.events, seed=options.seed
  )


def _item_features(
  item_ids: np.ndarray, source: raw_rows.Raw, options: Options
) -> features.ItemFeatures | None:
  """Features of a file, or else those of the source."""
  wanted = options.features
  if wanted is not None:
    named = wanted._asdict()
    return features.read(named.pop('file'), item_ids, **named)
  if source.features is None:
    return None
  # Rows of items that no event is left of are no fault of the user.
  return features.build(
    source.features, item_ids, missing=source.missing, extra='drop'
  )


def _read(options: Options) -> raw_rows.Raw:
  name = options.dataset
  if name in raw.SOURCES:
    return raw.load(name, options.data_root, options.behaviors)
  if name in settings.BUILT_IN and name != settings.SYNTHETIC_STREAM:
    built_in = {
      settings.SYNTHETIC: synthetic,
      settings.SYNTHETIC_BEHAVIORS: synthetic_behaviors,
      settings.SYNTHETIC_IMPRESSIONS: synthetic_impressions,
    }[name]
    drawn = built_in.generate(
      options.users, gamma=options.gamma, seed=options.seed
    )
    return raw_rows.Raw(drawn)
  if name == settings.SYNTHETIC_STREAM:
    return raw_rows.Raw(synthetic_stream.generate(_world(options)))
  if name:
    table = datasets.load(name, options.data_root, options.split.name)
    return raw_rows.Raw(table)
  if options.release:
    return raw_rows.Raw(release.load(options.release, options.behaviors))
  return raw_rows.Raw(_read_files(options))


def _read_files(options: Options) -> tables.Table:
  """The table, or the tables of its parts."""
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
  return tables.join(read) if len(read) > 1 else read['train']


def _doubts(events: interactions.Interactions, options: Options) -> list[str]:
  """Doubts about a table of one's own."""
  if not options.table:
    return []
  reading = options.reading
  return doubts.doubts(
    events, reading.columns, _columns(options), reading.forms.where
  )


def _columns(options: Options) -> Sequence[str]:
  """Names of all columns of the table."""
  reading = options.reading
  return reading.column_names or tables.column_names(
    options.table, reading.delimiter or None
  )


def _unused_order(options: Options) -> dict[str, str]:
  """A column that could order the rows of a table without any, and its flag."""
  columns = options.reading.columns
  if not options.table or columns.time or columns.order:
    return {}
  names = _columns(options)
  by_rank = sorted(
    (list(_ORDERING).index(name.lower()), name)
    for name in set(names) - set(columns)
    if name.lower() in _ORDERING
  )
  usual = usual_names.find(names).get('time')
  if not by_rank and usual and usual not in columns:
    return {'column': usual, 'flag': '--time_column'}
  if not by_rank:
    return {}
  _, name = by_rank[0]
  return {'column': name, 'flag': f'--{_ORDERING[name.lower()]}_column'}


def _assemble(
  events: interactions.Interactions, options: Options, source: raw_rows.Raw
) -> prepared_lib.Prepared:
  name = options.split.name or _usual_split(events)
  events, split = _split(events, name, options)
  # A stable sort: a held-out event never stands before a train event.
  order = orders.stable(events.user, split)
  events, split = interactions.taken(events, order), split[order]
  ordered_by = 'row' if events.time is None else 'time'
  if events.order is not None:
    ordered_by = events.ordered_by or 'position'
  fixed = name == 'given' and ordered_by == 'row'
  if events.behavior is not None:  # what is bought after a moment
    fixed |= name in target_splits.MOMENTS
  shown = None
  if events.label is not None:
    click, shown = impressions.divided(
      events.user,
      events.item,
      events.label,
      split,
      events.order if events.time is None else events.time,
      len(events.user_ids),
      fixed,
    )
    events, split = interactions.taken(events, click), split[click]
  return prepared_lib.build(
    events.user,
    events.item,
    split,
    user_ids=events.user_ids,
    item_ids=events.item_ids,
    times=events.time,
    behaviors=events.behavior,
    disliked=events.disliked,
    shown=shown,
    behavior_names=events.behavior_names,
    history_rule=prepared_lib.FIXED if fixed else prepared_lib.EARLIER,
    source=options.dataset
    or text_files.name_of(options.table or options.release),
    options=settings.recorded(options, name),
    report={
      'rows_read': events.rows_read,
      'ordered_by': ordered_by,
      'dropped': {
        cause: {'count': count, 'first_lines': list(lines)}
        for cause, (count, lines) in events.dropped.items()
      },
      'duplicates': events.duplicates,
      'unused_order': _unused_order(options),
      'doubts': _doubts(events, options),
      **_extras(source, options),
    },
  )


def _usual_split(events: interactions.Interactions) -> str:
  """Who is held out where nobody says so."""
  if events.split is not None:
    return 'given'
  if events.label is None:
    return 'leave_last_out'
  return 'per_user_time' if events.time is None else 'global_time'


def _extras(source: raw_rows.Raw, options: Options) -> dict[str, Any]:
  """Lines of the report that only some sources have."""
  extras: dict[str, Any] = {}
  notes = {**(source.notes or {}), **source.table.notes}
  if notes:
    extras['source_notes'] = notes
  if options.features is not None:
    extras['item_features'] = list(options.features.columns)
  elif source.features is not None:
    extras['item_features'] = [
      f'{name}:{kind}'
      for kind in feature_files.KINDS
      for name in getattr(source.features, kind)
    ]
  return extras


def _split(
  events: interactions.Interactions, name: str, options: Options
) -> tuple[interactions.Interactions, np.ndarray]:
  """The events that go into a split, and the split of each, i8[N]."""
  rule = options.split._replace(name=name)
  if events.behavior is not None:
    held = target_splits.hold_out(events, rule, options.seed)
    rest, left = interactions.without(events, held.gone)
    return rest, held.split[left]
  if name == 'global_time' and events.time is None and events.split is not None:
    # Where times are coarse, the source has labeled its parts.
    rule = rule._replace(name='given')
  split = splits.by_rule(rule, events.user, events.time, events.split)
  held_out = np.any(split == prepared_lib.VALIDATION)
  named = settings.named(options.dataset) is not None
  if named and name == 'given' and rule.validation and not held_out:
    # As of a log with behaviors, a random event of a user is lent.
    lendable = split == prepared_lib.TRAIN
    drawn = target_splits.draw_validation(
      events.user, events.item, lendable, options.seed
    )
    split[drawn] = prepared_lib.VALIDATION
  return events, split
