"""Rules of a shop for a list: items of a category, and places for what is new.

A list is filled from its first place on. The place p gets the best item that
is left, and

  categories  an item is not left once `at_most` of its category are in the list
  new items   while fewer than floor(p share) of the items so far are new to the
              user, it has to be a new one, as long as any is left

So of the first p places floor(p share) at least are new, whatever p is. What is
left out of all lists (what is out of stock, what a user has) is no part of a
ranking, and hence of none of this.

NumPy alone is imported here, as `serving.exported` has no more.
"""

from collections.abc import Callable, Iterable, Iterator
import fractions
import itertools
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.serving import requests as requests_lib

Request = requests_lib.Request
Chunk = requests_lib.Chunk
# Requests -> the k best items of their users, best first.
Top = Callable[[Iterable[Request], int], Iterator[Chunk]]
_DEEPER = 4  # times as many items are looked at, until a list is full
_FEWEST = 64


class Rules(NamedTuple):
  """What a list has to keep to.

  Attributes:
    category: i32[I + 1], number of each item's category; -1 for an item
      without one, of which any number may be in a list. None is all of them.
    at_most: items of a category in a list; 0 is any number.
    new_share: of the places, for what its user has not touched.
    exclude_seen: whether what its user has is left out of a ranking; None is
      as the run was evaluated. `answers.lists` reads it.
    allowed: bool[I + 1], items that may be in a list; None is all. `answers`
      reads it.
  """

  category: np.ndarray | None = None
  at_most: int = 0
  new_share: float = 0.0
  exclude_seen: bool | None = None
  allowed: np.ndarray | None = None

  @property
  def asks(self) -> bool:
    """Whether a list may be other than the k best items."""
    return bool(self.at_most or self.new_share)


def check(rules: Rules) -> Rules:
  """Refuses what is no share, or no number of items.

  Raises:
    types.UserError: the values and what is allowed.
  """
  if rules.at_most < 0 or not 0.0 <= rules.new_share <= 1.0:
    raise types.UserError(
      f'at_most is {rules.at_most} and new_share {rules.new_share}; at_most'
      ' must be at least 0, where 0 is any number, and new_share from 0 to 1'
    )
  if bool(rules.at_most) != (rules.category is not None):
    raise types.UserError(
      'at_most and categories go with each other; give both, or leave both out'
    )
  return rules


def lists(
  top: Top, requests: Iterable[Request], k: int, most: int, rules: Rules
) -> Iterator[Chunk]:
  """Lists that keep to the rules, a chunk for each request with users.

  Args:
    top: ranks.
    requests: with `touched` where new items have a share.
    k: items of a list.
    most: items that a ranking may have; more are not asked for.
    rules: of the lists.
  """
  requests_lib.check_length(k)
  k = min(k, most)
  if not rules.asks:
    yield from top(requests, k)
    return
  depth = min(most, max(_FEWEST, _DEEPER * k))
  asked, told = itertools.tee(r for r in requests if len(r.history))
  for request, ranked in zip(told, top(asked, depth)):
    chunk, lacking = choose(ranked, request.touched, k, rules)
    if depth < most and np.any(lacking):
      rows = np.flatnonzero(lacking)
      few = [requests_lib.some(request, rows)]
      fuller = _deeper(top, few, k, depth, most, rules)
      for leaf, better in zip(chunk, fuller):
        leaf[rows] = better
    yield chunk


def _deeper(top, few, k, depth, most, rules) -> Chunk:
  """Lists of users of whom the first `depth` items are not enough."""
  while True:
    depth = min(most, _DEEPER * depth)
    (ranked,) = top(few, depth)
    chunk, lacking = choose(ranked, few[0].touched, k, rules)
    if depth == most or not np.any(lacking):
      return chunk


def choose(
  ranked: Chunk, touched: gathers.Exclusions | None, k: int, rules: Rules
) -> tuple[Chunk, np.ndarray]:
  """Fills lists from rankings, for all users at once.

  Args:
    ranked: [n, M], id 0 where a ranking ends.
    touched: items of each row that are not new; None where none has a share.
    k: items of a list.
    rules: of the lists.
  Returns:
    [n, k], and whether an item beyond M might stand in a list, bool[n].
  """
  ids, scores = ranked
  rows, free = np.arange(len(ids)), ids > 0
  lacking, count = np.zeros(len(ids), bool), np.zeros(len(ids), np.int64)
  is_new = _is_new(ids, touched)
  category = None if rules.category is None else rules.category[ids]
  left = np.full(ids.shape, rules.at_most)
  chosen = np.zeros((len(ids), k), np.int32)
  reached = np.full((len(ids), k), -np.inf, np.float32)
  for place in range(k):
    wanted = count < _of_places(place + 1, rules.new_share)
    some, some_new = np.any(free, axis=1), np.any(free & is_new, axis=1)
    lacking |= ~some | (wanted & ~some_new)
    allowed = np.where((wanted & some_new)[:, None], free & is_new, free)
    pick = np.argmax(allowed, axis=1)
    chosen[:, place] = np.where(some, ids[rows, pick], 0)
    reached[:, place] = np.where(some, scores[rows, pick], -np.inf)
    count += some & is_new[rows, pick]
    free[rows, pick] = False
    if category is not None:
      own = category[rows, pick][:, None]
      left -= (category == own) & (own >= 0) & some[:, None]
      free &= left > 0
  return Chunk(chosen, reached), lacking


def _of_places(places, share) -> int:
  """New items among so many places, exact for a share as it is written."""
  return int(fractions.Fraction(str(share)) * places)


def _is_new(ids, touched) -> np.ndarray:
  """Items that their row has not touched, bool[n, M]."""
  if touched is None:
    return ids > 0
  span = int(max(np.max(ids, initial=0), np.max(touched.items, initial=0))) + 1
  own = np.repeat(np.arange(len(ids)), touched.counts) * span + touched.items
  asked = np.arange(len(ids))[:, None] * span + ids
  return ~np.isin(asked, own) & (ids > 0)
