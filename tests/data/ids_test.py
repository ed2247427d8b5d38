import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import ids

integers = strategies.lists(
  strategies.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30
).map(lambda values: np.array(values, np.int64))
# NumPy drops NUL characters at the end of unicode cells.
texts = strategies.lists(
  strategies.text(
    strategies.characters(exclude_characters='\0', exclude_categories=['Cs']),
    min_size=1,
    max_size=5,
  ),
  min_size=1,
  max_size=30,
).map(np.array)
settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


@settings
@hypothesis.given(integers | texts, strategies.randoms(use_true_random=False))
def test_numbering_is_sorted_and_does_not_depend_on_the_order(values, random):
  known, codes = ids.number(values)
  assert known.tolist() == sorted(set(values.tolist()))
  np.testing.assert_array_equal(known[codes], values)
  order = random.sample(range(len(values)), len(values))
  again, shuffled = ids.number(values[order])
  np.testing.assert_array_equal(again, known)
  np.testing.assert_array_equal(shuffled, codes[order])


@settings
@hypothesis.given(integers, integers)
def test_lookup_equals_a_dictionary(known, asked):
  known = np.unique(known)
  table = {value: code for code, value in enumerate(known.tolist())}
  expected = [table.get(value, -1) for value in asked.tolist()]
  assert ids.encode(known, asked).tolist() == expected


def test_unknown_items_are_padding():
  known = np.array(['ale', 'bun', 'cod'])
  items = ids.encode_items(known, np.array(['cod', 'dill', 'ale']))
  assert items.tolist() == [3, 0, 1]


def test_numbers_and_text_are_looked_up_across_kinds():
  assert ids.encode(np.array([3, 5]), np.array(['5', '4'])).tolist() == [1, -1]
  assert ids.encode(np.array(['3', '5']), np.array([5, 4])).tolist() == [1, -1]
  assert ids.encode(np.array([3, 5]), np.array([], str)).tolist() == []


def test_text_for_integer_ids_is_an_error_that_shows_it():
  with pytest.raises(types.UserError, match="integer ids, but here is 'x7'"):
    ids.encode(np.array([3, 5]), np.array(['5', 'x7']))
