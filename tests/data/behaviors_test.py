import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import types
from twotsrec.data import behaviors
from twotsrec.data import prepared

NAMES = ('view', 'cart', 'buy')
TRAIN, VALIDATION, TEST = prepared.TRAIN, prepared.VALIDATION, prepared.TEST
settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


def log(rows, num_users, num_items, names=NAMES):
  """Prepared data of (user, item, behavior, split) rows."""
  rows = sorted(rows, key=lambda row: (row[0], row[3]))
  user, item, behavior, split = np.array(rows).T
  return prepared.build(
    user.astype(np.int32),
    item,
    split,
    user_ids=np.arange(num_users),
    item_ids=np.arange(num_items),
    behaviors=behavior,
    behavior_names=names,
  )


# (user, item, (behavior, split)) of some events.
DRAWN = strategies.lists(
  strategies.tuples(
    strategies.integers(0, 4),
    strategies.integers(1, 5),
    strategies.sampled_from(
      [(0, TRAIN), (1, TRAIN), (2, TRAIN), (2, VALIDATION), (2, TEST)]
    ),
  ),
  min_size=1,
  max_size=40,
)


@settings
@hypothesis.given(DRAWN)
def test_patterns_equal_a_literal_loop(drawn):
  rows = [(user, item, *kind) for user, item, kind in drawn]
  names, shown = behaviors.before_test(log(rows, 5, 5))
  assert names == NAMES
  expected = {}
  for user in range(5):
    for item in range(1, 6):
      pattern = ''.join(
        str(
          int(any((user, item, code, s) in rows for s in (TRAIN, VALIDATION)))
        )
        for code in range(3)
      )
      expected[pattern] = expected.get(pattern, 0) + 1
  expected.pop('000', None)
  assert behaviors.patterns(shown, 5) == expected


def pairs(found):
  return list(zip(found.users.tolist(), found.items.tolist()))


@settings
@hypothesis.given(DRAWN)
def test_pairs_equal_sets_of_training_rows(drawn):
  rows = [(user, item, *kind) for user, item, kind in drawn]
  data = log(rows, 5, 5)
  held = {row[:2] for row in rows if row[3] != TRAIN}
  for strip in (False, True):
    found = behaviors.of_prepared(data, strip)
    assert found[:3] == (NAMES, 5, 5)
    for code in range(3):
      kept = {row[:2] for row in rows if row[2:] == (code, TRAIN)}
      if strip and code < 2:
        kept -= held
      assert pairs(found.train[code]) == sorted(kept)


def test_a_log_without_behaviors_has_one():
  data = small_logs.make([4, 5])
  found = behaviors.of_prepared(data)
  assert found.names == (behaviors.ONLY,)
  expected = prepared.seen_items(data, 'train')
  np.testing.assert_array_equal(found.train[0].items, expected.items)


def test_a_held_out_event_of_another_behavior_is_an_error():
  with pytest.raises(types.UserError, match="than 'buy'; prepare it again"):
    behaviors.of_prepared(log([(0, 1, 2, TRAIN), (0, 2, 0, TEST)], 1, 2))


def test_nothing_is_noted_of_a_log_that_lacks_nothing():
  rows = [(0, item, code, TRAIN) for item in (1, 2) for code in range(3)]
  rows += [(0, 1, 2, VALIDATION), (0, 2, 2, TEST)]
  data = log(rows, 1, 3)
  assert behaviors.notes(data, behaviors.of_prepared(data)) == []


def test_users_of_every_item_are_noted():
  rows = [(0, item, 0, TRAIN) for item in (1, 2)]
  rows += [(1, 1, 2, TRAIN), (1, 2, 2, TEST)]
  data = log(rows, 2, 2)
  noted = behaviors.notes(data, behaviors.of_prepared(data))
  assert noted[1] == (
    "1 of 2 users have 'view' of all 2 items, so they have no negatives and"
    ' take no part in its training'
  )


def test_notes_count_what_limits_learning():
  # User 1 never buys in training, user 2 is unknown, as are items 3 and 4.
  rows = [
    (0, 1, 2, TRAIN),
    (0, 2, 0, TRAIN),
    (0, 3, 2, VALIDATION),
    (0, 4, 2, TEST),
    (1, 1, 0, TRAIN),
    (2, 4, 2, TEST),
    (2, 1, 2, TEST),
  ]
  data = log(rows, 3, 4)
  assert behaviors.notes(data, behaviors.of_prepared(data)) == [
    "behavior 'cart' has no training row",
    "2 of 3 users have no training row of the target behavior 'buy'",
    '2 of 3 held-out items never occur in training',
    '1 of 2 held-out users never occur in training',
  ]


def test_the_description_counts_every_behavior():
  rows = [
    (0, 1, 0, TRAIN),
    (1, 1, 0, TRAIN),
    (1, 2, 2, TRAIN),
    (1, 3, 2, TEST),
  ]
  told = behaviors.describe(log(rows, 2, 3))
  order = ('behavior', *prepared.SPLITS, 'users', 'items')
  assert [tuple(row[name] for name in order) for row in told] == [
    ('view', 2, 0, 0, 2, 1),
    ('cart', 0, 0, 0, 0, 0),
    ('buy', 1, 0, 1, 1, 2),
  ]
