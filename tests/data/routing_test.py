import dataclasses
import fractions
import math

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import config
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing

GroupConfig = config.GroupConfig
RoutingConfig = config.RoutingConfig
settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
counts_of_users = strategies.lists(
  strategies.integers(4, 40), min_size=5, max_size=30
)


def _groups(thresholds, centers=None):
  thresholds = np.array(thresholds, np.int64)
  number = len(thresholds) + 1
  centers = np.arange(number) if centers is None else np.array(centers)
  return groups_lib.Groups(
    np.zeros(1, np.int32), thresholds, np.ones(number, np.int64), centers
  )


def _route(counts, home, groups, **options):
  """Groups of users with a history; `home` may be one for all."""
  counts = np.array(counts)
  home = np.broadcast_to(np.array(home, np.int32), counts.shape)
  clicks = np.ones(counts.shape, np.int64)
  return routing.route(counts, clicks, home, groups, RoutingConfig(**options))


def _dense(route, number):
  """Weight of every group, f32[n, G]."""
  dense = np.zeros((len(route.groups), number), np.float32)
  for row, (chosen, weights) in enumerate(zip(*route)):
    for group, weight in zip(chosen, weights):
      dense[row, group] += weight
  return dense


def _check_against_the_table(data, assigned):
  """Thresholds and table agree but for users at a border that is a tie."""
  train = prepared_lib.targets(data, prepared_lib.TRAIN)
  counts = np.bincount(train.user, minlength=data.num_users)
  users = np.flatnonzero((counts > 0) & ~np.isin(counts, assigned.thresholds))
  home = assigned.user_group[users]
  for known in (home, np.full_like(home, routing.UNKNOWN)):
    routed = _route(
      counts[users], known, assigned, mode='dynamic', hysteresis=0.0
    )
    np.testing.assert_array_equal(routed.groups[:, 0], home)
    np.testing.assert_array_equal(routed.weights, 1.0)
  return users


@settings
@hypothesis.given(counts_of_users, strategies.integers(1, 5))
def test_thresholds_agree_with_the_training_table(counts, number):
  data = small_logs.make(counts)
  _check_against_the_table(
    data, groups_lib.assign(data, GroupConfig(num_groups=number))
  )


def test_thresholds_agree_with_the_training_table_of_movielens(shared_data):
  data = pipeline.prepare(
    pipeline.Options(
      dataset='ml-1m',
      data_root=str(shared_data),
      split=pipeline.SplitOptions('leave_last_out', True),
    )
  )
  assigned = groups_lib.assign(data)
  users = _check_against_the_table(data, assigned)
  assert len(users) > 0.95 * data.num_users


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(1, 200), max_size=4).map(sorted),
  strategies.lists(
    strategies.tuples(strategies.integers(0, 250), strategies.integers(-1, 4)),
    min_size=1,
    max_size=20,
  ),
  strategies.sampled_from(['0', '0.1', '0.25', '1.5']),
)
def test_a_known_user_moves_only_well_beyond_a_border(
  thresholds, users, hysteresis
):
  factor = 1 + fractions.Fraction(hysteresis)
  expected, homes = [], []
  for count, home in users:
    group = home = min(home, len(thresholds))
    homes.append(home)
    if home == routing.UNKNOWN:
      group = sum(count >= threshold for threshold in thresholds)
    while home >= 0 and group < len(thresholds):
      if group < home or count < factor * thresholds[group]:
        break
      group += 1
    while home >= 0 and group > 0:
      if group > home or count >= thresholds[group - 1] / factor:
        break
      group -= 1
    expected.append(group)
  routed = _route(
    [count for count, _ in users],
    homes,
    _groups(thresholds),
    mode='dynamic',
    hysteresis=float(hysteresis),
  )
  assert routed.groups[:, 0].tolist() == expected


def test_a_border_is_passed_at_its_share_exactly():
  # In floating point 1.1 * 70 > 77.
  counts = [70, 76, 77]
  up = _route(counts, 0, _groups([70]), mode='dynamic', hysteresis=0.1)
  assert up.groups.tolist() == [[0], [0], [1]]
  down = _route([69, 70, 77], 1, _groups([77]), mode='dynamic', hysteresis=0.1)
  assert down.groups.tolist() == [[0], [1], [1]]


def test_frozen_keeps_the_training_group_and_routes_strangers():
  groups = _groups([5, 20])
  routed = _route([3, 3, 90, 90, 5], [2, -1, 0, -1, -1], groups, mode='frozen')
  assert routed.groups.tolist() == [[2], [0], [0], [2], [1]]
  assert routed.groups.dtype == np.int32
  np.testing.assert_array_equal(routed.weights, np.ones((5, 1), np.float32))


