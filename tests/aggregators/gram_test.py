from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from tests.aggregators import cases
from tests.aggregators import exact

PROPERTY = settings(max_examples=20, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31 - 1)


def _unit(vectors):
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@PROPERTY
@given(seed=SEEDS)
def test_mgda_opposes_no_group_and_is_the_shortest(seed):
  vectors = cases.draw(seed)
  update = cases.apply('mgda', vectors)
  # At the optimum <d, g_j> >= |d|^2.
  square = update @ update
  assert np.all(vectors @ update >= square - 1e-3)
  one = {'type': 'eq', 'fun': lambda w: np.sum(w) - 1}
  found = optimize.minimize(
    lambda w: np.sum((w @ vectors) ** 2),
    np.full(4, 0.25),
    jac=lambda w: 2 * vectors @ (w @ vectors),
    bounds=[(0, 1)] * 4,
    constraints=one,
    method='SLSQP',
    options={'ftol': 1e-12},
  )
  np.testing.assert_allclose(update, found.x @ vectors, atol=5e-4)


@pytest.mark.parametrize(
  ('normalization', 'divisor'),
  [
    ('l2', lambda g, losses: np.linalg.norm(g, axis=1)),
    ('loss', lambda g, losses: losses),
    ('loss+', lambda g, losses: losses * np.linalg.norm(g, axis=1)),
  ],
)
def test_mgda_finds_its_weights_on_normalized_gradients(normalization, divisor):
  """Orthogonal gradients of length p, q: weights q^2, p^2 over their sum."""
  vectors = np.zeros((4, cases.WIDTH))
  vectors[0, 0], vectors[1, 1] = 1.0, 3.0
  info = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  lengths = np.array([1.0, 3.0])
  scaled = lengths / divisor(vectors[:2], np.array(cases.LOSSES[:2]))
  weights = scaled[::-1] ** 2 / np.sum(scaled**2)
  update = cases.apply('mgda', vectors, info, mgda_normalization=normalization)
  np.testing.assert_allclose(update[:2], weights * lengths, rtol=1e-3)


def test_cagrad_with_c_zero_is_the_mean():
  vectors = cases.draw(0)
  np.testing.assert_allclose(
    cases.apply('cagrad', vectors, cagrad_c=0.0), vectors.mean(0), atol=1e-6
  )


@PROPERTY
@given(seed=SEEDS)
def test_cagrad_improves_the_worst_group_within_its_ball(seed):
  vectors = cases.draw(seed) + 0.5
  c = 0.5
  mean = vectors.mean(0)
  direction = (1 + c**2) * cases.apply('cagrad', vectors)
  radius = c * np.linalg.norm(mean)
  np.testing.assert_allclose(
    np.linalg.norm(direction - mean), radius, rtol=1e-3
  )
  # The primal problem: max over the ball of min_j <d, g_j>, as max t.
  size = cases.WIDTH
  inside = {
    'type': 'ineq',
    'fun': lambda x: radius**2 - np.sum((x[:size] - mean) ** 2),
  }
  above = {'type': 'ineq', 'fun': lambda x: vectors @ x[:size] - x[size]}
  found = optimize.minimize(
    lambda x: -x[size],
    np.append(mean, (vectors @ mean).min()),
    constraints=[inside, above],
    method='SLSQP',
    options={'ftol': 1e-10, 'maxiter': 300},
  )
  scale = np.abs(vectors @ direction).max()
  assert (vectors @ direction).min() >= -found.fun - 1e-3 * scale


def test_cagrad_with_a_large_c_goes_where_mgda_goes():
  vectors = np.abs(cases.draw(1))
  actual = cases.apply('cagrad', vectors, cagrad_c=1e3)
  expected = cases.apply('mgda', vectors)
  np.testing.assert_allclose(_unit(actual), _unit(expected), atol=2e-2)


@PROPERTY
@given(seed=SEEDS)
def test_imtl_projects_equally_on_every_unit_gradient(seed):
  vectors = cases.draw(seed)
  update = cases.apply('imtl_g', vectors)
  projections = _unit(vectors) @ update
  size = np.linalg.norm(update)
  np.testing.assert_allclose(projections, projections[0], atol=2e-3 * size)
  # Weights sum to one: the update lies in the affine hull of the gradients.
  weights = np.linalg.lstsq(vectors.T, update, rcond=None)[0]
  np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-3)


