from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import contracts
from twotsrec import types
from twotsrec.plugins import plugged
from twotsrec.training import plugin_spread

GROUPS, WIDTH = 4, 3


def test_noise_and_differences_of_planted_groups_are_recovered():
  rng, width, q, variance = np.random.default_rng(0), 40, 8.0, 0.05
  counts = np.array([[40, 90, 200, 900], [60, 90, 250, 800]])
  found = []
  for _ in range(300):
    taste = np.sqrt(variance / width) * rng.normal(size=(4, width))
    noise = rng.normal(size=(2, 4, width)) * np.sqrt(q / width)
    means = taste + noise / np.sqrt(counts)[..., None]
    spread = plugin_spread.spread(means * counts[..., None], counts)
    found.append((spread.q, spread.variance))
  mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(300)
  assert np.all(np.abs(mean - [q, variance]) < 4 * error)


def test_groups_that_differ_by_noise_alone_have_no_use_of_plugins():
  sums = np.array([[[1.0], [-1.0]], [[-1.0], [1.0]]])
  spread = plugin_spread.spread(sums, np.full((2, 2), 5.0))
  assert spread.variance < 0.0 and spread.shrinkage == plugin_spread.NEVER


def test_a_group_without_samples_in_a_half_is_refused():
  counts = np.array([[3.0, 0.0], [3.0, 2.0]])
  with pytest.raises(types.UserError, match='with samples of every group'):
    plugin_spread.spread(np.ones((2, 2, 1)), counts)


def _plugin_loss(trunk, own, context, batch, key):
  del key
  logits = batch.x @ (trunk.net['w'] + own['shift']) * context['scale']
  values = jax.nn.softplus(logits) * batch.weight
  return jnp.sum(values) / jnp.maximum(jnp.sum(batch.weight), 1.0)


def test_the_estimate_is_that_of_a_loop_over_batches():
  """Every batch and group by itself, its gradient by the closed form."""
  rng = np.random.default_rng(1)
  x = rng.normal(size=(60, WIDTH)).astype('f4')
  group = rng.integers(0, GROUPS, 60)
  plan = np.full((6, GROUPS, 8), -1)
  for s, part in enumerate(np.array_split(np.arange(60), 6)):
    for g in range(GROUPS):
      mine = part[group[part] == g][:8]
      plan[s, g, : len(mine)] = mine

  class Batch(NamedTuple):
    x: jax.Array
    weight: jax.Array

  source = contracts.Source(
    feed=jnp.asarray(x),
    sizes=jnp.ones(GROUPS),
    batch_of=lambda feed, rows, key: Batch(
      feed[jnp.maximum(rows, 0)], (rows >= 0).astype(jnp.float32)
    ),
    plan_of=lambda epoch: plan,
  )
  w = rng.normal(size=WIDTH).astype('f4')
  start = plugged.join(
    types.Params({}, {'w': w}), {'shift': np.zeros((GROUPS, WIDTH), 'f4')}
  )
  actual = plugin_spread.estimate(
    _plugin_loss, source, {'scale': 0.5}, start, jax.random.key(0)
  )
  sums, counts = np.zeros((2, GROUPS, WIDTH)), np.zeros((2, GROUPS))
  for s in range(6):
    for g in range(GROUPS):
      for row in plan[s, g][plan[s, g] >= 0]:
        chance = 1.0 / (1.0 + np.exp(-0.5 * x[row] @ w))
        sums[s % 2, g] += 0.5 * chance * x[row]
        counts[s % 2, g] += 1
  expected = plugin_spread.spread(sums, counts, steps=6)
  np.testing.assert_allclose(actual, expected, rtol=1e-4)
