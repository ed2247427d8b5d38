from absl.testing import absltest
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from tests.evaluation import toys
from twotsrec import types
from twotsrec.data import prepared
from twotsrec.evaluation import candidates
from twotsrec.evaluation import gathers


def _philox_of_integers(counter, key):
  """The generator as its paper writes it, in Python's unbounded integers."""
  words, keys = list(counter), list(key)
  for _ in range(10):
    a, b = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
    words = [
      (b >> 32) ^ words[1] ^ keys[0],
      b % 2**32,
      (a >> 32) ^ words[3] ^ keys[1],
      a % 2**32,
    ]
    keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
  return words


class PhiloxTest(absltest.TestCase):
  def test_known_answers_of_its_authors(self):
    # Random123, file kat_vectors: philox4x32 10.
    cases = (
      ([0] * 4, [0] * 2, '6627e8d5 e169c58d bc57ac4c 9b00dbd8'),
      ([2**32 - 1] * 4, [2**32 - 1] * 2, '408f276d 41c83b0e a20bc7c6 6d5451fd'),
    )
    for counter, key, expected in cases:
      words = candidates.philox(
        [np.array([word], np.uint64) for word in counter],
        tuple(np.uint64(word) for word in key),
      )
      self.assertEqual(
        ' '.join(f'{int(word[0]):08x}' for word in words), expected
      )

  def test_vectors_equal_integers(self):
    rng = np.random.default_rng(0)
    counter = list(rng.integers(2**32, size=(4, 20), dtype=np.uint64))
    key = tuple(rng.integers(2**32, size=2, dtype=np.uint64))
    actual = np.stack(candidates.philox(counter, key), axis=1)
    expected = [
      _philox_of_integers(map(int, row), map(int, key))
      for row in np.stack(counter, axis=1)
    ]
    np.testing.assert_array_equal(actual, np.array(expected, np.uint64))

  def test_a_longer_draw_extends_a_shorter_one(self):
    streams = np.array([3, 2**40 + 5])
    short = candidates.random_words(streams, 5, seed=2**33 + 1)
    long = candidates.random_words(streams, 12, seed=2**33 + 1)
    np.testing.assert_array_equal(short, long[:, :5])
    self.assertEqual(np.unique(long).size, 24)


class DrawTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(1)
    self.data = toys.log(rng, num_users=30, num_items=60, held_out=2)
    self.seen = prepared.seen_items(self.data, 'all')
    self.targets = prepared.targets(self.data, prepared.TEST)

  def _draw(self, targets, num=12, seed=0):
    return candidates.draw(targets, self.seen, 60, num, seed)

  def test_lists_hold_the_target_and_distinct_unseen_items(self):
    lists = self._draw(self.targets)
    np.testing.assert_array_equal(lists[:, 0], self.targets.item)
    for user, row in zip(self.targets.user, lists):
      self.assertEqual(np.unique(row[1:]).size, 12)
      self.assertContainsSubset(
        row[1:].tolist(), toys.loop_negatives(self.data, user).tolist()
      )

  def test_a_list_does_not_depend_on_the_other_targets(self):
    lists = self._draw(self.targets)
    some = np.array([41, 3, 17])
    subset = prepared.Targets(*(column[some] for column in self.targets))
    np.testing.assert_array_equal(self._draw(subset), lists[some])

  def test_a_shorter_list_is_the_start_of_a_longer_one(self):
    np.testing.assert_array_equal(
      self._draw(self.targets, num=5), self._draw(self.targets, num=20)[:, :6]
    )

  def test_seed_and_event_change_the_list(self):
    lists = self._draw(self.targets)
    self.assertFalse(np.array_equal(lists, self._draw(self.targets, seed=1)))
    first, second = lists[self.targets.user == 0]
    self.assertFalse(np.array_equal(first[1:], second[1:]))

  def test_digest_tells_lists_apart_and_ignores_the_layout(self):
    lists = self._draw(self.targets)
    digest = candidates.digest(lists)
    self.assertEqual(digest, candidates.digest(np.asfortranarray(lists)))
    self.assertEqual(digest, candidates.digest(lists.astype(np.int64)))
    changed = lists.copy()
    changed[3, 4] += 1
    self.assertNotEqual(digest, candidates.digest(changed))
    self.assertNotEqual(digest, candidates.digest(lists.reshape(-1)))

  def test_all_unseen_items_can_be_drawn(self):
    one = prepared.Targets(*(column[:1] for column in self.targets))
    negatives = toys.loop_negatives(self.data, one.user[0])
    lists = self._draw(one, num=negatives.size)
    np.testing.assert_array_equal(np.sort(lists[0, 1:]), negatives)

  def test_too_few_unseen_items_is_a_user_error(self):
    with pytest.raises(types.UserError, match='fewer than num_cand') as error:
      self._draw(self.targets, num=58)
    most = int(str(error.value).split('at most ')[1].split(',')[0])
    self._draw(self.targets, num=most)
    with pytest.raises(types.UserError, match=f'at most {most},'):
      self._draw(self.targets, num=most + 1)

  def test_nothing_is_drawn_for_a_user_of_every_item(self):
    offsets = np.append(0, np.full(30, 60))  # all are those of user 0
    seen = prepared.SeenItems(offsets, np.arange(1, 61, dtype=np.int32))
    lists = candidates.draw(self.targets, seen, 60, 12, 0)
    full = self.targets.user == 0
    self.assertTrue(np.all(lists[full, 1:] == 0))
    self.assertTrue(np.all(lists[~full] > 0))

  def test_draws_are_uniform(self):
    num_rows, unseen, num = 4000, 10, 4
    ranks = candidates.distinct_ranks(
      np.arange(num_rows), np.full(num_rows, unseen), num, seed=0
    )
    ordered = np.bincount(
      ranks[:, 0] * unseen + ranks[:, 1], minlength=unseen**2
    )
    off_diagonal = ordered[~np.eye(unseen, dtype=bool).ravel()]
    self.assertEqual(off_diagonal.sum(), num_rows)
    self.assertGreater(stats.chisquare(off_diagonal).pvalue, 0.001)
    single = np.bincount(ranks.ravel())
    self.assertGreater(stats.chisquare(single).pvalue, 0.001)

  @hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
  @hypothesis.given(
    st.lists(st.sets(st.integers(1, 15), max_size=14), min_size=1, max_size=5)
  )
  def test_complement_counts_through_the_free_items(self, rows):
    sizes = [len(row) for row in rows]
    excluded = gathers.Exclusions(
      np.concatenate([[0], np.cumsum(sizes)]),
      np.array([item for row in rows for item in sorted(row)], np.int64),
    )
    free = [[i for i in range(1, 16) if i not in row] for row in rows]
    ranks = np.stack([np.arange(15) % len(items) for items in free])
    expected = [[items[r] for r in row] for items, row in zip(free, ranks)]
    np.testing.assert_array_equal(
      candidates.complement(ranks, excluded), expected
    )
