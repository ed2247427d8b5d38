import numpy as np
import pytest
import scipy.optimize

from tests import behavior_toys as toys
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.models import pair_prior
from twotsrec.models import recency

USERS, ITEMS, TOUCHED = 800, 40, 8


def _log(lately: float, seed=0):
  """Users who touch items one by one, then buy one; late ones the rather."""
  generator = np.random.default_rng(seed)
  rows = []
  for user in range(USERS):
    items = 1 + generator.permutation(ITEMS)[:TOUCHED]
    moments = generator.permutation(100)[: TOUCHED + 1]
    for item, moment in zip(items, moments):
      rows.append((user, item, False, moment))
    ordered = items[np.argsort(moments[:TOUCHED])][::-1]
    chance = (1.0 + np.arange(TOUCHED)) ** -lately
    bought = generator.choice(ordered, p=chance / chance.sum())
    rows.append((user, bought, True, 100))
    rows.append((user, items[0], False, 105))  # after the purchase
  order = generator.permutation(len(rows))
  user, item, target, time = (np.array(x)[order] for x in zip(*rows))
  return behaviors_lib.Touches(user, item, target.astype(bool), time)


def _pairs(touches):
  """User and item of what was touched, in order."""
  chosen = ~touches.is_target
  code = np.unique(touches.user[chosen] * 1000 + touches.item[chosen])
  return np.divmod(code, 1000)


@pytest.mark.parametrize('lately', [0.0, 1.0])
def test_the_slope_is_that_of_the_choices(lately):
  touches = _log(lately)
  user, item = _pairs(touches)
  logits = np.random.default_rng(1).normal(size=len(user))
  fitted = recency.fit(touches, user, item, np.zeros(len(user)))
  assert abs(fitted + lately) < 0.2
  # Choice by choice, with another part of the logit.
  given = dict(zip(zip(user.tolist(), item.tolist()), logits))
  events = {one: [] for one in range(USERS)}
  for one, *event in zip(*(column.tolist() for column in touches)):
    events[one].append(event)

  def loss(slope):
    total = 0.5 * slope**2
    for one in range(USERS):
      own = [event for event in events[one] if event[2] <= 100]
      (taken,) = [i for i, is_target, _ in own if is_target]
      last = {i: m for i, is_target, m in own if not is_target}
      age = {i: sum(last[j] > last[i] for j in last) for i in last}
      score = {i: given[one, i] + slope * np.log1p(age[i]) for i in last}
      total += np.log(sum(map(np.exp, score.values()))) - score[taken]
    return total

  expected = scipy.optimize.minimize_scalar(loss, bracket=(-2, 0)).x
  fitted = recency.fit(touches, user, item, logits)
  np.testing.assert_allclose(fitted, expected, atol=1e-4)


def test_ages_count_what_was_touched_later():
  user = np.array([0, 0, 0, 0, 2, 2])
  last = np.array([5, 9, 5, 1, 3, 3])
  expected = np.log1p([1, 0, 1, 3, 0, 0])
  np.testing.assert_allclose(recency.ages(user, last), expected)
  touches = behaviors_lib.Touches(
    user=np.array([0, 0, 0, 1]),
    item=np.array([2, 1, 2, 1]),
    is_target=np.array([False, False, True, False]),
    time=np.array([1, 2, 9, 4]),
  )
  of = recency.of_pairs(touches, np.array([0, 0, 1]), np.array([1, 2, 1]))
  expected = np.array([0.0, np.log(2.0), 0.0])
  np.testing.assert_allclose(of, expected - expected.mean())


def test_a_log_without_choices_teaches_nothing():
  view = toys.masks()[0]
  user, item = np.nonzero(view)
  none = np.zeros(len(user), bool)
  touches = behaviors_lib.Touches(user, item + 1, none, np.arange(len(user)))
  assert recency.fit(touches, user, item + 1, np.zeros(len(user))) == 0.0


def test_the_prior_gains_by_age_where_there_are_times():
  dense = toys.masks()
  edges, shape = toys.edges(dense), dense[0].shape
  plain = pair_prior.make(edges, *shape, 5.0, 100.0)
  users, items = (np.concatenate(x) for x in zip(*edges))
  sizes = [len(edge[0]) for edge in edges]
  behavior = np.repeat(np.arange(3), sizes)
  time = np.random.default_rng(0).permutation(len(users)) + 50 * (behavior == 2)
  touches = behaviors_lib.Touches(users, items, behavior == 2, time)
  timed = pair_prior.make(edges, *shape, 5.0, 100.0, touches)
  pairs = pair_prior.touched(edges, shape[1], 5.0)
  fitted = pair_prior.fit(pairs, 3)[pairs.pattern]
  logits = fitted[:, 0] + fitted[:, 1] * pairs.rate
  slope = recency.fit(touches, pairs.user, pairs.item, logits)
  assert slope != 0.0
  gain = slope * recency.of_pairs(touches, pairs.user, pairs.item)
  expected = np.asarray(plain.gains)[:-1] + 100.0 * gain
  np.testing.assert_allclose(timed.gains[:-1], expected, rtol=1e-4, atol=1e-3)
