import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec import types
from twotsrec.models import cogcn
from twotsrec.models import gcmc
from twotsrec.ops import links as links_lib

NAMES = ('gcmc', 'gcmc_sage', 'gcmc_gat')
DENSE = toys.masks()[fusions.TARGET]


def _around(dense):
  """Neighbors of every node by hand, and their mean of a table."""
  adjacency = toys.adjacency(dense)
  counts = adjacency.sum(1, keepdims=True)
  return adjacency, adjacency / np.maximum(counts, 1)


def _expected(name, net, x):
  adjacency, mean = _around(DENSE)
  if name == 'gcmc':
    h = toys.normalize(adjacency, 'symmetric') @ x
  elif name == 'gcmc_sage':
    h = x @ net['own'] + mean @ x @ net['neighbors']
  else:
    heads, parts = len(net['left']), []
    values = np.split(x @ net['value'], heads, axis=1)
    for v, left, right in zip(values, net['left'], net['right']):
      part = np.zeros_like(v)
      for node in range(len(x)):
        near = np.flatnonzero(adjacency[node])
        if near.size:
          logits = v[node] @ left + v[near] @ right
          logits = np.where(logits > 0, logits, 0.2 * logits)
          part[node] = fusions.softmax(logits, 0) @ v[near]
      parts.append(part)
    h = np.concatenate(parts, axis=1)
  return np.maximum(h, 0) @ net['out']


def _f64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.parametrize('name', NAMES)
def test_it_is_its_equation_in_dense_algebra(name):
  made = fusions.make(name, **({'num_heads': 2} if 'gat' in name else {}))
  expected = _expected(name, _f64(made.net), made.nodes.astype(np.float64))
  for table in made.encode().behaviors:
    fusions.close(table, expected)


def test_with_an_identity_and_nothing_to_rectify_it_is_a_layer_of_lightgcn():
  """A table of COGCN is a sum of layers, so the last is what it adds."""
  start = np.abs(toys.nodes())
  made = fusions.make('gcmc')
  net = {'out': jnp.eye(toys.WIDTH)}
  ours = made.encode(net=net, nodes=start.astype('f4')).behaviors[-1]
  lightgcn = {
    'fusion__pre_behavior': 'none', 'fusion__in_behavior': 'own',
    'fusion__normalization': 'symmetric', 'fusion__self_loop': False,
  }  # fmt: skip
  one, none = (
    toys.encode(cogcn.make, start, fusion__num_layers=(depth,), **lightgcn)[0]
    for depth in (1, 0)
  )
  fusions.close(ours, one[-1] - none[-1])


def test_alike_neighbors_are_a_mean():
  """a = 0 in every head."""
  made = fusions.make('gcmc_gat', num_heads=2)
  net = made.net | {
    side: jnp.zeros_like(made.net[side]) for side in ('left', 'right')
  }
  _, mean = _around(DENSE)
  plain = _f64(net)
  h = mean @ made.nodes.astype(np.float64) @ plain['value']
  fusions.close(
    made.encode(net=net).behaviors[0], np.maximum(h, 0) @ plain['out']
  )


def test_sampled_neighbors_are_the_mean_of_all_in_the_long_run():
  links = links_lib.from_pairs([toys.edges()[-1]], toys.USERS, toys.ITEMS)
  x = toys.nodes().astype('f4')
  many = gcmc.sampled_mean(links, jax.random.key(0), x, 20_000)
  _, mean = _around(DENSE)
  np.testing.assert_allclose(many, mean @ x, atol=0.05)
  idle = toys.adjacency(DENSE).sum(1) == 0
  assert idle.any() and not np.any(np.asarray(many)[idle])
  alone = toys.adjacency(DENSE).sum(1) == 1  # whatever is drawn
  one = gcmc.sampled_mean(links, jax.random.key(1), x, 1)
  np.testing.assert_allclose(one[alone], (mean @ x)[alone], rtol=1e-5)


def test_training_draws_neighbors_and_ranking_takes_all():
  everything = (np.ones((toys.USERS, toys.ITEMS), bool),) * 3
  drawn, whole = (
    fusions.make('gcmc_sage', dense=everything, sample=n) for n in (2, 0)
  )  # the same parameters
  table = lambda made, key: made.encode(key=key).behaviors[0]
  fusions.close(table(drawn, None), table(whole, None))
  first, again, other = (table(drawn, jax.random.key(n)) for n in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)
  fusions.close(table(whole, jax.random.key(0)), table(whole, None))


def test_heads_divide_the_width():
  with pytest.raises(types.UserError, match='must divide model.width 4'):
    fusions.make('gcmc_gat', num_heads=3)
