"""What every fusion promises with every kind of head, whatever its equations.

`testing.check_fusion` asks it all in one program for each case, and programs
are what the tests cost. So a fusion is tried with two or three heads, chosen so
that every kind of fusion (nothing is trained in it, or something is; a table of
each behavior, or one for all) meets every kind of head (experts that walk
graphs, experts that do not, a relation for each behavior, one input for all
tasks). Every preset is tried with its own head in presets/copf_test.py. A
fusion or head of a new name is one more row of CASES.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import mb_cgcn
from twotsrec import testing
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import behavior_ranker
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import multi_behavior
from twotsrec.models import pair_prior
from twotsrec.ops import rows
from twotsrec.plugins import plugged

USERS = jnp.arange(toys.USERS)
ALL_ITEMS = jnp.arange(1, toys.ITEMS + 1)
SIZES = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)

SHARED = ('shared_bottom', 'mmoe', 'ple')
LIGHTGCN = {
  'fusion__pre_behavior': 'none', 'fusion__in_behavior': 'own',
  'fusion__normalization': 'symmetric', 'fusion__self_loop': False,
  'fusion__combine': 'mean',
}  # fmt: skip
MERGED = {'fusion__post_behavior': 'merged'}
# Fusions of one table for all behaviors have no such setting.
DECOUPLED = {'fusion__post_behavior': 'decoupled'}
# Fusion, settings of it, and the variant of COPF whose head it is tried with.
CASES = (
  ('cogcn', {}, 'copf'),
  ('cogcn', LIGHTGCN, 'bilinear'),
  ('cogcn', MERGED, 'shared_bottom'),
  ('rgcn', {'fusion__num_layers': (2,)}, 'copf'),
  ('rgcn', {'fusion__post_behavior': 'decoupled'}, 'mmoe'),
  ('mb_cgcn', {'fusion__num_layers': (1, 2, 1)}, 'bilinear'),
  ('mb_cgcn', MERGED, 'ple'),
  ('crgcn', {'fusion__num_layers': (1, 2, 1)}, 'copf'),
  ('crgcn', {}, 'no_aggregation'),
  ('cigf', {'fusion__num_layers': (2,)}, 'mesi'),
  ('cigf', {'fusion__num_layers': (1,)}, 'no_aggregation'),
  ('pkef', {'fusion__num_layers': (2, 1, 1)}, 'pme'),
  ('pkef', {}, 'bilinear'),
  ('mbgcn', {}, 'no_aggregation'),
  ('gnmr', {'head__name': 'mlp_product'}, 'bilinear'),
  ('s_mbrec', {'fusion__num_layers': (2,)}, 'no_aggregation'),
  ('bcipm', {'fusion__num_layers': (2,)}, 'no_aggregation'),
  ('cml', DECOUPLED, 'ple'),
  ('kmclr_no_kg', {}, 'no_aggregation'),
  ('mule', {'fusion__num_layers': (1, 2)}, 'mesi'),
  ('gcmc', {}, 'no_aggregation'),
  ('gcmc', {'head__name': 'bilinear_matrix'}, 'bilinear'),
  (
    'gcmc_sage',
    {'head__name': 'bilinear_matrix', 'fusion__sample': 3},
    'bilinear',
  ),
  ('gcmc_gat', {'fusion__num_heads': 2}, 'copf'),
  # Networks of a pair; no preset has the last ones.
  ('cogcn', {'fusion__num_layers': (1, 1, 1)}, 'neumf'),
  ('cogcn', {'fusion__num_layers': (1, 1, 1)}, 'nmtr'),
  ('crgcn', {'head__name': 'neumf'}, 'bilinear'),
  ('mb_cgcn', {**MERGED, 'head__name': 'cascade_logits'}, 'bilinear'),
  ('rgcn', {'head__name': 'mlp_product'}, 'bilinear'),
)


@pytest.mark.parametrize(
  ('name', 'changes', 'head'),
  CASES,
  ids=lambda value: value if isinstance(value, str) else '-'.join(value),
)
def test_a_fusion_keeps_its_contract_under_a_head(name, changes, head):
  made = toys.config(
    head, fusion__name=name, head__score_scale=(1.0,), **changes
  )
  testing.check_fusion(fusion_lib.make, made)


def test_every_fusion_is_tried():
  assert {name for name, *_ in CASES} == set(fusion_lib.NAMES)


def _ranked(model, params, ids, users=USERS):
  """Scores as evaluation asks for them."""
  inputs = {'user': users, 'history': jnp.zeros((len(users), 1), jnp.int32)}
  encoded = model.encode(params.net, None, {}, inputs)
  return model.score(
    params.net, encoded, rows.gather(params.tables['item'], ids)
  )


@pytest.mark.parametrize('head', ['copf', 'ple'])
def test_a_prior_adds_its_gains_to_what_pairs_score(head):
  shared = MERGED if head in SHARED else {}
  made = toys.config(head, behavior__prior='pattern', **shared)
  model, context, params = toys.system(made)

  @jax.jit
  def look(params):
    encoded = model.encode(params, context, (2,))
    every = jnp.tile(ALL_ITEMS, (toys.USERS, 1))
    pairs = model.score(params, encoded, 2, USERS, every)
    gain = pair_prior.bonus(context['prior'], USERS, toys.ITEMS)[:, 1:]
    served = model.serve(params, context)
    ranked = [
      _ranked(model.ranker, served, ALL_ITEMS, jnp.append(USERS, -1)),
      _ranked(model.ranker, served, every[:, ::-1]),
    ]
    if model.trunk is not None:
      trunk = model.freeze(params, context)
      trunk = behavior_ranker.with_prior(trunk, context['prior'])
      ranked.append(_ranked(model.trunk, trunk, ALL_ITEMS))
    return pairs, gain, ranked

  pairs, gain, (shared, own, *trunk) = jax.tree.map(np.asarray, look(params))
  assert np.ptp(pairs) > 0.1 and np.abs(gain).max() > 1
  close = functools.partial(
    np.testing.assert_allclose,
    desired=pairs + gain,
    rtol=1e-4,
    atol=1e-5 * np.abs(pairs + gain).max(),
  )
  for found in (shared[:-1], own[:, ::-1], *trunk):
    close(found)
  assert np.all(np.isfinite(shared[-1]))  # filling


@pytest.mark.parametrize('head', SHARED)
def test_a_head_of_one_input_has_no_place_for_plugins(head):
  """It keeps no vectors of a user."""
  made = toys.config(head, **MERGED)
  model = multi_behavior.make(made, *SIZES[:3])
  assert model.trunk is None and model.freeze is None
  with pytest.raises(types.UserError, match='no stages for a plugin'):
    plugged.plugged(model.trunk, None, 3, head)


def test_a_fusion_takes_nothing_from_the_draws_of_tables_and_head():
  made = toys.config('copf')
  own = mb_cgcn.make(made, SIZES)
  head = behavior_heads.make(made, own, SIZES)
  models = (
    multi_behavior.make(made, *SIZES[:3]),
    multi_behavior.compose(own, head, SIZES),
  )
  plain, other = (jax.jit(model.init)(jax.random.key(3)) for model in models)
  chex.assert_trees_all_equal(other.tables, plain.tables)
  chex.assert_trees_all_equal(other.net['head'], plain.net['head'])
  assert set(plain.net) == set(other.net) == {'fusion', 'head'}
  assert not jax.tree.leaves(plain.net['fusion'])
