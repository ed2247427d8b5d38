"""What a run knows of its users and items, and their external ids.

NumPy alone is imported here, as `serving.exported` has no more; so ids are
looked up in dictionaries, not by `data.ids`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.serving import requests as requests_lib

_DIGITS = 21  # of an integer id and its sign; Python refuses to read thousands


class People(NamedTuple):
  """What a run knows of its users and items, host arrays.

  Attributes:
    user_ids: external ids, ascending [U].
    item_ids: external ids, ascending [I]; item i is item_ids[i - 1].
    user_offsets: i64[U + 1], events of each user.
    items: i32[N], 1..I, oldest first.
    owned: items of every user that may be left out, `offsets` and `items`.
    touched: items of every user that are not new.
    counts: train events of items, [I + 1].
    history_length: L, items of a history that are read.
    routes: of the users, leaves [U, K]; None where all have the same model.
    stranger_routes: of somebody else with 0, 1, 2, ... events, leaves [M, K];
      with more events, the last.
    reads_history: whether somebody else can be served.
    exclude_seen: whether what a user has is left out unless one says so.
  """

  user_ids: np.ndarray
  item_ids: np.ndarray
  user_offsets: np.ndarray
  items: np.ndarray
  owned: Any
  touched: Any
  counts: np.ndarray
  history_length: int
  routes: types.Route | None = None
  stranger_routes: types.Route | None = None
  reads_history: bool = True
  exclude_seen: bool = True


class Index(NamedTuple):
  """Where the external ids of some people stand.

  Attributes:
    people: users and items.
    user: places of the users' ids.
    item: places of the items' ids; item i has place i - 1.
  """

  people: People
  user: dict[Any, int]
  item: dict[Any, int]


def index(people: People) -> Index:
  """Where the external ids stand."""
  return Index(people, _index(people.user_ids), _index(people.item_ids))


def _index(ids) -> dict[Any, int]:
  return {name: place for place, name in enumerate(ids.tolist())}


def places(index: dict[Any, int], names: Iterable[Any]) -> np.ndarray:
  """Places of external ids, i64[n]; -1 for one that is none of them.

  Of integer ids, a text is the one that Python writes so (not '007'); of text
  ids, a number is what it is written. This is `data.ids.encode`.
  """
  is_text = isinstance(next(iter(index), ''), str)

  def place(name):
    if is_text:
      return index.get(str(name), -1)
    if isinstance(name, str):
      short = len(name) < _DIGITS and name.isascii()
      whole = short and name.removeprefix('-').isdecimal()
      name = int(name) if whole and str(int(name)) == name else None
    return index.get(name, -1)

  return np.array([place(name) for name in names], np.int64)


def items(of: Index, names: list[Any], what: str) -> np.ndarray:
  """Items 1..I of external ids, i64[n].

  Args:
    of: where ids stand.
    names: external ids.
    what: they are, for the message.
  Raises:
    types.UserError: an unknown one.
  """
  found = places(of.item, names)
  for at in np.flatnonzero(found < 0)[:1]:
    raise types.UserError(
      f'{what}: item {names[at]!r} is not in the training data, whose ids are'
      f' like {of.people.item_ids[0].item()!r}; leave it out'
    )
  return found + 1


def users(of: Index, names: list[Any]) -> np.ndarray:
  """Users of external ids, i64[n].

  Raises:
    types.UserError: an unknown one.
  """
  found = places(of.user, names)
  for at in np.flatnonzero(found < 0)[:1]:
    raise types.UserError(
      f'user {names[at]!r} is not in the training data; leave it out, or'
      ' recommend by a history of items or by what is popular'
    )
  return found


def allowed(
  of: Index, only: Iterable[Any] | None, exclude: Iterable[Any]
) -> np.ndarray:
  """Items that may be in a list by their ids, bool[I + 1].

  Args:
    of: where ids stand.
    only: ids of items that may; None is all.
    exclude: ids of items that may not; unknown ones do no harm.
  Raises:
    types.UserError: an unknown id in `only`.
  """
  mask = np.zeros(len(of.item) + 1, bool)
  if only is None:
    mask[1:] = True
  else:
    mask[items(of, list(only), 'items')] = True
  mask[places(of.item, exclude) + 1] = False
  return mask


def nothing_left() -> types.UserError:
  """What is said where no item may be in a list."""
  return types.UserError(
    'no item is left to recommend by items, exclude and conditions (--items,'
    ' --exclude_items, --items_where); leave one of them out'
  )


def numbered(item_ids: np.ndarray, categories: Mapping[Any, Any]) -> np.ndarray:
  """Numbers of the items' categories, i32[I + 1]; -1 without one."""
  numbers: dict[Any, int] = {}
  made = np.full(len(item_ids) + 1, -1, np.int32)
  place = places(_index(item_ids), list(categories))
  for at, category in zip(place.tolist(), categories.values(), strict=True):
    if at >= 0:
      made[at + 1] = numbers.setdefault(category, len(numbers))
  return made


def require_histories(people: People, model: str) -> None:
  """Refuses a history for a model that knows its users alone.

  Raises:
    types.UserError: the model, and the way out.
  """
  if not people.reads_history:
    raise types.UserError(
      f'history: {model} knows the users of its training data only; leave it'
      ' out, or name some of them as users (--users)'
    )


def requests(
  people: People, users: np.ndarray, chunk: int = requests_lib.CHUNK
) -> Iterator[requests_lib.Request]:
  """Requests for users i64[n] of the run, in pieces of `chunk`."""
  routes = people.routes
  return requests_lib.known_users(
    people,
    people.owned,
    users,
    history_length=people.history_length,
    routes=routes and types.Route(*(leaf[users] for leaf in routes)),
    chunk=chunk,
    touched=people.touched,
  )
