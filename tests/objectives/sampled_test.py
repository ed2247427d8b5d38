import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from tests.models import examples
from tests.plugins import cases
from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import models
from twotsrec import trees
from twotsrec import types
from twotsrec.objectives import mixing
from twotsrec.objectives import sampled as objectives
from twotsrec.plugins import plugged

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
  actual = jax.jit(objectives.make(objectives.Loss(), model))(params, {}, batch)
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
  actual = jax.jit(objectives.make(objectives.Loss('bpr'), model))(
    params, {}, batch
  )
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
  actual = jax.jit(objectives.make(objectives.Loss(name), model))(
    params, {}, batch
  )
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
  actual = jax.jit(objectives.make(objectives.Loss(positions='every'), model))(
    params, {}, batch
  )
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
  positions = 'every' if every_position else 'last'
  objective = objectives.make(objectives.Loss(positions=positions), model)
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
  with pytest.raises(types.UserError, match='train.positions=last'):
    objectives.make(objectives.Loss(positions='every'), model)
  with pytest.raises(types.UserError, match="'masked' needs.*positions=last"):
    objectives.make(objectives.Loss(positions='masked'), model)


# ---- Losses over many items


def _scores_of(params, batch, row, items):
  table = np.asarray(params.tables['item']['embedding'], np.float64)
  history = np.asarray(batch.history[row])
  return table[np.asarray(items)] @ _user(params, history[history > 0])


def _loss(name, **options):
  return objectives.Loss(name, num_items=_SIZES.num_items, **options)


def _run(loss, model, params, batch):
  return np.asarray(jax.jit(objectives.make(loss, model))(params, {}, batch))


def test_cross_entropy_is_over_all_items():
  model, params = _toy()
  batch = _batch()
  expected = []
  for row in range(3):
    scores = _scores_of(params, batch, row, np.arange(1, 10))
    own = scores[int(batch.candidates[row, 0]) - 1]
    expected.append(np.log(np.sum(np.exp(scores))) - own)
  actual = _run(_loss('cross_entropy'), model, params, batch)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_every_position_has_the_cross_entropy_of_its_prefix():
  model, params = _toy()
  batch = _batch(every_position=True)
  expected = []
  for row in range(3):
    history = np.asarray(batch.history[row])
    values = []
    for place in range(np.sum(history > 0)):
      prefix = _batch()._replace(
        history=jnp.where(jnp.arange(4) <= place, batch.history, 0),
        candidates=batch.candidates[:, place],
      )
      values.append(_run(_loss('cross_entropy'), model, params, prefix)[row])
    expected.append(np.mean(values))
  loss = _loss('cross_entropy', positions='every')
  np.testing.assert_allclose(
    _run(loss, model, params, batch), expected, rtol=1e-5
  )


def test_gbce_weighs_the_observed_item_by_how_few_are_sampled():
  model, params = _toy()
  batch, t = _batch(), 0.75
  rate = 2 / 8
  power = rate * (t * (1 - 1 / rate) + 1 / rate)
  expected = []
  for row in range(3):
    scores = _scores_of(params, batch, row, batch.candidates[row])
    chance = 1 / (1 + np.exp(-scores))
    each = np.append(-power * np.log(chance[0]), -np.log(1 - chance[1:]))
    expected.append(np.mean(each))
  actual = _run(_loss('gbce', calibration=t), model, params, batch)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  plain = _run(_loss('gbce', calibration=0.0), model, params, batch)
  np.testing.assert_allclose(
    plain, _run(_loss('bce'), model, params, batch), rtol=1e-6
  )


@pytest.mark.parametrize('name', ['bce', 'softmax', 'gbce'])
def test_shared_negatives_are_those_of_every_position(name):
  model, params = _toy()
  batch = _batch(every_position=True)
  shared = jnp.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
  own = jnp.broadcast_to(shared[:, None], (3, 4, 3))
  first = batch.candidates[..., :1]
  repeated = batch._replace(candidates=jnp.concatenate([first, own], axis=-1))
  loss = _loss(name, positions='every')
  np.testing.assert_allclose(
    _run(loss, model, params, batch._replace(candidates=first, shared=shared)),
    _run(loss, model, params, repeated),
    rtol=1e-5,
  )


