import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twotsrec.training import row_optimizers

RATE, ROWS, WIDTH = 0.1, 7, 3
# Twice the rows, and fewer than them: both ways to find duplicates.
BATCHES = [
  np.array([1, 4, 1, 1, 6, 4, -1, 0, 0, 1, -1, 4, 6, 1]),
  np.array([5, 2, 5, -1]),
]


def _normal(*shape, seed=0):
  generator = np.random.default_rng(seed)
  return generator.normal(size=shape).astype(np.float32)


def _tables():
  return {'embedding': _normal(ROWS, WIDTH), 'bias': _normal(ROWS, 1, seed=1)}


def _grads(ids, seed):
  # As small as those of a mean over a large batch.
  draw = lambda width, s: 1e-6 * _normal(len(ids), width, seed=s)
  return {'embedding': draw(WIDTH, seed), 'bias': draw(1, seed + 100)}


@functools.cache
def _update(optimizer):
  return jax.jit(optimizer.update)


def _run(optimizer, batches):
  tables = jax.tree.map(jnp.asarray, _tables())
  state = optimizer.init(tables)
  for seed, ids in enumerate(batches):
    ids = jnp.asarray(ids, jnp.int32)
    tables, state = _update(optimizer)(tables, state, ids, _grads(ids, seed))
  return tables, state


def _dense(ids, grads, rows=ROWS):
  """The gradient of the whole table."""
  total = np.zeros((rows, grads.shape[1]))
  for row, grad in zip(ids, grads, strict=True):
    if row >= 0:
      total[row] += grad
  return total


@pytest.mark.parametrize('order', [[0], [1], [0, 1, 0, 1, 1]])
def test_row_adagrad_is_the_dense_one_and_leaves_other_rows_alone(order):
  batches = [BATCHES[i] for i in order]
  ours, state = _run(row_optimizers.row_adagrad(RATE), batches)
  for leaf, (name, table) in enumerate(sorted(_tables().items())):
    expected, total = table.astype(np.float64), np.zeros(ROWS)
    for seed, ids in enumerate(batches):
      grad = _dense(ids, _grads(ids, seed)[name])
      total += np.mean(grad**2, axis=1)
      root = np.where(total > 0, np.sqrt(total), 1.0)
      expected -= RATE * grad / root[:, None]
    np.testing.assert_allclose(ours[name], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state[leaf], total, rtol=1e-5)
    idle = np.setdiff1d(np.arange(ROWS), np.concatenate(batches))
    assert len(idle)
    np.testing.assert_array_equal(ours[name][idle], table[idle])


def test_a_first_step_is_as_long_as_the_rate_whatever_the_gradient():
  optimizer = row_optimizers.row_adagrad(RATE)
  table = {'embedding': jnp.zeros((4, WIDTH))}
  grads = {'embedding': jnp.full((1, WIDTH), 1e-8)}
  moved, _ = _update(optimizer)(
    table, optimizer.init(table), jnp.array([2], jnp.int32), grads
  )
  np.testing.assert_allclose(moved['embedding'][2], -RATE, rtol=1e-3)


def test_lazy_adam_is_adam_when_every_row_is_in_use():
  everyone = np.concatenate([np.arange(ROWS), [2, 2, -1]])
  batches = [np.random.default_rng(s).permutation(everyone) for s in range(4)]
  ours, _ = _run(row_optimizers.lazy_adam(RATE), batches)
  theirs, optimizer = jax.tree.map(jnp.asarray, _tables()), optax.adam(RATE)
  state = optimizer.init(theirs)
  for seed, ids in enumerate(batches):
    grads = {
      name: jnp.asarray(_dense(ids, grad), jnp.float32)
      for name, grad in _grads(ids, seed).items()
    }
    changes, state = optimizer.update(grads, state)
    theirs = optax.apply_updates(theirs, changes)
  for name in ours:
    np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5)


def test_a_row_that_rests_does_not_move_in_lazy_adam():
  """Every row is as if Adam had run on its own updates alone."""
  batches = [BATCHES[i] for i in (0, 1, 1, 0)]
  ours, state = _run(row_optimizers.lazy_adam(RATE), batches)
  b1, b2, eps = 0.9, 0.999, 1e-8
  for name, table in _tables().items():
    for row in range(ROWS):
      mean = square = np.zeros(table.shape[1])
      expected, own = table[row].astype(np.float64), 0
      for number, ids in enumerate(batches):
        if row not in ids:
          continue
        own += 1
        grad = _dense(ids, _grads(ids, number)[name])[row]
        mean = b1 * mean + (1 - b1) * grad
        square = b2 * square + (1 - b2) * grad**2
        root = np.sqrt(square / (1 - b2**own))
        expected -= RATE * mean / (1 - b1**own) / (root + eps)
      np.testing.assert_allclose(ours[name][row], expected, rtol=1e-4)
      if not own:
        np.testing.assert_array_equal(ours[name][row], table[row])
