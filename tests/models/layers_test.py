import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from twotsrec.models import layers


def test_layer_norm_is_the_equation_also_around_a_large_mean():
  params = {'scale': jnp.array([1.0, 2.0, 3.0]), 'bias': jnp.arange(3.0)}
  x = np.array([[1.0, 2.0, 4.0], [1001.0, 1002.0, 1004.0]], np.float32)
  expected = [
    examples.layer_norm(examples.as_numpy(params), row, 1e-5)
    for row in x.astype(np.float64)
  ]
  actual = layers.layer_norm(params, x)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_mlp_activates_every_layer_but_the_last():
  init = jax.jit(layers.init_mlp, static_argnums=1)
  params = init(jax.random.key(0), (3, 5, 4, 2))
  x = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
  expected = examples.mlp(examples.as_numpy(params), x, np.tanh)
  np.testing.assert_allclose(layers.mlp(params, x), expected, rtol=1e-5)


@pytest.mark.parametrize('shape', [(101, 99), (7,), (3, 5, 7)])
def test_dropout_keeps_or_scales_every_entry(shape):
  rate = 0.25
  x = jnp.ones(shape)
  y = np.asarray(layers.dropout(jax.random.key(0), x, rate))
  assert y.shape == shape
  assert set(np.unique(y)) <= {np.float32(0.0), np.float32(1.0 / (1.0 - rate))}


def test_dropout_hits_its_rate_and_keeps_the_mean():
  rate, count = 0.2, 200_000
  y = np.asarray(layers.dropout(jax.random.key(0), jnp.ones(count), rate))
  error = np.sqrt(rate * (1.0 - rate) / count)
  assert abs(np.mean(y == 0.0) - rate) < 4.0 * error
  assert abs(np.mean(y) - 1.0) < 4.0 * error / (1.0 - rate)
  # The two entries that share a draw of 32 bits are independent.
  dropped = (y == 0.0).reshape(-1, 2)
  assert abs(np.mean(dropped.all(axis=1)) - rate**2) < 8.0 * error * rate


def test_no_key_or_no_rate_leaves_the_input():
  x = jnp.arange(5.0)
  assert layers.dropout(None, x, 0.5) is x
  assert layers.dropout(jax.random.key(0), x, 0.0) is x
