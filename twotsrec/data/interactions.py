"""From a table to numbered, filtered and ordered interactions.

Rows are dropped by a minimum rating, then de-duplicated, then filtered by
minimum counts. Every dropped row is counted under its cause.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import ids
from twotsrec.data import orders
from twotsrec.data import rows as rows_lib
from twotsrec.data import tables

DEDUP = choices.DEDUP
CORES = choices.CORES
_MAX_BEHAVIORS = 127  # stored as i8


class Filters(NamedTuple):
  """Conditions by which rows are dropped.

  Attributes:
    min_rating: keep ratings of at least this, or None.
    dedup: of equal (user, item, behavior) keep all ('none'), the 'first' or
      the 'last' in time; '' is 'first' with behaviors, 'none' without.
    min_user: fewest interactions of a kept user.
    min_item: fewest interactions of a kept item.
    core: 'fixed_point' repeats the two minima until nothing changes, so both
      hold at the end; 'single_pass' counts once, on what comes in.
  """

  min_rating: float | None = None
  dedup: str = ''
  min_user: int = 1
  min_item: int = 1
  core: str = 'fixed_point'


class Interactions(NamedTuple):
  """Interactions sorted by (user, order or else time, row of the table).

  Attributes:
    user: i32[N], 0..U-1, ascending.
    item: i32[N], 1..I.
    time: i64[N] or f64[N], or None.
    order: i64[N], position inside a user, or None.
    behavior: i8[N], indices into `behavior_names`, or None.
    split: labels, text [N], or None.
    user_ids: external ids [U], ascending.
    item_ids: external ids [I], ascending; item i is item_ids[i - 1].
    behavior_names: names, the target behavior last.
    rows_read: rows of the table; len(user) + dropped rows.
    dropped: {cause: count and first lines}.
    duplicates: rows that repeat a (user, item, behavior), kept or not.
    ordered_by: see `tables.Table`.
  """

  user: np.ndarray
  item: np.ndarray
  time: np.ndarray | None
  order: np.ndarray | None
  behavior: np.ndarray | None
  split: ids.Column | None
  user_ids: np.ndarray
  item_ids: np.ndarray
  behavior_names: tuple[str, ...]
  rows_read: int
  dropped: dict[str, tables.Dropped]
  duplicates: int
  ordered_by: str = ''


class _Rows(NamedTuple):
  """Rows that are left: positions in the table, and their columns."""

  position: np.ndarray
  user: np.ndarray
  item: np.ndarray
  behavior: np.ndarray | None
  when: np.ndarray  # order, else time, else row number
  line: np.ndarray | None  # in the file


def from_table(
  table: tables.Table,
  filters: Filters | None = None,
  behaviors: tuple[str, ...] = (),
  in_order: bool = False,
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
  """
  filters = filters or Filters()
  _check_filters(filters, table)
  if not len(table.user):
    raise _nothing_left(f'{table.path} has no usable row')
  user_ids, user = ids.number(table.user)
  item_ids, item = ids.number(table.item)
  _check_times(table, user, in_order)
  behavior, behavior_names = _number_behaviors(table.behavior, behaviors)
  rows = _Rows(
    position=np.arange(len(user)),
    user=user,
    item=item,
    behavior=behavior,
    when=_first_given(table.order, table.time, np.arange(len(user))),
    line=table.lines,
  )
  dropped = dict(table.dropped)
  if filters.min_rating is not None:
    cause = f'rating below {filters.min_rating:g}'
    rows = _drop(rows, table.rating < filters.min_rating, cause, dropped)
    if not len(rows.user):
      raise _nothing_left(f'no rating is {filters.min_rating:g} or more')
  dedup = dedup_rule(filters, behavior is not None)
  duplicates = _count_repeated(rows)
  if dedup != 'none':
    cause = f'duplicate, {dedup} one kept'
    rows = _drop(rows, _repeated(rows, dedup), cause, dropped)
  rows = _filter_counts(rows, filters, dropped)
  # Rows of equal time stay in the order of the table.
  rows = _take(rows, orders.stable(rows.user, rows.when))
  used_users, user = ids.number(rows.user)
  used_items, item = ids.number(rows.item)
  pick = lambda column: None if column is None else column[rows.position]
  return Interactions(
    user=user,
    item=item + 1,
    time=pick(table.time),
    order=pick(table.order),
    behavior=rows.behavior,
    split=pick(table.split),
    user_ids=user_ids[used_users],
    item_ids=item_ids[used_items],
    behavior_names=behavior_names,
    rows_read=table.rows_read,
    dropped=dropped,
    duplicates=duplicates,
    ordered_by=table.ordered_by,
  )