@settings
@hypothesis.given(
  strategies.lists(
    strategies.floats(0, 7), min_size=1, max_size=5, unique=True
  ).map(sorted),
  strategies.lists(strategies.integers(0, 3000), min_size=1, max_size=20),
  strategies.integers(-1, 0),
)
def test_soft_weights_are_linear_in_log_count_between_centers(
  centers, counts, home
):
  hypothesis.assume(np.all(np.diff(centers) > 1e-3))
  number = len(centers)
  groups = _groups(range(1, number), centers)
  routed = _route(counts, home, groups, mode='soft')
  assert routed.groups.shape == (len(counts), 2)
  place = np.log(np.maximum(counts, 1))
  expected = [np.interp(place, centers, tent) for tent in np.eye(number)]
  np.testing.assert_allclose(
    _dense(routed, number), np.transpose(expected), atol=1e-6
  )


def test_soft_weights_have_no_jump():
  centers = np.log([2.0, 9.0, 9.0, 30.0])  # two groups of equal activity
  counts = np.exp(np.linspace(0.0, 4.0, 4001))
  routed = _route(counts, -1, _groups([1, 9, 9], centers), mode='soft')
  steps = np.abs(np.diff(_dense(routed, 4), axis=0))
  steepest = 0.001 / np.log(30 / 9)
  assert steps.max() <= 1.001 * steepest


def test_a_blend_of_a_user_at_the_middle_is_half_and_half():
  centers = [math.log(4), math.log(16)]
  routed = _route([8, 4, 16, 99], 0, _groups([8], centers), mode='soft')
  np.testing.assert_allclose(
    _dense(routed, 2), [[0.5, 0.5], [1, 0], [0, 1], [0, 1]], atol=1e-6
  )


def test_a_plugin_is_weighed_by_the_samples_of_its_group():
  groups = _groups([5, 20])._replace(sizes=np.array([30, 300, 30_000]))
  options = {'mode': 'shrunk', 'shrinkage': 200.0}
  routed = _route([3, 3, 90, 7], [2, -1, 0, -1], groups, **options)
  frozen = _route([3, 3, 90, 7], [2, -1, 0, -1], groups, mode='frozen')
  np.testing.assert_array_equal(routed.groups, frozen.groups)
  sizes = groups.sizes[routed.groups]
  expected = (sizes + 1) / (sizes + 1 + 200.0)
  np.testing.assert_allclose(routed.weights, expected, rtol=1e-6)
  strengths = routing.strengths(groups, RoutingConfig(**options))
  assert 0 < strengths[0] < strengths[1] < strengths[2] < 1
  with pytest.raises(types.UserError, match='estimates where it trains with'):
    _route([3], 0, groups, mode='shrunk')


@pytest.mark.parametrize('mode', ['frozen', 'dynamic', 'soft', 'shrunk'])
def test_users_without_history_get_the_first_group_or_the_trunk(mode):
  groups = _groups([1, 2])
  for cold, weight in (('group1', 1.0), ('trunk', 0.0)):
    routed = routing.route(
      np.array([0, 0]),
      np.array([0, 1]),
      np.array([2, 0]),
      groups,
      RoutingConfig(mode=mode, cold=cold, shrinkage=2.0),
    )
    full = 0.5 if mode == 'shrunk' else 1.0  # of groups of one sample
    assert routed.groups[0].tolist() == [0] * routed.groups.shape[1]
    assert routed.weights[0].sum() == routed.weights[0, 0] == full * weight
    assert routed.weights[1].sum() == full


def test_activity_is_counted_as_in_training():
  clicks = np.array([0, 1, 2, 40])
  for key, expected in (
    ('user_train_count', [0, 0, 1, 39]),
    ('user_seq_len', [0, 1, 2, 40]),
    ('sample_history_len', [0, 1, 2, 40]),
  ):
    assert routing.activity(clicks, key).tolist() == expected


def test_targets_are_routed_by_what_came_before_them():
  data = small_logs.make([3, 8, 2, 12, 6, 30])
  key = 'user_train_count'
  groups = groups_lib.assign(data, GroupConfig(num_groups=3))
  targets = prepared_lib.targets(data, prepared_lib.TEST)
  options = RoutingConfig(mode='dynamic', hysteresis=0.0)
  routed = routing.of_targets(data, groups, targets, key, options)
  for row, user in enumerate(targets.user):
    clicks = targets.event[row] - data.user_offsets[user]
    expected = groups_lib.route(clicks - 1, groups.thresholds)
    assert routed.groups[row] == expected
  frozen = routing.of_targets(data, groups, targets, key, RoutingConfig())
  trained = np.array([1, 3, 4, 5])
  known = np.isin(targets.user, trained)
  np.testing.assert_array_equal(
    frozen.groups[known, 0], groups.user_group[trained]
  )
  # The others have no training group to be kept in.
  np.testing.assert_array_equal(frozen.groups[~known], routed.groups[~known])


