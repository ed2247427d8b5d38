import hypothesis
from hypothesis import strategies
import numpy as np

from twotsrec.data import orders

LARGEST = 2**63 - 1


@hypothesis.settings(max_examples=80, deadline=None, derandomize=True)
@hypothesis.given(
  strategies.lists(
    strategies.tuples(strategies.integers(-3, 3), strategies.integers(-2, 2)),
    max_size=40,
  ),
  # Whole numbers that fit one number together, that do not, and others.
  strategies.sampled_from([1, 2**20, LARGEST // 4]),
  strategies.sampled_from([np.int64, np.float64]),
)
def test_it_is_a_stable_sort_by_both_columns(rows, scale, dtype):
  major = np.array([row[0] for row in rows], np.int64) * scale
  minor = (np.array([row[1] for row in rows], np.int64) * scale).astype(dtype)
  keys = list(zip(major.tolist(), minor.tolist(), strict=True))
  expected = sorted(range(len(keys)), key=keys.__getitem__)
  assert orders.stable(major, minor).tolist() == expected


def test_narrow_columns_do_not_overflow():
  major = np.array([127, -128, 127], np.int8)
  minor = np.array([2**31 - 1, 0, -(2**31)], np.int32)
  assert orders.stable(major, minor).tolist() == [1, 2, 0]
