import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from twotsrec import losses
from twotsrec import types
from twotsrec.objectives import sampled as objectives

_SIZES = types.Sizes(3, 9, 4)


def _batch(every_position=False):
  generator = np.random.default_rng(0)
  history = np.array([[3, 1, 7, 0], [2, 0, 0, 0], [5, 6, 4, 1]])
  shape = (3, 4, 3) if every_position else (3, 3)
  candidates = generator.integers(1, 10, shape)
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  return types.Batch(
    as_i32(history),
    as_i32(candidates),
    as_i32([0, 1, 2]),
    as_i32([0, 1, 1]),
    jnp.array([1.0, 2.0, 0.0]),
  )


def _log_loss(scores):
  labels = np.eye(1, len(scores))[0]
  return np.mean(np.logaddexp(0, scores) - labels * scores)


def _toy():
  model = worlds.mean_model()
  return model, model.init(jax.random.key(0), {}, _SIZES)


def _user(params, items):
  table = np.asarray(params.tables['item']['embedding'])
  return np.tanh(table[items].mean(0) @ np.asarray(params.net['kernel']))


def test_sampled_bce_is_the_log_loss_of_each_example():
  model, params = _toy()
  batch = _batch()
  table = np.asarray(params.tables['item']['embedding'])
  expected = [
    _log_loss(table[candidates] @ _user(params, history[history > 0]))
    for history, candidates in zip(
      np.asarray(batch.history), np.asarray(batch.candidates)
    )
  ]
  actual = jax.jit(objectives.sampled_bce(model))(params, {}, batch)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_sampled_bpr_is_the_mean_over_the_sampled_items():
  model, params = _toy()
  batch = _batch()
  table = np.asarray(params.tables['item']['embedding'])
  expected = []
  for history, candidates in zip(
    np.asarray(batch.history), np.asarray(batch.candidates)
  ):
    scores = table[candidates] @ _user(params, history[history > 0])
    expected.append(np.mean(np.log1p(np.exp(scores[1:] - scores[0]))))
  actual = jax.jit(objectives.sampled_bpr(model))(params, {}, batch)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['hinge', 'softmax'])
def test_other_losses_of_candidates_are_objectives_by_name(name):
  model, params = _toy()
  batch = _batch()
  table = np.asarray(params.tables['item']['embedding'])
  scores = [
    table[candidates] @ _user(params, history[history > 0])
    for history, candidates in zip(
      np.asarray(batch.history), np.asarray(batch.candidates)
    )
  ]
  expected = losses.OF_CANDIDATES[name](jnp.asarray(scores))
  actual = jax.jit(objectives.make(name, model))(params, {}, batch)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_every_position_averages_the_loss_of_all_prefixes():
  model, params = _toy()
  batch = _batch(every_position=True)
  table = np.asarray(params.tables['item']['embedding'])
  expected = []
  for history, candidates in zip(
    np.asarray(batch.history), np.asarray(batch.candidates)
  ):
    count = np.sum(history > 0)
    expected.append(
      np.mean(
        [
          _log_loss(table[candidates[p]] @ _user(params, history[: p + 1]))
          for p in range(count)
        ]
      )
    )
  actual = jax.jit(objectives.every_position_bce(model))(params, {}, batch)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('every_position', [False, True])
def test_an_example_is_routed_to_its_own_group(every_position):
  model, params = _toy()
  routes = []

  def reading(encode):
    def read(net, rows, context, inputs, *, key=None):
      routes.append(inputs['route'])
      return encode(net, rows, context, inputs, key=key)

    return read

  model = model._replace(
    encode=reading(model.encode),
    encode_positions=reading(model.encode_positions),
  )
  names = {False: 'bce', True: 'every_position'}
  objective = objectives.make(names[every_position], model)
  objective(params, {}, _batch(every_position))
  (route,) = routes
  assert route.groups.tolist() == [[0], [1], [1]]
  assert route.weights.tolist() == [[1.0]] * 3


def test_group_totals_sum_by_group_and_hide_filling():
  sums, weights = objectives.group_totals(
    jnp.array([3.0, 5.0, jnp.nan]), _batch(), 3
  )
  np.testing.assert_allclose(sums, [3.0, 10.0, 0.0])
  np.testing.assert_allclose(weights, [1.0, 2.0, 0.0])


def test_models_that_look_ahead_cannot_train_every_position():
  model = worlds.mean_model()._replace(encode_positions=None)
  with pytest.raises(types.UserError, match='train.objective=bce'):
    objectives.make('every_position', model)
