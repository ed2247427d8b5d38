"""A seeded built-in log of views, carts and buys with planted patterns.

    buys_u      = clip(round(lognormal(mean 1.8, sd .8)), 2, at most 40)
    browsed_u   = 1 + 4 buys_u items viewed and left
    touched     ~ items without repeats, softmax(p_u . q_i + b_i)
    buy         from the cart, after a view, or neither, as `ORIGINS` says

p_u, q_i and b_i are those of `synthetic`: taste has a part of the activeness
group, of weight gamma. A cart follows a view of the same item, a buy follows
both. The last event of every user is the buy to hold out.

What a reminder gains is known. Every user has exactly `PENDING` items in the
cart that were not bought before the last buy. Of the users the share
`ORIGINS[0]`, exactly but for rounding, then buys one of them, and each with
equal probability whatever else the log holds. A rule that ranks these items
first, in any order that does not know the last buy, therefore hits within k
of them with probability k / PENDING; see `reminder_hit_rate`. All other last
buys are outside of them, so the rule misses these while k <= PENDING.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import synthetic
from twotsrec.data import tables

NAMES = ('view', 'cart', 'buy')
PENDING = 12
ORIGINS = (0.5, 0.3, 0.2)  # of buys: cart, view alone, neither
_FEWEST_BUYS, _MOST_BUYS = 2, 40  # before the last one
_BROWSED_PER_BUY = 4
_USERS_AT_ONCE = 2048
_START, _SECONDS = 1_600_000_000, 365 * 86_400


class _Slots(NamedTuple):
  """Actions of users, each row a user and each column an item of theirs."""

  item: np.ndarray  # i64[R, S], distinct in a row
  view: np.ndarray  # bool[R, S], as the rest
  cart: np.ndarray
  buy: np.ndarray
  last: np.ndarray  # the buy to hold out, one in every row


def reminder_hit_rate(k: int) -> float:
  """Expected HR@k of ranking the pending cart first, for k <= PENDING.

  Of U users the hits have a variance of ORIGINS[0] r (1 - r) / U around it,
  r = k / PENDING. It holds for leave_last_out, with or without validation, if
  items bought before the last buy are no candidates.
  """
  _check_k(k)
  return ORIGINS[0] * k / PENDING


def reminder_ndcg(k: int) -> float:
  """Expected NDCG@k of ranking the pending cart first, for k <= PENDING."""
  _check_k(k)
  return ORIGINS[0] * float(np.sum(1.0 / np.log2(np.arange(k) + 2))) / PENDING


def generate(
  num_users: int = 1500,
  num_items: int = 600,
  *,
  gamma: float = 1.0,
  num_groups: int = 5,
  seed: int = 0,
) -> tables.Table:
  """Draws a log with times and behaviors, by user and time.

  Ids are 1..num_users and 1..num_items, of which a rare one may have no event.
  There is at most one group per user; see `synthetic.generate` for the rest.
  """
  most_buys = min(
    _MOST_BUYS, (num_items // 2 - PENDING - 2) // (1 + _BROWSED_PER_BUY)
  )
  _check(num_users, num_items, num_groups, most_buys)
  rng = np.random.default_rng(seed)
  buys = np.rint(rng.lognormal(1.8, 0.8, num_users))
  buys = np.clip(buys, _FEWEST_BUYS, most_buys).astype(np.int64)
  taste = synthetic.draw_taste(
    rng, buys, num_items, min(num_groups, num_users), gamma
  )
  origin = _draw_last_origins(rng, num_users)
  chunks = []
  for start in range(0, num_users, _USERS_AT_ONCE):
    chunk = slice(start, start + _USERS_AT_ONCE)
    logits = taste.users[chunk] @ taste.items.T + taste.popularity
    slots = _draw_slots(rng, logits, buys[chunk], origin[chunk])
    user, *events = _events(rng, slots)
    chunks.append((user + start, *events))
  user, item, behavior, time = map(np.concatenate, zip(*chunks, strict=True))
  return tables.make(
    'synthetic-behaviors',
    user=user + 1,
    item=item + 1,
    time=time,
    behavior=np.array(NAMES)[behavior],
  )


def _draw_last_origins(rng: np.random.Generator, num_users: int) -> np.ndarray:
  """Origin of the last buy of every user: 0, 1 or 2, in exact shares."""
  borders = np.rint(np.cumsum(ORIGINS)[:-1] * num_users)
  return np.searchsorted(borders, rng.permutation(num_users), side='right')


def _draw_slots(
  rng: np.random.Generator,
  logits: np.ndarray,
  buys: np.ndarray,
  origin: np.ndarray,
) -> _Slots:
  """Items and what is done with them.

  In order: pending cart, cart and buy, view and buy, view alone, buy alone,
  and what the user might buy next. Logits f32[R, I] are tastes, `buys` i64[R]
  counts those before the last one, which has the `origin` i64[R].
  """
  from_cart = rng.binomial(buys, ORIGINS[0])
  from_view = rng.binomial(buys - from_cart, ORIGINS[1] / (1 - ORIGINS[0]))
  alone = buys - from_cart - from_view
  browsed = 1 + _BROWSED_PER_BUY * buys
  # The largest of logits with Gumbel noise are a sample without repeats.
  noisy = logits + rng.gumbel(size=logits.shape)
  by_taste = np.argsort(-noisy, axis=1)
  borders = np.cumsum(
    [np.full_like(buys, PENDING), from_cart, from_view, browsed, alone], axis=0
  )[:, :, None]
  column = np.arange(np.max(borders) + 1)
  # What happens to a touched item is independent of how much it is liked.
  key = np.where(column < borders[3], rng.random((len(buys), len(column))), 2.0)
  shuffled = np.argsort(key + (key == 2.0) * column, axis=1)
  zero = np.zeros_like(buys)
  last_column = np.choose(origin, [zero, borders[2, :, 0], borders[4, :, 0]])
  last = column == last_column[:, None]
  return _Slots(
    item=np.take_along_axis(by_taste, shuffled, axis=1),
    view=column < borders[3],
    cart=column < borders[1],
    buy=((column >= borders[0]) & (column < borders[2]))
    | ((column >= borders[3]) & (column < borders[4]))
    | last,
    last=last,
  )


def _events(
  rng: np.random.Generator, slots: _Slots
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """User, item, behavior and time of every event, by user and time."""
  end = rng.integers(int(0.3 * _SECONDS), _SECONDS, len(slots.item))
  # Sorted, so that an item is viewed, then put into the cart, then bought.
  moment = np.sort(rng.random((*slots.item.shape, len(NAMES))), axis=2)
  moment[slots.last, NAMES.index('buy')] = 1.0  # after everything else
  done = np.stack([slots.view, slots.cart, slots.buy], axis=2)
  user, column, behavior = np.nonzero(done)
  moment = moment[done]
  order = np.lexsort((moment, user))
  user, column, behavior = user[order], column[order], behavior[order]
  time = _START + np.floor(moment[order] * end[user]).astype(np.int64)
  return user, slots.item[user, column], behavior, time


def _check_k(k: int) -> None:
  if not 1 <= k <= PENDING:
    raise ValueError(f'k is {k}; known for 1 to {PENDING}')


def _check(
  num_users: int, num_items: int, num_groups: int, most_buys: int
) -> None:
  needs = ''
  if num_users < 1:
    needs = f'1 user, not {num_users}'
  elif most_buys < _FEWEST_BUYS:
    fewest = 2 * (PENDING + 2 + _FEWEST_BUYS * (1 + _BROWSED_PER_BUY))
    needs = f'{fewest} items, not {num_items}'
  elif num_groups < 1:
    needs = f'1 group, not {num_groups}'
  if needs:
    raise types.UserError(f'the built-in log needs at least {needs}')
