import dataclasses

import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import shared_heads

WIDTH = toys.WIDTH
HIDDEN = 2 * WIDTH


def _make(name, **changes):
  options = dataclasses.replace(
    config_lib.HeadConfig(), name=name, score_scale=(300.0,), **changes
  )
  return shared_heads.make(options, WIDTH, 3)


def _net(head):
  shapes = jax.eval_shape(head.init, jax.random.key(0))
  return toys.random_like(shapes, 0.5)


def _scores(head, net, table, task):
  """Scores of all users and items, f32[U, I]."""
  fused = types.Fused((table,) * 3)
  prepared = head.prepare(net, fused, toys.prepared(), task)
  user, item = behavior_heads.split_sides(prepared, toys.USERS)
  user = jax.tree.map(lambda x: x[:, None], user)
  item = jax.tree.map(lambda x: x[None], item)
  return np.asarray(head.score(net, user, item, task))


def _leaky(x):
  return np.maximum(0.1 * x, x)


def _hidden(net, expert, x):
  columns = slice(expert * HIDDEN, (expert + 1) * HIDDEN)
  return _leaky(
    x @ net['expert']['weight'][:, columns] + net['expert']['bias'][columns]
  )


def _literal(name, net, x, task):
  """Score of one pair; x = [user || item]."""
  if name == 'shared_bottom':
    mixed = _hidden(net, 0, x)
  else:
    members = {'mmoe': [0, 1, 2], 'ple': [task, 3]}[name]
    logits = x @ net['gate']['weight'][task] + net['gate']['bias'][task]
    gate = np.exp(logits) / np.exp(logits).sum()
    mixed = sum(g * _hidden(net, e, x) for g, e in zip(gate, members))
  return 300 * (
    net['tower']['weight'][task] @ mixed + net['tower']['bias'][task]
  )


@pytest.mark.parametrize('name', shared_heads.NAMES)
def test_scores_equal_a_loop_over_pairs_and_experts(name):
  head = _make(name)
  net, table = _net(head), toys.tables()[0]
  exact = jax.tree.map(lambda x: np.asarray(x, np.float64), (net, table))
  for task in (0, 2):
    found = _scores(head, net, table, task)
    for user in range(toys.USERS):
      for item in range(toys.ITEMS):
        x = np.concatenate([exact[1][user], exact[1][toys.USERS + item]])
        expected = _literal(name, exact[0], x, task)
        np.testing.assert_allclose(
          found[user, item], expected, rtol=1e-4, atol=1e-2
        )


def test_a_linear_shared_bottom_ranks_alike_for_everybody():
  table = toys.tables()[0]
  linear = _make('shared_bottom', linear_tower=True)
  scores = _scores(linear, _net(linear), table, 2)
  gaps = np.diff(scores, axis=1)
  np.testing.assert_allclose(
    gaps, np.broadcast_to(gaps[:1], gaps.shape), atol=1e-3
  )
  weight = np.asarray(_net(linear)['tower']['weight'][2])
  items = 300 * np.asarray(table)[toys.USERS :] @ weight[WIDTH:]
  np.testing.assert_allclose(gaps[0], np.diff(items), rtol=1e-3, atol=1e-2)
  hidden = _make('shared_bottom')
  orders = np.argsort(_scores(hidden, _net(hidden), table, 2), axis=1)
  assert len({tuple(order) for order in orders}) > 1


def test_one_expert_needs_no_gate():
  head = _make('mmoe', num_experts=1)
  net, table = _net(head), toys.tables()[0]
  assert 'gate' not in net
  np.testing.assert_allclose(
    _scores(head, net, table, 1),
    _scores(_make('shared_bottom'), net, table, 1),
    rtol=1e-6,
  )
