"""What counts most, item by item."""

import numpy as np
import pytest

from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.serving import reasons
from twotsrec.serving import requests as requests_lib


def _literal(history, terms, number):
  """[(item, weight), ...] for one item of a list."""
  sums = {}
  for item, term in zip(history.tolist(), terms.tolist(), strict=True):
    if item:
      sums[item] = sums.get(item, 0.0) + term
  ranked = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
  return [pair for pair in ranked if pair[1] != 0][:number]


def _case(seed, size=7, k=3, length=6):
  """Histories with repeated items; terms are whole, so that sums are exact."""
  rng = np.random.default_rng(seed)
  history = rng.integers(1, 6, (size, length)).astype(np.int32)
  history[np.arange(length) >= rng.integers(0, length + 1, (size, 1))] = 0
  terms = rng.integers(-2, 4, (size, k, length)).astype(np.float32)
  return history, np.where(history[:, None] > 0, terms, 0.0)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('number', [1, 2, 9])
def test_items_that_count_most_stand_first(seed, number):
  history, terms = _case(seed)
  found = reasons.largest(history, terms, number)
  assert found.items.shape == found.weights.shape == (7, 3, number)
  for row in range(7):
    for place in range(3):
      pairs = zip(found.items[row, place], found.weights[row, place])
      told = [(int(i), float(w)) for i, w in pairs if i]
      assert told == _literal(history[row], terms[row, place], number)


def _request(history):
  size = len(history)
  nothing = gathers.Exclusions(np.zeros(size + 1, np.int64), np.zeros(0, int))
  return requests_lib.Request(history, nothing)


def test_lists_get_theirs_in_pieces_and_no_item_none():
  history, every = _case(0, size=40, k=9)
  asked = []

  def terms(request, ids):
    asked.append(len(ids))
    row = [
      int(np.flatnonzero((history == one).all(1))[0]) for one in request.history
    ]
    return np.stack([every[r][own - 1] for r, own in zip(row, ids)])

  ids = np.random.default_rng(1).integers(1, 10, (40, 4)).astype(np.int32)
  ids[3, 2:] = 0
  found = reasons.of_lists(terms, _request(history), ids, 6)
  assert sum(asked) == 40 and max(asked) < 40
  assert not np.any(found.items[3, 2:]) and not np.any(found.weights[3, 2:])
  _, first = np.unique(history, axis=0, return_index=True)
  for row in first:
    for place, item in enumerate(ids[row]):
      total = every[row, item - 1].sum() if item else 0.0
      assert found.weights[row, place].sum() == total


def test_a_model_without_and_less_than_none_are_refused():
  with pytest.raises(types.UserError, match='gru4rec has no reasons') as error:
    reasons.check(None, 3, 'gru4rec')
  assert len(str(error.value).splitlines()) == 1
  for name in reasons.NAMES:
    assert name in str(error.value)
  with pytest.raises(types.UserError, match='reasons is -1; it must be'):
    reasons.check(lambda request, ids: ids, -1, 'din')
