"""Labels of impressions in batches, losses and the methods that read scores."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import configured
from tests import worlds
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import models
from twotsrec import types
from twotsrec.data import feeds
from twotsrec.data import impressions
from twotsrec.objectives import sampled as objectives
from twotsrec.training import penalties
from twotsrec.training import sequential
from twotsrec.training import sources
from twotsrec.training import steps
from twotsrec.training import validation

GROUPS, LENGTH, BATCH = 3, 5, 24


@functools.cache
def _config():
  return configured.by(
    data__history_length=LENGTH,
    groups__num_groups=GROUPS,
    train__batch_size=BATCH,
  )


@functools.cache
def _source():
  _, prepared, groups = worlds.shown()
  experiment = contracts.Experiment(_config(), prepared, groups)
  return sources.of_histories(experiment)


@functools.cache
def _din():
  options = config_lib.ModelConfig(name='din', width=4, hidden=(4, 3))
  model = models.make(options)
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), {}, types.Sizes(12, 20, LENGTH))
  )
  rng = np.random.default_rng(1)
  draw = lambda x: jnp.asarray(0.6 * rng.normal(size=x.shape), x.dtype)
  return model, jax.tree.map(draw, shapes)


@functools.cache
def _batches():
  """One batch, flat and with a row per group."""
  source, key = _source(), jax.random.key(0)
  stacked = source.by_group()
  plan = source.plan_of(0)[1]
  flat = jax.jit(source.batch_of)(source.feed, plan, key)
  rows = source.stack(source.plan_of(0))[1]
  return flat, jax.jit(stacked.batch_of)(source.feed, rows, key)


def test_an_example_is_an_impression_with_its_own_history():
  _, prepared, groups = worlds.shown()
  shown = impressions.of_split(prepared, 0)
  source = _source()
  examples = np.append(np.arange(len(shown.user)), -1)
  batch = jax.jit(source.batch_of)(source.feed, examples, jax.random.key(0))
  assert batch.candidates.shape == (len(examples), 1)
  assert batch.weight.tolist() == [1.0] * len(shown.user) + [0.0]
  for row, (user, end) in enumerate(zip(shown.user, shown.history_end)):
    own = prepared.items[prepared.user_offsets[user] : end][-LENGTH:]
    padded = np.pad(own, (0, LENGTH - len(own)))
    assert batch.history[row].tolist() == padded.tolist()
  real = jax.tree.map(lambda leaf: np.asarray(leaf)[:-1], batch)
  assert real.candidates[:, 0].tolist() == shown.item.tolist()
  assert real.label.tolist() == shown.label.tolist()
  assert real.user.tolist() == shown.user.tolist()
  assert real.group.tolist() == groups.user_group[shown.user].tolist()
  assert source.sizes.tolist() == groups.sizes.tolist()


def _literal(scores, label):
  chance = 1 / (1 + np.exp(-np.asarray(scores, np.float64)))
  return -np.log(np.where(np.asarray(label) > 0, chance, 1 - chance))


def test_the_loss_is_the_cross_entropy_of_the_label():
  model, params = _din()
  batch, _ = _batches()
  loss = objectives.make(objectives.Loss(), model)
  scores = objectives.score_stages(model.stages, params, batch).scores[:, 0]
  actual = jax.jit(loss)(params, {}, batch)
  np.testing.assert_allclose(actual, _literal(scores, batch.label), rtol=1e-5)
  assert 0 < np.mean(batch.label) < 1


def test_one_pass_equals_a_gradient_per_group():
  """PIN eq. 7 with sums over impressions of both labels."""
  model, params = _din()
  flat, stacked = _batches()
  options = config_lib.AggregatorConfig(name='backdoor')
  aggregator = aggregators.make(options)
  gradients = [
    jax.jit(
      steps.make_gradient(
        objectives.make(objectives.Loss(), model),
        aggregator,
        _source().sizes,
        form,
      )
    )(params, {}, batch, (), jax.random.key(0))
    for form, batch in (('fused', flat), ('explicit', stacked))
  ]
  chex.assert_trees_all_close(
    gradients[0][0], gradients[1][0], rtol=1e-4, atol=1e-8
  )


def test_validation_is_the_mean_over_impressions():
  _, prepared, groups = worlds.shown()
  model, params = _din()
  feed = feeds.make_feed(prepared, groups, _config().data, split=1)
  loss = validation.make_loss(
    objectives.make(objectives.Loss(), model),
    sources.batch_of(_config(), 20),
    GROUPS,
  )
  judge = validation.make_evaluate(loss, {}, feed, 16, jax.random.key(0))
  shown = impressions.of_split(prepared, 1)
  batch = sources.batch_of(_config(), 20)(
    feed, np.arange(len(shown.user)), jax.random.key(0)
  )
  scores = objectives.score_stages(model.stages, params, batch).scores[:, 0]
  expected = np.mean(_literal(scores, shown.label))
  assert judge(params)['loss'] == pytest.approx(expected, rel=1e-5)


def test_irm_is_the_slope_of_the_labeled_loss():
  """With one example in each half the product is of their own slopes."""
  scores, label = jnp.array([[0.7], [-0.4]]), jnp.array([0.0, 1.0])
  loss = lambda scale, row: (
    jax.nn.softplus(scale * scores[row, 0])
    - (scale * scores[row, 0] * label[row])
  )
  slopes = [jax.grad(loss)(1.0, row) for row in (0, 1)]
  actual = penalties.irm(scores, jnp.ones((2, 1)), label)
  assert actual == pytest.approx(float(slopes[0] * slopes[1]), rel=1e-5)


def test_fishr_reads_gradients_of_the_labeled_loss():
  model, params = _din()
  batch, _ = _batches()
  scored = objectives.score_stages(model.stages, params, batch)
  classifier = params.net['classifier']
  name = penalties.last_layer(classifier)
  actual = penalties.last_layer_gradients(
    model.stages.classify, classifier, scored, batch.label
  )

  def loss(layer, row):
    net = {**params.net, 'classifier': {**classifier, name: layer}}
    own = jax.tree.map(lambda leaf: leaf[row][None], batch)
    return objectives.make(objectives.Loss(), model)(
      params._replace(net=net), {}, own
    )[0]

  for row in (0, 7):
    slopes = jax.grad(loss)(classifier[name], row)
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(slopes)])
    np.testing.assert_allclose(actual[row, 0], flat, rtol=1e-4, atol=1e-6)


def test_grad_transfer_steps_along_the_labels():
  """Its losses are those of each group before its step of no length."""
  model, params = _din()
  _, stacked = _batches()
  options = config_lib.TrainConfig(method='grad_transfer', inner_rate=1e-12)
  sizes = types.Sizes(12, 20, LENGTH)
  state = sequential.init(jax.random.key(0), params, model, sizes, options)
  objective = objectives.make(objectives.Loss(), model)
  gradient = sequential.make_gradient(
    model, objective, _source().sizes, options
  )
  _, _, sums, counts = jax.jit(gradient)(
    params, {}, stacked, state, jax.random.key(1)
  )
  for group in range(GROUPS):
    own = jax.tree.map(lambda leaf, g=group: leaf[g], stacked)
    values = objectives.make(objectives.Loss(), model)(params, {}, own)
    total = np.sum(np.where(own.weight > 0, values, 0.0))
    assert sums[group] == pytest.approx(float(total), rel=1e-4)
    assert counts[group] == np.sum(own.weight)
