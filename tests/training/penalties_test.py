import functools
import itertools

import chex
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import models
from twotsrec import types
from twotsrec.aggregators import linear
from twotsrec.objectives import sampled as objectives
from twotsrec.ops import rows
from twotsrec.training import penalties
from twotsrec.training import steps

GROUPS, CANDIDATES, LENGTH, ITEMS = 3, 2, 5, 11
SIZES = jnp.array([20.0, 50.0, 130.0])
PRIOR = (0.2, 0.3, 0.5)
WEIGHT, DECAY = 30.0, 0.75
# The last example of a batch is filling.
ALL, WITHOUT_MIDDLE = (2, 0, 1, 2, 1, 0, 0), (2, 0, 0, 2, 2, 0, 0)


@functools.cache
def _model(name='din'):
  options = config_lib.ModelConfig(name=name, width=4)
  if name == 'din':
    options.hidden = (4, 3)
  if name.startswith('sasrec'):
    options.num_heads = 2
  return models.make(options)


@functools.cache
def _params(name='din'):
  sizes = types.Sizes(8, ITEMS, LENGTH)
  init = functools.partial(_model(name).init, sizes=sizes)
  rng = np.random.default_rng(1)
  draw = lambda x: jnp.asarray(0.6 * rng.normal(size=x.shape), x.dtype)
  return jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0), {}))


def _batch(group=ALL, seed=0):
  rng = np.random.default_rng(seed)
  size = len(group)
  history = rng.integers(1, ITEMS + 1, (size, LENGTH))
  history[:, 3:] *= rng.integers(0, 2, (size, 1))
  weight = np.ones(size, np.float32)
  weight[-1] = 0.0
  return types.Batch(
    jnp.asarray(history, jnp.int32),
    jnp.asarray(rng.integers(1, ITEMS + 1, (size, CANDIDATES)), jnp.int32),
    jnp.arange(size, dtype=jnp.int32),
    jnp.asarray(group, jnp.int32),
    jnp.asarray(weight),
  )


def _options(penalty, **changes):
  defaults = {'penalty_weight': WEIGHT, 'fishr_decay': DECAY}
  return config_lib.TrainConfig(penalty=penalty, **(defaults | changes))


@functools.cache
def _gradient(penalty, **changes):
  return jax.jit(
    penalties.make_gradient(
      _model(),
      linear.backdoor(prior=PRIOR),
      SIZES,
      _options(penalty, **changes),
    )
  )


@functools.cache
def _fused():
  objective = objectives.make(objectives.Loss(), _model())
  aggregator = linear.backdoor(prior=PRIOR)
  return jax.jit(steps.make_gradient(objective, aggregator, SIZES, 'fused'))


def _start(penalty, name='din'):
  return penalties.init(GROUPS, _params(name), _options(penalty))


def _run(gradient, state, batch):
  return gradient(_params(), {}, batch, state, jax.random.key(3))


def _features(model, params, batch):
  """Features and candidate rows, stage by stage."""
  items, net, stages = params.tables['item'], params.net, model.stages
  embedded = stages.embed(
    net['embed'],
    rows.gather(items, batch.history),
    {'history': batch.history},
  )
  extractor = net['extractor']
  summary = stages.summarize(extractor, embedded, batch.history > 0)
  candidates = rows.gather(items, batch.candidates)
  return stages.extract(extractor, summary, candidates), candidates


def _members(batch):
  """Positions of the real examples of every group in the batch."""
  real = np.asarray(batch.weight) > 0
  members = [
    np.flatnonzero(real & (np.asarray(batch.group) == g)) for g in range(GROUPS)
  ]
  return {g: list(m) for g, m in enumerate(members) if len(m)}


def _label(c):
  return 1.0 if c == 0 else 0.0


def _literal_vrex(scores, members):
  means = [sum(_loss(scores, i) for i in m) / len(m) for m in members.values()]
  mean = sum(means) / len(means)
  return sum((x - mean) ** 2 for x in means) / len(means)


def _loss(scores, i):
  """Mean cross-entropy of an example, its first candidate observed."""
  total = 0.0
  for c in range(CANDIDATES):
    probability = 1 / (1 + jnp.exp(-scores[i, c]))
    total -= jnp.log(probability if c == 0 else 1 - probability)
  return total / CANDIDATES


