import numpy as np
import scipy.sparse

from twotsrec.models import closed_form
from twotsrec.serving import similar


def _lists(similarity, items, allowed, k):
  chunks = list(similar.nearest(similarity, items, allowed, k))
  return [np.concatenate(leaf) for leaf in zip(*chunks, strict=True)]


def test_the_nearest_vectors_are_those_of_the_largest_cosine():
  rng = np.random.default_rng(0)
  # More items than are asked about at once; a vector of length 0; equal ones.
  vectors = rng.normal(size=(301, 4)).astype(np.float32)
  vectors[7], vectors[20] = 0, 3 * vectors[10]
  allowed = rng.random(301) < 0.5
  allowed[[0, 7, 10, 20]] = False, True, True, True
  items = np.arange(1, 301)
  ids, scores = _lists(similar.of_vectors(vectors), items, allowed, 6)
  assert ids.shape == (300, 6)
  for item, own, cosines in zip(items, ids, scores):
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vectors[item])
    expected = vectors @ vectors[item] / np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(cosines, expected[own], atol=1e-5)
    others = np.setdiff1d(np.flatnonzero(allowed), [item])
    best = np.sort(expected[others])[::-1][:6]
    np.testing.assert_allclose(cosines, best, atol=1e-5)
    assert item not in own and np.all(allowed[own])
  assert ids[9, 0] == 20 and ids[19, 0] == 10


def test_without_vectors_they_are_those_of_item_knn():
  rng = np.random.default_rng(1)
  user, item = rng.integers(0, 30, 200), rng.integers(1, 26, 200)
  pairs = np.zeros((30, 25), np.float32)
  pairs[user, item - 1] = 1  # a pair that is repeated counts once
  params = closed_form.item_knn(scipy.sparse.csr_matrix(pairs), 5, 0.0)
  allowed = np.arange(26) > 0
  ids, scores = _lists(
    similar.of_users(user, item, 25), np.arange(1, 26), allowed, 5
  )
  has = ids > 0
  expected = np.asarray(params.tables['item']['weights'])[1:]
  np.testing.assert_allclose(np.where(has, scores, 0), expected, atol=1e-6)
  np.testing.assert_array_equal(
    has, np.asarray(params.tables['item']['ids'])[1:] > 0
  )


def test_items_without_a_common_user_are_not_similar():
  user, item = np.array([0, 0, 1]), np.array([1, 2, 3])
  allowed = np.arange(5) > 0
  ids, _ = _lists(similar.of_users(user, item, 4), np.arange(1, 5), allowed, 3)
  assert ids.tolist() == [[2, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
