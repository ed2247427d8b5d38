"""Histories that people have by a table of new events, and by the run."""

from typing import NamedTuple

import numpy as np

from twotsrec.data import ids as ids_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import gathers
from twotsrec.runs import new_events


class Histories(NamedTuple):
  """Histories of n people, by their external ids.

  Attributes:
    ids: external ids, ascending [n].
    user: i32[n], users of the run; -1 for the others.
    offsets: i64[n + 1].
    items: i32[N], 1..I, oldest first.
    seen: distinct items of everyone, ascending; what may be left out.
    touched: the same of all that is not new to them.
    unknown_items: rows of the table whose item the run does not have.
    repeated: rows of the table that the run has already.
  """

  ids: np.ndarray
  user: np.ndarray
  offsets: np.ndarray
  items: np.ndarray
  seen: prepared_lib.SeenItems
  touched: prepared_lib.SeenItems
  unknown_items: int
  repeated: int


class _Rows(NamedTuple):
  """Events of people; columns [N]."""

  person: np.ndarray
  item: np.ndarray
  when: np.ndarray
  is_new: np.ndarray
  behavior: np.ndarray


def owned(prepared: prepared_lib.Prepared) -> prepared_lib.SeenItems:
  """Items that every user of the run already has."""
  if behaviors.names(prepared):
    return behaviors.bought(prepared)
  return prepared_lib.seen_items(prepared, 'all')


def join(
  prepared: prepared_lib.Prepared,
  events: new_events.NewEvents,
  alone: bool = False,
) -> Histories:
  """What the people of a table have done, by the run too where it knows them.

  Rows of one person are ordered by time where all have times; else those of the
  run come first, then those of the table in its own order. A row that the run
  has already, with the same user, item and time, counts once.

  Args:
    prepared: data of the run.
    events: the table.
    alone: take everybody from the table alone.
  """
  table = events.table
  everybody = ids_lib.concatenate([table.user, events.disliked.user])
  names, person = ids_lib.number(everybody)
  if prepared.user_ids.dtype.kind == 'U':
    names = names.astype(str)
  user = np.full(len(names), -1, np.int32)
  if not alone:
    user = ids_lib.encode(prepared.user_ids, names)
  item = ids_lib.encode_items(prepared.item_ids, table.item)
  # Checked before anything is left out.
  target = new_events.is_target(prepared, table)
  mine, by_time = _new_rows(prepared, table, person[: len(item)], item)
  old = _old_rows(prepared, user, by_time)
  rows = _Rows(*map(np.concatenate, zip(old, mine, strict=True)))
  repeated = _repeated(rows) if by_time else np.zeros(len(rows.item), bool)
  rows = _Rows(*(column[~repeated] for column in rows))
  order = np.lexsort((rows.when, rows.person))
  rows = _Rows(*(column[order] for column in rows))
  rows = _without_duplicates(prepared, rows)
  disliked = ids_lib.encode_items(prepared.item_ids, events.disliked.item)
  seen = _pairs(prepared, user) + [
    (person[: len(item)][target], item[target]),
    (person[len(item) :], disliked),
  ]
  touched = [*seen, (rows.person, rows.item)]
  return Histories(
    ids=names,
    user=user,
    offsets=np.searchsorted(rows.person, np.arange(len(names) + 1)),
    items=rows.item,
    seen=_distinct(seen, len(names), prepared.num_items),
    touched=_distinct(touched, len(names), prepared.num_items),
    unknown_items=int(np.sum(item == 0)),
    repeated=int(np.sum(repeated)),
  )


def _new_rows(prepared, table, person, item) -> tuple[_Rows, bool]:
  """Rows of the table with an item of the run; whether all go by time."""
  when = table.time if table.order is None else table.order
  ordered_by = prepared.manifest['report'].get('ordered_by', 'time')
  by_time = prepared.times is not None and ordered_by == 'time'
  by_time = by_time and table.order is None and table.time is not None
  behavior = np.zeros(len(item), np.int8)
  if table.behavior is not None:
    for code, name in enumerate(behaviors.names(prepared)):
      behavior[np.asarray(table.behavior == name)] = code
  when = np.zeros(len(item)) if when is None else when
  rows = _Rows(person, item, when, np.ones(len(item), bool), behavior)
  return _Rows(*(column[item > 0] for column in rows)), by_time


def _old_rows(prepared, user, by_time) -> _Rows:
  """What the run knows of these users."""
  of_run = np.flatnonzero(user >= 0)
  offsets = np.asarray(prepared.user_offsets)
  first = offsets[user[of_run]]
  counts = offsets[user[of_run] + 1] - first
  event = np.arange(prepared.num_events)
  row, event, _ = gathers.slices(event, first, counts)
  when = np.full(len(event), -np.inf)
  if by_time:
    when = np.asarray(prepared.times)[event]
  behavior = np.zeros(len(event), np.int8)
  if prepared.behaviors is not None:
    behavior = np.asarray(prepared.behaviors)[event]
  item = np.asarray(prepared.items)[event]
  return _Rows(of_run[row], item, when, np.zeros(len(event), bool), behavior)


def _repeated(rows: _Rows) -> np.ndarray:
  """New rows of which the run has one of the same item and time, bool[N]."""
  keys = (rows.is_new, rows.behavior, rows.when, rows.item, rows.person)
  order = np.lexsort(keys)
  begins = np.ones(len(order), bool)
  begins[1:] = np.any(
    [key[order][1:] != key[order][:-1] for key in keys[1:]], axis=0
  )
  first = np.flatnonzero(begins)[np.cumsum(begins) - 1]
  repeated = np.zeros(len(order), bool)
  repeated[order] = rows.is_new[order] & ~rows.is_new[order[first]]
  return repeated


def _without_duplicates(prepared, rows: _Rows) -> _Rows:
  """As the run was prepared: equal interactions once, the first or the last."""
  filters = prepared.manifest['options'].get('filters') or {}
  dedup = filters.get('dedup', 'none')
  if dedup not in ('first', 'last'):
    return rows
  keys = prepared_lib.pairs(rows.person, rows.item, prepared.num_items)
  keys = keys * (int(np.max(rows.behavior, initial=0)) + 1) + rows.behavior
  keys = keys[::-1] if dedup == 'last' else keys
  _, place = np.unique(keys, return_index=True)
  place = len(rows.item) - 1 - place if dedup == 'last' else place
  return _Rows(*(column[np.sort(place)] for column in rows))


def _pairs(prepared, user):
  """(person, item) of what the run says that they have."""
  of_run = np.flatnonzero(user >= 0)
  have = gathers.exclusions(owned(prepared), user[of_run])
  return [(np.repeat(of_run, have.counts), have.items)]


def _distinct(pairs, num_people, num_items) -> prepared_lib.SeenItems:
  person, item = map(np.concatenate, zip(*pairs, strict=True))
  numbers = prepared_lib.pairs(person, item, num_items)
  return prepared_lib.items_of_pairs(
    np.unique(numbers[item > 0]), num_people, num_items
  )