def test_only_users_with_train_positives_have_a_training_group():
  data = small_logs.make([1, 8, 2, 3, 12, 6])
  groups = groups_lib.assign(data, GroupConfig(num_groups=2))
  train = prepared_lib.targets(data, prepared_lib.TRAIN)
  expected = np.full(6, routing.UNKNOWN)
  expected[train.user] = groups.user_group[train.user]
  home = routing.training_group(data, groups)
  np.testing.assert_array_equal(home, expected)
  assert routing.UNKNOWN in home


@pytest.mark.parametrize('mode', ['frozen', 'dynamic'])
def test_requests_have_the_group_of_their_history_where_samples_have(mode):
  data = small_logs.make([9, 5, 14, 22])
  key = 'sample_history_len'
  groups = groups_lib.assign(data, GroupConfig(num_groups=3, key=key))
  options = RoutingConfig(mode=mode)
  for split in (prepared_lib.VALIDATION, prepared_lib.TEST):
    targets = prepared_lib.targets(data, split)
    routed = routing.of_targets(data, groups, targets, key, options)
    np.testing.assert_array_equal(
      routed.groups[:, 0], groups.event_group[targets.event]
    )


@pytest.mark.parametrize('mode', ['dynamic', 'soft'])
@pytest.mark.parametrize('key', choices.GROUP_KEYS)
def test_a_history_is_routed_like_the_user_it_belongs_to(mode, key):
  data = small_logs.make([4, 9, 5, 14, 22, 7])
  groups = groups_lib.assign(data, GroupConfig(num_groups=3, key=key))
  options = RoutingConfig(mode=mode, hysteresis=0.0)
  users = np.array([5, 0, 3, 3])
  known = routing.of_users(data, groups, users, key, options)
  clicks = np.diff(data.user_offsets)[users]
  raw = routing.of_histories(clicks, groups, key, options)
  for a, b in zip(known, raw):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'mode': 'magic'}, "mode 'magic'; known: frozen, dynamic, soft, shrunk"),
    ({'cold': 'ice'}, "cold 'ice'; known: group1, trunk"),
    ({'hysteresis': -0.1}, 'hysteresis -0.1 must be at least 0'),
    ({'hysteresis': math.nan}, 'hysteresis nan must be a finite number'),
  ],
)
def test_an_unknown_option_is_an_error(options, message):
  with pytest.raises(types.UserError, match=message):
    _route([1], 0, _groups([2]), **options)


def test_a_configuration_routes_where_groups_are_served_differently():
  plain, plugged, separate = (config.Config() for _ in range(3))
  separate.train = config.TrainConfig(method='separate')
  assert routing.from_config(separate) == RoutingConfig()
  plugged.plugin = config.PluginConfig(name='light')
  assert routing.from_config(plain) is None
  assert routing.from_config(plugged) == RoutingConfig()
  assert routing.override(plugged, '') == plugged
  assert routing.override(plugged, 'soft') == dataclasses.replace(
    plugged, routing=RoutingConfig(mode='soft')
  )
  assert plugged.routing.mode == 'frozen'
  routing.check_mode('', [plain])
  routing.check_mode('soft', [plain, plugged])
  with pytest.raises(types.UserError, match='would change nothing'):
    routing.check_mode('soft', [plain, plain])


@pytest.mark.parametrize('mode', ['frozen', 'dynamic', 'soft'])
def test_groups_above_the_border_have_the_bare_trunk(mode):
  counts, home = np.arange(1, 40), np.full(39, routing.UNKNOWN)
  groups = _groups([5, 10, 20], [1.0, 2.0, 2.7, 3.3])
  route = lambda **options: routing.route(
    counts, counts, home, groups, RoutingConfig(mode=mode, **options)
  )
  every, some = route(), route(groups=2)
  np.testing.assert_array_equal(some.groups, every.groups)
  served = np.where(every.groups < 2, every.weights, 0.0)
  np.testing.assert_array_equal(some.weights, served.astype(np.float32))
  assert np.any(some.weights) and np.any(some.weights == 0)
