import math

import numpy as np
import pytest

from twotsrec import config
from twotsrec import types
from twotsrec.data import behaviors
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import synthetic_behaviors

PENDING = synthetic_behaviors.PENDING
VIEW, CART, BUY = range(3)


def matrices(table):
  """Whether a user did something to an item, bool[3, U, I]."""
  done = np.zeros((3, np.max(table.user) + 1, np.max(table.item) + 1), bool)
  code = [synthetic_behaviors.NAMES.index(name) for name in table.behavior]
  done[code, table.user, table.item] = True
  assert np.sum(done) == len(table.user)  # nothing is repeated
  return done[:, 1:, 1:]


def last_events(table):
  """Rows of the last event of every user."""
  return np.flatnonzero(np.diff(table.user, append=np.inf))


def origins(table, rows):
  """0 if the item of a buy was in the cart, 1 if only viewed, 2 if neither."""
  view, cart, _ = matrices(table)
  place = (table.user[rows] - 1, table.item[rows] - 1)
  return np.where(cart[place], 0, np.where(view[place], 1, 2))


def test_equal_seeds_give_equal_logs_and_other_seeds_others():
  one, same, other = (
    synthetic_behaviors.generate(40, 80, seed=seed) for seed in (3, 3, 4)
  )
  for name in ('user', 'item', 'behavior', 'time'):
    np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
  assert len(one.item) != len(other.item) or np.any(one.item != other.item)


def test_carts_follow_views_and_the_last_event_is_a_buy_on_its_own():
  table = synthetic_behaviors.generate(200)
  view, cart, _ = matrices(table)
  assert np.all(view[cart])
  same_user = np.diff(table.user) == 0
  assert np.all(np.diff(table.user) >= 0)
  assert np.all(np.diff(table.time)[same_user] >= 0)
  last = last_events(table)
  assert len(last) == 200
  assert set(table.behavior[last].tolist()) == {'buy'}
  assert np.all(table.time[last] > table.time[last - 1])
  # In the order of rows an item is viewed, put into the cart, and bought.
  rank = np.full((3, 201, np.max(table.item) + 1), -1)
  code = np.array([synthetic_behaviors.NAMES.index(b) for b in table.behavior])
  rank[code, table.user, table.item] = np.arange(len(table.user))
  for earlier, later in ((VIEW, CART), (CART, BUY), (VIEW, BUY)):
    both = (rank[earlier] >= 0) & (rank[later] >= 0)
    assert np.all(rank[earlier][both] < rank[later][both])


@pytest.mark.parametrize('num_users', [1, 7, 2500])
def test_every_user_has_the_same_number_pending_and_shares_are_exact(num_users):
  table = synthetic_behaviors.generate(num_users, 80, seed=1)
  last = last_events(table)
  _, cart, buy = matrices(table)
  buy[table.user[last] - 1, table.item[last] - 1] = False
  np.testing.assert_array_equal(np.sum(cart & ~buy, axis=1), PENDING)
  borders = np.rint(np.cumsum([0, *synthetic_behaviors.ORIGINS]) * num_users)
  counts = np.bincount(origins(table, last), minlength=3)
  assert counts.tolist() == np.diff(borders).tolist()


def test_other_buys_come_from_where_the_shares_say():
  table = synthetic_behaviors.generate(2000)
  bought = np.setdiff1d(
    np.flatnonzero(table.behavior == 'buy'), last_events(table)
  )
  found = np.bincount(origins(table, bought)) / len(bought)
  for share, expected in zip(found, synthetic_behaviors.ORIGINS, strict=True):
    spread = math.sqrt(expected * (1 - expected) / len(bought))
    assert abs(share - expected) < 4 * spread


def test_reminding_in_any_order_hits_as_often_as_stated():
  num_users, k = 6000, 5
  data = pipeline.from_config(
    config.DataConfig(dataset='synthetic-behaviors', users=num_users, seed=2)
  )
  _, cart, buy = behaviors.of_prepared(data).train
  width = data.num_items + 1
  key = lambda pairs: pairs.users * width + pairs.items
  test = prepared.targets(data, prepared.TEST)
  validation = prepared.targets(data, prepared.VALIDATION)
  # Not bought before the test, and in the order of popularity in the cart.
  bought = np.append(key(buy), validation.user * width + validation.item)
  pending = np.setdiff1d(key(cart), bought)
  assert len(pending) == PENDING * num_users
  user, item = pending // width, pending % width
  popular = np.bincount(cart.items, minlength=width)
  item = item[np.lexsort((item, -popular[item], user))]
  ranked = item.reshape(num_users, PENDING)[test.user]
  place = np.argmax(ranked == test.item[:, None], axis=1)
  found = np.any(ranked == test.item[:, None], axis=1)
  assert np.mean(found) == synthetic_behaviors.ORIGINS[0]
  rate = k / PENDING
  share = synthetic_behaviors.ORIGINS[0]
  spread = math.sqrt(share * rate * (1 - rate) / num_users)
  hits = found & (place < k)
  expected = synthetic_behaviors.reminder_hit_rate(k)
  assert abs(np.mean(hits) - expected) < 4 * spread
  gains = np.where(hits, 1.0 / np.log2(place + 2.0), 0.0)
  # The gain of a hit is at most 1, so it varies less than the hits.
  expected = synthetic_behaviors.reminder_ndcg(k)
  assert abs(np.mean(gains) - expected) < 4 * spread


def test_the_stated_rates_are_sums_over_places():
  share = synthetic_behaviors.ORIGINS[0]
  assert synthetic_behaviors.reminder_hit_rate(PENDING) == share
  assert synthetic_behaviors.reminder_hit_rate(1) == share / PENDING
  assert synthetic_behaviors.reminder_ndcg(1) == share / PENDING
  two = share / PENDING * (1 + 1 / math.log2(3))
  assert math.isclose(synthetic_behaviors.reminder_ndcg(2), two)
  for rate in (
    synthetic_behaviors.reminder_hit_rate,
    synthetic_behaviors.reminder_ndcg,
  ):
    with pytest.raises(ValueError, match='known for 1 to'):
      rate(PENDING + 1)


def test_active_users_do_more_and_taste_shows():
  table = synthetic_behaviors.generate(1000, seed=5)
  view, _, buy = matrices(table)
  bought, viewed = np.sum(buy, axis=1), np.sum(view, axis=1)
  assert np.max(bought) > 5 * np.min(bought)
  assert np.corrcoef(bought, viewed)[0, 1] > 0.9
  # Items differ far more in views than they would if all were alike.
  per_item = np.sum(view, axis=0)
  assert np.var(per_item) > 20 * np.mean(per_item)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'num_items': 47}, 'at least 48 items, not 47'),
    ({'num_users': 0}, 'at least 1 user, not 0'),
    ({'num_groups': 0}, 'at least 1 group, not 0'),
  ],
)
def test_impossible_logs_are_errors(options, message):
  with pytest.raises(types.UserError, match=message):
    synthetic_behaviors.generate(**{'num_users': 5, **options})
  synthetic_behaviors.generate(5, 48)
