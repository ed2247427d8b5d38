"""Requests of users: what they did, and what may be left out of their lists.

NumPy alone is imported here, as `serving.exported` has no more.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import gathers

# Users are few enough for lists as long as the catalog.
_LIST_ITEMS = 1 << 23
CHUNK = 8192  # users of a request


class Request(NamedTuple):
  """Some users to recommend to.

  Attributes:
    history: i32[n, L], item ids, oldest first, right-padded with 0.
    seen: distinct items of each row, ascending; what may be left out.
    route: leaves [n, K], for a model with plugins; None is group 0 for all.
    user: i32[n], for a model that knows its users; None, like -1, is nobody.
    touched: distinct items of each row that are not new to it, for
      `list_rules`; None where nobody asks.
  """

  history: np.ndarray
  seen: gathers.Exclusions
  route: types.Route | None = None
  user: np.ndarray | None = None
  touched: gathers.Exclusions | None = None


class Chunk(NamedTuple):
  """Recommendations of one request; id 0 and -inf where items ran out.

  Lists are cut at the catalog: K = min(k, I).

  Attributes:
    ids: i32[n, K], best first.
    scores: f32[n, K].
  """

  ids: np.ndarray
  scores: np.ndarray


def known_users(
  prepared: Any,
  seen: Any,
  users: np.ndarray,
  *,
  history_length: int,
  routes: types.Route | None = None,
  chunk: int = CHUNK,
  touched: Any = None,
) -> Iterator[Request]:
  """Requests for users i64[n] of the prepared data, with all their events.

  Args:
    prepared: the data, or as much of them as `user_offsets` and `items`.
    seen: items of every user.
    users: in the order wanted.
    history_length: L.
    routes: of the users, leaves [n, K].
    chunk: users per request.
    touched: items of every user that are not new, as `seen`.
  """
  users = np.asarray(users, np.int64)
  have = _Have(gathers.Exclusions(prepared.user_offsets, prepared.items), seen)
  have = have._replace(touched=touched)
  return _requests(have, users, history_length, routes, chunk)


def raw_histories(
  items: np.ndarray,
  offsets: np.ndarray,
  *,
  history_length: int,
  routes: types.Route | None = None,
  chunk: int = CHUNK,
  seen: Any = None,
  users: np.ndarray | None = None,
  touched: Any = None,
) -> Iterator[Request]:
  """Requests for anybody, from the histories.

  Args:
    items: i32[N], item ids 1..I, oldest first for each row.
    offsets: i64[n + 1], items of each row.
    history_length: L.
    routes: of the rows, leaves [n, K].
    chunk: rows per request.
    seen: items of each row, as `prepared.SeenItems`; None are those of `items`.
    users: i32[n], of the data, -1 for nobody; None is nobody for all.
    touched: items of each row that are not new, as `seen`.
  """
  rows = np.arange(len(offsets) - 1)
  own = gathers.Exclusions(np.asarray(offsets), np.asarray(items))
  have = _Have(own, own if seen is None else seen, touched)
  for request in _requests(have, rows, history_length, routes, chunk):
    mine = None if users is None else users[request.user]
    yield request._replace(user=mine)


def check_length(k: int) -> None:
  """Refuses lists without a place.

  Raises:
    types.UserError: k is below 1.
  """
  if k < 1:
    raise types.UserError(f'k is {k}; it must be at least 1')


def chunk_size(k: int, num_items: int) -> int:
  """Users of a request whose lists are of a bounded size together."""
  return min(CHUNK, max(8, _LIST_ITEMS // max(1, min(k, num_items))))


def some(request: Request, rows: np.ndarray) -> Request:
  """Rows i64[m] of a request, which may repeat."""
  of = lambda seen: None if seen is None else gathers.exclusions(seen, rows)
  route = request.route
  return Request(
    history=request.history[rows],
    seen=gathers.exclusions(request.seen, rows),
    route=route and types.Route(*(leaf[rows] for leaf in route)),
    user=None if request.user is None else request.user[rows],
    touched=of(request.touched),
  )


class _Have(NamedTuple):
  """What rows have: events, and items that may be left out, or are not new."""

  events: Any
  seen: Any
  touched: Any = None


def _requests(have, users, length, routes, chunk) -> Iterator[Request]:
  events = have.events
  for first in range(0, users.size, chunk):
    part = users[first : first + chunk]
    history = gathers.histories(
      events.items, events.offsets[part], events.offsets[part + 1], length
    )
    route = touched = None
    if routes is not None:
      route = types.Route(*(leaf[first : first + chunk] for leaf in routes))
    if have.touched is not None:
      touched = gathers.exclusions(have.touched, part)
    seen = gathers.exclusions(have.seen, part)
    yield Request(history, seen, route, part, touched)
