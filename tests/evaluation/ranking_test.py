import unittest.mock

from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec import config
from twotsrec import contracts
from twotsrec import models
from twotsrec import types
from twotsrec.data import prepared
from twotsrec.evaluation import counting
from twotsrec.evaluation import gathers
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rescoring
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

_LENGTH = 4
_MODEL = toys.dot_model()


def _rank(data, params, targets, model=_MODEL, **options):
  lists = options.pop('candidates', None)
  seen = options.pop('seen', None) or prepared.seen_items(data, 'all')
  sizes = tiles.Sizes(
    options.pop('user_tile', 256), options.pop('item_tile', 4096)
  )
  ranker = contracts.Ranker(model, params, None, _LENGTH)
  return ranking.rank_targets(
    ranking.Task(ranker, data, targets, options.pop('routes', None)),
    rules.without(seen, data.num_items) if lists is None else lists,
    sizes=sizes,
    **options,
  )


def _loop_counts(data, params, targets, shifts=None):
  scores = toys.loop_scores(params, data, targets, _LENGTH, shifts)
  counts = []
  for row, (user, item) in enumerate(zip(targets.user, targets.item)):
    negative = scores[row, toys.loop_negatives(data, user)]
    positive = scores[row, item]
    counts.append(
      (
        np.sum(negative > positive),
        np.sum(negative == positive),
        negative.size,
        positive,
      )
    )
  return np.array(counts).T


class RankTargetsTest(parameterized.TestCase):
  def test_items_with_the_same_row_tie_in_any_tile(self):
    rng = np.random.default_rng(2)
    data = toys.log(rng, num_users=40, num_items=300)
    table = np.repeat(rng.normal(size=(1, 8)), 301, axis=0)  # no exact sums
    params = types.Params(
      {'item': {'embedding': jnp.asarray(table, jnp.float32)}}, {}
    )
    targets = prepared.targets(data, prepared.TEST)
    actual = _rank(data, params, targets, user_tile=16, item_tile=64)
    np.testing.assert_array_equal(actual.better, 0)
    np.testing.assert_array_equal(actual.tied, actual.num_negatives)

  def test_every_target_of_a_user_has_its_own_history(self):
    rng = np.random.default_rng(3)
    data = toys.log(rng, num_users=6, num_items=30, held_out=3)
    params = toys.integer_params(rng, 30)
    targets = prepared.targets(data, prepared.TEST)
    together = _rank(data, params, targets)
    for row in range(targets.user.size):
      one = prepared.Targets(*(column[[row]] for column in targets))
      alone = _rank(data, params, one)
      self.assertEqual(alone.better[0], together.better[row])
      self.assertEqual(alone.tied[0], together.tied[row])

  def test_target_is_no_negative_even_if_not_among_the_seen(self):
    rng = np.random.default_rng(4)
    data = toys.log(rng, num_users=5, num_items=20)
    params = toys.integer_params(rng, 20)
    targets = prepared.targets(data, prepared.TEST)
    train = prepared.seen_items(data, 'train')
    actual = _rank(data, params, targets, seen=train)
    np.testing.assert_array_equal(
      actual.num_negatives, 20 - np.diff(train.offsets) - 1
    )

  def test_all_negatives_as_candidates_equal_the_full_ranking(self):
    rng = np.random.default_rng(6)
    data = toys.log(rng, num_users=1, num_items=25)
    params = toys.integer_params(rng, 25)
    targets = prepared.targets(data, prepared.TEST)
    negatives = toys.loop_negatives(data, 0)
    lists = np.concatenate([targets.item, negatives])[None].astype(np.int32)
    full = _rank(data, params, targets)
    sampled = _rank(data, params, targets, candidates=lists)
    np.testing.assert_array_equal(full[:4], sampled[:4])

  def test_a_score_that_is_not_a_number_is_a_user_error(self):
    rng = np.random.default_rng(7)
    data = toys.log(rng, num_users=4, num_items=20)
    targets = prepared.targets(data, prepared.TEST)
    negative = toys.loop_negatives(data, 0)[0]
    for bad_item in (int(targets.item[0]), int(negative)):
      table = np.ones((21, 2), np.float32)
      table[bad_item] = np.nan
      params = types.Params({'item': {'embedding': jnp.asarray(table)}}, {})
      with pytest.raises(types.UserError, match='NaN scores'):
        _rank(data, params, targets)

  def test_tile_sizes_must_be_positive(self):
    rng = np.random.default_rng(8)
    data = toys.log(rng, num_users=4, num_items=20)
    targets = prepared.targets(data, prepared.TEST)
    with pytest.raises(types.UserError, match='item_tile is 0'):
      _rank(data, toys.integer_params(rng, 20), targets, item_tile=0)

  def test_encodings_without_room_are_made_again(self):
    rng = np.random.default_rng(10)
    data = toys.log(rng, num_users=20, num_items=20)
    params = toys.integer_params(rng, 20)
    targets = prepared.targets(data, prepared.TEST)
    once = _rank(data, params, targets, user_tile=8)
    with unittest.mock.patch.object(ranking, '_ENCODING_BYTES', 100):
      again = _rank(data, params, targets, user_tile=8)
    np.testing.assert_array_equal(once[:4], again[:4])

  def test_a_model_is_told_the_users_of_a_tile_and_minus_one_for_filling(self):
    rng = np.random.default_rng(14)
    data = toys.log(rng, num_users=20, num_items=20)
    params = toys.integer_params(rng, 20)
    vectors = jnp.asarray(rng.integers(-9, 9, size=(21, 3)), jnp.float32)

    def encode(net, rows, context, inputs, *, key=None):
      return _MODEL.encode(net, rows, context, inputs) + net[inputs['user']]

    targets = prepared.targets(data, prepared.TEST)
    # Index -1 is the last row: a filling user with a real one's would show.
    poisoned = vectors.at[20].set(jnp.nan)
    actual = _rank(
      data,
      params._replace(net=poisoned),
      targets,
      _MODEL._replace(encode=encode),
      user_tile=8,
    )
    shifts = np.asarray(vectors)[targets.user]
    expected = _loop_counts(data, params, targets, shifts)
    np.testing.assert_array_equal(actual[:4], expected)

  def test_tiles_are_asked_for_one_ahead(self):
    asked = []

    def values():
      for value in range(4):
        asked.append(value)
        yield value

    used = [(value, asked[-1]) for value in counting.one_ahead(values())]
    self.assertEqual(used, [(0, 1), (1, 2), (2, 3), (3, 3)])
    self.assertEmpty(list(counting.one_ahead([])))

  def test_progress_ends_at_the_number_of_targets(self):
    rng = np.random.default_rng(9)
    data = toys.log(rng, num_users=20, num_items=20)
    calls = []
    _rank(
      data,
      toys.integer_params(rng, 20),
      prepared.targets(data, prepared.TEST),
      user_tile=8,
      progress=lambda done, total: calls.append((done, total)),
    )
    self.assertEqual(calls, [(0, 20), (8, 20), (16, 20), (20, 20)])