def test_imtl_is_the_mean_where_no_weights_exist():
  vectors = np.zeros((4, cases.WIDTH))
  np.testing.assert_allclose(cases.apply('imtl_g', vectors), 0.0)
  g = cases.draw(2, 1)[0]
  vectors[:2] = g, -g
  info = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  np.testing.assert_allclose(
    cases.apply('imtl_g', vectors, info), 0.0, atol=1e-5
  )


@PROPERTY
@given(seed=SEEDS)
def test_nash_shares_the_utility_equally(seed):
  """M a * a = 1: every weighted gradient contributes the same."""
  vectors = cases.draw(seed)
  update = cases.apply('nash', vectors, nash_max_norm=0.0)
  weights = np.linalg.lstsq(vectors.T, update, rcond=None)[0]
  assert weights.min() > 0
  matrix = cases.scaled_gram(vectors)
  np.testing.assert_allclose(matrix @ weights * weights, 1.0, rtol=5e-3)
  # |d|^2 = a'Ga with G = (trace / n) M.
  np.testing.assert_allclose(update @ update, np.sum(vectors**2), rtol=1e-3)
  clipped = cases.apply('nash', vectors)
  np.testing.assert_allclose(clipped, _unit(update), rtol=1e-3, atol=1e-4)


def test_fairgrad_with_alpha_one_is_nash_and_larger_alpha_levels_utilities():
  vectors = cases.draw(3)
  np.testing.assert_allclose(
    cases.apply('fairgrad', vectors),
    cases.apply('nash', vectors, nash_max_norm=0.0),
    rtol=1e-5,
  )
  spread = {}
  for alpha in (1.0, 4.0):
    utilities = vectors @ cases.apply('fairgrad', vectors, fairgrad_alpha=alpha)
    spread[alpha] = utilities.max() / utilities.min()
  assert 1 < spread[4.0] < spread[1.0]


def test_aligned_is_the_mean_of_orthogonal_gradients_of_equal_length():
  basis = np.linalg.qr(cases.draw(5).T)[0].T
  np.testing.assert_allclose(
    cases.apply('aligned', 3.0 * basis), 3.0 * basis.mean(0), atol=1e-5
  )


@PROPERTY
@given(seed=SEEDS)
def test_aligned_gradients_are_the_polar_factor(seed):
  """s_min U V' of the singular value decomposition, averaged over rows."""
  vectors = cases.draw(seed)
  left, values, right = np.linalg.svd(vectors, full_matrices=False)
  expected = (values[-1] * left @ right).mean(0)
  np.testing.assert_allclose(
    cases.apply('aligned', vectors), expected, atol=3e-3
  )


