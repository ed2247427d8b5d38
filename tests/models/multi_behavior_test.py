import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.ops import rows

USERS = jnp.arange(toys.USERS)
ALL_ITEMS = jnp.arange(1, toys.ITEMS + 1)


def _finite(model, context, params, task):
  """Whether scores of pairs of a task, and those of evaluation, are numbers."""

  def scores(params, context):
    encoded = model.encode(params, context, (task,))
    items = jnp.tile(ALL_ITEMS, (toys.USERS, 1))
    served = model.serve(params, context)
    users = model.ranker.encode(served.net, None, context, {'user': USERS})
    candidates = rows.gather(served.tables['item'], ALL_ITEMS)
    ranked = model.ranker.score(served.net, users, candidates)
    return model.score(params, encoded, task, USERS, items), ranked

  return all(map(np.all, map(np.isfinite, jax.jit(scores)(params, context))))


def test_parameters_start_in_the_xavier_range_of_each_table():
  model, _, shapes = toys.system(toys.config('copf_prior'))
  params = jax.jit(model.init)(jax.random.key(0))
  assert jax.tree.structure(params) == jax.tree.structure(shapes)
  for table, count in (('user', toys.USERS), ('item', toys.ITEMS)):
    values = np.asarray(params.tables[table]['embedding'])
    limit = np.sqrt(6 / (count + toys.WIDTH))
    assert 0.6 * limit < np.abs(values).max() <= limit
  assert not np.any(params.tables['item']['embedding'][0])
  assert not np.any(params.net['head']['gate']['bias'])


def test_embeddings_may_start_normal_and_nothing_else_changes():
  normal = {'behavior__init': 'normal', 'behavior__init_std': 0.3}
  model, _, _ = toys.system(toys.config(**normal), [np.ones((300, 200))] * 2)
  xavier, _, _ = toys.system(toys.config(), [np.ones((300, 200))] * 2)
  params, plain = (m.init(jax.random.key(0)) for m in (model, xavier))
  for side in ('user', 'item'):
    rows_of = params.tables[side]['embedding'][side == 'item' :]
    assert stats.kstest(rows_of.ravel(), 'norm', (0, 0.3)).pvalue > 1e-3
  assert not np.any(params.tables['item']['embedding'][0])
  chex.assert_trees_all_equal(params.net, plain.net)


def test_two_behaviors_are_enough():
  dense = toys.masks()[1:]
  model, context, params = toys.system(toys.config('copf_prior'), dense)
  assert params.net['head']['gate']['weight'].shape == (2 * toys.WIDTH, 2)
  assert _finite(model, context, params, 1)


def test_one_behavior_alone_is_a_model_of_its_own_graph():
  """The constraints of COGCN are between behaviors: of one there are none."""
  alone = toys.masks()[2:]
  scores = []
  for variant in ('copf', 'copf_a', 'copf_c'):
    made = toys.config(variant)
    model, context, params = toys.system(made, alone)
    assert _finite(model, context, params, 0)
    served = jax.jit(model.serve)(params, context)
    scores.append(np.asarray(served.tables['item']['factor']))
  np.testing.assert_allclose(scores[1], scores[0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(scores[2], scores[0], rtol=1e-5, atol=1e-6)


def test_a_behavior_without_pairs_is_encoded_and_scored():
  view, cart, buy = toys.masks()
  dense = (view, np.zeros_like(cart), buy)
  model, context, params = toys.system(toys.config('copf_prior'), dense)
  assert _finite(model, context, params, 1)


def test_only_what_is_asked_for_is_prepared():
  model, context, params = toys.system(toys.config())
  encoded = jax.eval_shape(lambda p: model.encode(p, context, (1,)), params)
  assert encoded.tasks[0] is None and encoded.tasks[2] is None
  assert encoded.tasks[1].shape == (toys.NODES, 3 * toys.WIDTH)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'head__name': 'mlp'}, "'mlp' is unknown; known: experts"),
    ({'fusion__operator': 'max'}, "'max'; known: merged"),
    ({'model__hidden': (3,)}, 'model.hidden'),
  ],
)
def test_a_setting_that_names_nothing_is_refused(changes, message):
  with pytest.raises(types.UserError, match=message) as caught:
    multi_behavior.make(toys.config(**changes), 3, toys.USERS, toys.ITEMS)
  assert '\n' not in str(caught.value)


def test_its_ranking_form_cannot_be_trained_alone():
  model, _, _ = toys.system(toys.config())
  with pytest.raises(types.UserError, match='trained as a whole'):
    model.ranker.init(jax.random.key(0), {}, None)
