import numpy as np
import pytest

from tests.aggregators import cases
from tests.aggregators import exact
from tests.aggregators import remembered_test

run = remembered_test.run


@pytest.mark.parametrize('tau', [0.0, 0.02, 0.5])
def test_all_others_progress_while_the_first_one_leads(tau):
  met = 0
  for seed in range(12):
    vectors = cases.draw(seed)
    update = cases.apply('pcd', vectors, pcd_primary=1, pcd_tau=tau)
    length = np.linalg.norm(vectors[0])
    np.testing.assert_allclose(np.linalg.norm(update), length, rtol=1e-3)
    # At first gradients are of length 1, and so is the primary one.
    scaled = exact.unit(vectors)
    point = exact.constrained(np.roll(scaled, -1, axis=0), tau)
    expected = length * exact.unit(point)
    np.testing.assert_allclose(update, expected, atol=2e-3 * length)
    met += np.any(point != scaled[0])
  assert met


def test_a_primary_gradient_that_serves_all_is_kept():
  vectors = np.abs(cases.draw(0)) + 1.0
  update = cases.apply('pcd', vectors, pcd_primary=2)
  np.testing.assert_allclose(update, vectors[1], rtol=1e-4)


def test_constraints_that_cannot_be_met_are_dropped():
  vectors = cases.draw(1)
  vectors[1] = -2 * vectors[0]
  update = cases.apply('pcd', vectors, pcd_primary=4)
  np.testing.assert_allclose(update, vectors[3], rtol=1e-3)


def test_without_the_primary_group_nothing_moves():
  counts = np.array([5.0, 5.0, 5.0, 0.0])
  update = cases.apply('pcd', cases.draw(2), cases.info(counts))
  np.testing.assert_array_equal(update, 0.0)


def test_lengths_are_averaged_over_updates():
  gradients = [cases.draw(seed) * (seed + 1) for seed in range(3)]
  updates, _ = run('pcd', gradients, pcd_beta=0.6, pcd_tau=0.3)
  average = np.zeros(cases.GROUPS)
  for step, vectors in enumerate(gradients):
    average = 0.6 * average + 0.4 * np.sum(vectors**2, axis=1)
    lengths = np.sqrt(average / (1 - 0.6 ** (step + 1)))
    point = exact.constrained(vectors / lengths[:, None], 0.3)
    expected = np.linalg.norm(vectors[-1]) * exact.unit(point)
    np.testing.assert_allclose(updates[step], expected, rtol=2e-3, atol=2e-3)
