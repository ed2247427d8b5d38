import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import config
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import groups
from twotsrec.data import pipeline
from twotsrec.data import prepared

GroupConfig = config.GroupConfig
settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
# Every user has a train positive, so that no group can be empty.
counts_of_users = strategies.lists(
  strategies.integers(4, 40), min_size=5, max_size=30
)


@settings
@hypothesis.given(counts_of_users, strategies.integers(1, 5))
def test_equal_users_differ_by_at_most_one_and_follow_activity(counts, number):
  data = small_logs.make(counts)
  assigned = groups.assign(data, GroupConfig(num_groups=number))
  users = np.bincount(assigned.user_group, minlength=number)
  assert np.ptp(users) <= 1
  ranked = sorted(range(len(counts)), key=lambda user: (counts[user], user))
  assert np.all(np.diff(assigned.user_group[ranked]) >= 0)


@settings
@hypothesis.given(
  counts_of_users,
  strategies.integers(1, 5),
  strategies.sampled_from(['user_train_count', 'user_seq_len']),
)
def test_sizes_are_the_train_positives_of_the_members(counts, number, key):
  data = small_logs.make(counts)
  assigned = groups.assign(data, GroupConfig(num_groups=number, key=key))
  expected = [0] * number
  for user in prepared.targets(data, prepared.TRAIN).user:
    expected[assigned.user_group[user]] += 1
  assert assigned.sizes.tolist() == expected
  assert assigned.event_group is None


@settings
@hypothesis.given(counts_of_users, strategies.integers(2, 5))
def test_routing_by_thresholds_agrees_with_the_table_but_for_ties(
  counts, number
):
  data = small_logs.make(counts)
  assigned = groups.assign(data, GroupConfig(num_groups=number))
  train_count = np.array(counts) - 3  # less the first, validation and test
  routed = groups.route(train_count, assigned.thresholds)
  untied = ~np.isin(train_count, assigned.thresholds)
  np.testing.assert_array_equal(routed[untied], assigned.user_group[untied])
  assert np.all(routed >= assigned.user_group)


@settings
@hypothesis.given(
  counts_of_users,
  strategies.integers(1, 5),
  strategies.sampled_from(choices.GROUP_KEYS),
)
def test_centers_are_the_mean_log_activity_of_what_trains(counts, number, key):
  data = small_logs.make([1, 2, 3, *counts])  # some without train positives
  assigned = groups.assign(data, GroupConfig(num_groups=number, key=key))
  train = prepared.targets(data, prepared.TRAIN)
  if key == 'sample_history_len':
    member = assigned.event_group[train.event]
    activity = train.event - data.user_offsets[train.user]
  else:
    users, activity = np.unique(train.user, return_counts=True)
    member = assigned.user_group[users]
    activity += key == 'user_seq_len'  # the first event is no positive
  expected = [np.log(activity[member == g]).mean() for g in range(number)]
  np.testing.assert_allclose(assigned.centers, expected)
  assert np.all(np.diff(assigned.centers) >= 0)


def test_users_without_train_positives_go_to_the_least_active_group():
  data = small_logs.make([1, 6, 2, 3, 9, 2])
  assigned = groups.assign(data, GroupConfig(num_groups=2))
  # Train positives 0 3 1 0 6 1: two events are both train events.
  assert assigned.user_group.tolist() == [0, 1, 0, 0, 1, 0]
  assert assigned.sizes.tolist() == [1 + 1, 3 + 6]


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(0, 20), min_size=1, max_size=6),
  strategies.integers(0, 25),
)
def test_route_counts_the_thresholds_that_are_reached(thresholds, count):
  thresholds = sorted(thresholds)
  expected = sum(count >= threshold for threshold in thresholds)
  assert groups.route(np.array(count), np.array(thresholds)) == expected


def test_equal_samples_cut_where_the_larger_part_of_a_user_lies():
  # Train positives 1, 1, 2, 4: the cut at 4 of 8 falls between users.
  data = small_logs.make([4, 4, 5, 7])
  options = GroupConfig(num_groups=2, balance='samples')
  assigned = groups.assign(data, options)
  assert assigned.user_group.tolist() == [0, 0, 0, 1]
  assert assigned.sizes.tolist() == [4, 4]
  assert assigned.thresholds.tolist() == [4]


