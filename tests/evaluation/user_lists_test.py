import itertools

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from twotsrec.evaluation import user_lists


def literal(held, rivals, k, ties=0.5):
  """(precision, average precision, NDCG) over the orders that `ties` allows."""
  entries = [(score, True) for score in held]
  entries += [(score, False) for score in rivals]
  if ties != 0.5:
    # At the end that `ties` is of a held-out item is a little better, or worse.
    end = 1 if ties < 0.5 else -1
    one = [score + 0.1 * end for score in held]
    share = abs(2 * ties - 1)
    any_order, at_end = literal(held, rivals, k), literal(one, rivals, k)
    return share * at_end + (1 - share) * any_order
  found = []
  for order in itertools.permutations(range(len(entries))):
    ranked = [entries[i] for i in order]
    scores = [score for score, _ in ranked]
    if scores != sorted(scores, reverse=True):
      continue
    relevant = np.array([is_held for _, is_held in ranked[:k]])
    at = np.cumsum(relevant) / np.arange(1, relevant.size + 1)
    worth = 1 / np.log2(2 + np.arange(k))
    dcg, best = worth[: relevant.size] @ relevant, worth[: len(held)].sum()
    average = at[relevant].sum() / min(k, len(held))
    found.append((relevant.sum() / k, average, dcg / best))
  return np.mean(found, axis=0)


def actual(lists, k, ties=0.5):
  """The same of several users, {user: (held, rivals)}."""
  rows = [
    (user, sum(r > score for r in rivals), sum(r == score for r in rivals))
    for user, (held, rivals) in lists.items()
    for score in held
  ]
  rows = np.random.default_rng(0).permutation(rows)
  values = every(user_lists.places(*rows.T), k, ties)
  return {
    user: [np.mean(value[rows[:, 0] == user]) for value in values]
    for user in lists
  }


def every(at, k, ties):
  metrics = (
    user_lists.precision, user_lists.average_precision, user_lists.ndcg
  )  # fmt: skip
  return [value(at, k, ties) for value in metrics]


TIES = st.sampled_from([0.5, 0.0, 0.3, 1.0])
SCORES = st.lists(st.integers(0, 2), min_size=1, max_size=3)


@hypothesis.given(
  st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=3),
  st.integers(1, 7),
  TIES,
)
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
def test_lists_are_the_mean_over_all_orders_of_their_ties(lists, k, ties):
  by_user = dict(enumerate(lists))
  for user, values in actual(by_user, k, ties).items():
    expected = literal(*by_user[user], k, ties)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_whole_lists_agree_with_sklearn():
  generator = np.random.default_rng(1)
  scores = generator.permutation(40).astype(float)
  held, rivals = scores[:12], scores[12:]
  _, found, _ = actual({0: (held, rivals)}, 40)[0]
  labels = [1] * 12 + [0] * 28
  expected = sklearn_metrics.average_precision_score(labels, scores)
  assert found == pytest.approx(expected)
  for k in (5, 15, 40):
    *_, ndcg = actual({0: (held, rivals)}, k)[0]
    expected = sklearn_metrics.ndcg_score([labels], [scores], k=k)
    assert ndcg == pytest.approx(expected)


def test_more_held_out_items_than_places_fill_them():
  found = actual({0: (list(range(9, 1, -1)), [0, 1])}, 5)[0]
  assert found == pytest.approx([1.0, 1.0, 1.0])


@hypothesis.given(
  st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=3),
  st.integers(1, 7),
  TIES,
)
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
def test_items_that_compete_with_each_other_are_in_one_list(lists, k, ties):
  by_user = dict(enumerate(lists))
  rows = [
    (
      user,
      sum(s > score for s in (*held, *rivals)),
      sum(s == score for s in (*held, *rivals)) - 1,  # but for itself
    )
    for user, (held, rivals) in by_user.items()
    for score in held
  ]
  users, *pair = np.array(rows).T
  at = user_lists.places(users, *pair, user_lists.TOGETHER)
  made = every(at, k, ties)
  for user, (held, rivals) in by_user.items():
    actual = [np.mean(value[users == user]) for value in made]
    np.testing.assert_allclose(
      actual, literal(held, rivals, k, ties), atol=1e-12
    )
