import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from tests.aggregators import cases
from twotsrec.aggregators import solvers

NUM_CASES = 24
ALL = jnp.ones(cases.GROUPS, bool)


def _grams():
  """Random, near-collinear and unevenly long gradients, f64[24, 4, 4]."""
  generator = np.random.default_rng(0)
  vectors = generator.normal(size=(NUM_CASES, cases.GROUPS, cases.WIDTH))
  vectors[1::4, 1] = vectors[1::4, 0] + 0.05 * vectors[1::4, 1]
  vectors[2::4, 1] = -vectors[2::4, 0] + 0.05 * vectors[2::4, 1]
  vectors[3::4] *= np.array([0.1, 0.5, 2.0, 10.0])[:, None]
  return np.stack([cases.scaled_gram(v) for v in vectors])


def _mapped(solve):
  """Solutions of all cases in one compiled call, float64[24, 4]."""
  grams = _grams()
  solutions = jax.jit(jax.vmap(solve))(jnp.asarray(grams, jnp.float32))
  return grams, np.asarray(solutions, np.float64)


def _on_simplex(function, size=cases.GROUPS):
  """Least value of a convex function on the simplex, by SLSQP."""
  one = {'type': 'eq', 'fun': lambda w: np.sum(w) - 1}
  options = {'ftol': 1e-12, 'maxiter': 500}
  start = np.full(size, 1 / size)
  found = optimize.minimize(
    function,
    start,
    bounds=[(0, 1)] * size,
    constraints=one,
    method='SLSQP',
    options=options,
  )
  return found.fun


def test_simplex_projection_is_the_nearest_point():
  generator = np.random.default_rng(1)
  values = (
    generator.normal(size=(16, 4)) * 10 ** generator.uniform(-1, 1, 16)[:, None]
  )
  values[0] = 0.3  # ties
  project = jax.jit(jax.vmap(lambda v: solvers.project_simplex(v, ALL)))
  for v, projected in zip(values, np.asarray(project(jnp.asarray(values)))):
    # The threshold of Held et al. 1974, by a root search.
    threshold = optimize.brentq(
      lambda t, v=v: np.maximum(v - t, 0).sum() - 1, v.min() - 1, v.max()
    )
    np.testing.assert_allclose(
      projected, np.maximum(v - threshold, 0), atol=2e-6
    )


def test_simplex_projection_leaves_absent_groups_out():
  present = jnp.array([True, False, True, False])
  projected = solvers.project_simplex(jnp.array([0.1, 9.0, 0.3, 9.0]), present)
  np.testing.assert_allclose(projected, [0.4, 0.0, 0.6, 0.0], atol=1e-6)


def test_scale_gives_a_mean_diagonal_of_one_over_the_groups_present():
  gram = jnp.asarray(cases.scaled_gram(cases.draw(0)) * 1e-12, jnp.float32)
  present = jnp.array([True, True, False, True])
  scaled = solvers.scale(gram, present)
  np.testing.assert_allclose(jnp.trace(scaled), 3.0, rtol=1e-6)
  assert not np.any(scaled[2]) and not np.any(scaled[:, 2])


def test_shortest_combination_equals_a_quadratic_program():
  grams, weights = _mapped(lambda m: solvers.min_norm(m, ALL))
  np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)
  for gram, w in zip(grams, weights):
    best = _on_simplex(lambda a, gram=gram: a @ gram @ a)
    assert w.min() >= 0
    assert w @ gram @ w <= best + 1e-6


def test_many_groups_are_solved_step_by_step_instead(monkeypatch):
  grams, tried = _mapped(lambda m: solvers.min_norm(m, ALL))
  lower = jnp.array([0.0, 0.25, 0.0, 0.5])
  solve_above = lambda m: solvers.above(m + 1e-2 * jnp.eye(4), lower, ALL)
  _, tried_above = _mapped(solve_above)
  monkeypatch.setattr(solvers, '_MAX_ENUMERATED', 0)
  _, stepped = _mapped(lambda m: solvers.min_norm(m, ALL))
  _, stepped_above = _mapped(solve_above)
  for gram, a, b in zip(grams, tried, stepped):
    assert abs(a @ gram @ a - b @ gram @ b) <= 1e-4
  for gram, a, b in zip(grams, tried_above, stepped_above):
    ridged = gram + 1e-2 * np.eye(4)
    assert min(a.min(), b.min()) >= 0
    assert a @ ridged @ a <= b @ ridged @ b + 1e-5
    assert b @ ridged @ b <= 1.001 * (a @ ridged @ a) + 1e-5


