import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import recipes
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.presets import baselines
from twotsrec.training import behavior_steps

PENALTY = 0.01  # large enough to be seen


def _config(system):
  made = baselines.preset('amazon-book-kgat', system)
  made.model.width = toys.WIDTH
  made.behavior.l2 = PENALTY
  return made


def _by_hand(params, mask, pairs, users, depth):
  """Loss and gradient of the embeddings of all nodes in dense algebra.

  Z = mean of S^l X with S = D^-1/2 A D^-1/2; the mean of -log sigmoid of the
  margins, and half the squared embeddings of the pairs over their number (the
  code of He et al. 2020).
  """
  nodes = np.concatenate(
    [
      np.asarray(params.tables['user']['embedding'], np.float64),
      np.asarray(params.tables['item']['embedding'][1:], np.float64),
    ]
  )
  walk = toys.normalize(toys.adjacency(mask), 'symmetric')
  powers = [np.linalg.matrix_power(walk, n) for n in range(depth + 1)]
  mean = sum(powers) / len(powers)
  table, gradient, loss = mean @ nodes, np.zeros_like(nodes), 0.0
  ego = np.zeros_like(nodes)
  real = [n for n in range(len(pairs.slot)) if pairs.weight[n]]
  for n in real:
    user = int(users[pairs.slot[n]])
    above, below = (
      toys.USERS + int(item) - 1
      for item in (pairs.positive[n], np.ravel(pairs.negative[n])[0])
    )
    margin = table[user] @ (table[above] - table[below])
    loss += np.log1p(np.exp(-margin)) / len(real)
    slope = -1 / (1 + np.exp(margin)) / len(real)
    gradient[user] += slope * (table[above] - table[below])
    gradient[above] += slope * table[user]
    gradient[below] -= slope * table[user]
    for node in (user, above, below):
      ego[node] += PENALTY * nodes[node] / len(real)
  return loss, mean @ gradient + ego


@pytest.mark.parametrize(('system', 'depth'), [('lightgcn', 3), ('mf_bpr', 0)])
def test_its_gradient_is_the_published_one_in_dense_algebra(system, depth):
  made, mask = _config(system), toys.masks()[2]
  model, context, params = toys.system(made, (mask,))
  batch = toys.batch()
  batch = batch._replace(pairs=batch.pairs[2:])
  gradient = behavior_steps.make_gradient(model, made, toys.USERS, jnp.ones(1))
  grads, _, sums, counts = jax.jit(gradient)(params, context, batch, (), None)
  pairs = jax.tree.map(np.asarray, batch.pairs[0])
  users = np.asarray(batch.users)
  loss, expected = _by_hand(params, mask, pairs, users, depth)
  np.testing.assert_allclose(sums[0] / counts[0], loss, rtol=1e-5)
  actual = np.concatenate(
    [
      grads.tables['user']['embedding'],
      grads.tables['item']['embedding'][1:],
    ]
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)
  assert np.abs(expected).max() > 0.01


def test_published_settings_are_those_of_the_program():
  made = baselines.preset('amazon-book-kgat')
  recipes.check(made)
  loss, train = made.behavior, made.train
  assert (loss.epoch, loss.samples, train.batch_size) == ('pairs', 1, 2048)
  assert (loss.l2, loss.l2_scope, loss.bpr_scale) == (1e-4, 'batch', 1.0)
  assert (loss.init, loss.init_std, loss.decay_rate) == ('normal', 0.1, 1.0)
  assert (train.learning_rate, made.model.width) == (1e-3, 64)
  assert (made.fusion.num_layers, loss.weights) == ((3,), (1.0,))
  assert baselines.preset('ml-1m', 'mf_bpr').fusion.num_layers == (0,)


def test_an_unknown_system_lists_the_known_ones():
  with pytest.raises(types.UserError, match="'copf' is unknown; known: light"):
    baselines.preset('amazon-book-kgat', 'copf')


@pytest.mark.parametrize('system', baselines.OF_ONE_BEHAVIOR)
def test_a_system_of_one_behavior_can_be_made(system):
  made = baselines.preset('amazon-book-kgat', system)
  recipes.check(made)
  multi_behavior.make(made, 1, toys.USERS, toys.ITEMS)