@pytest.mark.parametrize(
  ('scale', 'common'),
  [
    ('median', lambda values: np.sort(values)[(len(values) - 1) // 2]),
    ('rmse', lambda values: np.sqrt(np.mean(values**2))),
  ],
)
def test_aligned_gradients_have_a_common_length(scale, common):
  for seed in range(6):
    vectors = cases.draw(seed)
    if seed % 2:  # three directions are left
      vectors[3] = vectors[0] - vectors[1]
    left, values, right = np.linalg.svd(vectors, full_matrices=False)
    there = values > 1e-6 * values[0]
    polar = left[:, there] @ right[there]
    expected = common(values[there]) * polar.mean(0)
    update = cases.apply('aligned', vectors, aligned_scale=scale)
    np.testing.assert_allclose(update, expected, rtol=1e-3, atol=1e-3)


@PROPERTY
@given(seed=SEEDS)
def test_config_has_the_cosines_of_its_preference(seed):
  vectors, prior = cases.draw(seed), np.array([1.0, 2.0, 1.0, 3.0])
  update = cases.apply('config', vectors, prior=tuple(prior))
  shares = _unit(vectors) @ update / prior
  length = np.linalg.norm(update)
  np.testing.assert_allclose(shares, shares[0], atol=2e-3 * length)
  along = np.sum(vectors @ update) / length
  np.testing.assert_allclose(length, along, rtol=1e-3)


def test_config_of_gradients_that_cancel_is_nothing():
  vectors = cases.draw(0)
  vectors[1], vectors[2], vectors[3] = -vectors[0], 2 * vectors[0], -vectors[0]
  np.testing.assert_allclose(cases.apply('config', vectors), 0.0, atol=1e-5)


@pytest.mark.parametrize(('byzantine', 'selected'), [(0, 1), (0, 3), (1, 2)])
def test_krum_takes_the_gradients_with_the_nearest_neighbors(
  byzantine, selected
):
  options = {'krum_byzantine': byzantine, 'krum_selected': selected}
  for seed in range(8):
    vectors = cases.draw(seed)
    expected = exact.krum(vectors, byzantine, selected)
    actual = cases.apply('krum', vectors, **options)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_krum_never_hears_the_one_that_is_far_away():
  for seed, absent in enumerate([None, 0, 1, 2]):
    vectors = cases.draw(seed)
    vectors[3] *= 1e3
    counts = np.where(np.arange(4) == absent, 0.0, 5.0)
    info = cases.info(counts)
    update = cases.apply('krum', vectors, info)
    here = [j for j in range(3) if j != absent]
    assert min(np.abs(vectors[here] - update).max(1)) < 1e-6


def test_krum_of_more_than_there_are_is_the_mean():
  info = cases.info(np.array([5.0, 0.0, 5.0, 0.0]))
  vectors = cases.draw(4)
  update = cases.apply('krum', vectors, info, krum_selected=3)
  np.testing.assert_allclose(update, vectors[[0, 2]].mean(0), atol=1e-6)


@PROPERTY
@given(seed=SEEDS)
def test_dualproj_is_the_nearest_to_the_mean_that_opposes_no_group(seed):
  vectors, prior = cases.draw(seed), np.array([0.4, 0.3, 0.2, 0.1])
  update = cases.apply('dualproj', vectors, prior=tuple(prior))
  mean = prior @ vectors
  multipliers = optimize.nnls(vectors.T, -mean)[0]
  expected = mean + multipliers @ vectors
  np.testing.assert_allclose(update, expected, atol=5e-3)
  bound = np.linalg.norm(mean) * np.linalg.norm(vectors, axis=1)
  assert np.all(vectors @ update >= -5e-3 * bound)


@PROPERTY
@given(seed=SEEDS)
def test_upgrad_opposes_no_group(seed):
  vectors = cases.draw(seed)
  vectors[1] = -vectors[0] + 0.1 * vectors[1]
  update = cases.apply('upgrad', vectors)
  bound = np.linalg.norm(update) * np.linalg.norm(vectors, axis=1)
  assert np.all(vectors @ update >= -1e-3 * bound)


@PROPERTY
@given(seed=SEEDS)
def test_upgrad_is_the_mean_of_projections_on_the_dual_cone(seed):
  vectors = cases.draw(seed)
  projections = []
  for g in vectors:
    # Nearest x with V x >= 0: x = g + V's, s >= 0 of least |g + V's|.
    multipliers = optimize.nnls(vectors.T, -g)[0]
    projections.append(g + multipliers @ vectors)
  expected = np.mean(projections, axis=0)
  np.testing.assert_allclose(
    cases.apply('upgrad', vectors), expected, atol=5e-3
  )


def test_upgrad_without_conflict_is_the_mean():
  vectors = np.abs(cases.draw(6))
  np.testing.assert_allclose(
    cases.apply('upgrad', vectors), vectors.mean(0), rtol=1e-4
  )


@pytest.mark.parametrize('name', ['aligned', 'upgrad', 'dualproj'])
def test_preferences_weigh_orthogonal_gradients(name):
  basis = np.linalg.qr(cases.draw(7).T)[0].T
  prior = (0.1, 0.2, 0.3, 0.4)
  np.testing.assert_allclose(
    cases.apply(name, basis, prior=prior), prior @ basis, atol=1e-4
  )


def test_small_gradients_lose_no_accuracy():
  """The matrix is scaled before anything is solved, 1e-8 is not small."""
  vectors = jnp.asarray(cases.draw(8), jnp.float32)
  for name in (
    'mgda', 'cagrad', 'imtl_g', 'aligned', 'upgrad', 'fairgrad', 'config',
    'dualproj', 'krum',
  ):  # fmt: skip
    np.testing.assert_allclose(
      cases.apply(name, 1e-8 * vectors) * 1e8,
      cases.apply(name, vectors),
      rtol=1e-3,
      atol=1e-3,
      err_msg=name,
    )