def test_a_negative_that_is_hidden_does_not_count():
  model, params = _toy()
  batch = _batch()
  more = jnp.pad(batch.candidates, ((0, 0), (0, 2)))
  loss = _loss('softmax', hidden=True)
  np.testing.assert_allclose(
    _run(loss, model, params, batch._replace(candidates=more)),
    _run(_loss('softmax'), model, params, batch),
    rtol=1e-5,
  )
  gradient = jax.grad(
    lambda params: jnp.sum(
      objectives.make(loss, model)(params, {}, batch._replace(candidates=more))
    )
  )(params)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_log_frequency_makes_draws_estimate_the_softmax_over_all():
  """All items drawn as often as they are probable: the sum is exact."""
  model, params = _toy()
  batch = _batch()
  times = np.array([1, 4, 2, 1, 1, 3, 2, 1, 1])  # of items 1..9, 16 draws
  drawn = np.repeat(np.arange(1, 10), times)
  chance = np.log(times[drawn - 1] / len(drawn))
  rows = lambda values: jnp.asarray(np.tile(values, (3, 1)))
  batch = batch._replace(
    candidates=jnp.concatenate([batch.candidates[:, :1], rows(drawn)], axis=1),
    log_chance=rows(chance.astype(np.float32)),
  )
  expected = []
  for row in range(3):
    scores = _scores_of(params, batch, row, np.arange(1, 10))
    own = scores[int(batch.candidates[row, 0]) - 1]
    total = np.exp(own) + np.sum(np.exp(scores))  # the observed one besides
    expected.append(np.log(total) - own)
  loss = _loss('softmax', log_frequency=True)
  np.testing.assert_allclose(
    _run(loss, model, params, batch), expected, rtol=1e-5
  )


def test_a_hidden_item_is_predicted_where_it_is_hidden():
  model, params = _toy()
  model = model._replace(cloze=True)
  batch = _batch(every_position=True)
  masked = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
  inputs = []

  def encode(net, rows, context, given, *, key=None):
    inputs.append(given['masked'])
    return worlds.mean_model().encode_positions(
      net, rows, context, given, key=key
    )

  model = model._replace(encode_positions=encode)
  loss = objectives.make(objectives.Loss(positions='masked'), model)
  actual = loss(params, {}, batch._replace(masked=jnp.asarray(masked)))
  np.testing.assert_array_equal(inputs[0], masked)
  expected = []
  for row in range(3):
    history = np.asarray(batch.history[row])
    expected.append(
      np.mean(
        [
          _log_loss(
            np.asarray(params.tables['item']['embedding'])[
              np.asarray(batch.candidates[row, place])
            ]
            @ _user(params, history[: place + 1])
          )
          for place in np.flatnonzero(masked[row])
        ]
      )
    )
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['softmax', 'cross_entropy'])
@pytest.mark.parametrize('positions', ['last', 'every'])
def test_temperatures_divide_the_scores_of_their_group(name, positions):
  model, params = _toy()
  batch = _batch(every_position=positions == 'every')
  cold = (0.5, 2.0)  # of groups 0 and 1
  loss = _loss(name, positions=positions)
  for group, temperature in enumerate(cold):
    kernel = lambda encoded, t=temperature: encoded / t
    cooler = model._replace(
      score=lambda net, encoded, rows, key=None, kernel=kernel: model.score(
        net, kernel(encoded), rows, key=key
      )
    )
    rows = np.asarray(batch.group) == group
    np.testing.assert_allclose(
      _run(loss._replace(temperatures=cold), model, params, batch)[rows],
      _run(loss, cooler, params, batch)[rows],
      rtol=1e-5,
    )


def test_the_worst_share_is_all_that_is_trained_on():
  model, params = _toy()
  batch = _batch()._replace(weight=jnp.ones(3))
  plain = _run(_loss('bce'), model, params, batch)
  loss = _loss('bce', worst=0.3, smoothing=0.0)
  actual = _run(loss, model, params, batch)
  expected = np.where(plain == plain.max(), 3 * plain, 0.0)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  judge = objectives.of_judge(loss)
  np.testing.assert_array_equal(_run(judge, model, params, batch), plain)