@pytest.mark.parametrize('c', [0.5, 3.0])
def test_conflict_averse_weights_minimize_their_objective(c):
  grams, weights = _mapped(lambda m: solvers.conflict_averse(m, ALL, c))
  for gram, w in zip(grams, weights):

    def dual(w, gram=gram):
      length = np.sqrt(max(w @ gram @ w, 0.0))
      return w @ gram.mean(1) + c * np.sqrt(gram.mean()) * length

    assert w.min() >= 0
    assert dual(w) <= _on_simplex(dual) + 3e-4 * max(c, 1.0)


@pytest.mark.parametrize('alpha', [0.5, 1.0, 2.0])
def test_utilities_satisfy_their_fixed_point(alpha):
  grams, weights = _mapped(lambda m: solvers.equal_utility(m, ALL, alpha))
  # The ridge on cosines, seen from the matrix; it tells for opposed groups.
  ridged = grams + 1e-6 * grams * np.eye(cases.GROUPS)
  residual = np.einsum('kij,kj->ki', ridged, weights) * weights ** (1 / alpha)
  assert weights.min() > 0
  np.testing.assert_allclose(residual, 1.0, atol=5e-3)


def test_bargaining_equals_a_root_found_by_scipy():
  grams, weights = _mapped(lambda m: solvers.equal_utility(m, ALL))
  for gram, w in zip(grams[::4], weights[::4]):
    found = optimize.root(
      lambda b, gram=gram: gram @ np.exp(b) - np.exp(-b), np.zeros(len(w))
    )
    np.testing.assert_allclose(w, np.exp(found.x), rtol=1e-4)


def test_bargaining_stays_finite_without_a_solution():
  opposed = jnp.array([[1.0, -1.0], [-1.0, 1.0]])
  with_zero = jnp.array([[2.0, 0.0], [0.0, 0.0]])
  grams = jnp.stack([opposed, with_zero])
  solve = lambda m: solvers.equal_utility(m, jnp.ones(2, bool))
  weights = jax.jit(jax.vmap(solve))(grams)
  assert np.all(np.isfinite(weights))
  np.testing.assert_allclose(weights[0, 0], weights[0, 1], rtol=1e-3)
  np.testing.assert_allclose(weights[1], [np.sqrt(0.5), 0.0], rtol=1e-4)


def test_dual_cone_weights_equal_a_quadratic_program():
  preference = np.full(cases.GROUPS, 1 / cases.GROUPS)
  grams, weights = _mapped(
    lambda m: solvers.dual_cone(m, ALL, jnp.asarray(preference, jnp.float32))
  )
  for gram, w in zip(grams, weights):
    norms = np.sqrt(np.diagonal(gram))
    ridged = gram / norms / norms[:, None] + 1e-4 * np.eye(len(gram))
    expected = np.zeros(len(gram))
    for lower in np.diag(preference * norms):
      # w >= l: |R (l + s)|^2 over s >= 0 is a non-negative least squares.
      root = np.linalg.cholesky(ridged).T
      expected += lower + optimize.nnls(root, -root @ lower)[0]
    # As updates, within 1 %: weights of opposed gradients hardly change it.
    error = w * norms - expected
    square = expected @ ridged @ expected
    assert error @ ridged @ error <= 0.01**2 * square


def test_an_input_that_is_not_finite_ends_at_once_and_is_not_hidden():
  gram = jnp.full((cases.GROUPS, cases.GROUPS), jnp.nan)
  solve = lambda m: {
    'min_norm': solvers.min_norm(m, ALL),
    'conflict_averse': solvers.conflict_averse(m, ALL, 0.5),
    'equal_utility': solvers.equal_utility(m, ALL),
  }
  for name, weights in jax.jit(solve)(gram).items():
    assert np.any(np.isnan(weights)), name
