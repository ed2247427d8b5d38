from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from twotsrec import types
from twotsrec.evaluation import buckets


class BucketsTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 'new'), (1, '1-50'), (50, '1-50'), (51, '51-100'), (100, '51-100'),
    (101, '101-200'), (200, '101-200'), (201, '201-300'), (300, '201-300'),
    (301, '>300'), (100_000, '>300'),
  )  # fmt: skip
  def test_borders_are_those_of_figure_3(self, count, name):
    self.assertEqual(buckets.names()[buckets.assign(count)], name)

  def test_new_users_are_pooled_with_the_first_range(self):
    self.assertEqual(buckets.pooled_name(), '0-50')
    self.assertEqual(buckets.names((1, 2)), ['new', '1', '2', '>2'])

  @hypothesis.given(
    counts=st.lists(st.integers(0, 40), max_size=30),
    edges=st.sets(st.integers(1, 30), min_size=1, max_size=5),
  )
  @hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
  def test_a_bucket_is_the_number_of_edges_below(self, counts, edges):
    edges = sorted(edges)
    wanted = [
      0 if c == 0 else 1 + sum(c > edge for edge in edges) for c in counts
    ]
    np.testing.assert_array_equal(buckets.assign(counts, edges), wanted)
    self.assertLen(buckets.names(edges), len(edges) + 2)

  @parameterized.parameters(((),), ((0, 5),), ((5, 5),), ((9, 5),))
  def test_edges_that_are_no_edges_are_an_error(self, edges):
    with pytest.raises(types.UserError, match='ascending'):
      buckets.assign(np.arange(3), edges)

  def test_histogram_counts_users(self):
    counts = np.random.default_rng(0).integers(0, 9, size=50)
    found = buckets.histogram(counts)
    self.assertEqual(found['values'], sorted(set(counts.tolist())))
    for value, users in zip(found['values'], found['users']):
      self.assertEqual(users, np.sum(counts == value))
