import jax
import numpy as np
import pytest

from twotsrec.ops import augmentation

# Items 1..9: the neighbors of i are i + 10 and i + 20, of 9 there are none.
_NEAR = np.zeros((30, 3), np.int32)
_NEAR[1:9, 0] = np.arange(11, 19)
_NEAR[1:9, 1] = np.arange(21, 29)
_HISTORY = np.array(
  [[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [9, 9, 0, 0, 0, 0], [0] * 6],
  np.int32,
)
_change = jax.jit(augmentation.change, static_argnums=(3, 4))


def _changed(substitute, insert, seed=0):
  keys = jax.random.split(jax.random.key(seed), len(_HISTORY))
  return jax.tree.map(
    np.asarray, _change(keys, _HISTORY, _NEAR, substitute, insert)
  )


def test_shares_of_zero_change_nothing():
  made = _changed(0.0, 0.0)
  np.testing.assert_array_equal(made.history, _HISTORY)
  assert not made.inserted.any()
  real = _HISTORY > 0
  places = np.tile(np.arange(6), (4, 1))
  np.testing.assert_array_equal(made.source[real], places[real])


@pytest.mark.parametrize(('substitute', 'insert'), [(0.5, 0.0), (0.3, 0.6)])
def test_a_changed_history_is_the_old_one_with_neighbors(substitute, insert):
  replaced = inserted = there = 0
  for seed in range(60):
    made = _changed(substitute, insert, seed)
    for old, new, source, extra in zip(_HISTORY, *made):
      length = np.sum(old > 0)
      real = new > 0
      assert not np.any(real[1:] & ~real[:-1])  # padding comes last
      assert real.sum() == min(6, length + extra.sum()) or real.sum() == 6
      own, around = new[real & ~extra], source[real & ~extra]
      assert np.all(np.diff(around) == 1)  # the old order, without holes
      assert not len(around) or around[-1] == length - 1  # the latest are kept
      for item, place in zip(own, around):
        assert item == old[place] or item in _NEAR[old[place]]
        replaced += item != old[place]
        there += old[place] != 9
      for item, place in zip(new[extra], source[extra]):
        assert item in _NEAR[old[place]] and item > 0
        inserted += 1
  assert abs(replaced / there - substitute) < 0.08
  assert (inserted > 0) == (insert > 0)


def test_an_item_without_neighbors_stays():
  made = _changed(0.99, 0.99)
  np.testing.assert_array_equal(made.history[2], _HISTORY[2])
  np.testing.assert_array_equal(made.history[3], _HISTORY[3])
