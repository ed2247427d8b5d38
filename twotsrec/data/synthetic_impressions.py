"""A seeded built-in log of impressions, in the form of PIN's Alipay.

    shown_u     = 5 pages_u, pages_u = round(lognormal(mean 4, sd 1.1) / 5)
                  between 4 and 400
    page        ~ 5 items, each by softmax(b_i), shown at one moment
    P(click)    = sigmoid(p_u . q_i + kappa q_prev . q_i + b_i / 2 + c)

p_u, q_i and b_i are those of `synthetic`: taste has a part of the activeness
group, of weight gamma. q_prev is the item that the user clicked last on the
pages before. The intercept c of -2 makes about one in five a click. What is
shown does not depend on the user, so that all that a model can gain over the
click rate of an item is taste. It stands in for Alipay's log, which is private
(PIN sec. 4.1.1); figures on it say nothing about Alipay's.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import synthetic
from twotsrec.data import tables

PAGE = 5  # items shown at one moment
_FEWEST, _MOST = 4, 400  # pages of a user
_INTERCEPT = -2.0
_START, _SECONDS = 1_621_382_400, 53 * 86_400  # 2021-05-19 to 2021-07-10


class Drawn(NamedTuple):
  """A log as it was drawn; R impressions, user after user, in order of time."""

  user: np.ndarray  # i64[R]
  item: np.ndarray  # i64[R], 0..I-1
  time: np.ndarray  # i64[R]
  label: np.ndarray  # i8[R]
  log_odds: np.ndarray  # f32[R], of a click, by the law


def generate(
  num_users: int = 3000,
  num_items: int = 1000,
  *,
  gamma: float = 1.0,
  kappa: float = 0.3,
  num_groups: int = 5,
  seed: int = 0,
) -> tables.Table:
  """Draws a log from the law above.

  Args:
    num_users: users, ids 1..num_users.
    num_items: items, ids 1..num_items.
    gamma: share of taste that belongs to the activeness group.
    kappa: strength of the dependence on the last click.
    num_groups: activeness groups with their own taste.
    seed: equal seeds give equal logs.
  Returns:
    A table with times and labels, one row per impression.
  """
  drawn = draw(num_users, num_items, gamma, kappa, num_groups, seed)
  return tables.make(
    'synthetic-impressions',
    user=drawn.user + 1,
    item=drawn.item + 1,
    time=drawn.time,
    label=drawn.label,
  )


def draw(
  num_users: int,
  num_items: int,
  gamma: float,
  kappa: float,
  num_groups: int,
  seed: int,
) -> Drawn:
  """As `generate`, with the law's own log odds, which no model can beat."""
  if num_users < num_groups:
    raise types.UserError(
      f'the built-in log needs at least {num_groups} users, one for each group,'
      f' not {num_users}; give --users={num_groups} or more'
    )
  rng = np.random.default_rng(seed)
  pages = np.rint(rng.lognormal(4.0, 1.1, num_users) / PAGE)
  pages = np.clip(pages, _FEWEST, _MOST).astype(np.int64)
  taste = synthetic.draw_taste(rng, pages, num_items, num_groups, gamma)
  user = np.repeat(np.arange(num_users), pages)
  moment = rng.integers(0, _SECONDS, len(user))
  time = _START + moment[np.lexsort((moment, user))]
  weights = np.cumsum(np.exp(taste.popularity.astype(np.float64)))
  uniform = rng.random((len(user), PAGE)) * weights[-1]
  shown = np.minimum(np.searchsorted(weights, uniform), num_items - 1)
  fixed = np.einsum('nd,npd->np', taste.users[user], taste.items[shown])
  fixed += taste.popularity[shown] / 2 + np.float32(_INTERCEPT)
  chance = rng.random((len(user), PAGE), np.float32)
  log_odds = _log_odds(pages, shown, fixed, chance, kappa * taste.items, taste)
  repeated = lambda column: np.repeat(column, PAGE)
  return Drawn(
    user=repeated(user),
    item=shown.ravel(),
    time=repeated(time),
    label=(chance < _sigmoid(log_odds)).astype(np.int8).ravel(),
    log_odds=log_odds.ravel(),
  )


def _log_odds(pages, shown, fixed, chance, follows, taste) -> np.ndarray:
  """f32[pages, PAGE], page after page of all users at once."""
  first = np.cumsum(pages) - pages
  log_odds = fixed.astype(np.float32)
  previous = np.full(len(pages), -1)
  # The most active first: the users still active at a step are then a prefix.
  by_activity = np.argsort(-pages, kind='stable')
  for step in range(int(pages.max())):
    users = by_activity[: np.count_nonzero(pages > step)]
    rows, last = first[users] + step, previous[users]
    items = taste.items[shown[rows]]
    gain = np.einsum('nd,npd->np', follows[last], items).astype(np.float32)
    log_odds[rows] += np.where(last[:, None] >= 0, gain, np.float32(0.0))
    clicked = chance[rows] < _sigmoid(log_odds[rows])
    place = PAGE - 1 - np.argmax(clicked[:, ::-1], axis=1)
    item = np.take_along_axis(shown[rows], place[:, None], axis=1)[:, 0]
    previous[users] = np.where(clicked.any(axis=1), item, last)
  return log_odds


def _sigmoid(x: np.ndarray) -> np.ndarray:
  return 1.0 / (1.0 + np.exp(-x))
