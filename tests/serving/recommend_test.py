import unittest.mock

from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared
from twotsrec.evaluation import tiles
from twotsrec.serving import recommend
from twotsrec.serving import requests as requests_lib

_LENGTH = 4
_MODEL = toys.dot_model()


def _ranker(params, model=None):
  return contracts.Ranker(model or _MODEL, params, None, _LENGTH)


def _loop(data, params, users, k, exclude_seen, shifts=None):
  """Sorted by (-score, id), one user at a time; `shifts` f32[n, D] added."""
  table = np.asarray(params.tables['item']['embedding'])
  ids = np.zeros((len(users), k), np.int32)
  scores = np.full((len(users), k), -np.inf, np.float32)
  for row, user in enumerate(users):
    own = data.items[data.user_offsets[user] : data.user_offsets[user + 1]]
    vector = table[own[-_LENGTH:]].sum(axis=0)
    all_scores = table @ (vector if shifts is None else vector + shifts[row])
    allowed = [
      item
      for item in range(1, data.num_items + 1)
      if not (exclude_seen and item in own)
    ]
    best = sorted(allowed, key=lambda item: (-all_scores[item], item))[:k]
    ids[row, : len(best)] = best
    scores[row, : len(best)] = all_scores[best]
  return ids, scores


class RecommendTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.data = toys.log(rng, num_users=23, num_items=31)
    self.params = toys.integer_params(rng, 31)
    self.seen = prepared.seen_items(self.data, 'all')

  def _recommend(self, users, k, chunk=8192, **options):
    requests = requests_lib.known_users(
      self.data,
      self.seen,
      users,
      history_length=_LENGTH,
      chunk=chunk,
    )
    chunks = list(
      recommend.recommend(
        _ranker(self.params),
        requests,
        num_items=31,
        k=k,
        **options,
      )
    )
    return tuple(np.concatenate(parts) for parts in zip(*chunks))

  @parameterized.product(
    sizes=((64, 64, 100), (8, 16, 10), (3, 5, 7), (1, 1, 1)),
    exclude_seen=(True, False),
  )
  def test_equals_a_sort_whatever_the_tiles(self, sizes, exclude_seen):
    user_tile, item_tile, chunk = sizes
    users = np.array([5, 22, 0, 7, 7, 13, 1, 2, 3, 4, 6])
    actual = self._recommend(
      users,
      6,
      chunk,
      sizes=tiles.Sizes(user_tile, item_tile),
      exclude_seen=exclude_seen,
    )
    expected = _loop(self.data, self.params, users, 6, exclude_seen)
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])

  def test_users_in_order_of_their_histories_come_back_as_wanted(self):
    users = np.array([5, 22, 0, 7, 7, 13, 1, 2, 3, 4, 6])
    sizes = tiles.Sizes(4, 16)
    exact = toys.rounded_model()
    exact = exact._replace(shared=_MODEL._replace(any_length=True))
    with (
      unittest.mock.patch.object(tiles, '_WORTH', 1),
      unittest.mock.patch(f'{__name__}._MODEL', exact),
    ):
      actual = self._recommend(users, 6, sizes=sizes)
    expected = _loop(self.data, self.params, users, 6, True)
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])

  @parameterized.product(
    mode=('hard', 'soft'), sizes=((64, 64, 100), (8, 16, 10), (3, 5, 7))
  )
  def test_routed_users_come_back_in_the_order_wanted(self, mode, sizes):
    user_tile, item_tile, chunk = sizes
    rng = np.random.default_rng(1)
    params = toys.routed_params(rng, 31, num_groups=3)
    users = rng.permutation(23)
    share = rng.integers(3, size=(23, 1)) / 2
    weights = np.concatenate([1 - share, share], axis=1)
    groups = rng.integers(3, size=(23, 2))
    if mode == 'hard':
      groups, weights = groups[:, :1], np.ceil(share)  # 0: the bare trunk
    routes = types.Route(groups.astype(np.int32), weights.astype(np.float32))
    requests = requests_lib.known_users(
      self.data,
      self.seen,
      users,
      history_length=_LENGTH,
      routes=routes,
      chunk=chunk,
    )
    chunks = recommend.recommend(
      _ranker(params, toys.routed_model()),
      requests,
      num_items=31,
      k=6,
      sizes=tiles.Sizes(user_tile, item_tile),
    )
    actual = [np.concatenate(parts) for parts in zip(*chunks)]
    shifts = toys.loop_shifts(params, routes)
    expected = _loop(self.data, params, users, 6, True, shifts)
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])

  def test_every_group_can_have_its_own_parameters(self):
    rng = np.random.default_rng(2)
    params = [toys.integer_params(rng, 31) for _ in range(3)]
    group = rng.integers(3, size=(23, 1)).astype(np.int32)

    def serve(params, routes):
      requests = requests_lib.raw_histories(
        self.data.items,
        self.data.user_offsets,
        history_length=_LENGTH,
        routes=routes,
      )
      (chunk,) = recommend.recommend(
        _ranker(params), requests, num_items=31, k=5, sizes=tiles.Sizes(users=8)
      )
      return chunk

    routes = types.Route(group, np.ones((23, 1), np.float32))
    together = serve(params, routes)
    for number, own in enumerate(params):
      rows = group[:, 0] == number
      for a, b in zip(together, serve(own, None)):
        np.testing.assert_array_equal(a[rows], b[rows])
    blended = types.Route(*(np.repeat(leaf, 2, axis=1) for leaf in routes))
    with pytest.raises(types.UserError, match='plugin.select=global'):
      serve(params, blended)

  def test_a_list_is_cut_at_the_catalog_and_places_without_an_item_are_zero(
    self,
  ):
    users = np.arange(3)
    expected = _loop(self.data, self.params, users, 31, True)
    for k in (31, 40, 10**12):
      ids, scores = self._recommend(users, k, sizes=tiles.Sizes(items=8))
      np.testing.assert_array_equal(ids, expected[0])
      np.testing.assert_array_equal(scores, expected[1])
    self.assertTrue(np.any(ids == 0))

  def test_a_model_that_holds_much_for_a_pair_is_told_from_a_product(self):
    everybody = types.Route(np.zeros(1, np.int32), np.ones(1, np.float32))
    tile = tiles.RowTile(np.zeros(1, np.int64), everybody, self.params)
    plain = _ranker(self.params)
    self.assertIsNone(recommend.slice_width(plain, tile, _LENGTH, 16))

    def score(net, encoded, candidate_rows, *, key=None):
      # As DIN does: every candidate beside every position of the history.
      scores = _MODEL.score(net, encoded, candidate_rows)
      return jnp.sum(jnp.repeat(scores[..., None] / 9, 9, axis=2), axis=2)

    wide = _ranker(self.params, _MODEL._replace(score=score))
    self.assertEqual(recommend.slice_width(wide, tile, _LENGTH, 16), 16)

  def test_items_that_are_not_allowed_stand_in_no_list(self):
    users = np.arange(23)
    allowed = np.arange(32) % 3 == 1
    every, _ = self._recommend(users, 31)
    some, _ = self._recommend(users, 31, allowed=allowed)
    for all_of, chosen in zip(every, some):
      expected = [i for i in all_of if i and allowed[i]]
      self.assertEqual(chosen[chosen > 0].tolist(), expected)

  def test_given_items_have_the_scores_that_lists_have(self):
    users = np.array([5, 22, 0, 7, 7, 13, 1, 2, 3])
    ids, expected = self._recommend(users, 6, exclude_seen=False)
    (request,) = requests_lib.known_users(
      self.data, self.seen, users, history_length=_LENGTH
    )
    found = recommend.scores(_ranker(self.params), request, ids)
    np.testing.assert_array_equal(found, expected)
    some = requests_lib.some(request, np.array([3, 0, 3]))
    found = recommend.scores(_ranker(self.params), some, ids[[3, 0, 3]])
    np.testing.assert_array_equal(found, expected[[3, 0, 3]])

  def test_requests_for_long_lists_have_few_users(self):
    self.assertEqual(requests_lib.chunk_size(20, 10**6), 8192)
    self.assertEqual(requests_lib.chunk_size(10**12, 2**20), 8)
    self.assertEqual(requests_lib.chunk_size(10**12, 10), 8192)

  def test_the_best_of_blocks_are_the_best_of_all_in_ties_too(self):
    # Few values, so that every list ends inside a tie.
    values = np.random.default_rng(0).integers(0, 4, (5, 403))
    scores = values.astype(np.float32)
    k, ids = 3, np.arange(1, 404, dtype=np.int32)
    self.assertGreaterEqual(scores.shape[1], 2 * k * recommend._BLOCK)
    excluded = np.random.default_rng(1).random((5, 403)) < 0.9
    best, _, has_nan = recommend._merge(
      np.zeros((5, k), np.int32),
      np.full((5, k), -np.inf, np.float32),
      False,
      ids,
      scores,
      excluded,
      k,
    )
    scores[excluded] = -np.inf
    order = np.argsort(-scores, axis=1, kind='stable')[:, :k]
    np.testing.assert_array_equal(best, ids[order])
    self.assertFalse(has_nan)

  def test_negative_zero_ties_with_zero(self):
    table = np.array([[0.0], [0.0], [1.0], [-0.0], [0.0]], np.float32)
    # -1 * 0 is -0: scores are -0, -1, 0, -0 for items 1 to 4.
    params = types.Params({'item': {'embedding': jnp.asarray(table)}}, {})
    params.tables['item']['embedding'] = (
      params.tables['item']['embedding'].at[2].set(-1.0)
    )
    requests = requests_lib.raw_histories(
      np.array([2]), np.array([0, 1]), history_length=2
    )
    (chunk,) = recommend.recommend(_ranker(params), requests, num_items=4, k=3)
    self.assertEqual(chunk.ids.tolist(), [[1, 3, 4]])

  def test_raw_history_equals_the_user_it_belongs_to(self):
    offsets = self.data.user_offsets
    requests = requests_lib.raw_histories(
      self.data.items, offsets, history_length=_LENGTH, chunk=9
    )
    chunks = list(
      recommend.recommend(_ranker(self.params), requests, num_items=31, k=5)
    )
    self.assertEqual([len(chunk.ids) for chunk in chunks], [9, 9, 5])
    expected = self._recommend(np.arange(23), 5)
    np.testing.assert_array_equal(
      np.concatenate([chunk.ids for chunk in chunks]), expected[0]
    )

  def test_requests_are_drawn_one_at_a_time(self):
    taken = []

    def requests():
      for request in requests_lib.known_users(
        self.data,
        self.seen,
        np.arange(23),
        history_length=_LENGTH,
        chunk=10,
      ):
        taken.append(len(request.history))
        yield request

    stream = recommend.recommend(
      _ranker(self.params), requests(), num_items=31, k=2
    )
    next(stream)
    self.assertEqual(taken, [10])

  @parameterized.parameters((100, 64), (5, 8))
  def test_a_model_of_known_users_is_told_who_asks(self, chunk, user_tile):
    vectors = np.random.default_rng(3).integers(-9, 9, size=(24, 3))

    def encode(net, rows, context, inputs, *, key=None):
      own = net[inputs['user']]  # -1 is the last row
      return _MODEL.encode(net, rows, context, inputs) + own

    def serve(requests):
      chunks = recommend.recommend(
        _ranker(
          self.params._replace(net=jnp.asarray(vectors, jnp.float32)),
          _MODEL._replace(encode=encode),
        ),
        requests,
        num_items=31,
        k=6,
        sizes=tiles.Sizes(user_tile),
      )
      return [np.concatenate(parts) for parts in zip(*chunks)]

    users = np.array([5, 22, 0, 7, 7, 13, 1, 2, 3, 4, 6])
    data = self.data
    options = {'history_length': _LENGTH, 'chunk': chunk}
    known = requests_lib.known_users(data, self.seen, users, **options)
    expected = _loop(data, self.params, users, 6, True, vectors[users])
    for a, b in zip(serve(known), expected):
      np.testing.assert_array_equal(a, b)
    # A raw history is nobody's.
    raw = requests_lib.raw_histories(data.items, data.user_offsets, **options)
    nobody = np.repeat(vectors[-1:], 23, axis=0)
    expected = _loop(data, self.params, np.arange(23), 6, True, nobody)
    for a, b in zip(serve(raw), expected):
      np.testing.assert_array_equal(a, b)

  def test_k_must_be_positive(self):
    with pytest.raises(types.UserError, match='k is 0'):
      self._recommend(np.arange(3), 0)

  def test_scores_that_are_not_numbers_are_a_user_error(self):
    self.params = types.Params(
      {'item': {'embedding': jnp.full((32, 3), jnp.nan)}}, {}
    )
    with pytest.raises(types.UserError, match='NaN scores'):
      self._recommend(np.arange(3), 2)