def _literal_irm(scores, members):
  products = []
  for m in members.values():
    halves = [
      [
        (1 / (1 + jnp.exp(-scores[i, c])) - _label(c)) * scores[i, c]
        for i in half
        for c in range(CANDIDATES)
      ]
      for half in (m[::2], m[1::2])
    ]
    if all(halves):
      first, second = (sum(half) / len(half) for half in halves)
      products.append(first * second)
  return sum(products) / len(products)


def _literal_variances(model, params, batch, members):
  """{group: f32[P]} from one gradient per example and candidate."""
  features = _features(model, params, batch)
  classifier = params.net['classifier']
  name = max(classifier)

  def pair_loss(layer, i, c):
    one = jax.tree.map(lambda leaf: leaf[i : i + 1], features)
    scores = model.stages.classify({**classifier, name: layer}, *one)
    return losses.bce_loss(scores[0, c], jnp.float32(_label(c)))

  variances = {}
  for g, m in members.items():
    slopes = []
    for i, c in itertools.product(m, range(CANDIDATES)):
      tree = jax.grad(pair_loss)(classifier[name], i, c)
      slopes.append(
        jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])
      )
    mean = sum(slopes) / len(slopes)
    variances[g] = sum((x - mean) ** 2 for x in slopes) / len(slopes)
  return variances


def _literal_fishr(variances, past, decay):
  """Discounted sums; `past` is {group: its earlier variances}, oldest first.

  A group that was absent at times has the mean of what it has instead.
  """
  update = 1 + max([0, *(len(p) for p in past.values())])
  compared = []
  for g, fresh in variances.items():
    terms = [fresh, *reversed(past.get(g, []))]
    discounts = [decay**age for age in range(len(terms))]
    mean = sum(d * v for d, v in zip(discounts, terms)) / sum(discounts)
    compared.append(mean * sum(decay**age for age in range(update)))
  mean = sum(compared) / len(compared)
  return sum(jnp.sum((x - mean) ** 2) for x in compared) / len(compared)


def _literal_loss(params, batch, penalty, members, past):
  """The equation, group by group and sample by sample."""
  model = _model()
  classifier = params.net['classifier']
  scores = model.stages.classify(classifier, *_features(model, params, batch))
  total = sum(PRIOR[g] for g in members)
  risk = sum(
    PRIOR[g] / total * sum(_loss(scores, i) for i in m) / len(m)
    for g, m in members.items()
  )
  if penalty == 'vrex':
    value = _literal_vrex(scores, members)
  elif penalty == 'irm':
    value = _literal_irm(scores, members)
  else:
    variances = _literal_variances(model, params, batch, members)
    value = _literal_fishr(variances, past, DECAY)
  return risk + WEIGHT * value


def _expected(penalty, batch, past=None):
  literal = functools.partial(
    _literal_loss, penalty=penalty, members=_members(batch), past=past or {}
  )
  return jax.jit(jax.grad(literal))(_params(), batch)


@pytest.mark.parametrize(
  'penalty, group',
  [
    ('vrex', ALL),
    ('vrex', WITHOUT_MIDDLE),
    ('irm', ALL),
    ('irm', WITHOUT_MIDDLE),
  ],
)
def test_the_gradient_is_that_of_the_literal_loss(penalty, group):
  batch = _batch(group)
  expected = _expected(penalty, batch)
  grads, state, sums, counts = _run(_gradient(penalty), _start(penalty), batch)
  chex.assert_trees_all_close(grads, expected, rtol=2e-4, atol=2e-6)
  assert int(state.step) == 1
  values = jax.jit(objectives.make(objectives.Loss(), _model()))(
    _params(), {}, batch
  )
  members = _members(batch)
  for g in range(GROUPS):
    own = members.get(g, [])
    assert counts[g] == len(own)
    np.testing.assert_allclose(
      sums[g], sum(float(values[i]) for i in own), rtol=1e-5
    )


@pytest.mark.parametrize('penalty', ['irm', 'fishr'])
def test_in_its_warm_up_it_is_the_fused_gradient(penalty):
  batch = _batch(WITHOUT_MIDDLE)
  expected = _run(_fused(), (), batch)
  changed, state = _gradient(penalty, penalty_warmup=2), _start(penalty)
  for update in range(3):
    grads, state, sums, counts = _run(changed, state, batch)
    if update < 2:
      chex.assert_trees_all_equal(
        (grads, sums, counts), (expected[0], *expected[2:])
      )
  distance = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), grads, expected[0])
  assert max(jax.tree.leaves(distance)) > 1e-4


