import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.data import behavior_feeds

GROUP = np.arange(toys.USERS) % 3


def _make(dense=None, **changes):
  return behavior_feeds.make(
    toys.behaviors(dense), GROUP, toys.config(**changes)
  )


def _mask(pairs):
  """Which pairs a set holds, bool[U, I]."""
  found = np.zeros((toys.USERS, toys.ITEMS), bool)
  sets = pairs.complements
  for user, (start, count) in enumerate(zip(sets.starts, sets.counts)):
    found[user, np.asarray(pairs.items[start : start + count]) - 1] = True
  return found


def test_a_feed_holds_the_pairs_of_every_behavior():
  feed, layout = _make()
  assert len(feed.pairs) == 3 and layout.unique == ()
  np.testing.assert_array_equal(feed.group, GROUP)
  for k, mask in enumerate(toys.masks()):
    np.testing.assert_array_equal(_mask(feed.pairs[k]), mask)
    np.testing.assert_array_equal(layout.drawn[k], np.minimum(mask.sum(1), 3))
    np.testing.assert_array_equal(feed.pairs[k].drawn, layout.drawn[k])


@pytest.mark.parametrize('label', ['source_only', 'task_only'])
def test_unique_pairs_belong_to_one_of_two_behaviors(label):
  feed, layout = _make(
    head__unique_weight=1.0, head__unique_label=label, behavior__samples=2
  )
  assert set(layout.unique) == {
    (k, j) for k in range(3) for j in range(3) if j != k
  }
  dense = toys.masks()
  for number, (task, source) in enumerate(layout.unique, 3):
    expected = dense[source] & ~dense[task]
    if label == 'task_only':
      expected = dense[task] & ~dense[source]
    np.testing.assert_array_equal(_mask(feed.pairs[number]), expected)
    np.testing.assert_array_equal(
      layout.drawn[number],
      np.minimum(np.minimum(dense[task].sum(1), expected.sum(1)), 2),
    )


def test_nested_behaviors_and_untrained_tasks_have_no_unique_pairs():
  view, _, buy = toys.masks()
  nested = (view | buy, buy.copy(), buy)
  _, layout = _make(
    nested,
    head__unique_weight=1.0,
    behavior__weights=(1.0, 0.0, 1.0),
  )
  # Of the source without the task: only views are more than carts and buys.
  assert layout.unique == ((2, 0),)


def test_a_plan_is_a_function_of_seed_and_epoch():
  _, layout = _make()
  plans = [
    behavior_feeds.make_plan(layout, *numbers)
    for numbers in ((0, 0), (0, 0), (0, 1), (1, 0))
  ]
  np.testing.assert_array_equal(plans[0], plans[1])
  for other in plans[2:]:
    assert not np.array_equal(plans[0], other)
  for plan in plans:
    assert plan.shape == (2, 4)
    assert sorted(plan.ravel()) == [-1, -1, *range(toys.USERS)]


def test_an_epoch_of_pairs_draws_users_until_the_target_has_as_many():
  make = lambda **changes: _make(behavior__epoch='pairs', **changes)[1]
  target = toys.masks()[2]
  count = int(target.sum())
  # LightGCN's sampler: one pair of the target a user.
  one = make(behavior__samples=1, behavior__weights=(0.0, 0.0, 1.0))
  assert one.num_draws == count
  np.testing.assert_array_equal(one.pool, np.flatnonzero(target.any(1)))
  plan = behavior_feeds.make_plan(one, 0, 0)
  assert plan.shape == (-(-count // 4), 4)
  assert np.all(np.isin(plan.ravel()[:count], one.pool))
  assert not np.array_equal(plan, behavior_feeds.make_plan(one, 0, 1))
  # Users without the target train the others, and give none to it.
  every = make(behavior__samples=2)
  assert list(every.pool) == list(range(toys.USERS))
  mean = np.minimum(target.sum(1), 2).mean()
  assert every.num_draws == int(np.ceil(count / mean))
  several = make(behavior__samples=2, head__unique_weight=1.0)
  assert len(several.places) == 9 and several.num_draws == every.num_draws


def test_edges_are_the_pairs_as_two_columns():
  for (user, item), mask in zip(toys.edges(), toys.masks(), strict=True):
    expected = np.stack(np.nonzero(mask))
    np.testing.assert_array_equal([user, item - 1], expected)


def test_a_behavior_without_pairs_is_no_error():
  view, cart, buy = toys.masks()
  feed, layout = _make(
    (view, np.zeros_like(cart), buy),
    head__unique_weight=1.0,
  )
  assert layout.places[1] == 0 and not layout.drawn[1].any()
  assert not np.any(_mask(feed.pairs[1]))
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(feed))


@pytest.mark.parametrize('value', [False, True])
def test_a_log_without_positives_or_negatives_is_refused(value):
  dense = [mask.copy() for mask in toys.masks()]
  dense[2][:] = value
  message = "no training pair of the target behavior 'buy'"
  with pytest.raises(types.UserError, match=message) as caught:
    _make(dense)
  assert '\n' not in str(caught.value)


def test_a_user_of_every_item_gives_no_pair_of_the_behavior():
  dense = [mask.copy() for mask in toys.masks()]
  dense[0][2] = True
  feed, layout = _make(dense)
  _, plain = _make()
  others = np.arange(toys.USERS) != 2
  np.testing.assert_array_equal(layout.drawn[0], plain.drawn[0] * others)
  np.testing.assert_array_equal(layout.drawn[1:], plain.drawn[1:])
  kept = behavior_feeds.with_negatives(toys.behaviors(dense)).train
  np.testing.assert_array_equal(np.diff(kept[0].offsets)[2], 0)
  np.testing.assert_array_equal(
    kept[0].items, toys.seen(dense[0] & others[:, None]).items
  )
  for pairs, mask in zip(feed.pairs, dense):
    np.testing.assert_array_equal(_mask(pairs), mask)


def test_an_unknown_label_lists_the_known_ones():
  with pytest.raises(
    types.UserError, match="'both'; known: source_only, task_only"
  ):
    _make(head__unique_label='both')
