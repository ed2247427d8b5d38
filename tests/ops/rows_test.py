import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.ops import rows


def test_gather_takes_rows_of_every_array_and_scatters_the_gradient():
  draw = np.random.default_rng(0).normal
  table = {
    'embedding': jnp.asarray(draw(size=(5, 3)), jnp.float32),
    'bias': jnp.asarray(draw(size=(5, 1)), jnp.float32),
  }
  ids = jnp.array([[1, 4], [4, 0]])
  gathered = rows.gather(table, ids)
  np.testing.assert_array_equal(
    gathered['embedding'], np.asarray(table['embedding'])[ids]
  )
  assert gathered['bias'].shape == (2, 2, 1)
  grad = jax.grad(lambda t: jnp.sum(rows.gather(t, ids)['embedding']))(table)
  counts = np.bincount(np.ravel(ids), minlength=5)
  np.testing.assert_array_equal(
    grad['embedding'], np.repeat(counts[:, None], 3, axis=1)
  )


def test_padding_rows_are_zero_and_pass_no_gradient():
  values, ids = jnp.ones((2, 3, 4)), jnp.array([[1, 2, 0], [3, 0, 0]])
  masked = rows.mask_padding(values, ids)
  np.testing.assert_array_equal(masked[..., 0], np.asarray(ids) > 0)
  grad = jax.grad(lambda v: jnp.sum(rows.mask_padding(v, ids)))(values)
  np.testing.assert_array_equal(grad, masked)