def test_sample_groups_divide_the_events_of_a_user_by_their_history():
  data = small_logs.make([9, 5])  # train histories 1..6 and 1..2
  options = GroupConfig(num_groups=2, key='sample_history_len')
  assigned = groups.assign(data, options)
  assert assigned.sizes.tolist() == [4, 4]
  # Histories in order: 1 1 2 2 | 3 4 5 6.
  assert assigned.thresholds.tolist() == [3]
  assert assigned.event_group.tolist() == (
    [0, 0, 0, 1, 1, 1, 1, 1, 1] + [0, 0, 0, 1, 1]
  )
  assert assigned.user_group.tolist() == [1, 1]


@settings
@hypothesis.given(counts_of_users, strategies.integers(1, 5))
def test_sample_groups_are_equal_and_held_out_events_are_routed(counts, number):
  data = small_logs.make(counts)
  options = GroupConfig(num_groups=number, key='sample_history_len')
  assigned = groups.assign(data, options)
  assert np.ptp(assigned.sizes) <= 1
  test = prepared.targets(data, prepared.TEST)
  np.testing.assert_array_equal(
    assigned.event_group[test.event],
    groups.route(np.array(counts) - 1, assigned.thresholds),
  )


@pytest.mark.parametrize(
  ('counts', 'options', 'message'),
  [
    (
      [4, 4],
      GroupConfig(num_groups=3),
      'num_groups is 3, but there are 2 users, 2 of them with training samples',
    ),
    (
      [4, 4],
      GroupConfig(num_groups=3, key='sample_history_len'),
      'there are 2 training samples',
    ),
    (
      [3, 3, 3, 8, 8],
      GroupConfig(num_groups=3),
      'there are 5 users, 2 of them with training samples; lower',
    ),
    (
      [4, 4, 90],
      GroupConfig(num_groups=3, balance='samples'),
      'group 3 has no training samples; lower num_groups .now 3',
    ),
    ([4, 4], GroupConfig(num_groups=0), 'groups.num_groups 0 must be'),
    ([4, 4], GroupConfig(key='age'), "groups.key 'age'; known: user_train"),
    ([4, 4], GroupConfig(balance='luck'), "balance 'luck'; known: users"),
  ],
)
def test_impossible_groups_are_errors(counts, options, message):
  with pytest.raises(types.UserError, match=message):
    groups.assign(small_logs.make(counts), options)


# PIN's MovieLens counts, known exactly from the public data.
EQUAL_USERS = {
  True: [29_903, 59_243, 112_081, 212_462, 568_400],
  False: [31_111, 60_451, 113_289, 213_670, 569_608],
}


@pytest.fixture(scope='module')
def ml_1m(shared_data):
  def load(validation):
    return pipeline.prepare(
      pipeline.Options(
        dataset='ml-1m',
        data_root=str(shared_data),
        split=pipeline.SplitOptions('leave_last_out', validation),
      )
    )

  return {validation: load(validation) for validation in (True, False)}


@pytest.mark.parametrize('validation', [True, False])
def test_movielens_groups_hold_the_published_numbers(ml_1m, validation):
  assigned = groups.assign(ml_1m[validation])
  assert assigned.sizes.tolist() == EQUAL_USERS[validation]
  assert np.bincount(assigned.user_group).tolist() == [6040 // 5] * 5


def test_movielens_groups_of_equal_samples(ml_1m):
  data = ml_1m[False]
  by_user = groups.assign(data, GroupConfig(balance='samples'))
  assert np.bincount(by_user.user_group).tolist() == [3565, 1171, 661, 411, 232]
  by_sample = groups.assign(data, GroupConfig(key='sample_history_len'))
  assert by_sample.thresholds.tolist() == [35, 85, 166, 318]
  test = prepared.targets(data, prepared.TEST).event
  assert np.bincount(by_sample.event_group[test]).tolist() == [
    1079,
    1741,
    1337,
    1023,
    860,
  ]


def test_an_event_is_in_its_own_group_or_in_that_of_its_user():
  by_user = groups.Groups(np.array([0, 1]), *[np.zeros(2)] * 3)
  users, events = np.array([1, 0, 1]), np.array([2, 0, 1])
  assert groups.of_events(by_user, users, events).tolist() == [1, 0, 1]
  by_event = by_user._replace(event_group=np.array([2, 0, 1]))
  assert groups.of_events(by_event, users, events).tolist() == [1, 2, 0]
