import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec.models import towers


@pytest.mark.parametrize(
  ('user_shape', 'target_shape'),
  [((2, 4), (2, 3, 4)), ((2, 4), (3, 4)), ((2, 5, 4), (2, 5, 3, 4)),
   ((2, 5, 4), (3, 4))],
)  # fmt: skip
def test_inner_products_broadcast_shared_candidates(user_shape, target_shape):
  rng = np.random.default_rng(0)
  user, target = rng.normal(size=user_shape), rng.normal(size=target_shape)
  full = np.broadcast_to(target, (*user_shape[:-1], 3, 4))
  expected = np.sum(user[..., None, :] * full, axis=-1)
  actual = towers.inner_products(
    jnp.asarray(user, jnp.float32), jnp.asarray(target, jnp.float32)
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
