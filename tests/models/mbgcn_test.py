import jax
import numpy as np

from tests import behavior_toys as toys
from tests.models import fusions

K, D = 3, toys.WIDTH


def scores(net, nodes, item_weight):
  """Both parts of the score, user by user and item by item; f64[U, I]."""
  p, q = fusions.sides(nodes)
  masks = [mask.astype(float) for mask in toys.masks()]
  counts = np.stack([mask.sum(1) for mask in masks], 1)
  own = {name: np.asarray(value, float) for name, value in net.items()}
  first = np.zeros((toys.USERS, toys.ITEMS))
  for u in range(toys.USERS):
    pull = np.zeros(D)
    weights = own['share'] * counts[u]
    for k in range(K):
      if counts[u, k]:
        pull += weights[k] / weights.sum() * masks[k][u] @ q / counts[u, k]
    for i in range(toys.ITEMS):
      back = sum((p[v] for v in np.flatnonzero(masks[-1][:, i])), np.zeros(D))
      user = np.concatenate([p[u], pull @ own['own']])
      first[u, i] = user @ np.concatenate([q[i], back @ own['own']])
  second = np.zeros_like(first)
  for k in range(K):
    shared = masks[k].T @ masks[k]  # how often two items share a user
    np.fill_diagonal(shared, 0)
    total = shared.sum(1, keepdims=True)
    others = np.divide(shared @ q, total, where=total > 0, out=0 * q)
    s = np.concatenate([q, others @ own['item'][k]], axis=1)
    for u in range(toys.USERS):
      if counts[u, k]:
        mean = masks[k][u] @ s / counts[u, k]
        second[u] += s @ (mean @ own['pair'][k]) / K
  return first + item_weight * second


def test_one_product_of_rows_is_the_published_score():
  made = fusions.make('mbgcn', item_weight=0.7)
  table = made.encode().behaviors[-1]
  assert table.shape == (toys.NODES, made.fusion.width)
  assert made.fusion.width == 2 * D + 2 * D * K
  user, item = fusions.sides(table)
  fusions.close(user @ item.T, scores(made.net, made.nodes, 0.7))


def test_with_equal_weights_and_one_behavior_a_user_has_the_mean():
  mask = toys.masks()[0]
  made = fusions.make('mbgcn', dense=[mask], item_weight=0.0)
  own = {'share': np.full(1, 0.3, 'f4'), 'own': np.eye(D, dtype='f4')}
  net = {**made.net, **own}
  user, _ = fusions.sides(made.encode(net=net).behaviors[0])
  _, q = fusions.sides(made.nodes)
  degree = np.maximum(mask.sum(1, keepdims=True), 1)
  fusions.close(user[:, D : 2 * D], mask @ q / degree)


def test_dropout_acts_in_training_and_on_the_first_product_alone():
  made = fusions.make('mbgcn', dropout=0.5)
  plain = np.asarray(made.encode().behaviors[0])
  trained = np.asarray(made.encode(key=jax.random.key(0)).behaviors[0])
  base = 2 * D
  np.testing.assert_allclose(trained[:, base:], plain[:, base:], rtol=1e-6)
  left = trained[:, :base] != 0
  np.testing.assert_allclose(
    trained[:, :base][left], 2 * plain[:, :base][left], rtol=1e-6
  )
  assert 0.2 < left.mean() < 0.8
