from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation import online_toys
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared
from twotsrec.evaluation import candidates
from twotsrec.evaluation import expected
from twotsrec.evaluation import online
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles
from twotsrec.models import reminders
from twotsrec.models import seen_again

_RULES = ('', '_without_past', '_sampled')


def _lists(data, num, seed=0, split=prepared.TEST):
  event = online.held_out(data, split)
  drawn = _drawn(data, num, seed)(event)
  return dict(zip(event.tolist(), drawn.tolist()))


def _drawn(data, num, seed):
  """event i64[b] -> its list i32[b, n]."""
  rule = rules.listed(data, num, seed)

  def lists(event):
    items, nobody = np.asarray(data.items), np.zeros(event.size, np.int32)
    excluded = rule.excluded(
      prepared.Targets(event, nobody, items[event], event)
    )
    return next(iter(excluded.masks(event.size, 1))).items

  return lists


def _rank(queries, data, split, *, lists=499, seed=0, events=None, sizes=()):
  among = online.usual_rules(data, lists, seed)
  if events is None:
    events = online.held_out(data, split)
  queries, sizes = online.Queries(*queries), tiles.Sizes(*sizes)
  return online.rank(queries, data, events, among, sizes=sizes)


def _assert_counts(data, blocks, vectors, ranked, num):
  wanted = online_toys.loop_counts(data, blocks, vectors, _lists(data, num))
  numbers = ('num_negatives', 'num_negatives_without_past', 'num_sampled')
  for rule, number in zip(_RULES, numbers, strict=True):
    expected_counts = [wanted[e][rule] for e in ranked['event'].tolist()]
    actual = [ranked['better' + rule], ranked['tied' + rule], ranked[number]]
    np.testing.assert_array_equal(np.stack(actual, axis=1), expected_counts)


def _flat(num_users=40, num_items=60, events=12, held_out=4):
  """Every user has as many events, without repeats."""
  rng = np.random.default_rng(3)
  items = [1 + rng.permutation(num_items)[:events] for _ in range(num_users)]
  position = np.tile(np.arange(events), num_users)
  return prepared.build(
    np.repeat(np.arange(num_users, dtype=np.int32), events),
    np.concatenate(items).astype(np.int32),
    np.where(position >= events - held_out, 2, 0).astype(np.int8),
    user_ids=np.arange(num_users),
    item_ids=np.arange(num_items),
  )


