"""Rules say which items a held-out item is ranked among.

The held-out item itself is never its own competitor. Five rules exist:
  all       every other item
  unseen    items that the user never interacted with
  unbought  items that the user did not buy before
  past      all but the items of the user's earlier events
  listed    a list of sampled items, drawn once for every model
`unseen` and `unbought` are one function of the items to leave out.
"""

from collections.abc import Callable, Iterable, Iterator
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import candidates
from twotsrec.evaluation import gathers
from twotsrec.evaluation import tiles

ALL, UNSEEN, UNBOUGHT = 'all', 'unseen', 'unbought'
PAST, LISTED = 'past', 'listed'
_NEVER = np.int32(2**31 - 1)


class Pairs(NamedTuple):
  """Pairs to leave out, one by one: `excluded` bool[R, C]."""

  excluded: np.ndarray


class Prefix(NamedTuple):
  """The first so many items of the order in which a user came to them.

  Row r leaves out the columns with `order[line[r]] < length[r]`. Events of one
  user share a line, so a tile builds one line per user instead of per event.

  Attributes:
    order: i32[R, C], place of every item in the order of a user.
    line: i32[R], line of each row.
    length: i32[R], how much of the order is left out.
  """

  order: np.ndarray
  line: np.ndarray
  length: np.ndarray


class Listed(NamedTuple):
  """The only items that count: `items` i32[R, n]."""

  items: np.ndarray


Mask = Pairs | Prefix | Listed | None  # None leaves nothing out


class Excluded(NamedTuple):
  """Candidates that a rule leaves to b held-out items, as masks.

  Attributes:
    number: i64[b], candidates beside the held-out item.
    masks: (rows R >= b, columns C) -> a mask for every tile of items 1..C,
      C + 1..2 C and so on.
    fingerprint: u64[b], a number for every list if the rule draws some, so that
      runs can prove that they ranked the same.
  """

  number: np.ndarray
  masks: Callable[[int, int], Iterable[Mask]]
  fingerprint: np.ndarray | None = None


class Rule(NamedTuple):
  """Candidates of held-out items.

  Attributes:
    name: ALL, UNSEEN, UNBOUGHT, PAST or LISTED.
    excluded: (targets of b rows, as `prepared.Targets`) -> Excluded. Rows of
      `past` come in order of event.
  """

  name: str
  excluded: Callable[[prepared_data.Targets], Excluded]


def left(mask: Mask, values: jax.Array, first: jax.Array) -> jax.Array:
  """Values of a tile with 0 where a mask leaves the pair out.

  Args:
    mask: of the tile.
    values: [R, C].
    first: i32[], id of the first column.
  Returns:
    [R, C], or [R, n] of a list.
  """
  if mask is None:
    return values
  zero = jnp.zeros((), values.dtype)
  if isinstance(mask, Pairs):
    return jnp.where(mask.excluded, zero, values)
  if isinstance(mask, Prefix):
    past = mask.order[mask.line] < mask.length[:, None]
    return jnp.where(past, zero, values)
  column = mask.items - first
  inside = (column >= 0) & (column < values.shape[1])
  column = jnp.clip(column, 0, values.shape[1] - 1)
  listed = jnp.take_along_axis(values, column, axis=1)
  return jnp.where(inside, listed, zero)


def everything(num_items: int) -> Rule:
  """All items, I in number."""

  def excluded(targets):
    number = np.full(targets.item.size, num_items - 1)
    return Excluded(number, lambda rows, columns: itertools.repeat(None))

  return Rule(ALL, excluded)


def without(
  seen: prepared_data.SeenItems, num_items: int, name: str = UNSEEN
) -> Rule:
  """All but some items of every user, such as those that the user has seen."""

  def excluded(targets):
    ragged = gathers.exclusions(seen, targets.user, targets.item)

    def masks(rows, columns):
      return map(Pairs, tiles.excluded_pairs(ragged, num_items, rows, columns))

    return Excluded(num_items - ragged.counts, masks)

  return Rule(name, excluded)