def test_fishr_compares_discounted_variances_also_of_groups_that_were_absent():
  gradient, state = _gradient('fishr'), _start('fishr')
  past = {g: [] for g in range(GROUPS)}
  for seed, group in ((1, ALL), (2, WITHOUT_MIDDLE)):
    batch = _batch(group, seed)
    state = _run(gradient, state, batch)[1]
    variances_of = functools.partial(
      _literal_variances, _model(), members=_members(batch)
    )
    for g, variances in jax.jit(variances_of)(_params(), batch).items():
      past[g].append(variances)
  np.testing.assert_array_equal(state.seen, [2.0, 1.0, 2.0])
  np.testing.assert_allclose(
    state.variances[1], (1 - DECAY) * past[1][0], rtol=1e-4, atol=1e-8
  )
  batch = _batch((2, 1, 1, 2, 1, 2, 0), seed=3)
  grads, *_ = _run(gradient, state, batch)
  expected = _expected('fishr', batch, past)
  chex.assert_trees_all_close(grads, expected, rtol=2e-4, atol=2e-6)


def test_a_single_sample_of_din_has_its_input_times_its_residual():
  """h_i (sigmoid(a_i) - y_i) for the kernel, the residual for the bias."""
  batch = _batch()
  model, params = _model(), _params()
  scored = jax.jit(functools.partial(objectives.score_stages, model.stages))(
    params, batch
  )
  classifier = params.net['classifier']
  found = penalties.last_layer_gradients(
    model.stages.classify, classifier, scored
  )
  hidden = np.asarray(scored.features.plugged, np.float64)
  for name in ('dense_0', 'dense_1'):
    hidden = np.tanh(
      examples.dense(examples.as_numpy(classifier[name]), hidden)
    )
  labels = np.array([_label(c) for c in range(CANDIDATES)])
  residual = examples.sigmoid(np.asarray(scored.scores, np.float64)) - labels
  with_bias = np.concatenate([np.ones_like(hidden[..., :1]), hidden], axis=-1)
  expected = with_bias * residual[..., None]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['din_original', 'gru4rec'])
def test_variances_of_every_classifier_are_those_of_single_gradients(name):
  batch = _batch((0, 2, 0, 2))
  model, params = _model(name), _params(name)

  def variances(params, batch):
    scored = objectives.score_stages(model.stages, params, batch)
    slopes = penalties.last_layer_gradients(
      model.stages.classify, params.net['classifier'], scored
    )
    member = jax.nn.one_hot(batch.group, GROUPS) * batch.weight[:, None]
    return penalties.gradient_variances(slopes, member)

  found = jax.jit(variances)(params, batch)
  assert (
    found.shape
    == penalties.init(GROUPS, params, _options('fishr')).variances.shape
  )
  literal = functools.partial(
    _literal_variances, model, members=_members(batch)
  )
  for g, expected in jax.jit(literal)(params, batch).items():
    np.testing.assert_allclose(found[g], expected, rtol=1e-3, atol=1e-7)
  np.testing.assert_array_equal(found[1], 0.0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
  strategies.lists(
    strategies.tuples(strategies.floats(0, 4, width=16), strategies.booleans()),
    min_size=4,
    max_size=4,
  )
)
def test_vrex_is_the_variance_over_the_groups_that_are_there(groups):
  values, present = (np.array(x) for x in zip(*groups))
  found = penalties.vrex(jnp.asarray(values, jnp.float32), jnp.asarray(present))
  expected = np.var(values[present]) if present.any() else 0.0
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_groups_that_are_alike_have_no_penalty():
  present = jnp.array([True, False, True, True])
  alike = jnp.array([0.5, 9.0, 0.5, 0.5])
  assert float(penalties.vrex(alike, present)) == 0.0
  variances = jnp.broadcast_to(alike[:, None], (4, 6))
  assert float(penalties.fishr(variances, present)) == 0.0
  slope = jax.grad(penalties.fishr)(variances, present)
  np.testing.assert_array_equal(slope, np.zeros((4, 6)))


