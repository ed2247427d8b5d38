from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from tests.aggregators import cases
from tests.aggregators import exact
from twotsrec.aggregators import projection
from twotsrec.aggregators import solvers

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31 - 1)


def _vectors(seed):
  """Gradients with some conflicts, of different length."""
  lengths = np.random.default_rng(seed + 1).uniform(0.1, 3.0, (4, 1))
  return cases.draw(seed) * lengths


def _order(seed):
  generator = np.random.default_rng(seed)
  return np.stack([generator.permutation(4) for _ in range(4)])


def _literal_gradvac(vectors, order, targets, beta):
  """Algorithm 1 on vectors, averages moving at every meeting."""
  turned, targets = vectors.copy(), targets.copy()
  for i, row in enumerate(order):
    for j in row:
      if i == j:
        continue
      v, g = turned[i], vectors[j]
      v_norm, g_norm = np.linalg.norm(v), np.linalg.norm(g)
      rho, target = v @ g / v_norm / g_norm, targets[i, j]
      if rho < target:
        sine, target_sine = np.sqrt(1 - rho**2), np.sqrt(1 - target**2)
        turned[i] = v + g * v_norm * (target * sine - rho * target_sine) / (
          g_norm * target_sine
        )
      targets[i, j] = (1 - beta) * target + beta * rho
  return turned, targets


_pcgrad = jax.jit(projection.pcgrad_coefficients)
_gradvac = jax.jit(projection.gradvac_coefficients)


def _gram(vectors):
  return jnp.asarray(cases.scaled_gram(vectors), jnp.float32)


@PROPERTY
@given(seed=SEEDS)
def test_pcgrad_on_the_gram_matrix_equals_its_vector_form(seed):
  vectors, order = _vectors(seed), _order(seed)
  coefficients = _pcgrad(_gram(vectors), jnp.asarray(order))
  np.testing.assert_allclose(
    coefficients @ vectors,
    exact.pcgrad(vectors, order),
    atol=1e-4,
    rtol=1e-3,
  )


@PROPERTY
@given(seed=SEEDS)
def test_gradvac_on_the_gram_matrix_equals_its_vector_form(seed):
  vectors, order = _vectors(seed), _order(seed)
  targets = np.random.default_rng(seed).uniform(-0.5, 0.8, (4, 4))
  coefficients, moved = _gradvac(
    _gram(vectors), jnp.asarray(order), jnp.asarray(targets, jnp.float32), 0.3
  )
  expected, expected_targets = _literal_gradvac(vectors, order, targets, 0.3)
  np.testing.assert_allclose(
    coefficients @ vectors, expected, atol=1e-3, rtol=1e-3
  )
  np.testing.assert_allclose(moved, expected_targets, atol=1e-4)


@PROPERTY
@given(seed=SEEDS)
def test_updates_follow_the_order_drawn_from_the_key(seed):
  vectors = _vectors(seed)
  order = projection.draw_order(jax.random.key(seed % 97), 4)
  expected = exact.pcgrad(vectors, np.asarray(order)).mean(0)
  for name in ('pcgrad', 'gradvac'):  # the first step is the same
    actual = cases.apply(name, vectors, seed=seed % 97)
    np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=1e-3)


def test_an_order_is_a_permutation_for_every_group():
  order = projection.draw_order(jax.random.key(0), 5)
  np.testing.assert_array_equal(
    np.sort(order, axis=1), np.tile(np.arange(5), (5, 1))
  )
  assert len({tuple(row) for row in order.tolist()}) > 1


def test_without_conflict_pcgrad_is_the_mean():
  vectors = np.abs(cases.draw(0))
  np.testing.assert_allclose(
    cases.apply('pcgrad', vectors), vectors.mean(0), rtol=1e-5
  )


def test_two_conflicting_gradients_give_the_hand_result():
  """(1, 0) and (-1, 1): v_1 = (1/2, 1/2), v_2 = (0, 1)."""
  vectors = np.zeros((4, cases.WIDTH))
  vectors[0, 0], vectors[1, :2] = 1.0, (-1.0, 1.0)
  present = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  expected = np.zeros(cases.WIDTH)
  expected[:2] = 0.25, 0.75
  for name in ('pcgrad', 'gradvac'):
    np.testing.assert_allclose(
      cases.apply(name, vectors, present), expected, atol=1e-6
    )


def test_exactly_opposed_gradients_cancel():
  """(1, 0) and (-3, 0): each projected on the other is 0."""
  vectors = np.zeros((4, cases.WIDTH))
  vectors[0, 0], vectors[1, 0] = 1.0, -3.0
  present = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  for name in ('pcgrad', 'gradvac'):
    np.testing.assert_allclose(
      cases.apply(name, vectors, present), 0.0, atol=1e-5
    )


def test_gradvac_learns_nothing_from_an_absent_group():
  present = jnp.array([True, True, True, False])
  matrix = solvers.scale(_gram(cases.draw(3)), present)
  order = jnp.asarray(_order(3))
  _, targets = _gradvac(matrix, order, jnp.full((4, 4), 0.2), 0.5)
  np.testing.assert_allclose(targets[3], 0.2)
  np.testing.assert_allclose(targets[:, 3], 0.2)
  assert abs(float(targets[0, 1]) - 0.2) > 1e-3
