"""What every fusion promises with every head, whatever its equations.

A fusion or head of a new name is one more row of CASES.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import mb_cgcn
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import behavior_ranker
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import multi_behavior
from twotsrec.models import pair_prior
from twotsrec.ops import rows
from twotsrec.plugins import plugged

TARGET = 2
USERS = jnp.arange(toys.USERS)
ALL_ITEMS = jnp.arange(1, toys.ITEMS + 1)
OWN_ITEMS = jnp.asarray(
  np.random.default_rng(0).integers(1, toys.ITEMS + 1, (toys.USERS, 5))
)
SIZES = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)

SHARED = ('shared_bottom', 'mmoe', 'ple')
# Variants of COPF that differ in their heads.
HEADS = (
  'copf', 'mesi', 'no_aggregation', 'attention', 'bilinear', *SHARED
)  # fmt: skip
LIGHTGCN = {
  'fusion__pre_behavior': 'none', 'fusion__in_behavior': 'own',
  'fusion__normalization': 'symmetric', 'fusion__self_loop': False,
  'fusion__combine': 'mean',
}  # fmt: skip
FUSIONS = {
  **{
    name: (fusion_lib.make, {'fusion__name': name}) for name in fusion_lib.NAMES
  },
  'lightgcn': (fusion_lib.make, LIGHTGCN),
  'mb_cgcn': (mb_cgcn.make, {'fusion__num_layers': (1, 2, 1)}),
}
# Two conventions of one loop share what the heads are tried with.
PARTS = {
  'cogcn': ('copf', 'attention', 'bilinear', 'ple', 'shared_bottom'),
  'lightgcn': ('mesi', 'no_aggregation', 'mmoe'),
}
CASES = [(name, head) for name in FUSIONS for head in PARTS.get(name, HEADS)]
every = pytest.mark.parametrize('case', CASES, ids='-'.join)
WITH_PRIOR = ('copf', 'ple')


class System(NamedTuple):
  """A model and all that its program says of it."""

  model: multi_behavior.MultiBehavior
  context: dict
  params: types.Params
  said: dict


@functools.cache
def _make(fusion, head):
  make, changes = FUSIONS[fusion]
  if head in SHARED:
    changes = {**changes, 'fusion__post_behavior': 'merged'}
  if make is fusion_lib.make:
    prior = 'pattern' if head in WITH_PRIOR else 'none'
    made = toys.config(head, behavior__prior=prior, **changes)
    return multi_behavior.make(made, *SIZES[:3])
  made = toys.config(head, **changes)
  own = make(made, SIZES)
  return multi_behavior.compose(
    own, behavior_heads.make(made, own, SIZES), SIZES
  )


def _ranked(model, params, ids, users=USERS):
  """Scores as evaluation asks for them."""
  inputs = {'user': users, 'history': jnp.zeros((len(users), 1), jnp.int32)}
  encoded = model.encode(params.net, None, {}, inputs)
  return model.score(
    params.net, encoded, rows.gather(params.tables['item'], ids)
  )


def _look(model, params, context):
  """Everything that the tests look at, in one program."""
  every_item = jnp.tile(ALL_ITEMS, (toys.USERS, 1))

  def loss(params):
    encoded = model.encode(params, context, (TARGET,))
    scores = model.score(params, encoded, TARGET, USERS, every_item)
    value = jnp.mean(jax.nn.softplus(scores[:, 1:] - scores[:, :-1]))
    return value, {'tables': encoded.behaviors, 'pairs': scores}

  gradient, said = jax.grad(loss, has_aux=True)(params)
  served = model.serve(params, context)
  with_filling = jnp.append(USERS, -1)
  said['ranked'] = [
    _ranked(model.ranker, served, ALL_ITEMS, with_filling),
    _ranked(model.ranker, served, OWN_ITEMS),
  ]
  if model.trunk is not None:
    trunk = model.freeze(params, context)
    if 'prior' in context:
      trunk = behavior_ranker.with_prior(trunk, context['prior'])
    said['trunk'] = [
      _ranked(model.trunk, trunk, ids) for ids in (ALL_ITEMS, OWN_ITEMS)
    ]
  return said | {'gradient': gradient}


@functools.cache
def _program(case):
  return jax.jit(functools.partial(_look, _make(*case)))


@functools.cache
def _system(case):
  model = _make(*case)
  params = toys.random_like(jax.eval_shape(model.init, jax.random.key(0)))
  context = model.context(toys.edges())
  return System(model, context, params, _program(case)(params, context))


def _close(ours, theirs):
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  size = np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * size)


@every
def test_every_behavior_has_a_table_of_all_nodes(case):
  tables = _system(case).said['tables']
  first, *others = tables
  for table in tables:
    assert table.shape == (toys.NODES, toys.WIDTH) and table.dtype == 'float32'
  merged = [np.array_equal(first, other) for other in others]
  assert all(merged) if case[1] in SHARED else not any(merged)


@every
def test_all_items_and_own_candidates_rank_as_pairs_score(case):
  _, context, _, said = _system(case)
  expected = np.asarray(said['pairs'])
  assert np.ptp(expected) > 0.1
  if 'prior' in context:
    gain = pair_prior.bonus(context['prior'], USERS, toys.ITEMS)[:, 1:]
    assert np.abs(gain).max() > 1
    expected = expected + gain
  shared, own = said['ranked']
  _close(shared[:-1], expected)
  _close(own, np.take_along_axis(expected, np.asarray(OWN_ITEMS) - 1, axis=1))
  assert np.all(np.isfinite(shared[-1]))  # filling


@every
def test_a_trunk_for_plugins_ranks_as_the_model_does(case):
  model, _, _, said = _system(case)
  if case[1] in SHARED:  # they keep no vectors of a user
    assert model.trunk is None and model.freeze is None
    with pytest.raises(types.UserError, match='no stages for a plugin'):
      plugged.plugged(model.trunk, None, 3, case[1])
    return
  shared, own = said['ranked']
  for ours, theirs in zip(said['trunk'], (shared[:-1], own), strict=True):
    _close(ours, theirs)


@every
def test_all_that_is_trained_gets_a_gradient(case):
  _, _, _, said = _system(case)
  gradient = said['gradient']
  chex.assert_tree_all_finite(gradient)
  moved = jax.tree.map(lambda leaf: bool(np.any(leaf)), gradient)
  assert all(jax.tree.leaves((moved.net['fusion'], moved.tables)))
  assert any(jax.tree.leaves(moved.net['head'])) or not moved.net['head']
  assert not np.any(gradient.tables['item']['embedding'][0])  # padding


@every
def test_relabeled_users_and_items_get_the_same_tables_and_scores(case):
  model, _, params, said = _system(case)
  generator = np.random.default_rng(1)
  users, items = map(generator.permutation, (toys.USERS, toys.ITEMS))
  dense = [mask[users][:, items] for mask in toys.masks()]
  rows_of = {'user': users, 'item': np.append(0, items + 1)}
  tables = {
    side: {'embedding': params.tables[side]['embedding'][rows_of[side]]}
    for side in rows_of
  }
  found = _program(case)(
    params._replace(tables=tables), model.context(toys.edges(dense))
  )
  nodes = np.append(users, toys.USERS + items)
  for ours, theirs in zip(found['tables'], said['tables'], strict=True):
    _close(ours, np.asarray(theirs)[nodes])
  _close(found['pairs'], np.asarray(said['pairs'])[users][:, items])


def test_a_fusion_takes_nothing_from_the_draws_of_tables_and_head():
  init = lambda name: jax.jit(_make(name, 'copf').init)(jax.random.key(3))
  plain, own = init('cogcn'), init('mb_cgcn')
  chex.assert_trees_all_equal(own.tables, plain.tables)
  chex.assert_trees_all_equal(own.net['head'], plain.net['head'])
  assert set(plain.net) == set(own.net) == {'fusion', 'head'}
  assert not jax.tree.leaves(plain.net['fusion'])
