"""The service answers as the library does, and says what is wrong."""

import numpy as np
import pytest

from tests.runs import kinds
from tests.web import serviced
from twotsrec.runs import opened

_KINDS = ('ga_pn', 'copf', 'ease', '2ts')


def _same(told, lists):
  for one, wanted in zip(told, lists, strict=True):
    assert one['items'] == np.asarray(wanted.items).tolist()
    np.testing.assert_allclose(one['scores'], wanted.scores, rtol=1e-6)


@pytest.mark.parametrize('kind', _KINDS)
def test_answers_are_those_of_the_library(kind):
  answers = serviced.model(kind).answers
  users = answers.people.user_ids[:7].tolist()
  items = answers.people.item_ids[:4].tolist()
  body = {'users': users, 'k': 5, 'exclude': items[:1]}
  with serviced.running(serviced.plain(kind)) as app:
    lists, scores = serviced.post(
      app,
      ('/recommend', body),
      ('/scores', {'user': users[0], 'items': items}),
    )
  assert lists.json()['model'] == scores.json()['model'] == kind
  _same(
    lists.json()['lists'],
    answers.recommend(users=users, k=5, exclude=items[:1]),
  )
  assert [one['of'] for one in lists.json()['lists']] == users
  np.testing.assert_allclose(
    scores.json()['scores'], answers.scores(users[0], items), rtol=1e-5
  )


def test_histories_similar_items_and_shares_of_new_items():
  answers = serviced.model('copf').answers
  users = answers.people.user_ids[:3].tolist()
  items = answers.people.item_ids[:5].tolist()
  share = {'users': users, 'k': 4, 'new_share': 0.5, 'exclude_seen': False}
  with serviced.running(serviced.plain('copf')) as app:
    near, fresh = serviced.post(
      app,
      ('/similar', {'items': items[:2], 'k': 3, 'among': items}),
      ('/recommend', share),
    )
  _same(near.json()['lists'], answers.similar(items[:2], k=3, among=items))
  rules = answers.rules(new_share=0.5, exclude_seen=False)
  _same(fresh.json()['lists'], answers.recommend(users=users, k=4, rules=rules))
  answers = serviced.model('ga_pn').answers
  items = answers.people.item_ids.tolist()
  histories = [items[:2], items[3:4], []]
  with serviced.running(serviced.plain('ga_pn')) as app:
    (lists,) = serviced.post(
      app, ('/recommend', {'histories': histories, 'k': 4})
    )
  _same(lists.json()['lists'], answers.recommend(history=histories, k=4))


def test_requests_at_once_are_answered_as_alone_and_one_fault_stays_alone():
  answers = serviced.model('ease').answers
  users = answers.people.user_ids.tolist()
  asked = [{'users': [user], 'k': 3} for user in users[:20]]
  asked += [{'users': ['nobody', users[0]], 'k': 3}, {'users': [], 'k': 3}]
  asked += [{'users': users[:2], 'k': 2}]
  with serviced.running(serviced.plain('ease')) as app:
    told = serviced.post(app, *(('/recommend', body) for body in asked))
  assert [one.status_code for one in told] == [200] * 20 + [400, 200, 200]
  for user, one in zip(users, told[:20]):
    _same(one.json()['lists'], answers.recommend(users=[user], k=3))
  assert "'nobody'" in told[20].json()['detail']
  assert told[21].json()['lists'] == []
  _same(told[22].json()['lists'], answers.recommend(users=users[:2], k=2))


def test_unknown_users_may_get_what_is_popular():
  answers = serviced.model('ease').answers
  known = answers.people.user_ids[0].item()
  body = {'users': ['nobody', known], 'k': 3, 'popular': True}
  with serviced.running(serviced.plain('ease')) as app:
    (told,) = serviced.post(app, ('/recommend', body))
  first, second = told.json()['lists']
  assert (first['source'], second['source']) == ('popular', 'model')
  _same([first], [answers.popular(k=3)])
  _same([second], answers.recommend(users=[known], k=3))


def test_categories_are_those_of_the_service():
  run = kinds.loaded('ease')
  number = len(run.people.item_ids)
  category = np.concatenate([[-1], np.arange(number) % 3]).astype(np.int32)
  model = serviced.model('ease')._replace(category=category)
  take = serviced.asking.Take(lambda old: model)
  users = run.people.user_ids[:4].tolist()
  body = {'users': users, 'k': 6, 'at_most': 1}
  with serviced.running(take) as app:
    (told,) = serviced.post(app, ('/recommend', body))
  place = {item: n for n, item in enumerate(run.people.item_ids.tolist())}
  for one in told.json()['lists']:
    assert 0 < len(one['items']) <= 3
    of = [place[item] % 3 for item in one['items']]
    assert len(set(of)) == len(of)


