import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec import types

WIDTH = 8
D = WIDTH // 2


def f64(tree):
  return jax.tree.map(lambda leaf: np.asarray(leaf, float), tree)


def dense(layer, x):
  return x @ layer['kernel'] + layer['bias']


def side(net, messages):
  """The next row of one node, from its message in every behavior."""
  transformed = []
  for channel, message in zip(net['channels'], messages, strict=True):
    gate = np.maximum(dense(channel, message), 0)
    matrix = sum(a * m for a, m in zip(gate, net['transform'], strict=True))
    transformed.append(message @ matrix)
  x = np.stack(transformed)
  query, key, value = (
    (x @ net['attention'][name]).reshape(len(x), 2, -1)
    for name in ('query', 'key', 'value')
  )
  out = np.zeros_like(value)
  for head in range(2):
    logits = query[:, head] @ key[:, head].T / (D / 2)
    out[:, head] = fusions.softmax(logits, 1) @ value[:, head]
  out = out.reshape(x.shape)
  logits = np.maximum(dense(net['gate'], out), 0) @ net['read']['kernel']
  return (fusions.softmax(logits, 0) * out).sum(0)


def table(net, nodes, masks):
  net, nodes = f64(net), np.asarray(nodes, float)
  last, layers = nodes[:, :D], [nodes[:, D:]]
  for own in net['layers']:
    messages = np.stack([toys.adjacency(mask) @ last for mask in masks], 1)
    last = np.stack(
      [side(own[n >= toys.USERS], row) for n, row in enumerate(messages)]
    )
    length = np.sqrt(1e-6 + (last**2).sum(1, keepdims=True))
    layers.append(last / (1e-6 + length))
  return np.maximum(dense(net['out'], np.concatenate(layers, 1)), 0)


def test_the_table_is_that_of_dense_algebra():
  made = fusions.make('gnmr', width=WIDTH, num_layers=(2,))
  ours = made.encode().behaviors[0]
  assert ours.shape == (toys.NODES, made.fusion.width)
  fusions.close(ours, table(made.net, made.nodes, toys.masks()))


def test_behaviors_in_another_order_with_their_weights_give_the_same():
  made = fusions.make('gnmr', width=WIDTH)
  order = [2, 0, 1]
  dense = [toys.masks()[k] for k in order]
  other = fusions.make('gnmr', width=WIDTH, dense=dense)
  turn = lambda own: {**own, 'channels': [own['channels'][k] for k in order]}
  layers = [tuple(turn(own) for own in pair) for pair in made.net['layers']]
  net = {**made.net, 'layers': layers}
  fusions.close(other.encode(net=net).behaviors[0], made.encode().behaviors[0])


def test_one_behavior_attends_to_itself():
  mask = toys.masks()[0]
  made = fusions.make('gnmr', width=WIDTH, dense=[mask])
  net = jax.tree.map(lambda leaf: leaf, made.net)
  for pair in net['layers']:
    for own in pair:
      own['attention'].update(query=9 * own['attention']['key'],
                              key=-own['attention']['query'])  # fmt: skip
  fusions.close(made.encode(net=net).behaviors[0], made.encode().behaviors[0])


def test_it_has_as_many_parameters_as_published():
  made = fusions.make('gnmr', width=WIDTH, num_layers=(2,))
  side = 3 * (D * 8 + 8) + 8 * D * D + 3 * D * D
  side += D * (D // 2) + D // 2 + D // 2
  count = sum(leaf.size for leaf in jax.tree.leaves(made.net))
  assert count == 2 * 2 * side + 3 * D * D + D


def test_a_width_that_has_no_two_halves_of_two_heads_is_refused():
  with pytest.raises(types.UserError, match='give a multiple of 4'):
    fusions.make('gnmr', width=6)
