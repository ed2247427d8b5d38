"""Searching an index, beside a sort of all products."""

import numpy as np
import pytest

from twotsrec.evaluation import gathers
from twotsrec.serving import approximate
from twotsrec.serving import requests as requests_lib

pytest.importorskip('faiss', reason='faiss (ann) is not installed')
ITEMS, WIDTH, USERS, K = 3000, 8, 40, 5


@pytest.fixture(scope='module')
def world():
  """Vectors of items around topics, queries like them, and what users have."""
  rng = np.random.default_rng(0)
  topics = rng.normal(size=(60, WIDTH))
  near = lambda n: (
    topics[rng.integers(60, size=n)] + 0.5 * rng.normal(size=(n, WIDTH))
  )
  vectors = near(ITEMS + 1).astype(np.float32)
  vectors[0] = 100.0  # padding would be in every list
  queries = near(USERS).astype(np.float32)
  best = np.argsort(-(queries @ vectors[1:].T), axis=1) + 1
  counts = rng.integers(0, 30, USERS)
  offsets = np.concatenate([[0], np.cumsum(counts)])
  own = [np.sort(row[:n]) for row, n in zip(best, counts)]
  seen = gathers.Exclusions(offsets, np.concatenate(own).astype(np.int64))
  return vectors, queries, seen


@pytest.fixture(scope='module')
def index(world):
  return approximate.build(world[0])


def _literal(vectors, query, barred, k):
  """Items by score; float32 products are those of no other order of sums."""
  scores = vectors @ query
  order = np.lexsort((np.arange(len(vectors)), -scores))
  return [item for item in order.tolist() if item and item not in barred][:k]


def _request(world):
  history = np.arange(1, USERS + 1, dtype=np.int32)[:, None]
  return requests_lib.Request(history, world[2])


class _Exact:
  """A `top` that counts the users that it was asked for."""

  def __init__(self, world):
    self.world, self.users = world, 0

  def __call__(self, requests, k, exclude_seen, allowed):
    vectors, queries, seen = self.world
    for request in requests:
      self.users += len(request.history)
      ids = np.zeros((len(request.history), k), np.int32)
      scores = np.full(ids.shape, -np.inf, np.float32)
      for row, user in enumerate(request.history[:, 0] - 1):
        own = seen.items[seen.offsets[user] : seen.offsets[user + 1]]
        barred = set(np.flatnonzero(~allowed)) | (
          set(own.tolist()) if exclude_seen else set()
        )
        best = _literal(vectors, queries[user], barred, k)
        ids[row, : len(best)] = best
        scores[row, : len(best)] = vectors[best] @ queries[user]
      yield requests_lib.Chunk(ids, scores)


def _both(world, index, exclude_seen=True, allowed=None, k=K):
  """(found, exact, how many users were ranked exactly)."""
  exact = _Exact(world)
  allowed = np.ones(ITEMS + 1, bool) if allowed is None else allowed
  allowed[0] = False
  queries = lambda request: world[1][request.history[:, 0] - 1]
  search = approximate.around(exact, queries, index)
  asked = [_request(world)], k, exclude_seen, allowed
  (found,) = search(*asked)
  users = exact.users
  (expected,) = exact(*asked)
  return found, expected, users


@pytest.mark.parametrize('exclude_seen', [True, False])
@pytest.mark.parametrize('share', [1.0, 0.3])
def test_looking_at_every_list_is_exact(world, index, exclude_seen, share):
  allowed = np.random.default_rng(1).random(ITEMS + 1) < share
  every = index._replace(probes=index.lists.nlist)
  found, exact, asked = _both(world, every, exclude_seen, allowed)
  assert asked == 0 and index.lists.nlist > 50
  np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-5)
  gaps = np.abs(np.diff(exact.scores, axis=1)).min(axis=1)
  np.testing.assert_array_equal(found.ids[gaps > 1e-4], exact.ids[gaps > 1e-4])


def test_rules_hold_where_few_lists_are_looked_at(world, index):
  vectors, queries, seen = world
  allowed = np.random.default_rng(2).random(ITEMS + 1) < 0.5
  found, exact, _ = _both(world, index, allowed=allowed)
  assert np.all(found.ids > 0) and np.all(allowed[found.ids])
  for user, (ids, scores) in enumerate(zip(*found)):
    own = seen.items[seen.offsets[user] : seen.offsets[user + 1]]
    assert not set(ids.tolist()) & set(own.tolist())
    assert len(set(ids.tolist())) == K
    np.testing.assert_allclose(scores, vectors[ids] @ queries[user], rtol=1e-5)
    assert np.all(np.diff(scores) <= 0)
  assert np.any(found.ids != exact.ids)  # it is not exact


def test_who_would_get_a_short_list_is_ranked_exactly(world, index):
  allowed = np.zeros(ITEMS + 1, bool)
  allowed[[5, 17, 400, 401, 402, 2999]] = True
  found, exact, asked = _both(world, index, False, allowed)
  assert 0 < asked <= USERS
  np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-5)
  allowed[[5, 17]] = False  # fewer than K for everybody
  found, exact, asked = _both(world, index, False, allowed)
  assert asked == USERS
  np.testing.assert_array_equal(found.ids, exact.ids)
  assert np.all(found.ids[:, -1] == 0)


def test_a_list_as_long_as_the_catalog_is_exact(world, index):
  found, exact, asked = _both(world, index, False, k=ITEMS)
  assert asked == USERS
  np.testing.assert_array_equal(found.ids, exact.ids)


def test_recall_is_the_share_of_exact_items_that_was_found(world, index):
  recalls = []
  for probes in (1, 4, 16, index.lists.nlist):
    found, exact, _ = _both(world, index._replace(probes=probes))
    recall = approximate.measured([found], [exact])
    same = [
      len(set(one.tolist()) & set(other.tolist()))
      for one, other in zip(found.ids, exact.ids)
    ]
    assert recall == sum(same) / (USERS * K)
    recalls.append(recall)
  assert recalls == sorted(recalls) and recalls[0] < 0.9 < recalls[-1]
  short = exact._replace(ids=np.where(np.arange(K) < 2, exact.ids, 0))
  assert approximate.measured([exact], [short]) == 1.0


def test_the_same_vectors_give_the_same_bytes(world, index, tmp_path):
  approximate.write(tmp_path / 'a', index)
  approximate.write(tmp_path / 'b', approximate.build(world[0].copy()))
  assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
  again = approximate.read(tmp_path / 'a', 4)
  found, _, _ = _both(world, again)
  expected, _, _ = _both(world, index._replace(probes=4))
  np.testing.assert_array_equal(found.ids, expected.ids)
