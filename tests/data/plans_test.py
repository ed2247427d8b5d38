import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import plans

_SETTINGS = hypothesis.settings(
  max_examples=40, deadline=None, derandomize=True
)


def test_largest_remainder_gives_the_paper_scale_batches_of_ml_1m():
  sizes = np.array([31_111, 60_451, 113_289, 213_670, 569_608])
  ideal = 512 * sizes / sizes.sum()
  counts = plans.group_batch_sizes(sizes, 512, 'proportional')
  assert counts.sum() == 512
  assert np.all(np.abs(counts - ideal) < 1)


@hypothesis.given(
  st.lists(st.integers(1, 10_000), min_size=1, max_size=7),
  st.integers(7, 600),
  st.sampled_from(['proportional', 'balanced']),
)
@_SETTINGS
def test_batch_sizes_sum_to_the_batch_and_leave_nobody_out(
  sizes, batch_size, batching
):
  counts = plans.group_batch_sizes(np.array(sizes), batch_size, batching)
  assert counts.sum() == batch_size and counts.min() >= 1
  if batching == 'balanced':
    assert counts.max() - counts.min() <= 1


def _groups(seed=0, sizes=(5, 40, 155)):
  return np.random.default_rng(seed).permutation(
    np.repeat(np.arange(len(sizes)), sizes)
  )


def test_natural_epoch_visits_every_example_once():
  plan = plans.make_plan(_groups(), 3, 32, 'natural', 0, 0)
  assert plan.shape == (7, 32)
  visited = np.sort(plan[plan >= 0])
  np.testing.assert_array_equal(visited, np.arange(200))


def test_proportional_epoch_exhausts_all_groups_together():
  group = _groups()
  plan = plans.make_plan(group, 3, 40, 'proportional', 0, 0)
  counts = plans.group_batch_sizes(np.bincount(group), 40, 'proportional')
  for row in plan:
    np.testing.assert_array_equal(np.bincount(group[row]), counts)
  np.testing.assert_array_equal(np.unique(plan), np.arange(200))


def test_balanced_epoch_cycles_small_groups_evenly():
  group = _groups()
  plan = plans.make_plan(group, 3, 30, 'balanced', 0, 0)
  assert plan.shape == (7, 30)
  visits = np.bincount(plan.ravel(), minlength=200)
  small = visits[group == 0]
  assert small.sum() == 70 and small.max() - small.min() <= 1


def test_a_plan_is_a_function_of_seed_and_epoch():
  make = lambda seed, epoch: plans.make_plan(
    _groups(), 3, 32, 'proportional', seed, epoch
  )
  np.testing.assert_array_equal(make(3, 5), make(3, 5))
  assert np.any(make(3, 5) != make(3, 6))
  assert np.any(make(3, 5) != make(4, 5))


@pytest.mark.parametrize('batching', plans.BATCHINGS)
def test_stacked_plan_holds_the_same_examples_by_group(batching):
  group = _groups()
  plan = plans.make_plan(group, 3, 32, batching, 0, 0)
  stacked = plans.stack_plan(plan, group, 3, 32)
  for flat, rows in zip(plan, stacked):
    for j, row in enumerate(rows):
      members = np.sort(row[row >= 0])
      real = flat[flat >= 0]
      np.testing.assert_array_equal(members, np.sort(real[group[real] == j]))


def test_impossible_settings_name_the_way_out():
  with pytest.raises(types.UserError, match='train.batch_size'):
    plans.group_batch_sizes(np.ones(8), 4, 'balanced')
  with pytest.raises(types.UserError, match='natural, balanced'):
    plans.make_plan(_groups(), 3, 32, 'stratified', 0, 0)
