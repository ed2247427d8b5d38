import numpy as np
import pytest
from scipy import stats

from twotsrec import types
from twotsrec.data import synthetic_stream

World = synthetic_stream.World


def test_activity_follows_the_truncated_power_law():
  world = World(num_users=20_000, alpha=1.5, max_activity=50)
  counts = np.diff(synthetic_stream.activity_offsets(world))
  weights = np.arange(1, 52) ** -1.5
  expected = len(counts) * weights / np.sum(weights)
  found = np.bincount(counts, minlength=52)[1:]
  assert np.sum(found) == world.num_users
  assert stats.chisquare(found, expected).pvalue > 1e-3


def test_a_number_of_events_is_met_exactly():
  world = World(num_events=12_345, max_activity=30)
  offsets = synthetic_stream.activity_offsets(world)
  assert offsets[-1] == 12_345
  assert np.all(np.diff(offsets) > 0)
  users = len(offsets) - 1
  plain = world._replace(num_events=0, num_users=users)
  np.testing.assert_array_equal(
    synthetic_stream.activity_offsets(plain)[:-1], offsets[:-1]
  )


def test_tastes_are_normal_around_the_shared_one():
  world = World(mean=3.0, spread=0.5)
  phi = synthetic_stream.taste(world, np.arange(4000))
  scaled = (phi - np.eye(10)[0] * 3.0) / 0.5
  assert stats.kstest(scaled.ravel(), 'norm').pvalue > 1e-3
  # A user has the same taste whoever else is drawn.
  one = synthetic_stream.taste(world, np.array([7]))
  np.testing.assert_array_equal(one[0], phi[7])


def test_numbers_at_places_of_a_series_look_independent():
  place = np.arange(50_000)
  first = synthetic_stream._uniform(0, 1, place)
  assert stats.kstest(first, 'uniform').pvalue > 1e-3
  for other in (
    synthetic_stream._uniform(0, 2, place),
    synthetic_stream._uniform(1, 1, place),
    synthetic_stream._uniform(0, 1, place + 1),
  ):
    assert abs(stats.pearsonr(first, other).statistic) < 4 / np.sqrt(50_000)


def test_pools_follow_the_popularity_of_ranks():
  world = World(num_items=8, pool=3, skew=5)
  pool = synthetic_stream._pool(world, np.arange(20_000))
  # P(rank < r) = P(u^5 < r / 8).
  expected = np.diff((np.arange(9) / 8) ** (1 / 5)) * pool.size
  found = np.bincount(pool.ravel(), minlength=8)
  assert stats.chisquare(found, expected).pvalue > 1e-3


def test_clicks_are_softmax_choices_from_the_pool():
  world = World(
    num_users=1, num_events=40_000, num_items=6, max_activity=10**5, alpha=1e-9
  )
  items = synthetic_stream.draw_items(world)
  offsets = synthetic_stream.activity_offsets(world)
  assert len(offsets) == 2 or offsets[1] > 10_000
  stop = int(offsets[1])
  drawn, times = synthetic_stream.draw(world, items, offsets, 0, stop)
  pool = synthetic_stream._pool(world, np.arange(stop))
  phi = synthetic_stream.taste(world, np.array([0]))[0]
  weights = np.exp((items.vectors @ phi).astype(np.float64))[pool]
  weights /= np.sum(weights, axis=1, keepdims=True)
  for rank in range(6):
    chance = np.sum(weights * (pool == rank), axis=1)
    found = np.sum(drawn == items.number[rank])
    spread = np.sqrt(np.sum(chance * (1 - chance)))
    assert abs(found - np.sum(chance)) < 4 * spread
  assert np.all(np.diff(times) >= 0)


def test_items_of_a_category_are_alike():
  items = synthetic_stream.draw_items(World(num_items=600, num_categories=5))
  np.testing.assert_allclose(
    np.linalg.norm(items.vectors, axis=1), 1.0, rtol=1e-5
  )
  likeness = items.vectors @ items.vectors.T
  same = items.category[:, None] == items.category
  assert np.mean(likeness[same]) > np.mean(likeness[~same]) + 0.1
  assert sorted(items.number.tolist()) == list(range(1, 601))


@pytest.mark.parametrize(
  'wrong', [{'alpha': 0.0}, {'pool': 0}, {'arrival': 1.5}, {'num_items': 0}]
)
def test_an_impossible_world_names_the_value_and_what_is_allowed(wrong):
  (name,) = wrong
  with pytest.raises(types.UserError, match=f'{name} of the built-in log is'):
    synthetic_stream.check(World(**wrong))
