import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.objectives import auxiliaries
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.training import behavior_steps

KEY = jax.random.key(0)
SIZES = jnp.array([11.0, 7.0, 5.0])
# Plain experts without alignment: what is tested here is how losses add up.
PLAIN = {'behavior__contrastive': 0.0, 'head__score_scale': (1.0,)}
WEIGHTED = {**PLAIN, 'behavior__weights': (0.5, 0.2, 0.3)}


def _fixed(weights):
  """A weighted sum of the gradients; its state becomes what it was told."""

  def update(group_grads, info, state, *, key=None):
    del state, key
    total = jax.tree.map(
      lambda g: jnp.tensordot(jnp.asarray(weights), g, 1), group_grads
    )
    return total, info, {}

  return types.GradientAggregator(lambda number, params: (), update)


@functools.cache
def _system(variant='no_aggregation', **changes):
  made = toys.config(variant, **dict(changes))
  return made, *toys.system(made)


def _gradients(
  system, batches, aggregator=None, sizes=SIZES, unique=(), form='auto'
):
  """What one compiled program gives for every batch."""
  made, model, context, params = system
  shape = dataclasses.replace(made.aggregator, form=form)
  made = dataclasses.replace(made, aggregator=shape)
  gradient = jax.jit(
    behavior_steps.make_gradient(
      model, made, toys.USERS, sizes, aggregator, unique
    )
  )
  return [gradient(params, context, batch, (), KEY) for batch in batches]


def _gradient(system, aggregator=None, sizes=SIZES, batch=None, **how):
  batches = [toys.batch() if batch is None else batch]
  (found,) = _gradients(system, batches, aggregator, sizes, **how)
  return found


def _literal(system, weight_of, batch=None):
  """Gradient of sum_k sum_p weight_of(k, p) loss(k, p) + mu ||theta||^2."""
  made, model, context, params = system
  batch = toys.batch() if batch is None else batch
  weights = [
    [weight_of(k, place) for place in range(len(pairs.weight))]
    for k, pairs in enumerate(batch.pairs)
  ]

  def loss(params):
    users = jnp.maximum(batch.users, 0)
    encoded = model.encode(params, context, users=users)
    total = made.behavior.l2 * behavior_objectives.l2_penalty(params, 'authors')
    for k in range(3):
      values = behavior_objectives.pair_losses(
        model, params, encoded, batch, k, made.behavior.loss
      )
      total += jnp.dot(jnp.asarray(weights[k], jnp.float32), values)
    return total

  return jax.jit(jax.grad(loss))(params)


_assert_close = functools.partial(
  chex.assert_trees_all_close, rtol=1e-4, atol=1e-5
)


def _pairs_of(k, batch=None):
  return float((batch or toys.batch()).pairs[k].weight.sum())


@pytest.mark.parametrize(
  ('reduction', 'scale', 'loss'),
  [('mean', 3.0, 'bpr'), ('sum', 1.0, 'bpr'), ('mean', 2.0, 'softmax')],
)
def test_losses_of_the_behaviors_add_up_as_they_are_weighed(
  reduction, scale, loss
):
  system = _system(
    **WEIGHTED,
    behavior__bpr_reduction=reduction,
    behavior__bpr_scale=scale,
    behavior__loss=loss,
  )
  batch = toys.batch(negatives=1 if loss == 'bpr' else 3)
  lambdas = system[0].behavior.weights
  count = lambda k: _pairs_of(k) if reduction == 'mean' else 1.0
  grads, _, sums, counts = _gradient(system, batch=batch)
  weight_of = lambda k, _: scale * lambdas[k] / count(k)
  _assert_close(grads, _literal(system, weight_of, batch))
  np.testing.assert_array_equal(counts, [_pairs_of(k) for k in range(3)])
  assert np.all(np.asarray(sums) > 0)


def test_a_weight_of_zero_trains_as_if_the_behavior_had_no_pairs():
  system = _system(**PLAIN, behavior__weights=(0.0, 0.5, 0.5))
  first, *others = toys.batch().pairs
  nobody = first._replace(weight=jnp.zeros_like(first.weight))
  batch = toys.batch()._replace(pairs=(nobody, *others))
  with_pairs, without = _gradients(system, [toys.batch(), batch])
  _assert_close(with_pairs, without)
  assert with_pairs[2][0] == 0 and with_pairs[3][0] == 0


def test_filling_changes_nothing_whatever_it_holds():
  system = _system('copf', head__score_scale=(3.0,))
  batch = toys.batch()
  changed = []
  for pairs in batch.pairs:
    filling = pairs.weight == 0
    assert np.any(filling)
    other = lambda x, at=filling: jnp.where(at, 1 + x.T % toys.ITEMS, x.T).T
    changed.append(
      pairs._replace(
        positive=other(pairs.positive), negative=other(pairs.negative)
      )
    )
  filled = batch._replace(pairs=tuple(changed))
  ours, theirs = _gradients(system, [batch, filled])
  _assert_close(ours, theirs)
  for leaf in jax.tree.leaves(ours):
    assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize('over', ['behaviors', 'groups'])
