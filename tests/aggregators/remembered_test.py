"""Several updates beside loops in float64 that say what the papers say."""

import jax
import numpy as np
import pytest

from tests.aggregators import cases
from tests.aggregators import exact

LOSSES = np.array(cases.LOSSES)
EVEN = np.full(cases.GROUPS, 1 / cases.GROUPS)


def run(name, gradients, losses=None, counts=None, **options):
  """Updates f64[D] and states of several steps."""
  update = cases.compiled(name, **options)
  state, updates, states = cases.first_state(name, **options), [], []
  for step, vectors in enumerate(gradients):
    info = cases.info(
      None if counts is None else counts[step],
      losses=cases.LOSSES if losses is None else losses[step],
    )
    grads, state, _ = update(np.float32(vectors), info, state, cases.key(step))
    updates.append(np.asarray(grads, np.float64))
    states.append(jax.device_get(state))
  return updates, states


def _draws(number, size=1.0):
  return [size * cases.draw(seed) for seed in range(number)]


@pytest.mark.parametrize('form', ['published', 'code'])
def test_moco_tracks_gradients_and_descends_their_shortest_combination(form):
  gradients = _draws(5)
  losses = [LOSSES * factor for factor in (1.0, 0.9, 0.8, 0.8, 0.7)]
  options = {'moco_rho': 0.2, 'moco_gamma': 0.3, 'moco_form': form}
  updates, _ = run('moco', gradients, losses, **options)
  average, weights = np.zeros((cases.GROUPS, cases.WIDTH)), EVEN
  for step, vectors in enumerate(gradients):
    beta, gamma = 0.5 / (step + 1) ** 0.5, 0.3 / (step + 1) ** 0.5
    if form == 'code':
      vectors = exact.unit(vectors) * losses[step][:, None]
    average = average - beta * (average - vectors)
    slope = (average @ average.T + 0.2 * np.eye(cases.GROUPS)) @ weights
    moved = weights - gamma * slope
    weights = exact.simplex(moved)
    if form == 'code':
      weights = np.exp(moved) / np.exp(moved).sum()
    np.testing.assert_allclose(updates[step], weights @ average, atol=1e-5)


def test_modo_moves_its_weights_by_two_independent_batches():
  gradients = _draws(5)
  updates, _ = run('modo', gradients, modo_gamma=0.05, modo_rho=0.3)
  weights = EVEN
  for step, vectors in enumerate(gradients):
    np.testing.assert_allclose(updates[step], weights @ vectors, atol=1e-5)
    earlier = gradients[step - 1] if step else 0 * vectors
    slope = vectors @ (earlier.T @ weights) + 0.3 * weights
    weights = exact.simplex(weights - 0.05 * slope)


def test_sdmgrad_descends_towards_its_preference():
  gradients = _draws(4)
  prior = (1.0, 2.0, 3.0, 2.0)
  updates, _ = run('sdmgrad', gradients, prior=prior, sdmgrad_rate=0.5)
  aim, weights = np.array(prior) / 8, EVEN
  for step, vectors in enumerate(gradients):
    mixed = (weights + 0.3 * aim) / 1.3
    np.testing.assert_allclose(updates[step], mixed @ vectors, atol=1e-4)
    if step == 0:
      # Without a product the simplex keeps equal weights.
      continue
    products = vectors @ gradients[step - 1].T
    scale = np.sqrt(np.maximum(np.diagonal(products), 0)).mean()
    speed = np.zeros(cases.GROUPS)
    for _ in range(20):
      speed = 0.5 * speed + products / scale**2 @ (weights + 0.3 * aim)
      weights = exact.simplex(weights - 0.5 * speed)


def test_sdmgrad_is_the_preferred_direction_where_it_pulls_hard():
  *_, last = run('sdmgrad', _draws(4), sdmgrad_lambda=1e6)[0]
  np.testing.assert_allclose(last, cases.draw(3).mean(0), atol=1e-4)


@pytest.mark.parametrize('warmup', [1, 3])
def test_excess_mtl_follows_excess_risks(warmup):
  rate, gradients = 0.4, _draws(5)
  updates, _ = run(
    'excess_mtl', gradients, excess_rate=rate, excess_warmup=warmup
  )
  squares, sums = np.zeros((cases.GROUPS, cases.WIDTH)), np.zeros(cases.GROUPS)
  weights = EVEN
  for step, vectors in enumerate(gradients):
    squares = squares + vectors**2
    risks = np.sum(vectors**2 / np.sqrt(squares + 1e-7), axis=1)
    if step < warmup:
      sums = sums + risks
    else:
      weights = weights * np.exp(rate * risks / (sums / warmup))
      weights = weights / weights.sum()
    np.testing.assert_allclose(updates[step], weights @ vectors, atol=1e-4)


@pytest.mark.parametrize('name', ['moco', 'modo', 'sdmgrad', 'excess_mtl'])
def test_an_absent_group_keeps_what_is_remembered_of_it(name):
  gradients = _draws(3)
  absent = np.array([5.0, 0.0, 5.0, 5.0])
  counts = [np.full(cases.GROUPS, 5.0), absent, absent]
  _, states = run(name, gradients, counts=counts)
  gradients[1][1] = gradients[2][1] = 7.0  # it is not asked
  updates, others = run(name, gradients, counts=counts)
  remembered, *_ = states[0]
  for state in (states[2], others[2]):
    np.testing.assert_array_equal(remembered['bias'][1], state[0]['bias'][1])
    assert np.any(remembered['bias'][0] != state[0]['bias'][0])
  assert np.all(np.isfinite(updates))


def test_a_combination_of_opposed_groups_is_found_in_time():
  """Means along one direction, in noise: on the whole nobody is opposed."""
  generator = np.random.default_rng(0)
  means = np.zeros((cases.GROUPS, cases.WIDTH))
  means[:, 0] = (2.0, -1.0, 1.0, 1.0)
  gradients = [
    means + generator.normal(size=means.shape) / 3 for _ in range(60)
  ]
  _, states = run('modo', gradients, modo_gamma=0.05, modo_rho=0.0)
  weights = np.mean([state.weights for state in states[30:]], axis=0)
  assert abs(weights @ means[:, 0]) < 0.3 < EVEN @ means[:, 0]