def dedup_rule(filters: Filters, has_behaviors: bool) -> str:
  """The one of equal rows that stays, 'first' or 'last'; 'none' drops none."""
  # COPF sec. 5.1.1: the earliest of a user, an item and a behavior.
  return filters.dedup or ('first' if has_behaviors else 'none')


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
  counts = {cause: int(np.sum(rows)) for cause, rows in gone.items()}
  dropped = dict(events.dropped)
  for cause, count in counts.items():
    if count:
      dropped[cause] = tables.Dropped(rows=count, first_lines=())
  if not any(counts.values()):
    return events, np.arange(len(events.user))
  left = np.flatnonzero(~np.any(list(gone.values()), axis=0))
  used_users, user = ids.number(events.user[left])
  used_items, item = ids.number(events.item[left])
  pick = lambda column: None if column is None else column[left]
  rest = events._replace(
    user=user,
    item=item + 1,
    time=pick(events.time),
    order=pick(events.order),
    behavior=pick(events.behavior),
    split=pick(events.split),
    user_ids=events.user_ids[used_users],
    item_ids=events.item_ids[used_items - 1],
    dropped=dropped,
  )
  return rest, left


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
  claims = []
  if in_order:
    if table.time is None and table.order is None:
      raise types.UserError(
        f'{table.path}: rows are said to be in order, but nothing can be '
        'checked; give --time_column, or leave out --rows_in_order'
      )
    claims.append((np.arange(len(user)), 'the rows above it', 'rows_in_order'))
  if table.order is not None and table.time is not None:
    claims.append((table.order, 'the order column', 'order_column'))
  column, what = table.time, 'time'
  if column is None:
    column, what = table.order, 'position'
  for order, by, flag in claims:
    rows = orders.stable(user, order)
    same_user = np.diff(user[rows]) == 0
    back = np.flatnonzero(same_user & (np.diff(column[rows]) < 0))
    if back.size:
      earlier, row = rows[back[0]], rows[back[0] + 1]
      line = '' if table.lines is None else f', line {table.lines[row]}'
      raise types.UserError(
        f'{table.path}{line}: user {table.user[row]} goes back in time, from '
        f'{what} {column[earlier]} to {column[row]} by {by} '
        f'({back.size} such rows); correct them, or leave out --{flag}'
      )


def _filter_counts(
  rows: _Rows, filters: Filters, dropped: dict[str, tables.Dropped]
) -> _Rows:
  before = rows
  rare_user, rare_item = core_mask(
    rows.user, rows.item, filters.min_user, filters.min_item, filters.core
  )
  by_item = f'item with fewer than {filters.min_item} interactions'
  by_user = f'user with fewer than {filters.min_user} interactions'
  _record(before, rare_user, by_user, dropped)
  _record(before, rare_item, by_item, dropped)
  rows = _without(rows, rare_user | rare_item)
  if not len(rows.user):
    raise _nothing_left(
      f'min_user={filters.min_user} and min_item={filters.min_item} '
      f'({filters.core}) leave none of {len(before.user)} interactions of '
      f'{len(np.unique(before.user))} users and {len(np.unique(before.item))} '
      'items; lower them'
    )
  return rows


