"""From a table to numbered, filtered and ordered interactions.

Rows are dropped by a minimum rating, then de-duplicated, then filtered by
minimum counts. Every dropped row is counted under its cause.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import dislikes
from twotsrec.data import ids
from twotsrec.data import orders
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import rows as rows_lib
from twotsrec.data import tables

DEDUP = choices.DEDUP
DISLIKES = choices.DISLIKES
CORES = choices.CORES
_UNKNOWN = -1  # number of a behavior that is not named
_MAX_BEHAVIORS = 127  # stored as i8


class Filters(NamedTuple):
  """Conditions by which rows are dropped."""

  min_rating: float | None = None  # keep ratings of at least this, or None
  # Of equal (user, item, behavior) keep all ('none'), the 'first' or the 'last'
  # in time; '' is 'first' for the named datasets with behaviors (COPF sec.
  # 5.1.1), else 'none'.
  dedup: str = ''
  min_user: int = 1  # fewest interactions of a kept user
  min_item: int = 1  # fewest interactions of a kept item
  # 'fixed_point' repeats the two minima until nothing changes, so both hold at
  # the end; 'single_pass' counts once, on what comes in.
  core: str = 'fixed_point'
  # What becomes of items that a user rated lower: 'seen' is no event, but
  # neither recommended nor ranked, and sequence models of one behavior never
  # draw it as a negative; 'negatives' is the same, but they train each event
  # against one of those before it, where there are times; 'drop' forgets them.
  dislikes: str = 'seen'


class Pairs(NamedTuple):
  """Users and items that belong together, in the numbering of their events."""

  user: np.ndarray  # i32[M], 0..U-1
  item: np.ndarray  # i32[M], 1..I
  time: np.ndarray | None = None  # [M] as that of events, or None


class Interactions(NamedTuple):
  """Interactions sorted by (user, order or else time, row of the table)."""

  user: np.ndarray  # i32[N], 0..U-1, ascending
  item: np.ndarray  # i32[N], 1..I
  time: np.ndarray | None  # i64[N] or f64[N], or None
  order: np.ndarray | None  # i64[N], position inside a user, or None
  behavior: np.ndarray | None  # i8[N], indices into `behavior_names`, or None
  split: ids.Column | None  # labels, text [N], or None
  # i64[N], of the file, or None; only while rows are being dropped.
  lines: np.ndarray | None
  user_ids: np.ndarray  # external ids [U], ascending
  # External ids [I], ascending; item i is item_ids[i - 1].
  item_ids: np.ndarray
  behavior_names: tuple[str, ...]  # names, the target behavior last
  rows_read: int  # rows of the table; len(user) + dropped rows
  dropped: dict[str, tables.Dropped]  # {cause: count and first lines}
  duplicates: int = 0  # rows that repeat a (user, item, behavior), kept or not
  ordered_by: str = ''  # see `tables.Table`
  disliked: Pairs | None = None  # rated below the threshold, if they stay seen
  label: np.ndarray | None = None  # i8[N], 1 for a click, or None


_COLUMNS = (
  'user', 'item', 'time', 'order', 'behavior', 'split', 'lines', 'label'
)  # fmt: skip


def from_table(
  table: tables.Table,
  filters: Filters | None = None,
  behaviors: tuple[str, ...] = (),
  in_order: bool = False,
  drop_unknown: bool = False,
) -> Interactions:
  """Filters, numbers and sorts the rows of a table.

  Where an order column and times are given, they must not contradict each
  other inside a user.

  Args:
    table: columns as read.
    filters: what to drop; None drops nothing.
    behaviors: order of the behaviors, the target last; () sorts the names. A
      behavior but the target may be without rows.
    in_order: whether the rows of a user are said to be in the order of time;
      it is an error then if they are not.
    drop_unknown: whether rows of a behavior that is not named are dropped and
      counted; they are an error otherwise.
  """
  filters = filters or Filters()
  _check_filters(filters)
  if not len(table.user):
    raise _nothing_left(f'{table.path} has no usable row; name another file')
  user_ids, user = ids.number(table.user)
  item_ids, item = ids.number(table.item)
  _check_times(table, user, in_order)
  behavior, behavior_names = _number_behaviors(table, behaviors, drop_unknown)
  events = Interactions(
    user=user,
    item=item + 1,
    time=table.time,
    order=table.order,
    behavior=behavior,
    split=table.split,
    lines=table.lines,
    user_ids=user_ids,
    item_ids=item_ids,
    behavior_names=behavior_names,
    rows_read=table.rows_read,
    dropped=table.dropped,
    ordered_by=table.ordered_by,
    label=table.label,
  )
  events = _only_wanted(events, table.rating, filters)
  repeated = np.diff(np.sort(_pairs(events))) == 0
  events = events._replace(duplicates=int(np.sum(repeated)))
  dedup = filters.dedup or 'none'
  if dedup != 'none':
    cause = f'duplicate, {dedup} one kept'
    events = _drop(events, {cause: _repeated(events, dedup)})
  events = _filter_counts(events, filters)
  # Rows of equal time stay in the order of the table.
  order = orders.stable(events.user, _when(events))
  return _numbered(taken(events._replace(lines=None), order))


def _only_wanted(
  events: Interactions, rating: np.ndarray | None, filters: Filters
) -> Interactions:
  """Events of a behavior that is named, and of a rating that is high enough."""
  known = np.ones(len(events.user), bool)
  gone = {}
  if events.behavior is not None:
    known = events.behavior != _UNKNOWN
    gone[f'behavior is not {" or ".join(events.behavior_names)}'] = ~known
  if filters.min_rating is not None:
    if rating is None:
      raise types.UserError('--min_rating needs ratings; give --rating_column')
    low = known & (rating < filters.min_rating)
    gone[f'{dislikes.LOW} {filters.min_rating:g}'] = low
    if not np.any(known & ~low):
      raise _nothing_left(
        f'no rating is {filters.min_rating:g} or more; lower --min_rating to'
        f' at most {np.max(rating[known], initial=0):g}'
      )
    if filters.dislikes != 'drop':
      time = None
      if filters.dislikes == 'negatives' and events.time is not None:
        time = events.time[low]
      pairs = Pairs(events.user[low], events.item[low], time)
      events = events._replace(disliked=pairs)
  return _drop(events, gone)


def without(
  events: Interactions, gone: dict[str, np.ndarray]
) -> tuple[Interactions, np.ndarray]:
  """Events but those of some causes; users and items are numbered anew.

  Args:
    events: sorted, as `from_table` gives them.
    gone: cause -> bool[N]; each event has at most one cause.
  Returns:
    The rest with the causes counted, and i64 positions of the rest.
  """
  left = np.flatnonzero(~np.any(list(gone.values()), axis=0))
  rest = _drop(events, gone)
  return (_numbered(rest) if len(left) < len(events.user) else events), left


def core_mask(
  user: np.ndarray,
  item: np.ndarray,
  min_user: int,
  min_item: int,
  core: str = 'fixed_point',
) -> tuple[np.ndarray, np.ndarray]:
  """Rows to drop because their user, or else their item, is too rare.

  Args:
    user: i32[N], small non-negative numbers.
    item: i32[N], small non-negative numbers.
    min_user: fewest rows of a kept user.
    min_item: fewest rows of a kept item.
    core: see `Filters`.
  Returns:
    bool[N] dropped for their user, bool[N] dropped for their item; disjoint.
  """
  rare_user = np.zeros(len(user), bool)
  rare_item = np.zeros(len(user), bool)
  if max(min_user, min_item) <= 1:
    return rare_user, rare_item
  while True:
    left = np.flatnonzero(~(rare_user | rare_item))
    few_users = np.bincount(user[left])[user[left]] < min_user
    few_items = np.bincount(item[left])[item[left]] < min_item
    rare_user[left] = few_users
    rare_item[left] = few_items & ~few_users
    settled = not np.any(few_users | few_items)
    if settled or core == 'single_pass':
      return rare_user, rare_item


def _check_times(table: tables.Table, user: np.ndarray, in_order: bool) -> None:
  """Raises UserError where time runs backwards inside a user."""
  column, what = table.time, 'time'
  if column is None:
    column, what = table.order, 'position'
  claims = []
  if in_order:
    claims.append((np.arange(len(user)), 'the rows above it', 'rows_in_order'))
  if table.order is not None and table.time is not None:
    claims.append((table.order, 'the order column', 'order_column'))
  if claims and column is None:
    raise types.UserError(
      f'{table.path}: rows are said to be in order, but nothing can be '
      'checked; give --time_column, or leave out --rows_in_order'
    )
  for order, by, flag in claims:
    rows = orders.stable(user, order)
    ordered = np.asarray(column)[rows]
    back = np.flatnonzero((np.diff(user[rows]) == 0) & (np.diff(ordered) < 0))
    if back.size:
      at, row = back[0], rows[back[0] + 1]
      line = '' if table.lines is None else f', line {table.lines[row]}'
      user_id = types.printable(table.user[row])
      raise types.UserError(
        f'{table.path}{line}: user {user_id} goes back in time, from '
        f'{what} {ordered[at]} to {ordered[at + 1]} by {by} '
        f'({back.size} such rows); correct them, or leave out --{flag}'
      )


def _filter_counts(events: Interactions, filters: Filters) -> Interactions:
  rare_user, rare_item = core_mask(
    events.user, events.item, filters.min_user, filters.min_item, filters.core
  )
  few = 'with fewer than {} interactions'.format
  left = _drop(
    events,
    {
      f'user {few(filters.min_user)}': rare_user,
      f'item {few(filters.min_item)}': rare_item,
    },
  )
  if not len(left.user):
    raise _nothing_left(
      f'min_user={filters.min_user} and min_item={filters.min_item} '
      f'({filters.core}) leave none of {len(events.user)} interactions of '
      f'{len(np.unique(events.user))} users and {len(np.unique(events.item))} '
      'items; lower them'
    )
  return left


def _when(events: Interactions) -> np.ndarray:
  """Order of the events of a user: position, else time, else row number."""
  if events.order is not None:
    return events.order
  return np.arange(len(events.user)) if events.time is None else events.time


def _pairs(events: Interactions) -> np.ndarray:
  """One number for user, item and behavior of every event, i64[N]."""
  pair = prepared_lib.pairs(events.user, events.item, len(events.item_ids))
  if events.behavior is not None:
    pair = pair * (_MAX_BEHAVIORS + 1) + events.behavior
  return pair


def _repeated(events: Interactions, dedup: str) -> np.ndarray:
  """Events that repeat another, bool[N].

  The first in time of equal ones is spared, or the last if `dedup` says so.
  """
  pair = _pairs(events)
  by_pair = orders.stable(pair, _when(events))
  same = np.diff(pair[by_pair]) == 0
  repeated = np.zeros(len(pair), bool)
  repeated[by_pair[:-1] if dedup == 'last' else by_pair[1:]] = same
  return repeated


def _drop(events: Interactions, gone: dict[str, np.ndarray]) -> Interactions:
  """Events but those of some causes, bool[N], which are counted."""
  gone = {cause: mask for cause, mask in gone.items() if np.any(mask)}
  if not gone:
    return events
  dropped = dict(events.dropped)
  for cause, mask in gone.items():
    if events.lines is None:
      dropped[cause] = tables.Dropped(int(np.sum(mask)), ())
    else:
      dropped[cause] = rows_lib.counted(events.lines[mask])
  left = ~np.any(list(gone.values()), axis=0)
  return taken(events, left)._replace(dropped=dropped)


def taken(events: Interactions, rows: np.ndarray) -> Interactions:
  """Some of the events, by positions or bool[N]."""
  columns = {name: getattr(events, name) for name in _COLUMNS}
  return events._replace(
    **{
      name: column if column is None else column[rows]
      for name, column in columns.items()
    }
  )


def _numbered(events: Interactions) -> Interactions:
  """Numbers the users and items that occur."""
  used_users, user = ids.number(events.user)
  used_items, item = ids.number(events.item)
  return events._replace(
    user=user,
    item=item + 1,
    user_ids=events.user_ids[used_users],
    item_ids=events.item_ids[used_items - 1],
    disliked=_renumbered(events.disliked, used_users, used_items),
  )


def _renumbered(
  pairs: Pairs | None, used_users: np.ndarray, used_items: np.ndarray
) -> Pairs | None:
  """Pairs of users and items that are both used, in their new numbering."""
  if pairs is None:
    return None
  user = ids.encode(used_users, pairs.user)
  item = ids.encode(used_items, pairs.item)
  left = (user >= 0) & (item >= 0)
  time = None if pairs.time is None else pairs.time[left]
  return Pairs(user[left], item[left] + 1, time)


def _number_behaviors(
  table: tables.Table, names: tuple[str, ...], drop_unknown: bool
) -> tuple[np.ndarray | None, tuple[str, ...]]:
  """Places of the behaviors among the names, i8[N], or _UNKNOWN; the names."""
  if table.behavior is None:
    if names:
      raise types.UserError(
        f'behaviors are {",".join(names)}, but there is no behavior column; '
        'give --behavior_column'
      )
    return None, ()
  repeated = sorted({name for name in names if names.count(name) > 1})
  if repeated:
    raise types.UserError(
      f'behaviors are {",".join(names)}; name {repeated[0]!r} once'
    )
  distinct, codes = ids.number(table.behavior)
  present = distinct.tolist()
  names = tuple(names) or tuple(present)
  if len(names) > _MAX_BEHAVIORS:
    raise types.UserError(
      f'{len(names):,} behaviors ({_some(names)}); at most {_MAX_BEHAVIORS}'
      ' are allowed; name another --behavior_column'
    )
  position = np.array(
    [names.index(name) if name in names else _UNKNOWN for name in present],
    np.int8,
  )
  unknown = np.flatnonzero(position[codes] == _UNKNOWN)
  if unknown.size and not drop_unknown:
    line = '' if table.lines is None else f', line {table.lines[unknown[0]]}'
    raise types.UserError(
      f'{table.path}{line}: the behavior column has '
      f'{present[codes[unknown[0]]]!r}, which is not among {",".join(names)} '
      f'({unknown.size} such rows); add it to --behaviors, or --bad_rows=drop '
      'drops and counts such rows'
    )
  if names[-1] not in present:
    raise types.UserError(
      f'no row is of the target behavior {names[-1]!r}; the behavior column '
      f'has {_some(present)}: name one of them last in --behaviors, or another '
      '--behavior_column'
    )
  return position[codes], names


def _some(names) -> str:
  """The first of many names."""
  return ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')


def _nothing_left(reason: str) -> types.UserError:
  return types.UserError(f'no interactions are left: {reason}')


def _check_filters(filters: Filters) -> None:
  for name, value, allowed in (
    ('dedup', filters.dedup, ('', *DEDUP)),
    ('dislikes', filters.dislikes, DISLIKES),
    ('core', filters.core, CORES),
  ):
    if value not in allowed:
      raise types.UserError(
        f'{name} is {value!r}; allowed are ' + ', '.join(filter(None, allowed))
      )
  for name, minimum in (
    ('min_user', filters.min_user),
    ('min_item', filters.min_item),
  ):
    if minimum < 1:
      raise types.UserError(f'{name} is {minimum}; allowed are 1 and more')
