import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.aggregators import cases
from tests.aggregators import remembered_test
from twotsrec import aggregator_config
from twotsrec import trees

run = remembered_test.run


@pytest.mark.parametrize('name', aggregator_config.WEIGHED)
def test_updates_that_may_be_smoothed_are_sums_by_their_weights(name):
  vectors = np.float32(cases.draw(0))
  update, _, log = cases.compiled(name)(
    vectors, cases.info(), cases.first_state(name), cases.key(0)
  )
  expected = trees.combine(log['weights'], cases.stack(vectors))
  np.testing.assert_allclose(update, cases.flat(expected), rtol=1e-5, atol=1e-6)


def test_every_method_is_smoothed_that_can_be():
  """The others have fixed weights, no weights, or cut or average gradients."""
  others = set(cases.NAMES) - set(aggregator_config.WEIGHED)
  fixed, by_entry = {'joint', 'backdoor', 'class_balanced'}, {'trimmed_mean'}
  by_entry |= {'agr_sum', 'agr_rand', 'graddrop'}
  assert others == fixed | by_entry | {'nash', 'db_mtl', 'moco'}


def test_weights_are_moving_averages_from_the_first_on():
  gradients = [cases.draw(seed) for seed in range(4)]
  plain = jax.jit(cases.make('mgda').update)
  average = None
  updates, _ = run('mgda', gradients, cr_mogm_alpha=0.7)
  for vectors, update in zip(gradients, updates):
    *_, log = plain(cases.stack(vectors), cases.info(), ())
    new = np.asarray(log['weights'], np.float64)
    average = new if average is None else 0.7 * average + 0.3 * new
    np.testing.assert_allclose(update, average @ vectors, atol=1e-5)


def test_the_first_update_is_that_of_the_method():
  for name in ('pcgrad', 'cagrad', 'famo'):
    vectors = cases.draw(3)
    expected = cases.apply(name, vectors)
    actual = cases.apply(name, vectors, cr_mogm_alpha=0.9)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_an_absent_group_keeps_its_weight_and_is_not_heard():
  gradients = [cases.draw(seed) for seed in range(2)]
  counts = [np.full(4, 5.0), np.array([5.0, 0.0, 5.0, 5.0])]
  gradients[1][1] = 100.0
  updates, states = run('mgda', gradients, counts=counts, cr_mogm_alpha=0.5)
  before, after = states[0].weights, states[1].weights
  assert before[1] == after[1] and np.abs(updates[1]).max() < 10
  kept = np.where(counts[1] > 0, after, 0.0)
  np.testing.assert_allclose(updates[1], kept @ gradients[1], atol=1e-5)


def test_what_a_method_learns_after_the_update_reaches_it():
  smooth = cases.make('famo', cr_mogm_alpha=0.5)
  assert smooth.post is not None
  state = smooth.init(4, cases.params())
  _, state, _ = smooth.update(cases.stack(cases.draw(0)), cases.info(), state)
  after = cases.info(losses=np.array(cases.LOSSES) * (0.5, 1.0, 1.0, 1.0))
  moved = smooth.post(after, state)
  alone = cases.make('famo').post(after, state.inner)
  assert jnp.any(moved.inner.logits != state.inner.logits)
  np.testing.assert_array_equal(moved.inner.logits, alone.logits)
