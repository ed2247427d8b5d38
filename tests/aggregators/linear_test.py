import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import aggregators
from twotsrec import config
from twotsrec import types
from twotsrec.aggregators import linear

SIZES = np.array([10.0, 20.0, 70.0])


def _setup(seed=0, counts=(4, 4, 4)):
  """A toy loss, its parameters and one mini-batch per group."""
  draw = np.random.default_rng(seed).normal
  data = [jnp.asarray(draw(size=(b, 2)), jnp.float32) for b in counts]
  loss = lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2)
  w = jnp.array([0.3, -0.2])
  group_grads = jnp.stack([jax.grad(loss)(w, x) for x in data])
  info = types.GroupInfo(jnp.asarray(SIZES), jnp.asarray(counts, jnp.float32))
  return loss, w, data, group_grads, info


def _apply(aggregator, group_grads, info):
  state = aggregator.init(3, None)
  grads, _, log = aggregator.update(group_grads, info, state)
  return grads, log


def test_backdoor_is_equation_7_on_group_shares_of_a_proportional_batch():
  counts = (1, 2, 7)  # B n_j / N
  loss, w, data, group_grads, info = _setup(counts=counts)
  share = [b / 10 * g for b, g in zip(counts, group_grads)]  # (1/B) sum_i
  expected = sum(100.0 / n * g for n, g in zip(SIZES, share)) / 3
  for weighting in ('self_norm', 'importance'):
    actual, _ = _apply(linear.backdoor(weighting=weighting), group_grads, info)
    chex.assert_trees_all_close(actual, expected, rtol=1e-5)
  # With weights n_j / N instead of 1 / n it is the batch gradient.
  joint, _ = _apply(linear.joint(), group_grads, info)
  chex.assert_trees_all_close(
    joint, jax.grad(loss)(w, jnp.concatenate(data)), rtol=1e-5
  )


@pytest.mark.parametrize('tau', [1.0, 0.0, -1.0, 0.5])
def test_backdoor_is_the_gradient_of_the_reweighted_loss(tau):
  loss, w, data, group_grads, info = _setup()
  prior = SIZES**tau / np.sum(SIZES**tau)
  reweighted = lambda w: sum(p * loss(w, x) for p, x in zip(prior, data))
  actual, log = _apply(linear.backdoor(tau), group_grads, info)
  chex.assert_trees_all_close(actual, jax.grad(reweighted)(w), rtol=1e-4)
  np.testing.assert_allclose(log['weights'], prior, rtol=1e-5)


def test_equal_groups_give_the_mean_for_every_tau():
  *_, group_grads, info = _setup()
  info = info._replace(sizes=jnp.full(3, 50.0))
  for tau in (-1.0, 0.0, 2.0):
    actual, _ = _apply(linear.backdoor(tau), group_grads, info)
    chex.assert_trees_all_close(actual, jnp.mean(group_grads, 0), rtol=1e-5)


def test_prior_overrides_tau_and_is_normalized():
  *_, group_grads, info = _setup()
  actual, _ = _apply(linear.backdoor(-1.0, (2.0, 0.0, 6.0)), group_grads, info)
  expected = 0.25 * group_grads[0] + 0.75 * group_grads[2]
  chex.assert_trees_all_close(actual, expected, rtol=1e-5)


def test_absent_group_is_left_out_by_self_norm_and_vanishes_by_importance():
  *_, group_grads, info = _setup()
  info = info._replace(counts=jnp.array([0.0, 4.0, 8.0]))
  group_grads = group_grads.at[0].set(0.0)
  norm, log = _apply(linear.backdoor(), group_grads, info)
  chex.assert_trees_all_close(norm, jnp.mean(group_grads[1:], 0), rtol=1e-5)
  np.testing.assert_allclose(log['weights'], [0.0, 0.5, 0.5])
  _, log = _apply(linear.backdoor(weighting='importance'), group_grads, info)
  np.testing.assert_allclose(
    log['weights'],
    (1 / 3) * (100 / SIZES) * np.array([0, 4, 8]) / 12,
    rtol=1e-5,
  )


def test_importance_is_unbiased_for_random_batches_and_mean_gradients_are_not():
  """PIN eq. 7: N / n_j undoes proportional sampling, once."""
  generator = np.random.default_rng(0)
  means = np.array([2.0, 1.0, -1.0])  # group means of a per-example gradient
  counts = generator.multinomial(12, SIZES / 100, size=40_000)
  weights_of = jax.vmap(
    lambda c: linear.backdoor(weighting='importance').weights(
      types.GroupInfo(jnp.asarray(SIZES), c)
    )
  )
  weights = np.asarray(weights_of(jnp.asarray(counts, jnp.float32)))
  updates = weights @ means
  error = updates.std() / np.sqrt(len(updates))
  assert abs(updates.mean() - means.mean()) < 4 * error
  # The same N / n_j on mean gradients corrects twice: prior ~ 1 / n_j.
  twice = 1 / SIZES / np.sum(1 / SIZES)
  literal = linear.backdoor(tau=-1.0).weights(
    types.GroupInfo(jnp.asarray(SIZES), jnp.ones(3))
  )
  np.testing.assert_allclose(literal, twice, rtol=1e-5)
  assert abs(twice @ means - means.mean()) > 0.5


def test_groups_may_be_permuted():
  *_, group_grads, info = _setup()
  order = jnp.array([2, 0, 1])
  shuffled = types.GroupInfo(info.sizes[order], info.counts[order])
  for aggregator in (linear.joint(), linear.backdoor(-1.0)):
    chex.assert_trees_all_close(
      _apply(aggregator, group_grads, info)[0],
      _apply(aggregator, group_grads[order], shuffled)[0],
      rtol=1e-5,
    )


@pytest.mark.parametrize(
  'prior', [(-1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (float('nan'), 1.0, 1.0)]
)
def test_impossible_prior_is_refused(prior):
  with pytest.raises(types.UserError, match='non-negative'):
    linear.backdoor(prior=prior)


def test_prior_of_another_length_is_refused():
  *_, group_grads, info = _setup()
  with pytest.raises(types.UserError, match='2 values for 3 groups'):
    _apply(linear.backdoor(prior=(1.0, 1.0)), group_grads, info)


def test_unknown_names_list_the_known_ones():
  with pytest.raises(
    types.UserError, match="'pcgard' is unknown; known: joint, .*, pcgrad"
  ):
    aggregators.make(config.AggregatorConfig(name='pcgard'))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'weighting': 'mean'}, "weighting 'mean'; known: self_norm, importance"),
    ({'mgda_normalization': 'l1'}, "'l1'; known: none, l2, loss"),
    ({'agr_zero_policy': 'x'}, "'x'; known: strict, ignore"),
    ({'cagrad_c': -1.0}, 'cagrad_c -1.0 must be at least 0'),
    ({'fairgrad_alpha': 0.0}, 'fairgrad_alpha 0.0 must be positive'),
    ({'class_beta': 1.0}, 'class_beta 1.0 must be below 1'),
  ],
)
def test_impossible_options_are_refused(changes, message):
  with pytest.raises(types.UserError, match=message):
    aggregators.make(config.AggregatorConfig(**changes))
