"""Rows in use: found without a sort, summed and written back."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec.ops import rows

# More ids than rows, as many, and fewer: a place per row, or per id.
CASES = [(9, 4), (5, 5), (6, 20)]


@pytest.fixture(scope='module')
def compiled():
  """{(N, V): (ids, values, table) -> everything}."""

  def everything(ids, values, table):
    found = rows.distinct(ids, table.shape[0])
    sums = rows.sum_by_row(values, found)
    own = rows.take(table, found, fill=7.0)
    return found, sums, own, rows.put(table, found, own + sums)

  return {case: jax.jit(everything) for case in CASES}


@pytest.mark.parametrize('case', CASES)
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_sums_over_occurrences_reach_their_rows_and_no_others(
  compiled, case, data
):
  count, num_rows = case
  ids = data.draw(
    st.lists(st.integers(-1, num_rows - 1), min_size=count, max_size=count)
  )
  generator = np.random.default_rng(0)
  values = generator.normal(size=(count, 3)).astype(np.float32)
  table = generator.normal(size=(num_rows, 3)).astype(np.float32)
  found, sums, own, new = compiled[case](
    jnp.asarray(ids, jnp.int32), values, table
  )
  places = np.asarray(found.ids)
  assert len(places) == min(count, num_rows)
  assert len(set(places.tolist())) == len(places)
  in_use = sorted(i for i in places.tolist() if i < num_rows)
  assert in_use == sorted(set(ids) - {-1})
  expected = table.copy()
  for row, value in zip(ids, values, strict=True):
    if row >= 0:
      expected[row] += value
  np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
  idle = np.setdiff1d(np.arange(num_rows), ids)
  np.testing.assert_array_equal(np.asarray(new)[idle], table[idle])
  empty = places >= num_rows
  np.testing.assert_array_equal(np.asarray(sums)[empty], 0.0)
  np.testing.assert_array_equal(np.asarray(own)[empty], 7.0)
  np.testing.assert_array_equal(np.asarray(own)[~empty], table[places[~empty]])
