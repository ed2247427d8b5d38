import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import prepared
from twotsrec.data import splits

TRAIN, VALIDATION, TEST = prepared.TRAIN, prepared.VALIDATION, prepared.TEST
settings = hypothesis.settings(max_examples=50, deadline=None, derandomize=True)


def one_user(count, validation):
  """The rule of leave-last-out, written out for one user."""
  if validation and count >= 3:
    return [TRAIN] * (count - 2) + [VALIDATION, TEST]
  if not validation and count >= 2:
    return [TRAIN] * (count - 1) + [TEST]
  return [TRAIN] * count


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(1, 6), min_size=1, max_size=20),
  strategies.booleans(),
)
def test_leave_last_out_equals_a_loop_over_users(counts, validation):
  counts = [3, *counts]  # one user that has a test event
  user = np.repeat(np.arange(len(counts)), counts)
  expected = [code for count in counts for code in one_user(count, validation)]
  assert splits.leave_last_out(user, validation).tolist() == expected


def test_leave_last_out_needs_a_user_with_enough_events():
  with pytest.raises(types.UserError, match='no user has 3 events'):
    splits.leave_last_out(np.array([0, 0, 1, 1]))
  with pytest.raises(types.UserError, match='no user has 2 buy events'):
    splits.leave_last_out(np.array([0, 1]), False, 'buy events')


def shares_of_one_user(count, validation):
  """The rule of per-user time, written out for one user in whole tenths."""
  train = max(7 * count // 10, 1)
  until_test = max(8 * count // 10, 1)
  middle = VALIDATION if validation else TRAIN
  return (
    [TRAIN] * train
    + [middle] * (until_test - train)
    + [TEST] * (count - until_test)
  )


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(1, 40), min_size=1, max_size=20),
  strategies.booleans(),
)
def test_per_user_time_equals_a_loop_over_users(counts, validation):
  counts = [10, *counts]  # one user with every part
  user = np.repeat(np.arange(len(counts)), counts)
  split = splits.per_user_time(user, validation=validation)
  expected = [shares_of_one_user(count, validation) for count in counts]
  assert split.tolist() == [code for codes in expected for code in codes]
  first = np.searchsorted(user, np.arange(len(counts)))
  assert np.all(split[first] == TRAIN)


@pytest.mark.parametrize(
  ('count', 'parts'), [(1, (1, 0, 0)), (2, (1, 0, 1)), (4, (2, 1, 1))]
)
def test_small_users_keep_a_train_event(count, parts):
  user = np.repeat([0, 1], [count, 10])
  found = splits.per_user_time(user)[:count]
  assert tuple(np.bincount(found, minlength=3)) == parts


def test_per_user_time_of_too_short_users_says_what_is_empty():
  with pytest.raises(types.UserError, match='no user has 2 buy events'):
    splits.per_user_time(np.arange(3), unit='buy events')
  with pytest.raises(types.UserError, match='nothing is left for validation'):
    splits.per_user_time(np.array([0, 0, 1, 1]))
  with pytest.raises(types.UserError, match='sum to 1'):
    splits.per_user_time(np.array([0, 0]), (0.5, 0.1, 0.1))


def test_global_time_gives_the_fractions_when_times_differ():
  time = np.random.default_rng(0).permutation(1000)
  split = splits.global_time(time)
  assert np.bincount(split).tolist() == [700, 100, 200]
  assert np.max(time[split == TRAIN]) < np.min(time[split == VALIDATION])
  assert np.max(time[split == VALIDATION]) < np.min(time[split == TEST])


def test_global_time_without_validation_adds_its_share_to_train():
  split = splits.global_time(np.arange(10), validation=False)
  assert split.tolist() == [TRAIN] * 8 + [TEST] * 2


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(0, 12), min_size=1, max_size=60)
)
def test_global_time_never_divides_equal_times(times):
  time = np.array([*times, *range(20)])
  try:
    split = splits.global_time(time)
  except types.UserError:
    return  # coarse times may leave a part empty, which is said
  for moment in np.unique(time):
    assert len(np.unique(split[time == moment])) == 1
  in_order = split[np.argsort(time, kind='stable')]
  assert np.all(np.diff(in_order) >= 0)


def test_global_time_of_one_moment_says_what_is_empty():
  with pytest.raises(types.UserError, match='nothing is left for train'):
    splits.global_time(np.full(10, 7))


def test_bad_fractions_are_an_error():
  with pytest.raises(types.UserError, match='sum to 1'):
    splits.global_time(np.arange(10), fractions=(0.7, 0.7, 0.2))


def test_date_cuts_hold_out_from_the_moment_on():
  split = splits.date(np.array([1, 9, 10, 19, 20, 30]), 10, 20)
  assert split.tolist() == [TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST]


@pytest.mark.parametrize(
  ('validation_from', 'test_from', 'message'),
  [
    (None, None, 'needs the first date'),
    (20, 10, 'is after test_from'),
    (None, 99, 'nothing is left for test.*from 0 to 9'),
    (None, 0, 'nothing is left for train'),
    (5, 5, 'nothing is left for validation'),
  ],
)
def test_wrong_dates_are_errors(validation_from, test_from, message):
  with pytest.raises(types.UserError, match=message):
    splits.date(np.arange(10), validation_from, test_from)


@pytest.mark.parametrize(
  'split',
  [
    lambda: splits.global_time(None),
    lambda: splits.date(None, None, 5),
  ],
)
def test_splits_by_time_need_times(split):
  with pytest.raises(types.UserError, match='needs the time of every event'):
    split()


def test_given_labels_are_read():
  labels = np.array(['train', 'test', 'validation', 'train'])
  assert splits.given(labels).tolist() == [TRAIN, TEST, VALIDATION, TRAIN]
  off = splits.given(labels, validation=False)
  assert off.tolist() == [TRAIN, TEST, TRAIN, TRAIN]


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (['train', 'tests'], "has 'tests'; allowed are train, validation, test"),
    (['train', 'train'], 'nothing is left for test'),
    (['test', 'test'], 'nothing is left for train'),
  ],
)
def test_wrong_labels_are_errors(labels, message):
  with pytest.raises(types.UserError, match=message):
    splits.given(np.array(labels))


def test_given_without_labels_is_an_error():
  with pytest.raises(types.UserError, match='needs a split column'):
    splits.given(None)


def test_times_are_numbers_or_dates_in_utc():
  day = 24 * 60 * 60
  assert splits.parse_time('') is None
  assert splits.parse_time('42') == 42
  assert splits.parse_time('1.5') == 1.5
  assert splits.parse_time('1970-01-03') == 2 * day
  assert splits.parse_time('1970-01-01T12:00:00') == day / 2
  assert splits.parse_time('1970-01-01T12:00:00+12:00') == 0
  for text in ('soon', 'nan', '2021-13-01'):
    with pytest.raises(types.UserError, match='is not a time'):
      splits.parse_time(text)


@pytest.mark.parametrize('name', ['global_time', 'per_user_time'])
def test_shares_cut_where_they_say(name):
  user = np.repeat(np.arange(2, dtype='i4'), 10)
  time = np.tile(np.arange(10), 2)
  rule = splits.Rule(name, shares=(0.5, 0.2, 0.3))
  split = splits.by_rule(rule, user, time)
  assert split.tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2] * 2
