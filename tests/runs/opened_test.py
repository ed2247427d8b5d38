"""What a run answers beside what its model says, one user after the other."""

import collections

import jax
import numpy as np
import pytest

from tests import finished
from tests.runs import kinds
from tests.serving import literal
from twotsrec import serving
from twotsrec import types
from twotsrec.evaluation import behaviors
from twotsrec.runs import online as online_runs
from twotsrec.runs import similar
from twotsrec.serving import online

compiled = collections.Counter()
jax.monitoring.register_event_duration_secs_listener(
  lambda name, *_, **__: compiled.update([name.rpartition('/')[2]])
)


@pytest.fixture(params=kinds.KINDS)
def kind(request):
  return request.param


@pytest.fixture
def shop(kind):
  return serving.open(kinds.KINDS[kind]())


def _best(scores, barred, k):
  """Items 1..I by score, of equal ones the lower first."""
  order = np.lexsort((np.arange(len(scores)), -scores)) + 1
  return [item for item in order.tolist() if item not in barred][:k]


def _left_out(kind, user):
  """Items that a list leaves out where what is owned is left out."""
  prepared = kinds.loaded(kind).experiment.prepared
  first, end = prepared.user_offsets[user : user + 2]
  items = np.asarray(prepared.items[first:end])
  names = behaviors.names(prepared)
  if names:
    items = items[prepared.behaviors[first:end] == len(names) - 1]
  return set(items.tolist())


def test_scores_are_those_of_the_model(kind, shop):
  ids = shop.people.item_ids
  for user in (0, 3, 7):
    expected = kinds.scores(kind, user, kinds.own(kind, user))
    found = shop.scores(shop.people.user_ids[user], ids.tolist())
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    some = shop.scores(shop.people.user_ids[user], ids[[4, 1]].tolist())
    np.testing.assert_allclose(some, found[[4, 1]], rtol=1e-6, atol=1e-6)


def test_lists_are_the_highest_scores_of_what_may_be_in_them(kind, shop):
  ids, users = shop.people.item_ids, [5, 0, 2, 5]
  names = shop.people.user_ids[users].tolist()
  gone = ids[:2].tolist()
  for exclude_seen, k in ((True, 4), (False, len(ids) + 3)):
    rules = shop.rules(exclude_seen=exclude_seen)
    lists = shop.recommend(users=names, k=k, exclude=gone, rules=rules)
    assert len(lists) == len(users)
    for user, one in zip(users, lists):
      scores = shop.scores(shop.people.user_ids[user], ids.tolist())
      barred = {1, 2} | (_left_out(kind, user) if exclude_seen else set())
      place = np.searchsorted(ids, one.items)
      near = 1e-5 * np.max(np.abs(scores))
      np.testing.assert_allclose(one.scores, scores[place], atol=near)
      # Of scores that rounding could turn, any order is right.
      best = scores[np.array(_best(scores, barred, k)) - 1]
      np.testing.assert_allclose(one.scores, best, atol=near)
      assert len(set(one.items.tolist())) == len(one.items)
      assert not set((place + 1).tolist()) & barred
  (one,) = shop.recommend(users=names[0], k=4, items=ids[3:5].tolist())
  assert set(one.items.tolist()) <= set(ids[3:5].tolist())


def test_anybody_with_a_history_is_answered_as_the_model_would(kind, shop):
  ids = shop.people.item_ids
  rows = [np.array([4, 2, 5]), np.arange(1, 7).repeat(4), np.zeros(0, int)]
  names = [ids[row - 1].tolist() for row in rows]
  if not shop.people.reads_history:
    with pytest.raises(types.UserError, match='training data only') as error:
      shop.recommend(history=names)
    assert len(str(error.value).splitlines()) == 1
    return
  lists = shop.recommend(history=names, k=3)
  for row, name, one in zip(rows, names, lists, strict=True):
    expected = kinds.scores(kind, -1, row)
    found = shop.scores(None, ids.tolist(), history=name)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    barred = set(row.tolist()) if shop.people.exclude_seen else set()
    best = expected[np.array(_best(expected, barred, 3)) - 1]
    np.testing.assert_allclose(one.scores, best, rtol=2e-5, atol=1e-5)
  # One history needs no list around it.
  (alone,) = shop.recommend(history=names[0], k=3)
  assert alone.items.tolist() == lists[0].items.tolist()


def test_similar_items_are_the_nearest_of_the_run(kind, shop):
  run = kinds.loaded(kind)
  of = similar.similarity(run.experiment.prepared, run.params)
  ids = shop.people.item_ids
  (one,) = shop.similar(ids[2].item(), k=3, exclude=[ids[0].item()])
  cosines = of(np.array([3]))[0]
  cosines[[0, 1, 3]] = -np.inf
  best = np.sort(cosines)[::-1][:3]
  np.testing.assert_allclose(one.scores, best[best > -np.inf], rtol=1e-5)
  assert ids[2] not in one.items and ids[0] not in one.items