class RankTest(parameterized.TestCase):
  @hypothesis.given(seed=st.integers(0, 10_000), num=st.sampled_from([3, 99]))
  @hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
  def test_counts_equal_a_literal_loop_on_any_log(self, seed, num):
    rng = np.random.default_rng(seed)
    data = online_toys.log(rng)
    blocks = online_toys.blocks(rng, data, prepared.TEST)
    vectors = online_toys.vectors(rng, data)
    ranked = _rank((blocks, vectors), data, prepared.TEST, lists=num)
    _assert_counts(data, blocks, vectors, ranked, num)

  def test_a_repeated_item_stays_among_the_candidates(self):
    data = prepared.build(
      np.zeros(4, np.int32), np.array([1, 2, 1, 1], np.int32),
      np.array([0, 0, 2, 2], np.int8),
      user_ids=np.arange(1), item_ids=np.arange(5),
    )  # fmt: skip
    # Item 2, which is past, and item 3 score higher than item 1.
    vectors = np.array([[0], [1], [2], [3], [0], [1]], np.float32)
    blocks = online.static_blocks(data, prepared.TEST, np.ones((1, 1)))
    ranked = _rank((blocks, vectors), data, prepared.TEST, lists=0)
    np.testing.assert_array_equal(ranked['better'], [2, 2])
    np.testing.assert_array_equal(ranked['better_without_past'], [1, 1])
    np.testing.assert_array_equal(ranked['tied_without_past'], [1, 1])
    np.testing.assert_array_equal(ranked['num_negatives_without_past'], [3, 3])

  def test_equal_vectors_tie_wherever_they_stand(self):
    rng = np.random.default_rng(1)
    data = _flat(num_items=200)
    groups = rng.normal(size=(9, 64)).astype(np.float32)
    kind = rng.integers(9, size=201)
    vectors = groups[kind]
    users = rng.normal(size=(data.num_users, 64)).astype(np.float32)
    for item_tile in (16, 48, 4096):
      blocks = online.static_blocks(data, prepared.TEST, users, rows=50)
      queries, sizes = (blocks, vectors), (256, item_tile)
      ranked = _rank(queries, data, prepared.TEST, lists=0, sizes=sizes)
      same = np.bincount(kind[1:])[kind[ranked['item']]] - 1
      np.testing.assert_array_equal(ranked['tied'], same)

  def test_tile_sizes_do_not_change_results(self):
    rng = np.random.default_rng(2)
    data = _flat()
    vectors = rng.normal(size=(61, 8)).astype(np.float32)
    users = rng.normal(size=(40, 8)).astype(np.float32)
    results = [
      _rank(
        (online.static_blocks(data, prepared.TEST, users, rows=rows), vectors),
        data, prepared.TEST, lists=9, sizes=(row, item),
      )
      for rows, row, item in ((1000, 256, 4096), (7, 16, 20), (33, 50, 33))
    ]  # fmt: skip
    for other in results[1:]:
      for name, values in results[0].items():
        if name == 'score':
          np.testing.assert_allclose(other[name], values, rtol=1e-5, atol=1e-6)
        else:
          np.testing.assert_array_equal(other[name], values, err_msg=name)

  def test_a_constant_scorer_has_the_middle_rank(self):
    data = _flat(num_users=4, num_items=600)
    blocks = online.static_blocks(data, prepared.TEST, np.ones((4, 2)))
    ranked = _rank((blocks, np.ones((601, 2))), data, prepared.TEST)
    rank = 1 + ranked['better_sampled'] + 0.5 * ranked['tied_sampled']
    np.testing.assert_array_equal(rank, 250.5)
    np.testing.assert_array_equal(ranked['tied'], 599)

  def test_an_oracle_is_first_everywhere(self):
    data = _flat()
    event = online.held_out(data, prepared.TEST)
    query = np.eye(61, dtype=np.float32)[np.asarray(data.items)[event]]
    zeros = np.zeros(event.size, np.float32)
    block = online.Block(event, jnp.asarray(query), zeros, zeros)
    ranked = _rank(([block], np.eye(61)), data, prepared.TEST, lists=20)
    for rule in _RULES:
      np.testing.assert_array_equal(ranked['better' + rule], 0)
      np.testing.assert_array_equal(ranked['tied' + rule], 0)

  def test_a_random_scorer_is_at_chance(self):
    rng = np.random.default_rng(5)
    data = _flat(num_users=150, num_items=700, events=30, held_out=20)
    event = online.held_out(data, prepared.TEST)
    query = rng.normal(size=(event.size, 8)).astype(np.float32)
    zeros = np.zeros(event.size, np.float32)
    vectors = rng.normal(size=(701, 8)).astype(np.float32)
    block = online.Block(event, query, zeros, zeros)
    ranked = _rank(([block], vectors), data, prepared.TEST)
    n = 499
    ranks = np.arange(1, n + 2)
    chance = np.mean(1 / ranks)
    error = np.std(1 / ranks) / np.sqrt(event.size)
    sampled = 1 / (1 + ranked['better_sampled'] + 0.5 * ranked['tied_sampled'])
    self.assertLess(abs(sampled.mean() - chance), 4 * error)
    known = ranked['better'], ranked['tied'], ranked['num_negatives'], n
    exact = expected.reciprocal_rank(*known)
    self.assertLess(abs(exact.mean() - chance), 4 * error)
    # Given the ranks among all items, only the draw of the lists is left.
    self.assertLess(abs(exact.mean() - sampled.mean()), 4 * error)

  def test_popularity_is_the_training_count(self):
    data = online_toys.log(np.random.default_rng(4), num_users=20)
    queries = online.popularity(data, prepared.TEST)
    ranked = _rank(queries, data, prepared.TEST, lists=0)
    train = np.asarray(data.items)[np.asarray(data.split) == prepared.TRAIN]
    counts = np.array([np.sum(train == i) for i in range(data.num_items + 1)])
    np.testing.assert_array_equal(ranked['score'], counts[ranked['item']])
    np.testing.assert_array_equal(ranked['warm'], counts[ranked['item']] > 0)
    better = [np.sum(counts[1:] > counts[i]) for i in ranked['item']]
    np.testing.assert_array_equal(ranked['better'], better)

  def test_a_rule_reads_the_history_before_each_event(self):
    data = online_toys.log(np.random.default_rng(4), num_users=20)
    self.assertTrue(np.any(data.known))
    count = np.arange(data.num_items + 1) ** 2 % 17.0
    model, params = seen_again.rule(count, seen_again.RECENT)
    events = online.held_out(data, prepared.TEST)
    among = online.usual_rules(data, 8, 3)
    ranked = online.rank_histories(
      contracts.Ranker(model, params, None, history_length=14),
      data,
      events,
      among,
      sizes=tiles.Sizes(8, 16),
    )
    usual = reminders.places(count)  # of two equal ones the lower id is better
    lists = _lists(data, 8, 3)
    numbers = ('num_negatives', 'num_negatives_without_past', 'num_sampled')
    for row, event in enumerate(events.tolist()):
      start = data.user_offsets[data.event_users[event]]
      past = data.items[start:event].tolist()
      last = {item: place for place, item in enumerate(past)}
      key = [
        (i in last, last.get(i, usual[i])) for i in range(data.num_items + 1)
      ]
      item = int(data.items[event])
      others = [i for i in range(1, data.num_items + 1) if i != item]
      new = [i for i in others if i not in last]
      for rule, number, chosen in zip(
        _RULES, numbers, (others, new, lists[event]), strict=True
      ):
        better = sum(key[i] > key[item] for i in chosen)
        self.assertEqual(ranked['better' + rule][row], better)
        self.assertEqual(ranked['tied' + rule][row], 0)
        self.assertEqual(ranked[number][row], len(chosen))
    # All else is what a model beside it has.
    beside = online.rank(
      online.popularity(data, prepared.TEST), data, events, among
    )
    self.assertEqual(set(beside), set(ranked))
    for name in ('list', 'warm', 'known', 'position', 'num_negatives'):
      np.testing.assert_array_equal(ranked[name], beside[name])
    self.assertFalse(ranked['movement'].any() or ranked['norm'].any())

  def test_facts_of_events_come_back_in_their_order(self):
    rng = np.random.default_rng(6)
    data = online_toys.log(rng)
    blocks = online_toys.blocks(rng, data, prepared.TEST)
    vectors = online_toys.vectors(rng, data)
    ranked = _rank((blocks, vectors), data, prepared.TEST, lists=0)
    users, split = data.event_users, np.asarray(data.split)
    place = {e: i for i, e in enumerate(np.concatenate(
      [block.event for block in blocks]).tolist())}  # fmt: skip
    movement = np.concatenate([block.movement for block in blocks])
    self.assertTrue(np.all(np.diff(ranked['event']) > 0))
    for i, event in enumerate(ranked['event'].tolist()):
      own = users == users[event]
      self.assertEqual(ranked['user'][i], users[event])
      self.assertEqual(ranked['train_count'][i], np.sum(own & (split == 0)))
      earlier = own & (split == 2) & (np.arange(data.num_events) <= event)
      self.assertEqual(ranked['position'][i], np.sum(earlier))
      self.assertEqual(ranked['movement'][i], movement[place[event]])

  def test_both_splits_at_once_are_the_two_alone(self):
    rng = np.random.default_rng(7)
    data = online_toys.log(rng, num_users=12)
    splits = (prepared.VALIDATION, prepared.TEST)
    parts = [online_toys.blocks(rng, data, split) for split in splits]
    vectors = online_toys.vectors(rng, data)
    both = _rank((parts[0] + parts[1], vectors), data, splits, lists=5)
    for split, blocks in zip(splits, parts):
      alone = _rank((blocks, vectors), data, split, lists=5)
      chosen = both['split'] == split
      for name, values in alone.items():
        np.testing.assert_array_equal(both[name][chosen], values, err_msg=name)

  def test_a_subset_of_the_events_gives_their_rows(self):
    rng = np.random.default_rng(8)
    data = online_toys.log(rng, num_users=12)
    blocks = online_toys.blocks(rng, data, prepared.TEST)
    vectors = online_toys.vectors(rng, data)
    queries = blocks, vectors
    whole = _rank(queries, data, prepared.TEST, lists=5)
    few = whole['event'][::3]
    part = _rank(queries, data, prepared.TEST, events=few, lists=5)
    for name, values in part.items():
      np.testing.assert_array_equal(values, whole[name][::3], err_msg=name)


