import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twotsrec import config as config_lib
from twotsrec.training import optimizers


@pytest.mark.parametrize('beta2', [0.999, 0.98])
def test_it_is_adam_as_published(beta2):
  """Kingma and Ba 2015, algorithm 1."""
  config = config_lib.TrainConfig(learning_rate=0.02, beta2=beta2)
  optimizer = optimizers.make(config)
  slopes = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  slopes[2] = 0.0  # the moments of an untouched row move it all the same
  params = jnp.asarray([1.0, -2.0, 0.5])
  state = optimizer.init(params)

  @jax.jit
  def step(params, state, slope):
    updates, state = optimizer.update(slope, state, params)
    return optax.apply_updates(params, updates), state

  expected, first, second = np.asarray(params, np.float64), 0.0, 0.0
  for count, slope in enumerate(slopes, 1):
    params, state = step(params, state, slope)
    first = 0.9 * first + 0.1 * slope
    second = beta2 * second + (1 - beta2) * slope.astype(np.float64) ** 2
    mean, square = first / (1 - 0.9**count), second / (1 - beta2**count)
    expected = expected - 0.02 * mean / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(params, expected, rtol=1e-5)


@pytest.mark.parametrize('decay', [1.0, 0.9])
def test_a_rate_that_is_told_moves_as_one_of_the_settings(decay):
  slopes = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
  told = optimizers.make(config_lib.TrainConfig(), decay, 2)
  rates = 3e-4, 1e-2

  @jax.jit
  def step(slope, state, rate):
    return told.update(slope, state, rate=rate)

  for rate in rates:
    own = optimizers.make(config_lib.TrainConfig(learning_rate=rate), decay, 2)
    states = [told.init(slopes[0]), own.init(slopes[0])]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    move = jax.jit(own.update)
    for slope in slopes:
      moves, states[0] = step(slope, states[0], jnp.float32(rate))
      expected, states[1] = move(slope, states[1])
      np.testing.assert_array_equal(moves, expected)
  assert step._cache_size() == 1