@pytest.mark.parametrize('kind', ['ease', 'copf'])
@pytest.mark.parametrize(
  'at_most, share', [(1, (0, 1)), (0, (1, 2)), (2, (3, 4))]
)
def test_rules_hold_in_the_ids_of_a_table(kind, at_most, share):
  shop = serving.open(kinds.KINDS[kind]())
  ids = shop.people.item_ids
  category = {name: n % 3 for n, name in enumerate(ids.tolist()) if n % 4}
  numbers = [-1, *(category.get(name, -1) for name in ids.tolist())]
  rules = shop.rules(
    categories={**category, 'gone from the shop': 1} if at_most else None,
    at_most=at_most,
    new_share=share[0] / share[1],
    exclude_seen=False,
    exclude=[ids[0].item(), 'never there'],
  )
  for user in range(6):
    name = shop.people.user_ids[user].item()
    (one,) = shop.recommend(users=[name], k=6, rules=rules)
    (every,) = shop.recommend(
      users=[name], k=len(ids), rules=shop.rules(exclude_seen=False)
    )
    ranking = (np.searchsorted(ids, every.items) + 1).tolist()
    ranking.remove(1)
    touched = set(kinds.own(kind, user).tolist())
    expected = literal.filled(ranking, touched, 6, numbers, at_most, share)
    assert one.items.tolist() == ids[np.array(expected) - 1].tolist()


def test_who_is_popular_is_counted_in_train():
  shop = serving.open(finished.coming_back())
  counts = shop.people.counts
  one = shop.popular(k=4)
  best = np.lexsort((np.arange(len(counts)), -counts))
  best = [item for item in best.tolist() if item][:4]
  assert one.items.tolist() == shop.people.item_ids[np.array(best) - 1].tolist()
  assert one.scores.tolist() == counts[best].tolist()


def test_nothing_is_compiled_for_another_user_or_a_shorter_list():
  shop = serving.open(finished.run('ga_pn'))
  ids = shop.people.user_ids
  shop.recommend(users=ids[:8].tolist(), k=9)
  shop.recommend(users=ids[:1].tolist(), k=9)
  shop.scores(ids[0], shop.people.item_ids[:5].tolist())
  before = compiled['backend_compile_duration']
  assert before > 0
  for user in ids[1:9].tolist():
    shop.recommend(users=[user], k=3)
    shop.scores(user, shop.people.item_ids[5:8].tolist())
  assert compiled['backend_compile_duration'] == before


def test_unknown_ids_are_named_in_one_line_with_a_way_out():
  shop = serving.open(finished.run())
  user, item = shop.people.user_ids[0].item(), shop.people.item_ids[0].item()
  assert shop.knows([user, 'anna', str(user), f'0{user}']).tolist() == [
    True, False, True, False,
  ]  # fmt: skip
  assert not shop.knows(['9' * 5000, '-', '', None, 2.5]).any()
  for ask, words in (
    (lambda: shop.recommend(users=[user, 'anna']), "user 'anna' is not in"),
    (lambda: shop.recommend(history=[[item], ['tea']]), "history: item 'tea'"),
    (lambda: shop.recommend(history='tea'), "history: item 'tea'"),
    (lambda: shop.recommend(users=[user], items=['tea']), "items: item 'tea'"),
    (lambda: shop.similar(['tea']), "items: item 'tea' is not in"),
    (lambda: shop.scores(user, [item, 'tea']), "items: item 'tea' is not in"),
    (lambda: shop.scores('anna', [item]), "user 'anna' is not in"),
    (lambda: shop.recommend(), 'give users or history'),
    (lambda: shop.scores(None, [item]), 'give users or history'),
    (lambda: shop.recommend(users=[user], k=0), 'k is 0; it must be'),
    (
      lambda: shop.recommend(users=[user], items=[item], exclude=[item]),
      'no item is left to recommend',
    ),
  ):
    with pytest.raises(types.UserError, match=words) as error:
      ask()
    assert len(str(error.value).splitlines()) == 1
  assert shop.recommend(users=[]) == []


def test_states_follow_events_as_the_service_of_the_run():
  workdir = finished.two_time()
  shop, service = serving.open(workdir), online_runs.open_run(str(workdir))[0]
  ids, users = shop.people.item_ids, shop.people.user_ids[[4, 0, 7]]
  states = shop.states()
  now = states.start([*users.tolist(), 'somebody new'])
  expected = online.start(
    service, [*online.users_of(service, users).tolist(), -1]
  )
  for row in ([3, 1, 2, 5], [4, 4, 9, 5]):
    now = states.update(now, ids[row].tolist())
    expected = online.update(service, expected, np.array(row) + 1)
  for name, values in now.items():
    np.testing.assert_array_equal(values, getattr(expected, name))
  lists = states.recommend(now, k=4, exclude=ids[:1].tolist())
  allowed = np.arange(len(ids) + 1) > 1
  best = online.recommend(service, expected, 4, allowed=allowed)
  for one, items, reached in zip(lists, *best, strict=True):
    assert one.items.tolist() == ids[items - 1].tolist()
    np.testing.assert_allclose(one.scores, reached, rtol=1e-5)
  assert serving.open(finished.run()).states is None
