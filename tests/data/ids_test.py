import hypothesis
from hypothesis import strategies
import numpy as np
import polars

from twotsrec.data import ids

# Close together, where every possible value gets a mark, and far apart.
integers = strategies.one_of(
  strategies.lists(strategies.integers(low, low + 50), min_size=1, max_size=30)
  for low in (-(2**63), -20, 0, 2**63 - 51)
) | strategies.lists(
  strategies.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30
)
integers = integers.map(lambda values: np.array(values, np.int64))
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


def test_a_text_is_the_integer_that_is_written_so_and_else_unknown():
  known = np.array([-4, 0, 5])
  asked = ['5', '05', 'x7', '-4', '-0', '0', '+5', ' 5', '5.0', '', '9' * 30]
  expected = [2, -1, -1, 0, -1, 1, -1, -1, -1, -1, -1]
  assert ids.encode(known, np.array(asked)).tolist() == expected
  column = ids.texts(polars.Series(asked))
  assert ids.encode(known, column).tolist() == expected
  assert ids.encode(known, np.array([0.0, 0.5, 5.0])).tolist() == [1, -1, 2]


@settings
@hypothesis.given(texts, texts, strategies.randoms(use_true_random=False))
def test_a_column_of_texts_is_like_an_array_of_them(values, others, random):
  column = ids.texts(polars.Series(values.tolist()))
  assert column.names.tolist() == sorted(set(values.tolist()))
  assert len(column) == len(values) and column.tolist() == values.tolist()
  np.testing.assert_array_equal(np.asarray(column), values)
  rows = np.array([random.randrange(len(values)) for _ in range(5)])
  np.testing.assert_array_equal(np.asarray(column[rows]), values[rows])
  mask = values != values[0]
  np.testing.assert_array_equal(column[mask].tolist(), values[mask].tolist())
  np.testing.assert_array_equal(column == values[0], ~mask)
  assert column[0] == values[0]
  # It is numbered and looked up as the array is, of some rows as well.
  for some in (slice(None), rows):
    for ours, theirs in zip(
      ids.number(column[some]), ids.number(values[some]), strict=True
    ):
      np.testing.assert_array_equal(ours, theirs)
  known = np.unique(others)
  np.testing.assert_array_equal(
    ids.encode(known, column), ids.encode(known, values)
  )
  both = ids.concatenate([column, ids.texts(polars.Series(others.tolist()))])
  assert both.tolist() == [*values.tolist(), *others.tolist()]
  assert both.names.tolist() == sorted(set(both.tolist()))


def test_columns_of_numbers_and_constant_texts_are_laid_one_after_another():
  numbers = ids.concatenate([np.array([1, 2]), np.array([3])])
  assert numbers.tolist() == [1, 2, 3] and not ids.is_text(numbers)
  labels = ids.concatenate([ids.constant('b', 2), ids.constant('a', 1)])
  assert labels.tolist() == ['b', 'b', 'a'] and ids.is_text(labels)


def test_texts_that_differ_by_a_final_nul_are_one():
  column = ids.texts(polars.Series(['a', 'a\0', 'b']))
  assert column.names.tolist() == ['a', 'b']
  assert column.codes.tolist() == [0, 0, 1]
