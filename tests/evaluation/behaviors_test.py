import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec.data import prepared
from twotsrec.evaluation import behaviors

BUY = 2


def logs():
  return st.builds(
    lambda seed, users: toys.behavior_log(
      np.random.default_rng(seed), num_users=users, num_items=9
    ),
    st.integers(0, 10**6),
    st.integers(1, 6),
  )


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(logs(), st.sampled_from([1, 2, 3]))
def test_bought_are_the_target_items_of_the_splits_before(data, before):
  actual = behaviors.bought(data, before)
  for user in range(data.num_users):
    events = range(data.user_offsets[user], data.user_offsets[user + 1])
    expected = {
      int(data.items[e])
      for e in events
      if data.behaviors[e] == BUY and data.split[e] < before
    }
    start, end = actual.offsets[user : user + 2]
    assert actual.items[start:end].tolist() == sorted(expected)


def test_everything_bought_has_all_splits():
  data = toys.behavior_log(np.random.default_rng(0), 5, 9)
  every = behaviors.bought(data)
  for a, b in zip(every, behaviors.bought(data, len(prepared.SPLITS))):
    np.testing.assert_array_equal(a, b)
  total = len(every.items)
  assert total == np.sum(data.behaviors == BUY)  # bought once each


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(logs(), st.sampled_from([prepared.VALIDATION, prepared.TEST]))
def test_a_part_is_the_last_behavior_shown_in_training(data, split):
  targets = prepared.targets(data, split)
  names = behaviors.part_names(data, targets.event)
  actual = behaviors.parts(data, targets)
  assert actual.dtype == np.int32
  for part, user, item in zip(actual, targets.user, targets.item, strict=True):
    events = range(data.user_offsets[user], data.user_offsets[user + 1])
    shown = {
      toys.BEHAVIORS[data.behaviors[e]]
      for e in events
      if data.items[e] == item and data.split[e] == prepared.TRAIN
    }
    expected = 'cart' if 'cart' in shown else 'view' if shown else 'new'
    assert names[part] == expected


def test_names_are_in_order_and_parts_in_reverse():
  data = toys.behavior_log(np.random.default_rng(1), 4, 9)
  assert behaviors.names(data) == toys.BEHAVIORS
  assert behaviors.part_names(data, np.arange(3)) == ('cart', 'view', 'new')


def _with_repeats(seed, with_behaviors=False, history=prepared.EARLIER):
  """A log of few items, so that users come back to them."""
  rng = np.random.default_rng(seed)
  counts = rng.integers(4, 9, 5)
  user = np.repeat(np.arange(5, dtype=np.int32), counts)
  from_end = np.cumsum(counts)[user] - 1 - np.arange(user.size)
  split = np.where(from_end < 2, prepared.TEST, prepared.TRAIN)
  split[from_end == 2] = prepared.VALIDATION
  behavior = rng.integers(0, 2, user.size)
  behavior[split != prepared.TRAIN] = 1
  return prepared.build(
    user,
    rng.integers(1, 7, user.size).astype(np.int32),
    split.astype(np.int8),
    user_ids=np.arange(5),
    item_ids=np.arange(6),
    behaviors=behavior.astype(np.int8) if with_behaviors else None,
    behavior_names=('view', 'buy') if with_behaviors else (),
    history_rule=history,
  )


@pytest.mark.parametrize('history', [prepared.EARLIER, prepared.FIXED])
@pytest.mark.parametrize('with_behaviors', [False, True])
def test_again_is_what_the_user_had_in_the_history_given(
  with_behaviors, history
):
  data = _with_repeats(4, with_behaviors, history)
  others = (*(['view'] if with_behaviors else []), 'new')
  names = ('again', *others)
  found = set()
  for split in (prepared.VALIDATION, prepared.TEST):
    targets = prepared.targets(data, split)
    assert behaviors.part_names(data, targets.event) == names
    alone = targets.event[~data.again[targets.event]]
    expected = others if with_behaviors else ()
    assert behaviors.part_names(data, alone) == expected
    parts = behaviors.parts(data, targets)
    for part, event, user, item, end in zip(parts, *targets):
      before = range(data.user_offsets[user], end)
      same = [e for e in before if data.items[e] == item]
      had, shown = bool(same), False
      if with_behaviors:
        had = any(data.behaviors[e] == 1 for e in same)
        in_train = [e for e in same if data.split[e] == prepared.TRAIN]
        shown = any(data.behaviors[e] == 0 for e in in_train)
      expected = 'again' if had else 'view' if shown else 'new'
      assert names[part] == expected
      assert data.again[event] == had
      found.add(expected)
  assert found == set(names)


@pytest.mark.parametrize('alone', [False, True])
def test_without_upstream_behaviors_there_are_no_parts(alone):
  data = toys.log(np.random.default_rng(2), num_users=4, num_items=20)
  if alone:
    data = data._replace(
      behaviors=np.zeros(data.num_events, np.int8),
      manifest={**data.manifest, 'behaviors': ['buy']},
    )
  assert behaviors.names(data) == (('buy',) if alone else ())
  assert behaviors.part_names(data, np.arange(3)) == ()