def _pairs(rows: _Rows) -> np.ndarray:
  """One number for user, item and behavior of every row, i64[N]."""
  pair = rows.user.astype(np.int64) * (np.max(rows.item) + 1) + rows.item
  if rows.behavior is not None:
    pair = pair * (_MAX_BEHAVIORS + 1) + rows.behavior
  return pair


def _count_repeated(rows: _Rows) -> int:
  """Rows whose user, item and behavior an earlier row has."""
  return int(np.sum(np.diff(np.sort(_pairs(rows))) == 0))


def _repeated(rows: _Rows, dedup: str) -> np.ndarray:
  """Rows that repeat another, bool[N].

  The first in time of equal ones is spared, or the last if `dedup` says so.
  """
  pair = _pairs(rows)
  by_pair = orders.stable(pair, rows.when)
  same = np.diff(pair[by_pair]) == 0
  repeated = np.zeros(len(pair), bool)
  repeated[by_pair[:-1] if dedup == 'last' else by_pair[1:]] = same
  return repeated


def _drop(
  rows: _Rows,
  mask: np.ndarray,
  cause: str,
  dropped: dict[str, tables.Dropped],
) -> _Rows:
  _record(rows, mask, cause, dropped)
  return _without(rows, mask)


def _record(
  rows: _Rows,
  mask: np.ndarray,
  cause: str,
  dropped: dict[str, tables.Dropped],
) -> None:
  """Counts dropped rows; they are still in the order of the file."""
  gone = np.flatnonzero(mask)
  if gone.size:
    first = gone[: rows_lib.FIRST_LINES]
    lines = () if rows.line is None else tuple(rows.line[first].tolist())
    dropped[cause] = tables.Dropped(rows=gone.size, first_lines=lines)


def _without(rows: _Rows, mask: np.ndarray) -> _Rows:
  return _take(rows, np.flatnonzero(~mask)) if np.any(mask) else rows


def _take(rows: _Rows, index: np.ndarray) -> _Rows:
  return _Rows(*(None if column is None else column[index] for column in rows))


def _number_behaviors(
  behavior: ids.Column | None, names: tuple[str, ...]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
  if behavior is None:
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
  distinct, codes = ids.number(behavior)
  present = distinct.tolist()
  names = tuple(names) or tuple(present)
  unknown = sorted(set(present) - set(names))
  if unknown:
    raise types.UserError(
      f'the behavior column has {unknown[0]!r}, which is not among '
      f'{",".join(names)}; add it to --behaviors'
    )
  if len(names) > _MAX_BEHAVIORS:
    raise types.UserError(
      f'{len(names)} behaviors; at most {_MAX_BEHAVIORS} are allowed'
    )
  if names[-1] not in present:
    raise types.UserError(
      f'no row is of the target behavior {names[-1]!r}; the behavior column '
      f'has {", ".join(present)}: name one of them last in --behaviors'
    )
  position = np.array([names.index(name) for name in present], np.int8)
  return position[codes], names


def _first_given(*columns: np.ndarray | None) -> np.ndarray:
  return next(column for column in columns if column is not None)


def _nothing_left(reason: str) -> types.UserError:
  return types.UserError(f'no interactions are left: {reason}')


def _check_filters(filters: Filters, table: tables.Table) -> None:
  for name, value, allowed in (
    ('dedup', filters.dedup, DEDUP),
    ('core', filters.core, CORES),
  ):
    if value not in allowed and not (name == 'dedup' and value == ''):
      raise types.UserError(
        f'{name} is {value!r}; allowed are ' + ', '.join(allowed)
      )
  for name, minimum in (
    ('min_user', filters.min_user),
    ('min_item', filters.min_item),
  ):
    if minimum < 1:
      raise types.UserError(f'{name} is {minimum}; allowed are 1 and more')
  if filters.min_rating is not None and table.rating is None:
    raise types.UserError('min_rating needs a rating column; give one')
