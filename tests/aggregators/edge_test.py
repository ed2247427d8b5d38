"""Updates where gradients differ much in length, are opposed or dependent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from tests.aggregators import cases
from tests.aggregators import exact
from twotsrec import aggregators
from twotsrec import config
from twotsrec import types

SEEDS = range(8)
# As far as float32 goes in updates that the others give to 1e-5.
_LOOSE = {
  'decades': {'mgda': 1e-3, 'cagrad': 5e-3, 'imtl_g': 1e-3, 'upgrad': 1e-3,
              'dualproj': 1e-3},
  'dependent': {'upgrad': 1e-3, 'dualproj': 1e-3},
  # The ridges on cosines tell: 1e-6 beside 5e-4, and 1e-4 in UPGrad.
  'opposed': {'gradvac': 1e-3, 'mgda': 5e-3, 'cagrad': 5e-3, 'imtl_g': 5e-2,
              'nash': 5e-2, 'fairgrad': 5e-2, 'aligned': 5e-2, 'upgrad': 0.1,
              'config': 1e-3, 'dualproj': 0.1, 'pcd': 1e-2},
}  # fmt: skip


def _decades(generator):
  """Lengths from 1 to 1e-4, both ends always there."""
  lengths = 10.0 ** -np.array([0, 4, *generator.uniform(0, 4, 2)])
  vectors = generator.normal(size=(cases.GROUPS, cases.WIDTH))
  return exact.unit(vectors) * generator.permutation(lengths)[:, None]


def _dependent(generator):
  """A gradient twice, a sum of others, or all in a plane."""
  vectors = generator.normal(size=(cases.GROUPS, cases.WIDTH))
  kind = generator.integers(3)
  if kind == 0:
    vectors[3] = 2 * vectors[0]
  elif kind == 1:
    vectors[3] = vectors[0] + vectors[1]
  else:
    # Common descent exists: the coefficients are positive.
    vectors = np.abs(vectors[:, :2]) @ vectors[:2]
  return vectors


def _opposed(generator, noise=3e-2):
  vectors = generator.normal(size=(cases.GROUPS, cases.WIDTH))
  turned = -generator.uniform(0.3, 3.0) * vectors[0]
  vectors[1] = turned + noise * generator.normal(size=cases.WIDTH)
  return vectors


_DRAWS = {'decades': _decades, 'dependent': _dependent, 'opposed': _opposed}


def _float32(vectors):
  """What both sides are given."""
  return np.asarray(vectors, np.float32).astype(np.float64)


@pytest.mark.parametrize('kind', _DRAWS)
@pytest.mark.parametrize('name', cases.NAMES)
def test_updates_are_those_of_exact_arithmetic(name, kind):
  for seed in SEEDS:
    vectors = _float32(_DRAWS[kind](np.random.default_rng(seed)))
    expected = exact.update(name, vectors, seed)
    actual = cases.apply(name, vectors, seed=seed)
    if name == 'agr_rand':  # noise where signs disagree
      agreeing = expected != 0
      actual, expected = actual[agreeing], expected[agreeing]
    # Opposed gradients cancel: what is left is small beside them.
    longest = np.linalg.norm(vectors, axis=1).max()
    size = longest if kind == 'opposed' else np.linalg.norm(expected)
    error = np.linalg.norm(actual - expected)
    assert error <= _LOOSE[kind].get(name, 1e-5) * size, seed


@pytest.mark.parametrize('name', cases.NAMES)
def test_nearly_opposed_gradients_do_not_explode(name):
  for seed in SEEDS:
    noise = 10.0 ** -(3 + seed % 5)
    vectors = _float32(_opposed(np.random.default_rng(seed), noise))
    update = cases.apply(name, vectors, seed=seed)
    # The sum of all, or as long as all are together (FairGrad).
    bound = np.linalg.norm(vectors, axis=1).sum()
    if name == 'db_mtl':  # gradients of log losses, all the longest one
      bound *= cases.GROUPS / min(cases.LOSSES)
    if name in ('stch', 'pbi'):  # of log losses; by distance from a direction
      bound *= 5.0
    if name != 'agr_rand':  # noise has no bound
      assert np.linalg.norm(update) <= bound, seed


def test_imtl_keeps_short_gradients():
  """Orthogonal ones of length 1 and 700: weights 700/701 and 1/701."""
  vectors = np.zeros((cases.GROUPS, cases.WIDTH))
  vectors[0, 0], vectors[1, 1] = 1.0, 700.0
  present = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  update = cases.apply('imtl_g', vectors, present)
  np.testing.assert_allclose(update[:2], 700 / 701, rtol=1e-5)


def test_imtl_of_opposed_gradients_is_their_unit_sum():
  """(1, 0) and (-3, 0): weights 3/4 and 1/4, every projection is 0."""
  vectors = np.zeros((cases.GROUPS, cases.WIDTH))
  vectors[0, 0], vectors[1, 0] = 1.0, -3.0
  present = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  for noise in (0.0, 1e-5, 1e-4, 1e-3, 1e-2):
    vectors[1, 1] = noise
    update = cases.apply('imtl_g', vectors, present)
    assert np.linalg.norm(update) <= 2 * noise + 1e-6


def _stack(name, groups, width, **options):
  """Gradients f32[N, G, D] -> updates f64[N, D]."""
  aggregator = aggregators.make(config.AggregatorConfig(name=name, **options))
  ones = jnp.ones(groups)
  info = types.GroupInfo(ones, ones, ones)
  one = lambda g: aggregator.update({'w': g}, info, ())[0]['w']
  mapped = jax.jit(jax.vmap(one))
  return lambda vectors: np.asarray(
    mapped(jnp.asarray(vectors, jnp.float32)), np.float64
  )


def test_cagrad_stays_in_its_ball_when_gradients_are_opposed():
  """|d - g_0| = |g_0| / 2 exactly; rounding leaves it below 0.75."""
  generator = np.random.default_rng(0)
  vectors = generator.normal(size=(64, 5, 64))
  factor = 10 ** generator.uniform(-1, 1, (64, 1))
  noise = 10.0 ** -generator.uniform(2, 7, (64, 1))
  vectors[:, 1] = noise * vectors[:, 1] - factor * vectors[:, 0]
  vectors[0, 1] = -vectors[0, 0]
  mean = vectors.mean(1)
  directions = (1 + 0.5**2) * _stack('cagrad', 5, 64)(vectors)
  radius = np.linalg.norm(directions - mean, axis=1)
  assert np.max(radius / np.linalg.norm(mean, axis=1)) < 0.75


def test_mgda_of_many_groups_sees_the_short_ones():
  """Ten groups, more than have their supports tried."""
  generator = np.random.default_rng(0)
  lengths = 10 ** generator.uniform(-4, 0, (6, 10, 1))
  vectors = _float32(generator.normal(size=(6, 10, 30)) * lengths)
  for gradients, update in zip(vectors, _stack('mgda', 10, 30)(vectors)):
    # min |V' w| with sum w = 1, the latter as a heavy equation.
    heavy = 1e4 * np.ones((1, 10))
    system = np.concatenate([gradients.T, heavy])
    weights = optimize.nnls(system, np.append(np.zeros(30), 1e4))[0]
    expected = weights / weights.sum() @ gradients
    error = np.linalg.norm(update - expected)
    assert error <= 1e-4 * np.linalg.norm(expected)


def test_published_nash_has_length_one_whatever_the_gradients():
  for factor in (1e-6, 1.0, 1e6):
    vectors = factor * cases.draw(0)
    update = cases.apply('nash', vectors, nash_scale='published')
    np.testing.assert_allclose(np.linalg.norm(update), 1.0, rtol=1e-5)
    longer = cases.apply(
      'nash', vectors, nash_scale='published', nash_max_norm=0.0
    )
    # M a = 1 / a with M as it is: |d|^2 = a'Ma = G.
    np.testing.assert_allclose(longer @ longer, cases.GROUPS, rtol=1e-4)
    np.testing.assert_allclose(exact.unit(longer), update, rtol=1e-4, atol=1e-6)
    relative = cases.apply('nash', vectors)
    expected = min(1.0, np.linalg.norm(vectors))
    np.testing.assert_allclose(np.linalg.norm(relative), expected, rtol=1e-4)
