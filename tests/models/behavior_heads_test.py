import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import experts
from twotsrec.models import fusion as fusion_lib

UNGATED = {'gate': 'none', 'gradient_policy': 'none'}
SIZES = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)


def _make(post='decoupled', **changes):
  made = config_lib.Config(
    head=dataclasses.replace(config_lib.HeadConfig(), **changes),
    fusion=config_lib.FusionConfig(post_behavior=post),
  )
  return behavior_heads.make(made, fusion_lib.make(made, SIZES), SIZES)


def _net(head, scale=0.7):
  shapes = jax.eval_shape(head.init, jax.random.key(0))
  return toys.random_like(shapes, scale)


def _sides(head, net, tables, task):
  table = head.prepare(net, types.Fused(tuple(tables)), toys.prepared(), task)
  return behavior_heads.split_sides(table, toys.USERS)


def _pairwise(head, net, sides, task=2):
  """Scores of all users and items, f32[U, I]."""
  user, item = sides
  user = jax.tree.map(lambda x: x[:, None], user)
  return head.score(net, user, jax.tree.map(lambda x: x[None], item), task)


@pytest.mark.parametrize(
  'changes',
  [
    {'alpha': 0.8},
    {'alpha': 0.8, 'gate_order': 'behavior', 'tower': 'mean'},
    {'score_scale': (1.0, 2.0, 3.0)},
    {'transfer': 'identity', **UNGATED},
    {'transfer': 'attention', **UNGATED},
    {'transfer': 'none', **UNGATED},
    {'name': 'bilinear'},
    {'name': 'mmoe', 'post': 'merged'},
  ],
)
def test_ranking_all_items_gives_the_scores_of_pairs(changes):
  head = _make(**changes)
  net, tables = _net(head), toys.tables()
  sides = _sides(head, net, tables, 2)
  expected = np.asarray(_pairwise(head, net, sides))
  user, item = head.serve(net, *sides)
  shared = head.rank(net, user, item)
  own = jax.tree.map(lambda x: jnp.stack([x] * toys.USERS), item)
  each = head.rank(net, user, own)
  size = np.abs(expected).max()
  for found in (shared, each):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * size)


def test_gate_logits_far_apart_rank_as_pairs_do():
  # e^-60 on one side and e^60 on the other is where plain factors would fail.
  head = _make(transfer='identity')
  options = config_lib.HeadConfig(transfer='identity')
  net = _net(head, 30.0)
  sides = _sides(head, net, toys.tables(), 2)
  expected = np.asarray(_pairwise(head, net, sides))
  found = np.asarray(head.rank(net, *head.serve(net, *sides)))
  assert np.all(np.isfinite(found))
  size = np.abs(expected).max()
  close = np.isclose(found, expected, rtol=1e-4, atol=1e-4 * size)
  # A side takes experts below e^-40 for equally hopeless: wrong is only a pair
  # of which one side rules out whomever the other asks for.
  own = experts.sources(2, 3, options).index(2)
  halves = map(np.asarray, experts.gate_halves(net['gate'], *sides, own))
  user, item = (half - half.max(1, keepdims=True) for half in halves)
  agreed = np.max(user[:, None] + item, axis=2) > -30
  assert np.all(close[agreed]) and 0.5 < agreed.mean() < 1


def test_transfers_walk_neighbors_of_the_type_that_the_fusion_asks_for():
  head, fused = _make(), types.Fused(tuple(toys.tables()))
  net = _net(head)
  full, short = (
    np.asarray(head.prepare(net, fused, toys.prepared(dtype=dtype), 2))
    for dtype in ('float32', 'bfloat16')
  )
  assert np.any(full != short)
  np.testing.assert_allclose(short, full, rtol=2e-2, atol=2e-3)


def test_a_bilinear_head_weighs_each_dimension_by_the_task():
  head = _make(name='bilinear')
  net, tables = _net(head), toys.tables()
  for task, table in enumerate(tables):
    found = _pairwise(head, net, _sides(head, net, tables, task), task)
    for user in range(toys.USERS):
      for item in range(toys.ITEMS):
        expected = 300 * sum(
          float(table[user, d])
          * float(table[toys.USERS + item, d])
          * float(net['relation'][task, d])
          for d in range(toys.WIDTH)
        )
        np.testing.assert_allclose(
          found[user, item], expected, rtol=1e-3, atol=1e-2
        )


def test_the_relation_of_a_bilinear_head_can_start_near_one():
  relation = _make(name='bilinear', relation_init='ones').init(
    jax.random.key(0)
  )['relation']
  assert 0 < np.abs(relation - 1).max() < 0.1


@pytest.mark.parametrize('name', ['shared_bottom', 'mmoe', 'ple'])
def test_one_input_for_all_tasks_wants_one_output_of_the_fusion(name):
  with pytest.raises(types.UserError, match='set fusion.post_behavior=merged'):
    _make(name=name)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'name': 'tower'}, "'tower' is unknown; known: experts, bilinear"),
    ({'score_scale': (1.0, 2.0)}, '2 numbers; give one, or one for each'),
    ({'transfer': 'copy'}, "'copy'; known: fit"),
    ({'relation_init': 'zeros'}, "'zeros'; known: xavier, ones"),
    (
      {'name': 'mmoe', 'post': 'merged', 'num_experts': 0},
      'num_experts 0 must be at least 1',
    ),
  ],
)
def test_a_setting_that_names_nothing_is_refused(changes, message):
  with pytest.raises(types.UserError, match=message) as caught:
    _make(**changes)
  assert '\n' not in str(caught.value)
