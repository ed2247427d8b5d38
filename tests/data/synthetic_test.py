import numpy as np
import pytest
from scipy import stats

from twotsrec import types
from twotsrec.data import synthetic


def by_user(table):
  return np.split(table.item, np.flatnonzero(np.diff(table.user)) + 1)


def test_equal_seeds_give_equal_logs_and_other_seeds_others():
  one, same, other = (
    synthetic.generate(40, 80, seed=seed) for seed in (3, 3, 4)
  )
  np.testing.assert_array_equal(one.item, same.item)
  np.testing.assert_array_equal(one.time, same.time)
  assert len(one.item) != len(other.item) or np.any(one.item != other.item)


@pytest.mark.parametrize('noise', [0.0, 0.5])
def test_no_user_repeats_an_item_and_times_ascend(noise):
  table = synthetic.generate(300, 100, tail_noise=noise, head_noise=noise)
  assert np.min(table.item) >= 1 and np.max(table.item) <= 100
  for items in by_user(table):
    assert len(np.unique(items)) == len(items)
  same_user = np.diff(table.user) == 0
  assert np.all(np.diff(table.time)[same_user] >= 0)
  assert table.rows_read == len(table.user)


def test_activity_is_the_clipped_lognormal():
  table = synthetic.generate(1000, 2050, seed=1)
  counts = np.bincount(table.user)[1:]
  assert np.min(counts) == 20 and np.max(counts) <= 1025
  # Between the clips the logarithms are normal(4, 1.1).
  for level in (30, 60, 120, 300):
    expected = stats.norm.cdf(np.log(level + 0.5), 4.0, 1.1)
    spread = np.sqrt(expected * (1 - expected) / 1000)
    assert abs(np.mean(counts <= level) - expected) < 4 * spread


def sequence_probability(taste, sequence):
  """The law in the docstring of the module, one event at a time."""
  probability, seen, previous = 1.0, [], None
  for item in sequence:
    logits = taste.static[0].astype(np.float64)
    if previous is not None:
      logits = logits + taste.sequential[previous]
    weights = np.exp(logits)
    weights[seen] = 0.0
    uniform = (weights > 0) / np.sum(weights > 0)
    noise = float(taste.noise[0])
    step = (1 - noise) * weights / np.sum(weights) + noise * uniform
    probability *= step[item]
    seen.append(item)
    previous = item
  return probability


@pytest.mark.parametrize('noise', [0.0, 0.3])
def test_sequences_follow_the_stated_law(noise):
  rng = np.random.default_rng(0)
  num_items, num_users = 4, 40_000
  static = rng.normal(size=(1, num_items)).astype(np.float32)
  latent = rng.normal(size=(num_items, 2)).astype(np.float32)
  law = synthetic._Law(
    counts=np.full(num_users, 3),
    static=np.repeat(static, num_users, axis=0),
    sequential=0.7 * latent @ latent.T,
    noise=np.full(num_users, noise, np.float32),
  )
  drawn = synthetic._draw_items(rng, law).reshape(num_users, 3)
  codes = drawn @ num_items ** np.arange(3)[::-1]
  found = np.bincount(codes, minlength=num_items**3)
  sequences = np.stack(
    np.unravel_index(np.arange(num_items**3), (num_items,) * 3), axis=1
  )
  possible = np.array([len(set(row)) == 3 for row in sequences.tolist()])
  assert np.sum(found[~possible]) == 0
  expected = num_users * np.array(
    [sequence_probability(law, row) for row in sequences[possible]]
  )
  np.testing.assert_allclose(np.sum(expected), num_users, rtol=1e-6)
  assert (
    stats.chisquare(
      found[possible], expected * num_users / np.sum(expected)
    ).pvalue
    > 1e-3
  )


def test_gamma_makes_taste_depend_on_the_group():
  def difference(gamma):
    table = synthetic.generate(1000, 100, gamma=gamma, kappa=0.0)
    users = sorted(by_user(table), key=len)
    first = np.array([items[:10] for items in users])  # before half is seen
    tail, head = (
      np.bincount(part.ravel(), minlength=101) / part.size
      for part in (first[:200], first[-200:])
    )
    return np.sum(np.abs(head - tail))

  assert difference(2.0) > 2.0 * difference(0.0)


@pytest.mark.parametrize(
  'options',
  [
    {'num_items': 39},
    {'num_users': 3},
    {'num_groups': 0},
    {'head_noise': 1.5},
    {'tail_noise': -0.1},
  ],
)
def test_impossible_logs_are_errors(options):
  with pytest.raises(types.UserError):
    synthetic.generate(**{'num_users': 20, 'num_items': 50, **options})


@pytest.mark.parametrize('num_users', [0, -1])
def test_a_log_without_users_is_told_as_that(num_users):
  message = f'needs at least 1 user, not {num_users}'
  with pytest.raises(types.UserError, match=message):
    synthetic.generate(num_users)
