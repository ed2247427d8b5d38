import itertools
import math

import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import lists as lists_lib

USERS, ITEMS = 14, 12


@pytest.fixture(scope='module')
def data():
  return toys.log(np.random.default_rng(1), USERS, ITEMS)


def _having(data):
  """Training users of every item."""
  train = np.asarray(data.split) == prepared_lib.TRAIN
  pairs = zip(data.event_users[train], np.asarray(data.items)[train])
  having = {item: set() for item in range(ITEMS + 1)}
  for user, item in pairs:
    having[item].add(user)
  return having


def _lists(data):
  """Some lists, with items that nobody has had, and with filling."""
  rng = np.random.default_rng(2)
  every = [1 + rng.permutation(ITEMS)[:4] for _ in range(7)]
  made = np.array(every, np.int32)
  made[1, 2:], made[2, 1:], made[3] = 0, 0, 0
  return made


@pytest.mark.parametrize('tile', [512, 2])
def test_values_are_their_definitions(data, tile, monkeypatch):
  monkeypatch.setattr(lists_lib, '_TILE', tile)
  having, made = _having(data), _lists(data)
  found = lists_lib.make_values(data)(made)
  by_count = sorted(range(1, ITEMS + 1), key=lambda i: (-len(having[i]), i))
  popular = by_count[: int(0.2 * ITEMS)]
  information = lambda i: -math.log2(max(len(having[i]), 1) / USERS)

  def distance(a, b):
    both = math.sqrt(len(having[a]) * len(having[b]))
    return 1 - (len(having[a] & having[b]) / both if both else 0)

  mean = lambda values: np.mean(values) if values else np.nan
  for row, one in enumerate(made):
    items = [int(item) for item in one if item]
    pairs = itertools.combinations(items, 2)
    expected = {
      'novelty': mean([information(i) for i in items]),
      'popular': mean([float(i in popular) for i in items]),
      'distance': mean([distance(a, b) for a, b in pairs]),
    }
    for name, value in expected.items():
      np.testing.assert_allclose(found[name][row], value, rtol=1e-6)


def test_gini_is_half_the_mean_difference_over_the_mean():
  rng = np.random.default_rng(4)
  for counts in (rng.integers(0, 9, 30), np.array([0, 0, 0, 5]), np.ones(3)):
    differences = np.abs(counts[:, None] - counts[None])
    expected = differences.mean() / 2 / counts.mean()
    assert lists_lib.gini(counts) == pytest.approx(expected)
  assert np.isnan(lists_lib.gini(np.zeros(3)))


def test_cosines_of_many_users_rest_on_a_fixed_sample(data, monkeypatch):
  whole = lists_lib.make_values(data)(_lists(data))
  monkeypatch.setattr(lists_lib, '_USERS', 6)
  drawn = [lists_lib.make_values(data, seed)(_lists(data)) for seed in (3, 3)]
  np.testing.assert_array_equal(drawn[0]['distance'], drawn[1]['distance'])
  assert not np.array_equal(drawn[0]['distance'], whole['distance'], True)
  np.testing.assert_array_equal(drawn[0]['novelty'], whole['novelty'])


def test_rows_are_means_over_lists_and_coverage_counts_items(data):
  made, group = _lists(data), np.array([0, 0, 1, 1, 1, 0, 0])
  values = lists_lib.make_values(data)(made)
  built = lists_lib.build(made, group, values, 3, ITEMS)
  for row, chosen in (
    (built['overall'], group >= 0),
    *zip(built['groups'], [group == g for g in range(3)]),
  ):
    assert row['users'] == np.sum(chosen)
    items = set(made[chosen].ravel().tolist()) - {0}
    if not np.any(chosen):
      assert all(row[name] == {'value': None} for name in lists_lib.NAMES)
      continue
    assert row['coverage']['value'] == pytest.approx(len(items) / ITEMS)
    for name, column in values.items():
      expected = np.nanmean(column[chosen])
      assert row[name]['value'] == pytest.approx(expected)
