import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.models import pair_prior
from twotsrec.ops import rows

USERS = jnp.arange(toys.USERS)
ALL_ITEMS = jnp.arange(1, toys.ITEMS + 1)


def _served(model, context, params, ids, users=USERS):
  """Scores as evaluation asks for them."""

  def scores(params, context, ids, users):
    served = model.serve(params, context)
    encoded = model.ranker.encode(served.net, None, context, {'user': users})
    candidates = rows.gather(served.tables['item'], ids)
    return model.ranker.score(served.net, encoded, candidates)

  return np.asarray(jax.jit(scores)(params, context, ids, users))


def _pairwise(model, context, params, task=2):

  def scores(params, context):
    encoded = model.encode(params, context, (task,))
    items = jnp.tile(ALL_ITEMS, (toys.USERS, 1))
    return model.score(params, encoded, task, USERS, items)

  return np.asarray(jax.jit(scores)(params, context))


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


def test_the_prior_adds_to_the_target():
  model, context, params = toys.system(toys.config('copf_prior'))
  gain = pair_prior.bonus(context['prior'], USERS, toys.ITEMS)[:, 1:]
  expected = _pairwise(model, context, params) + gain
  assert np.abs(gain).max() > 1
  np.testing.assert_allclose(
    _served(model, context, params, ALL_ITEMS), expected, rtol=1e-4, atol=1e-2
  )


@pytest.mark.parametrize('variant', ['copf_prior', 'ple'])
def test_users_rank_candidates_of_their_own_as_they_rank_all(variant):
  model, context, params = toys.system(toys.config(variant))
  ids = np.random.default_rng(0).integers(1, toys.ITEMS + 1, (toys.USERS, 5))
  shared = _served(model, context, params, ALL_ITEMS)
  own = _served(model, context, params, jnp.asarray(ids))
  np.testing.assert_allclose(
    own, np.take_along_axis(shared, ids - 1, axis=1), rtol=1e-5, atol=1e-3
  )


def test_filling_scores_a_number():
  model, context, params = toys.system(toys.config('copf_prior'))
  scores = _served(
    model, context, params, jnp.array([0, 1, 0]), jnp.array([0, -1])
  )
  assert scores.shape == (2, 3) and np.all(np.isfinite(scores))


def test_two_behaviors_are_enough():
  dense = toys.masks()[1:]
  model, context, params = toys.system(toys.config('copf_prior'), dense)
  assert params.net['head']['gate']['weight'].shape == (2 * toys.WIDTH, 2)
  assert np.all(np.isfinite(_served(model, context, params, ALL_ITEMS)))


def test_a_behavior_without_pairs_is_encoded_and_scored():
  view, cart, buy = toys.masks()
  dense = (view, np.zeros_like(cart), buy)
  model, context, params = toys.system(toys.config('copf_prior'), dense)
  assert np.all(np.isfinite(_pairwise(model, context, params, task=1)))
  assert np.all(np.isfinite(_served(model, context, params, ALL_ITEMS)))


def test_only_what_is_asked_for_is_prepared():
  model, context, params = toys.system(toys.config())
  encoded = jax.eval_shape(lambda p: model.encode(p, context, (1,)), params)
  assert encoded.tasks[0] is None and encoded.tasks[2] is None
  assert encoded.tasks[1].shape == (toys.NODES, 3 * toys.WIDTH)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'behavior__prior': 'all'}, "'all'; known: none, pattern"),
    ({'head__name': 'mlp'}, "'mlp'; known: experts"),
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
