import numpy as np
import pytest

from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import estimates
from twotsrec.theory import power_law
from twotsrec.theory import user_vectors

WIDTH = 8


def planted(users=4000, Q=3.0, V=0.2, alpha=1.6, seed=0, cap=5000):
  """Vectors with the errors of the theory."""
  rng = np.random.default_rng(seed)
  counts = np.minimum(rng.zipf(alpha, size=users) - 1, cap)
  normal = lambda square: (
    np.sqrt(square / WIDTH)[:, None] * rng.normal(size=(users, WIDTH))
  )
  tastes = rng.normal(size=WIDTH) + normal(np.full(users, V))
  half = counts // 2
  whole = tastes + normal(Q / (counts + 1.0))
  first = tastes + normal(Q / (half + 1.0))
  second = tastes + normal(Q / (counts - half + 1.0))
  return user_vectors.Halves(np.arange(users), first, second, whole, counts)


def test_planted_constants_and_threshold_are_found_again():
  halves = _, first, second, whole, counts = planted()
  found = estimates.estimate(halves)
  assert abs(found.q - 3.0) < 3.5 * found.q_error
  assert abs(found.variance - 0.2) < 3.5 * found.variance_error
  assert abs(found.alpha - 1.6) < 3.5 * found.alpha_error
  assert found.threshold == bounds.t_opt(found.q, found.variance)
  assert found.threshold_low <= bounds.t_opt(3.0, 0.2) <= found.threshold_high
  assert found.users == np.count_nonzero(counts >= 2)
  kept = counts[counts >= 2]
  assert found.noise == pytest.approx(np.mean(found.q / (kept + 1.0)))


def test_the_parts_are_those_of_the_whole():
  halves = _, first, second, whole, counts = planted(users=300)
  found = estimates.estimate(halves, minimum=4, resamples=0)
  q = estimates.estimate_q(first, second, counts, minimum=4)
  assert found.q == q
  assert found.variance == estimates.estimate_variance(
    whole, counts, q, minimum=4
  )
  assert found.alpha == power_law.fit_alpha(counts).alpha
  assert np.isnan(found.q_error) and found.threshold_low is None
  others = estimates.estimate(
    halves, activity=counts[counts > 0], alpha_minimum=1
  )
  assert others.alpha == power_law.fit_alpha(counts, 1).alpha
  assert (found.alpha_minimum, others.alpha_minimum) == (0, 1)
  alike = estimates.estimate(halves, activity=np.full(9, 5), alpha_minimum=5)
  assert np.isnan(alike.alpha) and alike.threshold == others.threshold


def test_even_counts_give_the_formula_of_two_equal_halves():
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=(2, 5, WIDTH)).astype(np.float32)
  counts = np.array([2, 4, 10, 50, 1000])
  apart = np.sum((first.astype(float) - second) ** 2, axis=1)
  expected = (counts // 2 + 1) * apart / 2
  np.testing.assert_allclose(estimates.user_q(first, second, counts), expected)
  assert estimates.estimate_q(first, second, counts) == pytest.approx(
    expected.mean()
  )
  weights = np.arange(5.0)
  assert estimates.estimate_q(first, second, counts, weights) == pytest.approx(
    np.average(expected, weights=weights)
  )


def test_odd_counts_have_no_bias():
  rng = np.random.default_rng(0)
  Q, half, users = 2.0, np.array([1, 2]), 40_000  # of T = 3
  errors = [
    np.sqrt(Q / (h + 1) / WIDTH) * rng.normal(size=(users, WIDTH)) for h in half
  ]
  values = estimates.user_q(*errors, np.full(users, 3))
  # ||a - b||^2 is Q / d times a chi-square, of variance 2 d.
  standard_error = Q * np.sqrt(2.0 / WIDTH / users)
  assert abs(values.mean() - Q) < 4.0 * standard_error


def test_the_variance_is_that_of_exact_vectors_if_there_is_no_noise():
  _, _, _, whole, counts = planted(users=100)
  kept = whole[counts >= 2]
  expected = np.sum(np.var(kept, axis=0, ddof=1))
  assert estimates.estimate_variance(whole, counts, 0.0) == pytest.approx(
    expected
  )


def test_errors_are_those_of_normal_vectors():
  halves = _, first, second, whole, counts = planted(users=2000)
  found = estimates.estimate(halves, resamples=1000)
  inverse = 1.0 / (counts[counts >= 2] + 1.0)
  # A squared length is its mean times a chi-square of d over d.
  chi = 2.0 / WIDTH / found.users
  q_error = 3.0 * np.sqrt(chi)
  spread = np.mean((0.2 + 3.0 * inverse) ** 2) * chi
  variance_error = np.sqrt(spread + (np.mean(inverse) * q_error) ** 2)
  assert found.q_error == pytest.approx(q_error, rel=0.12)
  assert found.variance_error == pytest.approx(variance_error, rel=0.12)


def test_without_differences_between_users_there_is_no_threshold():
  halves = _, first, second, whole, counts = planted(users=400, V=0.0, seed=1)
  whole = whole.mean(axis=0) + 0.5 * (whole - whole.mean(axis=0))
  found = estimates.estimate(halves._replace(whole=whole))
  assert found.variance < 0.0
  assert found.threshold is None
  assert found.threshold_high == np.inf


def test_the_order_of_the_users_does_not_matter():
  world = planted(users=200)
  order = np.random.default_rng(0).permutation(200)
  one = estimates.estimate(world, resamples=0)
  other = estimates.estimate(
    user_vectors.Halves(*(part[order] for part in world)), resamples=0
  )
  for a, b in ((one.q, other.q), (one.variance, other.variance)):
    assert a == pytest.approx(b, rel=1e-12)
  assert one.threshold == other.threshold


def test_the_same_seed_gives_the_same_errors():
  world = planted(users=200)
  assert estimates.estimate(world) == estimates.estimate(world)
  assert estimates.estimate(world) != estimates.estimate(world, seed=1)


def test_clipping_holds_off_a_vector_that_failed():
  _, first, second, _, counts = planted()
  first[np.argmax(counts >= 2)] += 1e6
  assert estimates.estimate_q(first, second, counts) > 1e6
  clipped = estimates.estimate_q(first, second, counts, clip=0.995)
  assert clipped == pytest.approx(3.0, rel=0.1)


def test_what_cannot_be_estimated_is_said():
  _, first, second, whole, counts = planted(users=50)
  with pytest.raises(types.UserError, match='minimum is 1'):
    estimates.estimate_q(first, second, counts, minimum=1)
  with pytest.raises(types.UserError, match='minimum is 9000'):
    estimates.estimate_variance(whole, counts, 1.0, minimum=9000)
  with pytest.raises(types.UserError, match='no variance'):
    estimates.estimate_variance(whole[:1], np.array([5]), 1.0)
  first[np.argmax(counts)] = np.nan
  with pytest.raises(types.UserError, match='not finite'):
    estimates.estimate_q(first, second, counts)
