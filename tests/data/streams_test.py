import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from twotsrec.data import streams

# Runs of other users, or their held-out events, stand between these.
GAP = 3
lengths_of_runs = st.lists(st.integers(1, 9), min_size=1, max_size=40)
checked = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


def _runs(lengths):
  length = np.asarray(lengths, np.int64)
  start = np.cumsum(length + GAP) - length
  return streams.Runs(start, length)


def _layouts(runs, length=9):
  return {
    'packed': streams.packed(runs, length, 4 * length),
    'in_steps': streams.packed(runs, length, 0, steps=3),
    'padded': streams.padded(runs, length, 4 * length),
    'carried': streams.carried(runs, length, 3),
  }


def _streams(plan, goes_on):
  """Entries of every stream in the order they are read."""
  if goes_on:
    return plan.transpose(2, 0, 1).reshape(plan.shape[2], -1)
  return plan.swapaxes(1, 2).reshape(-1, plan.shape[1])


def _read(stream):
  """Runs [(first event, length)] that a stream plays one after the other."""
  found = []
  for entry in stream[stream >= 0].tolist():
    event, begins = divmod(entry, 2)
    if begins:
      found.append([event, 1])
    else:
      assert event == sum(found[-1])  # the next event of the same run
      found[-1][1] += 1
  return [tuple(run) for run in found]


@checked
@hypothesis.given(lengths_of_runs, st.integers(0, 3))
def test_every_layout_plays_every_run_once_and_from_its_start(lengths, epoch):
  runs = _runs(lengths)
  expected = sorted(zip(runs.start.tolist(), runs.length.tolist()))
  for name, layout in _layouts(runs).items():
    plan = layout.plan_of(7, epoch)
    assert plan.dtype == np.int32 and plan.shape == layout.shape
    played = [
      run
      for stream in _streams(plan, name == 'carried')
      for run in _read(stream)
    ]
    assert sorted(played) == expected
    np.testing.assert_allclose(layout.filled, np.mean(plan >= 0))


@checked
@hypothesis.given(lengths_of_runs)
def test_streams_have_no_holes_and_begin_with_a_run(lengths):
  for name, layout in _layouts(_runs(lengths)).items():
    for stream in _streams(layout.plan_of(0, 0), name == 'carried'):
      real = stream >= 0
      assert np.all(np.diff(real.astype(int)) <= 0)  # filling is at the end
      assert not real[0] or stream[0] % 2 == 1


@checked
@hypothesis.given(lengths_of_runs)
def test_a_plan_is_a_function_of_seed_and_epoch(lengths):
  runs = _runs(lengths)
  for first, again in zip(_layouts(runs).values(), _layouts(runs).values()):
    for seed, epoch in ((0, 0), (0, 1), (5, 1)):
      np.testing.assert_array_equal(
        first.plan_of(seed, epoch), again.plan_of(seed, epoch)
      )


@pytest.mark.parametrize('name', ['packed', 'padded', 'carried'])
def test_epochs_and_seeds_differ_in_order(name):
  layout = _layouts(_runs([3, 1, 2, 2, 5, 3, 1, 1, 4, 9, 2, 7]))[name]
  plans = [layout.plan_of(*key) for key in ((0, 0), (0, 1), (1, 0))]
  for a, b in ((0, 1), (0, 2), (1, 2)):
    assert np.any(plans[a] != plans[b])


def test_padded_streams_hold_one_run_each():
  runs = _runs([3, 9, 1])
  plan = streams.padded(runs, 9, 18).plan_of(0, 0)
  assert plan.shape == (2, 9, 2)
  assert sorted(len(_read(s)) for s in _streams(plan, False)) == [0, 1, 1, 1]


def test_runs_of_equal_length_leave_no_filling():
  runs = streams.Runs(np.arange(12) * 5, np.full(12, 5))
  for make in (streams.packed, streams.padded):
    layout = make(runs, 5, 20)
    assert layout.shape == (3, 5, 4) and layout.filled == 1.0


def test_packing_a_power_law_leaves_little_filling():
  generator = np.random.default_rng(0)
  weight = np.arange(1, 101) ** -1.5
  runs = _runs(1 + generator.choice(100, 4000, p=weight / weight.sum()))
  packed, padded = (
    make(runs, 100, 8000) for make in (streams.packed, streams.padded)
  )
  assert packed.filled > 0.97 > 5 * padded.filled


def test_a_run_longer_than_its_stream_is_refused():
  with pytest.raises(ValueError, match='a run of 9 in streams of 8'):
    streams.packed(_runs([2, 9]), 8, 64)


def test_events_beyond_i32_are_refused():
  runs = streams.Runs(np.array([2**30]), np.array([1]))
  with pytest.raises(ValueError, match='a plan is of i32'):
    streams.packed(runs, 1, 1).plan_of(0, 0)


@checked
@hypothesis.given(lengths_of_runs, st.integers(1, 6))
def test_carried_streams_are_about_as_long_as_each_other(lengths, num_streams):
  layout = streams.carried(_runs(lengths), 1, num_streams)
  # The longest is at most one run above the mean.
  mean = sum(lengths) / num_streams
  assert mean <= layout.shape[0] <= mean + max(lengths)


def test_a_run_that_crosses_a_step_goes_on_without_a_new_start():
  layout = streams.carried(streams.Runs(np.array([4]), np.array([7])), 3, 1)
  expected = [[2 * 4 + 1, 10, 12], [14, 16, 18], [20, -1, -1]]
  np.testing.assert_array_equal(layout.plan_of(0, 0)[..., 0], expected)


def test_layouts_stand_side_by_side_at_the_widest():
  few, many = _runs([4, 4]), _runs([4] * 12)
  layouts = [streams.packed(r, 4, 0, steps=2) for r in (few, many)]
  both = streams.stacked(layouts)
  assert both.shape == (2, 2, 4, 6)
  plan = both.plan_of(3, 1)
  np.testing.assert_array_equal(plan[:, 1], layouts[1].plan_of(3, 1))
  np.testing.assert_array_equal(plan[:, 0, :, :1], layouts[0].plan_of(3, 1))
  assert np.all(plan[:, 0, :, 1:] == streams.FILLING)
  np.testing.assert_allclose(both.filled, np.mean(plan >= 0))


@checked
@hypothesis.given(
  st.lists(st.integers(4, 30), min_size=1, max_size=20), st.integers(0, 9)
)
def test_a_run_gives_as_many_windows_as_it_is_long(lengths, seed):
  runs, size = _runs(lengths), 4
  found = streams.windows(runs, size, np.random.default_rng(seed))
  times = np.ceil(runs.length / size).astype(int)
  owner = np.repeat(np.arange(len(lengths)), times)
  assert len(found.start) == times.sum() and np.all(found.length == size)
  assert np.all(found.start >= runs.start[owner])
  end = runs.start + runs.length
  assert np.all(found.start + size <= end[owner])


def test_windows_may_begin_anywhere_in_a_run():
  runs = streams.Runs(np.array([10]), np.array([6]))
  seen = set()
  for seed in range(40):
    found = streams.windows(runs, 4, np.random.default_rng(seed))
    seen |= set(found.start.tolist())
  assert seen == {10, 11, 12}
