"""The data report: what was read, what was dropped, what is left."""

from typing import Any

import numpy as np

from twotsrec import config
from twotsrec import types
from twotsrec.data import behaviors
from twotsrec.data import groups
from twotsrec.data import impressions
from twotsrec.data import orders
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import target_splits
from twotsrec.data import times

_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def describe(
  data: prepared_lib.Prepared, options: config.GroupConfig | None = None
) -> dict[str, Any]:
  """All figures of the report, as JSON values."""
  counts = data.manifest['counts']
  activity, labels = _activity(data), _labels(data)
  shares = np.quantile(activity, _QUANTILES, method='lower').tolist()
  warm_users, warm_items = warm = _warm(data)
  positives = np.bincount(prepared_lib.targets(data, prepared_lib.TRAIN).user)
  if labels:
    positives = impressions.train_counts(data)
  cells = counts['users'] * counts['items']
  has_behaviors = data.behaviors is not None
  try:
    group_rows = _describe_groups(data, groups.assign(data, options))
    no_groups = ''
  except types.UserError as error:
    group_rows, no_groups = [], str(error)
  return {
    'source': data.manifest['source'],
    'digest': data.manifest['digest'],
    'dedup': data.manifest['options'].get('filters', {}).get('dedup', 'none'),
    **data.manifest['report'],
    'kept': int(np.sum(activity)),
    'labels': labels,
    'counts': dict(counts),
    'disliked': _disliked(data),
    'density': len(prepared_lib.distinct_items(data, slice(None)).items)
    / cells,
    'tied_times': _tied_share(data),
    'span': _span(data),
    'cold_users': int(np.sum(~warm_users)),
    'cold_items': int(np.sum(~warm_items[1:])),
    'train_positives': int(np.sum(positives)),
    'untrained_users': counts['users'] - np.count_nonzero(positives),
    'held_out': describe_held_out(data, warm),
    'activity': {f'{at:.0%}': v for at, v in zip(_QUANTILES, shares)},
    'mean_activity': float(np.mean(activity)),
    'behaviors': behaviors.describe(data) if has_behaviors else [],
    'given': _given(data) if has_behaviors else '',
    'notes': behaviors.notes(data, behaviors.of_prepared(data))
    if has_behaviors
    else [],
    'groups': group_rows,
    'no_groups': no_groups,
  }