@pytest.mark.parametrize('positions', ['last', 'every'])
def test_mixing_trains_states_between_two_users_of_the_tail(positions):
  model, params = _toy()
  batch = _batch(every_position=positions == 'every')
  batch = batch._replace(
    group=jnp.array([0, 0, 1]), weight=jnp.array([1.0, 1.0, 1.0])
  )
  seen = []

  def score(net, encoded, rows, *, key=None):
    seen.append(encoded)
    return model.score(net, encoded, rows, key=key)

  watched = model._replace(score=score)
  loss = _loss('softmax', positions=positions, mix=0.7)
  plain = loss._replace(mix=0.0)
  key = jax.random.key(3)
  run = lambda loss, key: objectives.make(loss, watched)(params, {}, batch, key)
  np.testing.assert_array_equal(run(loss, None), run(plain, None))
  seen.clear()
  mixed = run(loss, key)
  states = np.asarray(seen[0])
  seen.clear()
  expected = run(plain, key)
  own = np.asarray(seen[0])
  np.testing.assert_array_equal(states[2], own[2])  # not of the tail
  np.testing.assert_allclose(mixed[2], expected[2], rtol=1e-6)
  both = (batch.history[0] > 0) & (batch.history[1] > 0)
  at = np.flatnonzero(both)[0] if positions == 'every' else ...
  span = own[1][at] - own[0][at]
  share = (states[0][at] - own[0][at]) @ span / (span @ span)
  np.testing.assert_allclose(
    states[0][at], own[0][at] + share * span, rtol=1e-4, atol=1e-6
  )
  assert 0.0 < share < 1.0
  if positions == 'last':
    of = lambda state, row: _log_softmax(
      np.asarray(params.tables['item']['embedding'])[batch.candidates[row]]
      @ state
    )
    np.testing.assert_allclose(
      mixed[0],
      (1 - share) * of(states[0], 0) + share * of(states[0], 1),
      rtol=1e-4,
    )


def _log_softmax(scores):
  return np.log(np.sum(np.exp(scores))) - scores[0]


def test_a_model_without_a_state_is_not_mixed():
  of = lambda name: models.make(config_lib.ModelConfig(name=name, width=4))
  for name in ('gru4rec', 'sasrec_original', 'bert4rec'):
    mixing.check(0.5, of(name), _SIZES)
  with pytest.raises(types.UserError, match='augment.mix=0'):
    mixing.check(0.5, of('din'), _SIZES)
  mixing.check(0.0, of('din'), _SIZES)


@pytest.mark.parametrize('shared', [False, True])
def test_every_position_of_a_routed_example_goes_through_its_own_plugin(shared):
  name, plugin = 'gru4rec', 'light'
  history = jnp.asarray(examples.HISTORY, jnp.int32)
  batch = types.Batch(
    history=history,
    candidates=jnp.roll(history, -1, 1)[..., None],
    user=jnp.arange(len(history)),
    group=jnp.asarray(cases.USER_GROUP),
    weight=jnp.ones(len(history)),
  )
  loss = _loss('cross_entropy', positions='every')
  if shared:
    drawn = jnp.asarray(examples.CANDIDATES, jnp.int32)
    batch = batch._replace(shared=drawn[:, :3])
    loss = _loss('softmax', positions='every')
  params = cases.moved(name, plugin)
  trunk, own = plugged.split(params)

  @jax.jit
  def values(params, trunk, own):
    routed = objectives.make(loss, cases.model(name, plugin))
    model, plug = examples.make(name), cases.make(plugin)
    by_group = []
    for group in range(cases.GROUPS):
      chosen = trees.take(own, jnp.array([group]))
      attached = plugged.attached(model, plug, chosen, jnp.ones(1))
      by_group.append(objectives.make(loss, attached)(trunk, {}, batch))
    return routed(params, {}, batch), jnp.stack(by_group)

  found, by_group = values(params, trunk, own)
  expected = by_group[cases.USER_GROUP, jnp.arange(len(history))]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  assert np.ptp(by_group, axis=0).max() > 1e-3