def test_an_aggregator_gets_a_gradient_of_each_part(over):
  system = _system(**WEIGHTED, behavior__aggregate=over)
  batch, scale = toys.batch(), 3.0
  lambdas = system[0].behavior.weights
  weights = np.array([1.0, -0.5, 2.0])[: 3 if over == 'behaviors' else 2]
  group_of = lambda k, p: int(batch.group[int(batch.pairs[k].slot[p])])

  def in_group(k, group):
    return sum(
      float(batch.pairs[k].weight[p])
      for p in range(len(batch.pairs[k].weight))
      if group_of(k, p) == group
    )

  def weight_of(k, p):
    if over == 'behaviors':
      return scale * weights[k] * 3 * lambdas[k] / _pairs_of(k)
    group = group_of(k, p)
    return scale * weights[group] * lambdas[k] / max(in_group(k, group), 1.0)

  grads, info, _, counts = _gradient(
    system, _fixed(weights), SIZES[: len(weights)]
  )
  _assert_close(grads, _literal(system, weight_of))
  np.testing.assert_array_equal(counts, [_pairs_of(k) for k in range(3)])
  expected = counts
  if over == 'groups':
    expected = [sum(in_group(k, g) for k in range(3)) for g in range(2)]
  np.testing.assert_array_equal(info.counts, expected)
  assert np.all(np.asarray(info.losses) > 0)


@pytest.mark.parametrize('over', ['behaviors', 'groups'])
@pytest.mark.parametrize('name', ['joint', 'backdoor'])
def test_one_weighted_pass_gives_the_aggregated_gradient(name, over):
  system = _system(**WEIGHTED, behavior__aggregate=over)
  aggregator = aggregators.make(
    config_lib.AggregatorConfig(name=name, tau=-1.0)
  )
  sizes = SIZES if over == 'behaviors' else SIZES[:2]
  batches = toys.batch(), _without_a_part(over)
  of = lambda form: _gradients(system, batches, aggregator, sizes, form=form)
  for fused, explicit in zip(of('auto'), of('explicit'), strict=True):
    _assert_close(fused, explicit)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(fused[0]))


def _without_a_part(over):
  """The batch without the second behavior, or without a pair of group 0."""
  batch = toys.batch()
  keep = lambda k, pairs: (
    jnp.float32(k != 1)
    if over == 'behaviors'
    else (batch.group[pairs.slot] > 0).astype(jnp.float32)
  )
  return batch._replace(
    pairs=tuple(
      pairs._replace(weight=pairs.weight * keep(k, pairs))
      for k, pairs in enumerate(batch.pairs)
    )
  )


def test_a_method_that_needs_the_gradients_cannot_be_fused():
  with pytest.raises(types.UserError, match="form 'fused'"):
    _gradient(_system(**PLAIN), _fixed(np.ones(3)), SIZES, form='fused')


def test_a_uniform_prior_over_behaviors_is_eq_16_with_equal_weights():
  aggregator = aggregators.make(config_lib.AggregatorConfig(name='backdoor'))
  summed = _gradient(_system('wo_for', **PLAIN))
  system = _system('wo_for', **PLAIN, behavior__aggregate='behaviors')
  mixed = _gradient(system, aggregator, SIZES)
  _assert_close(summed[0], mixed[0])


def test_what_is_left_of_the_loss_is_not_aggregated():
  nothing = {**PLAIN, 'behavior__aggregate': 'behaviors'}
  system = _system(**nothing)
  grads, *_ = _gradient(system, _fixed([0.0, 0.0, 0.0]), SIZES)
  _assert_close(grads, _literal(system, lambda k, p: 0.0))


@pytest.mark.parametrize('over', ['behaviors', 'groups'])
def test_a_method_that_asks_for_later_losses_gets_those_of_the_same_parts(over):
  made, model, context, params = _system(**WEIGHTED, behavior__aggregate=over)
  sizes = SIZES if over == 'behaviors' else SIZES[:2]
  told = _fixed(np.ones(len(sizes), np.float32))._replace(
    post=lambda info, state: info
  )
  post = behavior_steps.make_post(model, made, sizes, told)
  after = jax.jit(post)(params, context, toys.batch(), (), KEY)
  _, before, *_ = _gradient((made, model, context, params), told, sizes)
  _assert_close(after, before)  # nothing has moved
  for other in (None, _fixed(np.ones(3))):
    assert behavior_steps.make_post(model, made, sizes, other) is None


def test_unique_losses_weigh_as_their_tasks():
  changes = {**WEIGHTED, 'head__unique_weight': 2.0, 'behavior__l2': 0.0}
  system = _system('pme', **changes)
  made, model, context, params = system
  pairs_of = ((0, 2), (2, 1))
  batch = toys.batch()
  batch = batch._replace(unique=batch.pairs[1:])
  with_unique = _gradient(system, batch=batch, unique=pairs_of)[0]
  without = _gradient(system, batch=batch)[0]

  def extra(params):
    encoded = model.encode(params, context)
    values = auxiliaries.unique_losses(
      encoded, batch, pairs_of, toys.USERS, made.head
    )
    return 2.0 * 3.0 * (0.5 * values[0] + 0.3 * values[1])

  expected = jax.tree.map(jnp.add, without, jax.jit(jax.grad(extra))(params))
  _assert_close(with_unique, expected)
