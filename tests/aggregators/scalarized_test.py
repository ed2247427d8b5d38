"""Weights are slopes of a number of the losses; what is learned follows it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.aggregators import cases
from tests.aggregators import exact
from tests.aggregators import remembered_test

LOSSES, EVEN = np.array(cases.LOSSES), np.full(cases.GROUPS, 0.25)
PRIOR = np.array([4.0, 3.0, 2.0, 1.0]) / 10
IDEAL = (0.1, 0.05, 0.0, 0.02)
run = remembered_test.run


def _softmax(values):
  return np.exp(values - values.max()) / np.exp(values - values.max()).sum()


def _numbers():
  """{name: (options, F of losses f64[4])}, with each option moved."""
  prior = {'prior': tuple(PRIOR)}

  def cosmos(losses):
    lengths = np.linalg.norm(losses) * np.linalg.norm(PRIOR)
    return PRIOR @ losses - 0.7 * PRIOR @ losses / lengths

  def pbi(losses):
    direction, above = exact.unit(PRIOR), losses - IDEAL
    first = above @ direction
    aside = np.linalg.norm(above - first * direction)
    return np.linalg.norm(PRIOR) * (first + 2.5 * aside)

  def stch(losses):
    return 4 * 0.2 * np.log(np.sum(np.exp(PRIOR * (losses - IDEAL) / 0.2)))

  raw = {'stch_mu': 0.2, 'stch_values': 'raw', 'ideal': IDEAL}
  return {
    'gls': ({}, lambda losses: np.prod(losses) ** 0.25),
    'cosmos': ({'cosmos_lambda': 0.7, **prior}, cosmos),
    'pbi': ({'pbi_theta': 2.5, 'ideal': IDEAL, **prior}, pbi),
    'stch': ({**raw, **prior}, stch),
  }


@pytest.mark.parametrize('name', list(_numbers()))
def test_weights_are_slopes_of_a_number_of_the_losses(name):
  options, number = _numbers()[name]
  step = 1e-6 * np.eye(4)
  slopes = [
    (number(LOSSES + row) - number(LOSSES - row)) / 2e-6 for row in step
  ]
  vectors = cases.draw(0)
  update = cases.apply(name, vectors, **options)
  np.testing.assert_allclose(update, slopes @ vectors, rtol=1e-4, atol=1e-5)


def test_a_small_mu_hears_the_largest_loss_alone():
  update = cases.apply('stch', cases.draw(0), stch_mu=1e-3, stch_values='raw')
  np.testing.assert_allclose(update, cases.draw(0)[0], atol=1e-5)


def test_stch_compares_losses_with_those_of_its_warm_up():
  losses = [LOSSES, 0.8 * LOSSES, LOSSES * (0.9, 0.5, 0.7, 0.6), 0.5 * LOSSES]
  gradients = [cases.draw(seed) for seed in range(4)]
  options = {'stch_mu': 0.5, 'stch_warmup': 2, 'prior': tuple(PRIOR)}
  updates, _ = run('stch', gradients, losses, **options)
  nadir = 0.9 * LOSSES
  for step, (vectors, loss) in enumerate(zip(gradients, losses)):
    weights = PRIOR / loss
    if step >= 2:
      share = _softmax(4 * PRIOR * np.log(loss / nadir) / 0.5)
      weights = 4 * PRIOR * share / loss
    np.testing.assert_allclose(updates[step], weights @ vectors, rtol=1e-4)


def test_pbi_with_theta_zero_and_cosmos_with_lambda_zero_are_the_mean():
  vectors = cases.draw(1)
  for name, option in (('pbi', 'pbi_theta'), ('cosmos', 'cosmos_lambda')):
    update = cases.apply(name, vectors, **{option: 0.0, 'tau': 1.0})
    shares = np.array(cases.SIZES) / np.sum(cases.SIZES)
    np.testing.assert_allclose(update, shares @ vectors, atol=1e-5)


def _adam(slopes, rate):
  """What Adam adds up to, by Kingma and Ba 2015, algorithm 1."""
  total = mean = square = np.zeros(cases.GROUPS)
  for count, slope in enumerate(slopes, 1):
    mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
    size = np.sqrt(square / (1 - 0.999**count)) + 1e-8
    total = total - rate * mean / (1 - 0.9**count) / size
  return total


@pytest.mark.parametrize('name', ['uw', 'imtl_l', 'imtl'])
def test_scales_are_learned_from_the_losses(name):
  losses = [LOSSES, 1.4 * LOSSES, LOSSES * (0.9, 1.3, 2.0, 3.0), LOSSES]
  gradients = [cases.draw(seed) for seed in range(4)]
  updates, states = run(name, gradients, losses, scale_rate=0.1)
  slopes, logits = [], np.zeros(cases.GROUPS)
  for step, (vectors, loss) in enumerate(zip(gradients, losses)):
    factors = np.exp(logits)
    expected = EVEN * factors @ vectors
    if name == 'imtl':
      scaled = factors[:, None] * vectors
      expected = exact.imtl_weights(scaled) @ scaled
    np.testing.assert_allclose(updates[step], expected, rtol=2e-4, atol=1e-5)
    # Of exp(-s) L / 2 + s / 2 in s, and of exp(s) L - s.
    slope = 0.5 - 0.5 * factors * loss if name == 'uw' else factors * loss - 1
    slopes.append(slope)
    sign = -1 if name == 'uw' else 1
    logits = sign * _adam(slopes, 0.1)
    np.testing.assert_allclose(states[step].logits, logits, atol=1e-5)


def test_scaled_losses_become_alike():
  """exp(s) L has its least at s = -log L."""
  _, states = run('uw', [cases.draw(0)] * 400, scale_rate=0.05)
  scaled = np.exp(states[-1].logits) * LOSSES
  np.testing.assert_allclose(scaled, 1.0, rtol=1e-2)


def test_dwa_prefers_losses_that_fall_slowly():
  falling = np.array([1.0, 0.9, 0.7, 0.4])
  losses = [
    LOSSES * falling**stretch * (1.1 if step else 0.9)
    for stretch in range(4)
    for step in range(2)
  ]
  gradients = [cases.draw(seed) for seed in range(8)]
  options = {'dwa_steps': 2, 'dwa_temperature': 0.5}
  updates, _ = run('dwa', gradients, losses, **options)
  # Two stretches have to be over: then the ratio is `falling` in each.
  for step, vectors in enumerate(gradients):
    weights = EVEN if step < 4 else _softmax(falling / 0.5)
    np.testing.assert_allclose(updates[step], weights @ vectors, rtol=2e-4)


def test_dwa_takes_the_mean_of_the_updates_a_group_was_in():
  counts = np.array([[5, 5, 5, 5], [5, 0, 5, 5], [5, 0, 5, 5], [5, 0, 5, 5]])
  losses = [LOSSES * counts[step] / 5 for step in range(4)]
  gradients = [cases.draw(0)] * 4
  _, states = run('dwa', gradients, losses, counts, dwa_steps=2)
  for state in (states[1], states[3]):  # a stretch without it says nothing new
    np.testing.assert_allclose(state.newer, LOSSES, rtol=1e-6)


def test_random_weights_are_a_softmax_of_normal_draws():
  vectors = np.eye(cases.GROUPS, cases.WIDTH, dtype=np.float32)
  draw = jax.vmap(cases.compiled('rlw'), in_axes=(None, None, None, 0))
  keys = jax.random.split(cases.key(0), 4000)
  weights = np.asarray(draw(vectors, cases.info(), (), keys)[0])[:, :4]
  np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
  logits = np.log(weights) - np.log(weights).mean(1, keepdims=True)
  # Normal draws less their mean: each has the variance 3/4.
  np.testing.assert_allclose(logits.mean(0), 0.0, atol=0.06)
  np.testing.assert_allclose(logits.var(0), 0.75, rtol=0.1)


def test_losses_of_zero_do_not_break_the_update():
  for name in ('gls', 'cosmos', 'pbi', 'stch', 'uw', 'imtl_l', 'imtl', 'dwa'):
    info = cases.info(losses=np.zeros(cases.GROUPS))
    assert np.all(np.isfinite(cases.apply(name, cases.draw(0), info)))


def test_groups_beyond_those_given_cannot_be_read():
  made = cases.make('pbi', ideal=(0.1, 0.2))
  ones = jnp.ones((cases.GROUPS, 3))
  with pytest.raises((TypeError, ValueError)):
    made.update(ones, cases.info(), ())