class ListsTest(parameterized.TestCase):
  def test_are_the_same_for_every_model_and_every_order(self):
    rng = np.random.default_rng(0)
    data = online_toys.log(rng)
    event = online.held_out(data, prepared.TEST)
    drawn = _drawn(data, 6, 1)
    mixed = rng.permutation(event)
    back = np.argsort(mixed)
    np.testing.assert_array_equal(drawn(mixed)[back], drawn(event))
    prints = candidates.fingerprints(drawn(event))
    digests = {candidates.digest_of_fingerprints(prints)}
    for model in range(3):
      blocks = online_toys.blocks(rng, data, prepared.TEST, pieces=1 + model)
      vectors = online_toys.vectors(rng, data)
      queries = blocks, vectors
      ranked = _rank(queries, data, prepared.TEST, lists=6, seed=1)
      digests.add(candidates.digest_of_fingerprints(ranked['list']))
    other = _drawn(data, 6, 2)
    prints = candidates.fingerprints(other(event))
    self.assertLen(digests, 1)
    self.assertNotIn(candidates.digest_of_fingerprints(prints), digests)

  def test_hold_distinct_items_without_the_true_one(self):
    data = online_toys.log(np.random.default_rng(1))
    for item, row in zip(data.items, _whole(data, 12)):
      self.assertLen(set(row), 12)
      self.assertNotIn(item, row)
      self.assertBetween(min(row), 1, data.num_items)
      self.assertLessEqual(max(row), data.num_items)

  def test_a_small_catalog_is_a_list_as_a_whole(self):
    data = online_toys.log(np.random.default_rng(2), num_items=6)
    for item, row in zip(data.items, _whole(data, 499)):
      self.assertEqual(sorted([item, *row]), list(range(1, 7)))

  def test_the_mean_over_lists_is_the_expectation(self):
    rng = np.random.default_rng(3)
    data = _flat(num_users=3, num_items=30)
    users = rng.normal(size=(3, 4)).astype(np.float32)  # without ties
    blocks = list(online.static_blocks(data, prepared.TEST, users))
    vectors = rng.normal(size=(31, 4)).astype(np.float32)
    sampled = []
    for seed in range(80):
      queries = blocks, vectors
      ranked = _rank(queries, data, prepared.TEST, lists=8, seed=seed)
      sampled.append(1 / (1 + ranked['better_sampled']))
    known = ranked['better'], ranked['tied'], ranked['num_negatives'], 8
    exact = expected.reciprocal_rank(*known)
    error = np.std(sampled, axis=0).mean() / np.sqrt(np.size(sampled))
    self.assertLess(abs(np.mean(sampled) - exact.mean()), 4 * error)