@jax.jit
def _scale_slope(scores):
  """Derivative of the mean loss with respect to a scale of all scores."""
  mean = lambda scale: jnp.mean(losses.candidate_bce_loss(scale * scores))
  return jax.grad(mean)(1.0)


def test_irm_is_the_squared_slope_of_a_scale_on_two_halves():
  scores = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
  irm = jax.jit(penalties.irm)
  expected = _scale_slope(scores[::2]) * _scale_slope(scores[1::2])
  np.testing.assert_allclose(irm(scores, jnp.ones((4, 1))), expected, rtol=1e-5)
  # Two halves that are equal give the square itself.
  found = irm(jnp.repeat(scores, 2, axis=0), jnp.ones((8, 1)))
  np.testing.assert_allclose(found, _scale_slope(scores) ** 2, rtol=1e-5)


def test_irm_is_unbiased_where_the_square_of_a_mean_is_not():
  """Over all pairs from a population the mean is its squared slope."""
  population = jnp.array([[2.0, -1.0], [-3.0, 0.5], [0.7, 0.7]])
  pairs = jnp.array(list(itertools.product(range(3), repeat=2)))
  over_pairs = jax.vmap(lambda scores: penalties.irm(scores, jnp.ones((2, 1))))
  found = jax.jit(over_pairs)(population[pairs])
  expected = _scale_slope(population) ** 2
  np.testing.assert_allclose(found.mean(), expected, rtol=1e-5)


def test_a_group_of_one_example_has_no_unbiased_square():
  scores = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
  member = jax.nn.one_hot(jnp.array([0, 1, 0, 0, 0]), GROUPS)
  irm = jax.jit(penalties.irm)
  without = irm(scores, member.at[1].set(0.0))
  np.testing.assert_array_equal(irm(scores, member), without)
  assert float(irm(scores, jnp.eye(5))) == 0.0


def _uneven_batches():
  batches = [_batch(ALL), _batch((1,) * 7, 1), _batch(WITHOUT_MIDDLE, 2)]
  return [*batches, _batch(ALL, 3)._replace(weight=jnp.zeros(7))]


@pytest.mark.parametrize('penalty', penalties.NAMES)
def test_it_stays_finite_whatever_groups_a_batch_has(penalty):
  state = _start(penalty)
  for batch in _uneven_batches():
    grads, state, sums, _ = _run(_gradient(penalty), state, batch)
    chex.assert_tree_all_finite((grads, state, sums))
  # Nothing to learn from the last batch, which is empty.
  assert not any(np.any(leaf) for leaf in jax.tree.leaves((grads, sums)))


def test_a_scan_of_updates_equals_single_ones():
  batches = _uneven_batches()
  gradient, state = _gradient('fishr'), _start('fishr')
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)

  def body(state, batch):
    grads, state, *_ = _run(gradient.__wrapped__, state, batch)
    return state, grads

  scan = jax.jit(lambda state, batches: jax.lax.scan(body, state, batches))
  scanned, results = scan(state, stacked)
  single = []
  for batch in batches:
    grads, state, *_ = _run(gradient, state, batch)
    single.append(grads)
  single = jax.tree.map(lambda *leaves: jnp.stack(leaves), *single)
  chex.assert_trees_all_close(results, single, rtol=1e-4, atol=1e-6)
  chex.assert_trees_all_close(scanned, state, rtol=1e-4, atol=1e-7)


def test_what_a_penalty_needs_is_said():
  pcgrad = aggregators.make(config_lib.AggregatorConfig(name='pcgrad'))
  popularity = models.make(config_lib.ModelConfig(name='popularity'))
  positions = {'positions': 'every'}
  for model, aggregator, changes, match in (
    (_model(), pcgrad, {}, 'train.penalty needs .* joint, backdoor or class_'),
    (popularity, linear.joint(), {}, "'vrex' needs .* with stages: din"),
    (_model(), linear.joint(), positions, "'vrex' needs train.positions=last"),
  ):
    options = _options('vrex', **changes)
    with pytest.raises(types.UserError, match=match):
      penalties.make_gradient(model, aggregator, SIZES, options)
  with pytest.raises(types.UserError, match='no parameters'):
    penalties.init(GROUPS, _params('sasrec_original'), _options('fishr'))
  assert _start('vrex', 'sasrec_original').variances.shape == (GROUPS, 0)