class FasterTest(parameterized.TestCase):
  """Programs that are compiled where there is much to rank."""

  def setUp(self):
    super().setUp()
    patched = unittest.mock.patch.object(tiles, '_WORTH', 1)
    self.enterContext(patched)

  def test_what_a_faster_program_may_turn_is_scored_again(self):
    rng = np.random.default_rng(15)
    data = toys.log(rng, num_users=20, num_items=90)
    params = toys.integer_params(rng, 90)
    targets = prepared.targets(data, prepared.TEST)
    sizes = {'user_tile': 8, 'item_tile': 32}
    expected = _loop_counts(data, params, targets)
    actual = _rank(data, params, targets, toys.rounded_model(), **sizes)
    np.testing.assert_array_equal(actual[:4], expected)
    never = unittest.mock.patch.object(rescoring, 'reach', lambda a, b: -1.0)
    with never:  # the faster program alone has other ranks
      alone = _rank(data, params, targets, toys.rounded_model(), **sizes)
    self.assertTrue(np.any(alone.better != expected[0]))

  @parameterized.parameters('din', 'din_original')
  def test_models_rank_as_with_the_longest_history_pair_by_pair(self, name):
    rng = np.random.default_rng(16)
    data = toys.log(rng, num_users=20, num_items=90)
    options = config.ModelConfig(name=name, width=4)
    if name == 'din':
      options.hidden = (6, 4)
    model = models.make(options)
    params = model.init(jax.random.key(0), {}, types.Sizes(20, 90, 20))
    table = params.tables['item']
    # Five items of one row each: they have to tie by any program.
    table = jax.tree.map(lambda rows: 9 * rows[jnp.arange(91) // 5 * 5], table)
    ranker = contracts.Ranker(
      model, params._replace(tables={'item': table}), {}, 20
    )
    plain = model._replace(shared=None, any_length=False)
    rule = rules.without(prepared.seen_items(data, 'all'), 90)
    targets = prepared.targets(data, prepared.TEST)
    before, after = (
      ranking.rank_targets(
        ranking.Task(ranker._replace(model=own), data, targets),
        rule,
        sizes=tiles.Sizes(8, 32),
      )
      for own in (plain, model)
    )
    np.testing.assert_array_equal(after[:4], before[:4])
    self.assertTrue(np.all(after.tied >= 1))

  def test_histories_are_cut_to_one_of_eight_lengths(self):
    model, lengths = toys.rounded_model(), set()
    for longest in range(51):
      history = np.zeros((3, 50), np.int32)
      history[1, :longest] = 7
      cut = tiles.cut(model, history)
      lengths.add(cut.shape[1])
      self.assertEqual(np.count_nonzero(cut), longest)
    self.assertEqual(lengths, {8, 16, 24, 32, 40, 48, 50})
    self.assertEqual(tiles.cut(_MODEL, history[:, :50]).shape, (3, 50))


class RoutedTest(parameterized.TestCase):
  """A model that reads the route, in exact arithmetic."""

  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(11)
    self.model = toys.routed_model()
    self.data = toys.log(rng, num_users=21, num_items=37, held_out=2)
    self.params = toys.routed_params(rng, 37, num_groups=4)
    self.targets = prepared.targets(self.data, prepared.TEST)
    self.num_rows = self.targets.user.size

  def _routes(self, mode):
    rng = np.random.default_rng(12)
    number = 2 if mode == 'soft' else 1
    groups = rng.integers(4, size=(self.num_rows, number)).astype(np.int32)
    if mode == 'soft':
      share = rng.integers(5, size=self.num_rows) / 4
      weights = np.stack([1 - share, share], axis=1)
    else:
      weights = rng.integers(2, size=(self.num_rows, 1))  # 0: the bare trunk
    routes = types.Route(groups, weights.astype(np.float32))
    if mode == 'ordered':
      order = np.lexsort((weights[:, 0], groups[:, 0]))
      routes = types.Route(*(leaf[order] for leaf in routes))
    return routes

  def _rank(self, routes, params=None, **options):
    return _rank(
      self.data,
      params or self.params,
      self.targets,
      self.model,
      routes=routes,
      **options,
    )

  @parameterized.parameters('hard', 'soft')
  def test_encodings_without_room_are_made_again(self, mode):
    routes = self._routes(mode)
    once = self._rank(routes, user_tile=8)
    with unittest.mock.patch.object(ranking, '_ENCODING_BYTES', 100):
      again = self._rank(routes, user_tile=8)
    np.testing.assert_array_equal(once[:4], again[:4])

  def test_a_tile_holds_one_hard_route_in_one_compiled_shape(self):
    seen = []

    def encode(net, rows, context, inputs, *, key=None):
      seen.append([leaf.shape for leaf in inputs['route']])
      return toys.routed_model().encode(net, rows, context, inputs, key=key)

    self.model = self.model._replace(encode=encode)
    self._rank(self._routes('ordered'), user_tile=8)
    self.assertEqual(seen, [[(1,), (1,)]])
    self._rank(self._routes('soft'), user_tile=8)
    self.assertEqual(seen[1:], [[(8, 2), (8, 2)]])

  def test_groups_without_a_common_trunk_cannot_be_blended(self):
    with pytest.raises(types.UserError, match='use .* plugin.select=global'):
      self._rank(self._routes('soft'), [self.params] * 4)


class GathersTest(parameterized.TestCase):
  @hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
  @hypothesis.given(
    st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=6),
    st.integers(1, 5),
  )
  def test_histories_are_the_last_items(self, events, length):
    ends = np.cumsum([len(row) for row in events])
    starts = ends - [len(row) for row in events]
    items = np.array(sum(events, []) + [7], np.int32)
    actual = gathers.histories(items, starts, ends, length)
    for row, expected in zip(actual, events, strict=True):
      kept = expected[-length:]
      self.assertEqual(row.tolist(), kept + [0] * (length - len(kept)))

  def test_exclusions_are_sorted_and_distinct_with_the_extra_item(self):
    seen = prepared.SeenItems(np.array([0, 2, 2, 5]), np.array([3, 8, 1, 2, 9]))
    actual = gathers.exclusions(
      seen, np.array([2, 1, 0, 2]), np.array([2, 4, 1, 5])
    )
    rows = np.split(actual.items, actual.offsets[1:-1])
    self.assertEqual(
      [row.tolist() for row in rows],
      [[1, 2, 9], [4], [1, 3, 8], [1, 2, 5, 9]],
    )

  def test_plan_covers_all_items_with_little_padding(self):
    for num_items in (1, 7, 100, 3706, 5000):
      for item_tile in (1, 64, 4096):
        plan = tiles.plan(6040, num_items, tiles.Sizes(256, item_tile))
        count = -(-num_items // plan.items)
        self.assertEqual(plan.items % plan.width, 0)
        self.assertLess(count * plan.items - num_items, count * plan.width)