def describe_held_out(
  data: prepared_lib.Prepared,
  warm: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
  """Shares of new users and items in the held-out splits that have events.

  The shares are of held-out events: by users without a train event (T = 0), of
  items that are never in train, and of items that their user has in train
  (`in_train`; `Prepared.known` are those that stand in the history, which may
  have validation in it); `same` counts the events among these that stand in
  train as they are, with user, item, behavior and time. `warm` has the users
  bool[U] and the items bool[I + 1] with a train event, where they are there
  already.
  """
  split, items = np.asarray(data.split), np.asarray(data.items)
  user = data.event_users
  warm_user, warm_item = warm or _warm(data)
  known, same = _in_train(data)
  described = {}
  for code in (prepared_lib.VALIDATION, prepared_lib.TEST):
    rows = np.flatnonzero(split == code)
    if len(rows):
      users = np.flatnonzero(np.bincount(user[rows]))
      described[prepared_lib.SPLITS[code]] = {
        'events': len(rows),
        'users': len(users),
        'new_users': int(np.sum(~warm_user[users])),
        'new_user_share': float(np.mean(~warm_user[user[rows]])),
        'cold_item_share': float(np.mean(~warm_item[items[rows]])),
        'in_train': int(np.sum(known[rows])),
        'in_train_share': float(np.mean(known[rows])),
        'same': int(np.sum(same[rows])),
      }
  return described


def _in_train(data: prepared_lib.Prepared) -> tuple[np.ndarray, np.ndarray]:
  """Held-out events whose pair, and which, stand in train, bool[N] each."""
  train = np.asarray(data.split) == prepared_lib.TRAIN
  known, same = np.zeros_like(train), np.zeros_like(train)
  held = np.flatnonzero(~train)
  if not held.size:
    return known, same
  user, items = data.event_users, np.asarray(data.items)
  # Only training events of users and of items that are held out may matter.
  of_user = np.zeros(data.num_users, bool)
  of_item = np.zeros(data.num_items + 1, bool)
  of_user[user[held]], of_item[items[held]] = True, True
  near = np.flatnonzero(train & of_user[user] & of_item[items])
  pairs = lambda rows: prepared_lib.pairs(
    user[rows], items[rows], data.num_items
  )
  wanted, place = np.unique(pairs(held), return_inverse=True)
  of_near = pairs(near)
  at = np.minimum(np.searchsorted(wanted, of_near), len(wanted) - 1)
  hits = wanted[at] == of_near
  trained = np.zeros(len(wanted), bool)
  trained[at[hits]] = True
  known[held] = trained[place]
  # Without times nothing tells two events of a pair apart.
  if data.times is None or not np.any(trained):
    return known, same
  mine = trained[place]
  rows = np.concatenate([near[hits], held[mine]])
  columns = [
    np.concatenate([at[hits], place[mine]]),
    np.asarray(data.times)[rows],
  ]
  if data.behaviors is not None:
    columns.append(np.asarray(data.behaviors)[rows])
  number = np.zeros(rows.size, np.int64)
  for column in columns:
    _, code = np.unique(column, return_inverse=True)
    _, number = np.unique(
      number * (code.max(initial=0) + 1) + code, return_inverse=True
    )
  same[rows] = np.isin(number, number[train[rows]]) & ~train[rows]
  return known, same


def known_lines(held_out: dict[str, dict[str, Any]]) -> list[str]:
  """What held-out events stand in train, a line for each split with some."""
  lines = []
  for name, held in held_out.items():
    if held['in_train']:
      line = (
        f'{held["in_train"]:,} of {held["events"]:,} {name} events'
        f' ({held["in_train_share"]:.1%}) are of items that their user has in'
        ' train'
      )
      if held['same']:
        line += f', {held["same"]:,} of them the very same rows'
      lines.append(line)
  return lines


def warnings(held_out: dict[str, dict[str, Any]]) -> list[str]:
  """Lines about held-out events that stand in train as they are."""
  return [
    f'{held["same"]:,} of {held["events"]:,} {name} events stand in train with'
    ' the same user, item and time, so what is trained has seen the answers;'
    ' take them out of one of the two'
    for name, held in held_out.items()
    if held['same']
  ]


def _warm(data: prepared_lib.Prepared) -> tuple[np.ndarray, np.ndarray]:
  """Users bool[U] and items bool[I + 1] with a train event; row 0 has none."""
  in_train = np.asarray(data.split) == prepared_lib.TRAIN
  items = np.zeros(data.num_items + 1, bool)
  items[np.asarray(data.items)[in_train]] = True
  return prepared_lib.train_counts(data) > 0, items


def _labels(data: prepared_lib.Prepared) -> dict[str, dict[str, Any]]:
  """Impressions by split, and the share that was clicked; {} without labels."""
  if not impressions.there_are(data):
    return {}
  return {
    name: {'impressions': int(sum(both)), 'clicked': float(both[1] / sum(both))}
    for name, both in zip(prepared_lib.SPLITS, impressions.counts(data))
    if sum(both)
  }


def _activity(data: prepared_lib.Prepared) -> np.ndarray:
  """Events of every user, or impressions where there are labels, i64[U]."""
  labeled = impressions.there_are(data)
  return impressions.totals(data) if labeled else np.diff(data.user_offsets)


def _describe_groups(
  data: prepared_lib.Prepared, assigned: groups.Groups
) -> list[dict[str, Any]]:
  """Users, activity and train positives of every group."""
  activity = _activity(data)
  total = max(int(np.sum(assigned.sizes)), 1)
  rows = []
  for group, positives in enumerate(assigned.sizes.tolist()):
    members = activity[assigned.user_group == group]
    rows.append(
      {
        'group': group + 1,
        'users': len(members),
        'min_activity': int(np.min(members)) if len(members) else 0,
        'max_activity': int(np.max(members)) if len(members) else 0,
        'train_positives': positives,
        'share': positives / total,
      }
    )
  return rows


def _tied_share(data: prepared_lib.Prepared) -> float | None:
  """Share of events at the same time as another event of their user."""
  if data.times is None:
    return None
  user, times = data.event_users, np.asarray(data.times)
  by_time = orders.stable(user, times)
  same = (np.diff(user[by_time]) == 0) & (np.diff(times[by_time]) == 0)
  tied = np.append(same, False) | np.append(False, same)
  return float(np.mean(tied))


def _disliked(data: prepared_lib.Prepared) -> int:
  """Pairs that were rated too low for an event, and stay seen."""
  return 0 if data.disliked_items is None else len(data.disliked_items)


def _kept(facts: dict[str, Any]) -> str:
  """What became of rows that repeat a user, an item and a behavior."""
  rule = facts['dedup']
  return 'all kept' if rule == 'none' else f'the {rule} of each kept'


def _span(data: prepared_lib.Prepared) -> list[str] | None:
  """The first and the last time, as dates."""
  if data.times is None or not len(data.times):
    return None
  seconds = np.asarray(data.times)
  return [times.shown(np.min(seconds)), times.shown(np.max(seconds))]


def text(
  data: prepared_lib.Prepared, options: config.GroupConfig | None = None
) -> str:
  """The report for people."""
  facts = describe(data, options)
  counts, untrained = facts['counts'], facts['untrained_users']
  dropped = [
    f'{rows["count"]:,}  {cause}{_first_lines(rows["first_lines"])}'
    for cause, rows in facts.get('dropped', {}).items()
  ]
  notes = facts.get('source_notes', {}).items()
  quantiles = [f'{at} {value:,}' for at, value in facts['activity'].items()]
  lines = [
    ('source', facts['source']),
    ('rows read', f'{facts.get("rows_read", facts["kept"]):,}'),
    *[('  dropped', line) for line in dropped],
    ('  kept', f'{facts["kept"]:,}'),
    *[('  note', f'{count:,}  {what}') for what, count in notes],
    (
      'duplicates',
      f'{facts.get("duplicates", 0):,} repeated pairs, {_kept(facts)}',
    ),
    *[
      ('rated low', f'{count:,} pairs, neither recommended nor ranked')
      for count in [facts['disliked']]
      if count
    ],
    ('times', _times(facts)),
    ('users', f'{counts["users"]:,}  ({facts["cold_users"]:,} cold)'),
    ('items', f'{counts["items"]:,}  ({facts["cold_items"]:,} cold)'),
    ('density', f'{facts["density"]:.4%}'),
    *[
      (name, f'{counts[name]:,}' + _new(facts['held_out'].get(name)))
      for name in prepared_lib.SPLITS
    ],
    *[
      (
        'impressions',
        f'{shown["impressions"]:,} of {name}, {shown["clicked"]:.2%} clicked',
      )
      for name, shown in facts['labels'].items()
    ],
    (
      _samples(facts),
      f'{facts["train_positives"]:,}  ({untrained:,} users have none)',
    ),
    (
      'activity',
      f'mean {facts["mean_activity"]:.2f}; ' + ', '.join(quantiles),
    ),
  ]
  lines += [('known', line) for line in known_lines(facts['held_out'])]
  paragraphs = [f'{name:<16} {value}' for name, value in lines]
  paragraphs.append('cold: never in train.')
  if of_items := facts.get('item_features'):
    paragraphs.append(f'item features: {", ".join(of_items)}')
  what = 'impressions' if facts['labels'] else 'events'
  paragraphs.append(f'activity: all {what} of a user, held-out ones too.')
  if facts['labels']:
    paragraphs.append(
      'events are clicks; what was shown and not clicked stands beside them.'
    )
  if unused := facts.get('unused_order'):
    column, flag = unused['column'], unused['flag']
    paragraphs.append(
      f'column {column!r} is not used; {flag}={column} orders by it'
    )
  if facts['behaviors']:
    paragraphs += ['', *_behavior_lines(facts)]
  paragraphs += [f'note: {line}' for line in facts.get('doubts', [])]
  paragraphs += [f'warning: {line}' for line in warnings(facts['held_out'])]
  return '\n'.join(paragraphs + ['', *_group_lines(facts)])


def _behavior_lines(facts: dict[str, Any]) -> list[str]:
  header = ('behavior', *prepared_lib.SPLITS, 'users', 'items')
  rows = [
    (row['behavior'], *(f'{row[name]:,}' for name in header[1:]))
    for row in facts['behaviors']
  ]
  # The longest name of a behavior, but room for a header at least.
  first = max(len(row[0]) for row in [header, *rows])
  lines = _aligned([header, *rows], (first, 10, 10, 10, 9, 9))
  lines.append(
    f'The last behavior is the target; it alone is held out{facts["given"]}.'
  )
  return lines + [f'note: {line}' for line in facts['notes']]


def _given(data: prepared_lib.Prepared) -> str:
  """What held-out target events are given, where a moment decides."""
  split = data.manifest['options'].get('split', [''])[0]
  if split not in target_splits.MOMENTS:
    return ''
  return ': what comes after a moment, given all before it'


def _aligned(rows: list[tuple[str, ...]], widths: tuple[int, ...]) -> list[str]:
  return ['  '.join(map(str.rjust, row, widths)) for row in rows]


def _group_lines(facts: dict[str, Any]) -> list[str]:
  if not facts['groups']:
    return [f'no groups: {facts["no_groups"]}']
  header = ('group', 'users', 'activity', _samples(facts), 'share')
  rows = [
    (
      str(row['group']),
      f'{row["users"]:,}',
      f'{row["min_activity"]:,}-{row["max_activity"]:,}',
      f'{row["train_positives"]:,}',
      f'{row["share"]:.4f}',
    )
    for row in facts['groups']
  ]
  return _aligned([header, *rows], (5, 9, 15, 15, 7))


def _samples(facts: dict[str, Any]) -> str:
  return 'train samples' if facts['labels'] else 'train positives'


def _new(held: dict[str, Any] | None) -> str:
  """The shares of a held-out split that are new, in words."""
  if held is None:
    return ''
  return (
    f'  ({held["new_user_share"]:.2%} by {held["new_users"]:,} of '
    f'{held["users"]:,} users without train events, '
    f'{held["cold_item_share"]:.2%} of cold items)'
  )


def _first_lines(lines: list[int]) -> str:
  noun = 'line' if len(lines) == 1 else 'lines'
  return f', {noun} ' + ', '.join(map(str, lines)) if lines else ''


def _times(facts: dict[str, Any]) -> str:
  tied = 'none'
  if facts['tied_times'] is not None:
    tied = f'{facts["tied_times"]:.2%} of events tie with another of their user'
  tied = f'{tied}; ordered by {facts.get("ordered_by", "row")}'
  return ' to '.join(facts['span']) + f'; {tied}' if facts['span'] else tied
