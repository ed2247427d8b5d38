import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import samples


def test_a_sample_is_drawn_once_and_stands_in_every_larger_one():
  few, many = (samples.users(1000, number, 3) for number in (50, 400))
  assert few.sum() == 50 and many.sum() == 400
  assert np.all(many[few])
  np.testing.assert_array_equal(few, samples.users(1000, 50, 3))
  assert np.any(few != samples.users(1000, 50, 4))
  # Uniform: a tenth of the users has about a tenth of the sample.
  assert abs(many[:100].sum() - 40) < 5 * np.sqrt(40 * 0.6)


@pytest.mark.parametrize('number', [0, 1000, 5000])
def test_all_users_are_ranked_unless_fewer_are_asked_for(number):
  assert samples.users(1000, number, 0).all()


def test_of_many_things_some_are_drawn_in_order():
  places = samples.at_most(7, 30, 1)
  assert places.size == 7 and np.all(np.diff(places) > 0) and places[-1] < 30
  np.testing.assert_array_equal(places, samples.at_most(7, 30, 1))
  np.testing.assert_array_equal(samples.at_most(7, 7, 1), np.arange(7))


def test_targets_are_those_of_the_users_drawn():
  data = toys.log(np.random.default_rng(0), num_users=30, num_items=40)
  targets = prepared_lib.targets(data, prepared_lib.TEST)
  evaluation = config_lib.EvaluationConfig(users=7, seed=2)
  chosen = samples.of_targets(data, targets, evaluation)
  expected = np.flatnonzero(samples.users(30, 7, 2))
  np.testing.assert_array_equal(np.unique(chosen.user), expected)
  assert samples.of_targets(data, targets, config_lib.EvaluationConfig()) is (
    targets
  )
  left = prepared_lib.Targets(
    *(x[~np.isin(targets.user, expected)] for x in targets)
  )
  with pytest.raises(types.UserError, match='draw more of the 30 users'):
    samples.of_targets(data, left, evaluation)
