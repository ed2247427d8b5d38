import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import network_heads
from twotsrec.plugins import plugged

WIDTH, USERS, ITEMS = 8, toys.USERS, toys.ITEMS
SCALE = 3.0
SIZES = types.NodeSizes(3, USERS, ITEMS, WIDTH)
NODES = toys.prepared()


def _head(name, merged=False):
  options = dataclasses.replace(
    config_lib.HeadConfig(), name=name, score_scale=(SCALE,)
  )
  unused = lambda *_: None
  fusion = types.Fusion(unused, unused, unused, WIDTH, merged)
  return network_heads.make(options, fusion, SIZES)


def _net(head):
  shapes = jax.eval_shape(head.init, jax.random.key(0))
  return toys.random_like(shapes, 0.5)


def _tables():
  generator = np.random.default_rng(4)
  shape = (USERS + ITEMS, WIDTH)
  return [generator.normal(size=shape).astype('f4') for _ in range(3)]


def _scores(head, net, tables, task):
  """Scores of all pairs, f32[U, I]."""

  @jax.jit
  def score(net, tables):
    prepared = head.prepare(net, types.Fused(tuple(tables)), NODES, task)
    user, item = behavior_heads.split_sides(prepared, USERS)
    user = jax.tree.map(lambda x: x[:, None], user)
    item = jax.tree.map(lambda x: x[None], item)
    return head.score(net, user, item, task)

  return np.asarray(score(net, tables))


def _relu(x):
  return np.maximum(x, 0)


def _neumf(net, tables, user, item, task):
  half = WIDTH // 2
  p, q = tables[task][user], tables[task][USERS + item]
  x = np.concatenate([p[half:], q[half:]])
  for layer in net['hidden']:
    x = _relu(x @ layer['weight'][task] + layer['bias'][task])
  features = np.concatenate([p[:half] * q[:half], x])
  assert features.shape == (half + half // 2,)
  out = net['out']
  return features @ out['weight'][task, :, 0] + out['bias'][task, 0]


def _cascade(net, tables, user, item, task):
  bias, total = net['bias'][item, 0], None
  for k in range(task + 1):
    z = tables[k][user] * tables[k][USERS + item]
    f = net['out'][k, :, 0] @ _relu(z @ net['hidden'][k])
    total = f + bias if total is None else (f + total) / 2 + bias
  return total


def _mlp(net, tables, user, item, task):
  z = 100 * tables[task][user] * tables[task][USERS + item]
  hidden, out = net['hidden'], net['out']
  z = _relu(z @ hidden['weight'][task] + hidden['bias'][task]) + z
  return z @ out['weight'][task, :, 0] + out['bias'][task, 0]


LITERAL = {'neumf': _neumf, 'cascade_logits': _cascade, 'mlp_product': _mlp}


@pytest.mark.parametrize('name', network_heads.NAMES)
def test_scores_equal_a_loop_over_pairs(name):
  head, tables = _head(name), _tables()
  net = _net(head)
  exact = jax.tree.map(lambda x: np.asarray(x, np.float64), net)
  for task in (0, 2):
    found = _scores(head, net, tables, task)
    expected = [
      [SCALE * LITERAL[name](exact, tables, u, i, task) for i in range(ITEMS)]
      for u in range(USERS)
    ]
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * size)


def test_neumf_without_its_network_is_weighted_matrix_factorization():
  head, (table, *_) = _head('neumf'), _tables()
  net, half = _net(head), WIDTH // 2
  weight = net['out']['weight'].at[:, half:].set(0.0)
  net = {**net, 'out': {**net['out'], 'weight': weight}}
  found = _scores(head, net, [table] * 3, 2)
  weighted = table[:USERS, :half] * np.asarray(weight[2, :half, 0])
  expected = weighted @ table[USERS:, :half].T + net['out']['bias'][2]
  np.testing.assert_allclose(found, SCALE * expected, rtol=1e-4, atol=1e-5)


def test_a_cascade_whose_later_logits_are_0_halves_the_first_each_time():
  head, tables = _head('cascade_logits'), _tables()
  net = _net(head)
  net = {**net, 'out': net['out'].at[1:].set(0.0)}
  first, last = (_scores(head, net, tables, task) for task in (0, 2))
  # y_K = y_1 2^(1 - K), and c (1 + 1/2 + ...) of the bias, K - 1 terms.
  bias = SCALE * np.asarray(net['bias'])[:, 0]
  np.testing.assert_allclose(
    last, first / 4 + (1 + 1 / 2) * bias, rtol=1e-4, atol=1e-5
  )


def test_later_behaviors_do_not_reach_an_earlier_logit():
  head, (one, two, three) = _head('cascade_logits'), _tables()
  net = _net(head)
  scores = lambda *tables: _scores(head, net, tables, 1)
  before = scores(one, two, three)
  np.testing.assert_array_equal(before, scores(one, two, 2 * three))
  assert not np.allclose(before, scores(2 * one, two, three))


def test_of_one_table_for_all_behaviors_a_cascade_keeps_one():
  (table, *_), net = _tables(), _net(_head('cascade_logits'))
  of = lambda merged: _head('cascade_logits', merged)
  prepared = of(True).prepare(net, types.Fused((table,) * 3), NODES, 2)
  assert prepared['vectors'].shape == table.shape
  np.testing.assert_allclose(
    _scores(of(True), net, [table] * 3, 2),
    _scores(of(False), net, [table] * 3, 2),
    rtol=1e-5,
  )


@pytest.mark.parametrize('name', network_heads.NAMES)
def test_no_block_of_a_ranking_has_more_than_a_few_users(name):
  head, users, items = _head(name), 64, 40
  net = _net(head)
  tables = np.zeros((users + items, WIDTH), 'f4')

  def rank(net, tables):
    if name == 'cascade_logits':
      bias = jnp.zeros((users + items, 1))
      tables = {'vectors': jnp.tile(tables, 3), 'bias': bias}
    sides = behavior_heads.split_sides(tables, users)
    return head.rank(net, *head.serve(net, *sides))

  sizes = [
    var.aval.size
    for jaxpr in _jaxprs(jax.make_jaxpr(rank)(net, tables).jaxpr)
    for equation in jaxpr.eqns
    for var in equation.outvars
  ]
  # Of everybody with everything there are the scores alone.
  assert max(sizes) <= max(8 * items * 3 * WIDTH, users * items)


def _jaxprs(jaxpr):
  """It and those inside of its equations."""
  yield jaxpr
  is_one = lambda value: hasattr(value, 'jaxpr') or hasattr(value, 'eqns')
  for equation in jaxpr.eqns:
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=is_one
    ):
      if is_one(value):
        yield from _jaxprs(getattr(value, 'jaxpr', value))


def test_plugins_stand_before_networks_whose_rows_are_vectors():
  trunk = lambda variant: toys.system(toys.config(variant))[0].trunk
  assert trunk('neumf') is not None
  with pytest.raises(types.UserError, match='no stages for a plugin'):
    plugged.plugged(trunk('nmtr'), None, 3, 'nmtr')


def test_a_width_that_neumf_cannot_divide_is_refused():
  made = toys.config('neumf')
  made.model.width = 6
  with pytest.raises(types.UserError) as caught:
    toys.system(made)
  text = str(caught.value)
  assert text.startswith('head.name=neumf divides tables of width 6 in two')
  assert 'use a multiple of 4 (model.width)' in text and '\n' not in text
