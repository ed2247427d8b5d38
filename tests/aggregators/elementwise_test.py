import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.aggregators import cases
from tests.aggregators import exact


@pytest.mark.parametrize('leak', [0.0, 0.3, 1.0])
def test_graddrop_lets_the_other_sign_leak(leak):
  for seed in range(4):
    vectors = cases.draw(seed)
    update = cases.apply('graddrop', vectors, seed=seed, graddrop_leak=leak)
    expected = exact.graddrop(vectors, seed, leak)
    np.testing.assert_allclose(update, expected, rtol=1e-5, atol=1e-5)


def test_graddrop_is_the_sum_in_the_mean_and_one_sign_at_a_time():
  vectors = np.float32(cases.draw(0))
  draw = jax.vmap(cases.compiled('graddrop'), in_axes=(None, None, None, 0))
  keys = jax.random.split(cases.key(1), 4000)
  updates = np.asarray(draw(vectors, cases.info(), (), keys)[0], np.float64)
  parts = [np.where(sign * vectors > 0, vectors, 0).sum(0) for sign in (1, -1)]
  errors = np.min([np.abs(updates - part) for part in parts], axis=0)
  assert errors.max() < 1e-5
  error = updates.std(0) / np.sqrt(len(updates))
  difference = np.abs(updates.mean(0) - vectors.sum(0))
  assert np.all(difference < 4.5 * error + 1e-5)


@pytest.mark.parametrize('number', [0, 1])
def test_trimmed_mean_with_a_group_absent_sorts_the_others(number):
  vectors = cases.draw(1)
  for absent in range(cases.GROUPS):
    counts = np.where(np.arange(cases.GROUPS) == absent, 0.0, 5.0)
    update = cases.apply(
      'trimmed_mean', vectors, cases.info(counts), trim_number=number
    )
    ordered = np.sort(np.delete(vectors, absent, axis=0), axis=0)
    expected = ordered[number : 3 - number].mean(0)
    np.testing.assert_allclose(update, expected, rtol=1e-5, atol=1e-6)


def test_trimmed_mean_of_few_groups_is_a_median():
  vectors = cases.draw(2)
  for number, here in ((1, [0]), (2, [1, 3]), (3, [0, 2, 3])):
    counts = np.where(np.isin(np.arange(cases.GROUPS), here), 5.0, 0.0)
    update = cases.apply('trimmed_mean', vectors, cases.info(counts))
    expected = np.median(vectors[here], axis=0)
    assert len(here) == number
    np.testing.assert_allclose(update, expected, rtol=1e-5, atol=1e-6)


def test_trimmed_mean_resists_one_group_that_lies():
  vectors = cases.draw(3)
  lying = vectors.copy()
  lying[2] = 1e6
  update = cases.apply('trimmed_mean', lying)
  assert np.all(update <= np.delete(vectors, 2, axis=0).max(0) + 1e-5)


@pytest.mark.parametrize('policy', ['strict', 'ignore'])
def test_rows_that_few_groups_touch_stand_still_unless_zeros_are_ignored(
  policy,
):
  vectors = cases.draw(4)
  vectors[1:, 0] = 0.0  # one group alone has something to say
  vectors[2:, 1] = 0.0  # two have
  update = cases.apply('trimmed_mean', vectors, trim_zero_policy=policy)
  few = [vectors[0, 0] / 4, vectors[:2, 1].sum() / 4]
  between = np.sort(vectors[:, 1])[1:3].mean()
  expected = few if policy == 'ignore' else [0.0, between]
  np.testing.assert_allclose(update[:2], expected, atol=1e-6)
  rest = np.sort(vectors[:, 2:], axis=0)[1:3].mean(0)
  np.testing.assert_allclose(update[2:], rest, atol=1e-6)


def test_ties_are_counted_once():
  stacked = jnp.array([[1.0], [1.0], [1.0], [5.0]])
  made = cases.make('trimmed_mean')
  grads, *_ = made.update({'bias': stacked}, cases.info(), ())
  np.testing.assert_allclose(grads['bias'], 1.0)