def _whole(data, num):
  event = np.arange(data.num_events)
  return _drawn(data, num, 0)(event).tolist()


class BadInputTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.data = _flat()
    self.vectors = np.ones((61, 2), np.float32)

  def _rank(self, blocks, vectors=None):
    vectors = self.vectors if vectors is None else vectors
    return _rank((blocks, vectors), self.data, prepared.TEST, lists=0)

  def _blocks(self):
    alike = np.ones((self.data.num_users, 2))
    return online.static_blocks(self.data, prepared.TEST, alike, rows=32)

  def test_events_come_exactly_once(self):
    blocks = list(self._blocks())
    with pytest.raises(ValueError, match='128 of 160'):
      self._rank(blocks[:-1])
    with pytest.raises(ValueError, match='came twice'):
      self._rank(blocks + blocks[:1])
    with pytest.raises(ValueError, match='0 of 160'):
      self._rank([])

  def test_scores_that_are_not_numbers_are_an_error(self):
    self.vectors[7, 1] = np.nan
    with pytest.raises(types.UserError, match='NaN'):
      self._rank(self._blocks())

  def test_a_split_without_events_is_an_error(self):
    with pytest.raises(types.UserError, match='validation'):
      list(online.popularity(self.data, prepared.VALIDATION).blocks)

  def test_the_number_of_sampled_items_is_not_negative(self):
    with pytest.raises(types.UserError, match='at least 0'):
      rules.listed(self.data, -1, 0)

  def test_a_table_of_another_catalog_is_an_error(self):
    with pytest.raises(AssertionError):
      self._rank(self._blocks(), np.ones((60, 2)))
