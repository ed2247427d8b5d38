import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import types
from twotsrec.training import grouped

RAGGED = (8, 40, 208)  # rows enough, and most places of a vmap are filling


@functools.cache
def _batch(widths):
  """Groups that fill their first places."""
  capacity, length = max(widths), 3
  place = np.arange(capacity)
  weight = (place < np.array(widths)[:, None]).astype(np.float32)
  shape = weight.shape
  history = np.arange(np.prod(shape) * length, dtype=np.int32)
  return types.Batch(
    history=jnp.asarray(history.reshape(*shape, length) % 7),
    candidates=jnp.zeros((*shape, 2), jnp.int32),
    user=jnp.zeros(shape, jnp.int32),
    group=jnp.zeros(shape, jnp.int32),
    weight=jnp.asarray(weight),
  )


def _mean(shared, own, batch):
  """Weighted mean of a function of what a group sees; rows it was given."""
  values = jnp.tanh(shared * own * jnp.sum(batch.history, axis=-1))
  mean = jnp.sum(values * batch.weight) / jnp.sum(batch.weight)
  return {'mean': mean, 'rows': jnp.asarray(batch.weight.shape[0])}


@pytest.mark.parametrize(
  ('widths', 'rows'),
  [
    (RAGGED, RAGGED),  # group by group
    ((100, 100, 100), (100, 100, 100)),
    ((2, 3, 20), (20, 20, 20)),  # too few rows to be worth it
  ],
)
def test_it_is_the_loop_over_groups_and_skips_filling_where_it_pays(
  widths, rows
):
  own, batch = jnp.array([0.1, 0.2, 0.3]), _batch(widths)
  result = jax.jit(grouped.map_groups(_mean, widths))(0.5, own, batch)
  assert result['rows'].tolist() == list(rows)
  for j, width in enumerate(widths):
    history = np.asarray(batch.history[j, :width], np.float64)
    expected = np.mean(np.tanh(0.5 * own[j] * history.sum(-1)))
    np.testing.assert_allclose(result['mean'][j], expected, rtol=1e-5)


def test_unknown_widths_are_mapped_over_all_places():
  result = grouped.map_groups(_mean)(0.5, jnp.ones(3), _batch(RAGGED))
  assert result['rows'].tolist() == [max(RAGGED)] * 3


def test_what_a_group_has_of_its_own_gets_its_own_gradient():
  own, batch = jnp.array([0.1, 0.2, 0.3]), _batch(RAGGED)
  total = lambda mapped, own: jnp.sum(mapped(0.5, own, batch)['mean'])
  ragged, mapped = (
    jax.grad(functools.partial(total, grouped.map_groups(_mean, widths)))(own)
    for widths in (RAGGED, None)
  )
  np.testing.assert_allclose(ragged, mapped, rtol=1e-5)