def past(prepared: prepared_data.Prepared) -> Rule:
  """All but the items of the user's earlier events, and those rated too low.

  A held-out item that the user had before stays. Sorts all events once: a
  user's past at an event is a prefix of the user's distinct items in the order
  of their first events.
  """
  offsets, num_items = np.asarray(prepared.user_offsets), prepared.num_items
  first, before, items = _first_events(prepared)
  low = _disliked_before(prepared)
  # What a user dislikes comes before all events of the user.
  if prepared.disliked_items is not None:
    place = np.repeat(before[offsets[:-1]], np.diff(low))
    items = np.insert(items, place, prepared.disliked_items)

  def excluded(targets):
    user = targets.user
    start = before[offsets[user]] + low[user]
    length = before[targets.event] + low[user + 1] - start
    own = ~first[targets.event]  # the item itself does not leave

    def masks(rows, columns):
      change = np.diff(targets.user) != 0
      line = np.concatenate([[0], np.cumsum(change)]).astype(np.int32)
      line = gathers.pad_rows(line, rows)
      padded = gathers.pad_rows(length.astype(np.int32), rows)
      # The last event of a user in the tile has the longest prefix.
      ragged = gathers.slices(
        items, start[np.append(True, change)], length[np.append(change, True)]
      )
      for order in _orders(ragged, num_items, rows, columns):
        yield Prefix(order, line, padded)

    return Excluded(num_items - 1 - (length - own), masks)

  return Rule(PAST, excluded)


def listed(prepared: prepared_data.Prepared, num: int, seed: int = 0) -> Rule:
  """`num` items beside the held-out one, at most all, drawn as needed.

  They are drawn from all other items, those of the user's past among them.

  Raises:
    types.UserError: a negative number.
  """
  if num < 0:
    raise types.UserError(
      f'evaluation_lists is {num}; it must be at least 0, the number of '
      'candidates beside the item'
    )
  size = min(num, prepared.num_items - 1)
  nothing = prepared_data.SeenItems(
    np.zeros(2, np.int64), np.zeros(0, np.int32)
  )

  def excluded(targets):
    nobody = np.zeros_like(targets.user)  # what the user has seen may be drawn
    lists = candidates.draw(
      targets._replace(user=nobody), nothing, prepared.num_items, size, seed
    )[:, 1:]
    return Excluded(
      np.full(len(lists), size),
      lambda rows, _: itertools.repeat(Listed(gathers.pad_rows(lists, rows))),
      candidates.fingerprints(lists),
    )

  return Rule(LISTED, excluded)


def _disliked_before(prepared: prepared_data.Prepared) -> np.ndarray:
  """Items that all earlier users rated too low for an event, i64[U + 1]."""
  if prepared.disliked_offsets is None:
    return np.zeros(prepared.num_users + 1, np.int64)
  return np.asarray(prepared.disliked_offsets)


def _first_events(prepared):
  """First events of all users with an item, sorted once.

  Returns:
    (bool[N], whether no earlier event of the user has the item; i64[N + 1],
    first events among the events before; i32[M], their items).
  """
  items = np.asarray(prepared.items)
  user = prepared.event_users
  pairs = prepared_data.pairs(user, items, prepared.num_items)
  order = np.argsort(pairs, kind='stable')
  first = np.zeros(items.size, np.bool_)
  first[order] = np.diff(pairs[order], prepend=-1) > 0
  return first, np.concatenate([[0], np.cumsum(first)]), items[first]


def _orders(
  ragged: gathers.Ragged, num_items: int, rows: int, columns: int
) -> Iterator[Any]:
  """`Prefix.order` tile by tile; `_NEVER` for items that are not in it."""
  line, items, place = ragged
  if num_items > columns:
    by_item = np.argsort(items, kind='stable')
    line, items, place = line[by_item], items[by_item], place[by_item]
  for first in range(1, num_items + 1, columns):
    part = slice(None)
    if num_items > columns:
      part = slice(*np.searchsorted(items, [first, first + columns]))
    order = np.full((rows, columns), _NEVER, np.int32)
    order[line[part], items[part] - first] = place[part]
    yield order