# Path, body, status, and what is said.
BAD = [
  ('/recommend', b'{"users": [', 422, 'JSON'),
  ('/recommend', {'users': ['a'], 'top': 3}, 422, 'top'),
  ('/recommend', {'users': 'a'}, 422, 'list'),
  ('/recommend', {'users': [1.5]}, 422, 'integer'),
  ('/recommend', {'users': [True]}, 422, 'integer'),
  ('/recommend', {'users': [1], 'k': 0}, 422, 'greater than or equal to 1'),
  ('/recommend', {'users': [1], 'new_share': 1.5}, 422, 'less than or equal'),
  ('/recommend', {}, 400, 'give users or histories'),
  ('/recommend', {'users': [1], 'histories': [[1]]}, 400, 'one of them'),
  ('/recommend', {'users': [1], 'k': 51}, 400, 'allowed are 50'),
  ('/recommend', {'users': [1] * 6}, 400, 'allowed are 5'),
  ('/recommend', {'histories': [[1] * 9]}, 400, 'allowed are 8'),
  ('/recommend', {'histories': [[1]]}, 400, 'users of its training data'),
  ('/recommend', {'users': [1], 'at_most': 1}, 400, 'categories'),
  ('/recommend', {'users': [1], 'items': ['none']}, 400, "'none'"),
  ('/recommend', {'users': [1], 'items': []}, 400, 'no item is left'),
  ('/recommend', {'users': ['none']}, 400, "'none'"),
  ('/similar', {'items': ['none']}, 400, "'none'"),
  ('/similar', {}, 422, 'required'),
  ('/scores', {'items': [1]}, 400, 'give user or history'),
  ('/scores', {'user': 'none', 'items': [1]}, 400, "'none'"),
  ('/events', {'events': []}, 422, 'at least 1'),
  ('/events', {'events': [{'user': 1, 'item': 1}]}, 422, 'required'),
  (
    '/events',
    {'events': [{'user': 1, 'item': 1, 'time': -1}]},
    422,
    'from 0 on',
  ),
  (
    '/events',
    {'events': [{'user': 1, 'item': 1, 'time': 'noon'}]},
    422,
    'datetime',
  ),
  (
    '/events',
    {'events': [{'user': 1, 'item': 1, 'time': 1}]},
    400,
    'no states that move',
  ),
]


def test_what_is_wrong_is_said():
  limits = {'k': 50, 'users': 5, 'history': 8}
  with serviced.running(serviced.plain('copf'), **limits) as app:
    told = serviced.post(app, *((path, body) for path, body, _, _ in BAD))
    assert serviced.get(app, '/nowhere').status_code == 404
    assert serviced.get(app, '/recommend').status_code == 405
  for (path, body, status, says), one in zip(BAD, told, strict=True):
    assert one.status_code == status, (path, body, one.text)
    assert says in one.text, (path, body, one.text)


def test_more_than_can_wait_is_put_off():
  app = serviced.app_lib.make(
    lambda job: None,
    serviced.limits_lib.Limits(),
    serviced.app_lib.figures(),
    lambda: '',
  )
  (told,) = serviced.post(app, ('/recommend', {'users': [1]}))
  assert told.status_code == 503 and told.headers['retry-after'] == '1'


def test_the_service_tells_of_itself():
  with serviced.running(serviced.plain('ease')) as app:
    serviced.post(app, ('/recommend', {'users': [1]}), ('/similar', {}))
    assert serviced.get(app, '/health').json() == {'status': 'ok'}
    assert serviced.get(app, '/ready').json()['model'] == 'ease'
    assert serviced.get(app, '/model').json()['model'] == 'ease'
    described = serviced.get(app, '/openapi.json').json()
    assert {'/recommend', '/similar', '/scores', '/events'} <= set(
      described['paths']
    )
    figures = serviced.get(app, '/metrics').text
  for path, status in (('/recommend', 200), ('/similar', 422)):
    line = f'request_seconds_count{{path="{path}",status="{status}"}} 1.0'
    assert line in figures


def test_another_model_is_taken_up():
  with serviced.running(
    serviced.plain('ease'), serviced.plain('item_knn')
  ) as app:
    (told,) = serviced.post(app, ('/recommend', {'users': [1], 'k': 3}))
    assert told.json()['model'] == 'item_knn'
  answers = opened.answers_of(kinds.loaded('item_knn'))
  _same(told.json()['lists'], answers.recommend(users=[1], k=3))


def test_reasons_of_the_items_of_a_list():
  answers = serviced.model('ease').answers
  users = answers.people.user_ids[:3].tolist()
  body = {'k': 4, 'reasons': 2}
  with serviced.running(serviced.plain('ease')) as app:
    known, popular, plain = serviced.post(
      app,
      ('/recommend', {**body, 'users': users}),
      ('/recommend', {**body, 'users': ['nobody'], 'popular': True}),
      ('/recommend', {'k': 4, 'users': users}),
    )
  wanted = answers.recommend(users=users, **body)
  for told, one in zip(known.json()['lists'], wanted, strict=True):
    for why, expected in zip(told['reasons'], one.reasons, strict=True):
      items = [reason['item'] for reason in why]
      assert items == expected.items.tolist()
      weights = [reason['weight'] for reason in why]
      np.testing.assert_allclose(weights, expected.weights, rtol=1e-5)
  assert popular.json()['lists'][0]['reasons'] == [[]] * 4
  assert plain.json()['lists'][0]['reasons'] is None
  with serviced.running(serviced.plain('copf')) as app:
    user = serviced.model('copf').answers.people.user_ids[0].item()
    (refused,) = serviced.post(app, ('/recommend', {**body, 'users': [user]}))
  assert refused.status_code == 400
  assert 'has no reasons' in refused.json()['detail']
