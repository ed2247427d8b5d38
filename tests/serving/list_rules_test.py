"""Lists by rules beside a loop that reads like their definition."""

import itertools

import numpy as np
import pytest

from tests.serving import literal
from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.serving import list_rules
from twotsrec.serving import requests as requests_lib


def _world(seed, users=17, items=90):
  """Rankings that end at different places, touched items and categories."""
  rng = np.random.default_rng(seed)
  lengths = rng.integers(0, items + 1, users)
  # What was touched comes first, as a model would have it.
  touched = [rng.choice(items, rng.integers(0, 40), False) + 1 for _ in lengths]
  rankings = []
  for length, own in zip(lengths, touched):
    order = rng.permutation(items) + 1
    order = [
      *(i for i in order if i in own),
      *(i for i in order if i not in own),
    ]
    rankings.append(order[:length])
  category = rng.integers(-1, 4, items + 1)
  category[1 : items // 2] = 2  # one that fills rankings by itself
  return rankings, touched, category.astype(np.int32)


def _top(rankings, depths):
  """A `Top` whose users have these rankings; takes down how deep it went."""

  def top(requests, k):
    for request in requests:
      depths.append(k)
      ids = np.zeros((len(request.user), k), np.int32)
      for row, user in enumerate(request.user):
        own = rankings[user][:k]
        ids[row, : len(own)] = own
      scores = np.where(ids > 0, -np.arange(k), -np.inf).astype(np.float32)
      yield requests_lib.Chunk(ids, scores)

  return top


def _requests(touched, size):
  offsets = np.cumsum([0, *map(len, touched)])
  own = gathers.Exclusions(offsets, np.concatenate(touched))
  for first in range(0, len(touched), size):
    users = np.arange(first, min(first + size, len(touched)))
    seen = gathers.Exclusions(np.zeros(len(users) + 1, int), np.zeros(0, int))
    yield requests_lib.Request(
      history=np.zeros((len(users), 1), np.int32),
      seen=seen,
      user=users,
      touched=gathers.exclusions(own, users),
    )


@pytest.mark.parametrize(
  ('k', 'at_most', 'share', 'few'),
  [
    (k, at_most, share, few)
    for (k, few), at_most, share in itertools.product(
      [(1, 4), (7, 4), (30, 4), (200, 64)],
      [0, 1, 3],
      [(0, 1), (3, 10), (29, 100), (1, 1)],
    )
    if at_most or share[0]
  ],
)
def test_lists_are_those_of_the_definition(k, at_most, share, few, monkeypatch):
  monkeypatch.setattr(list_rules, '_FEWEST', few)
  rankings, touched, category = _world(seed=k)
  rules = list_rules.Rules(
    category=category if at_most else None,
    at_most=at_most,
    new_share=share[0] / share[1],
  )
  depths = []
  chunks = list_rules.lists(
    _top(rankings, depths), _requests(touched, 5), k, 90, rules
  )
  chunks = list(chunks)
  assert [len(chunk.ids) for chunk in chunks] == [5, 5, 5, 2]
  found = np.concatenate([chunk.ids for chunk in chunks])
  scores = np.concatenate([chunk.scores for chunk in chunks])
  assert found.shape == (17, min(k, 90))
  np.testing.assert_array_equal(found > 0, np.isfinite(scores))
  for user, own in enumerate(found):
    expected = literal.filled(
      rankings[user], touched[user], len(own), category, at_most, share
    )
    assert own[own > 0].tolist() == expected
    places = [rankings[user].index(item) for item in expected]
    assert scores[user][own > 0].tolist() == [-place for place in places]
  if k == 7:  # most lists are short of something among the first 28
    assert max(depths) > min(depths)


def test_without_rules_a_list_is_what_ranks_highest():
  rankings, touched, _ = _world(seed=0)
  depths = []
  chunks = list_rules.lists(
    _top(rankings, depths), _requests(touched, 9), 6, 90, list_rules.Rules()
  )
  found = np.concatenate([chunk.ids for chunk in chunks])
  for user, own in enumerate(found):
    assert own[own > 0].tolist() == rankings[user][:6]
  assert set(depths) == {6}


@pytest.mark.parametrize(
  ('rules', 'message'),
  [
    (list_rules.Rules(at_most=-1), 'at_most is -1 .* at least 0'),
    (list_rules.Rules(new_share=1.5), r'new_share 1\.5; .* from 0 to 1'),
    (list_rules.Rules(new_share=float('nan')), 'from 0 to 1'),
    (list_rules.Rules(at_most=2), 'give both, or leave both out'),
    (list_rules.Rules(np.zeros(3, int)), 'give both, or leave both out'),
  ],
)
def test_rules_that_say_nothing_are_refused(rules, message):
  with pytest.raises(types.UserError, match=message):
    list_rules.check(rules)
