"""Events that move states: stored before they are acknowledged, once."""

from concurrent import futures

import numpy as np
import pytest

from tests.runs import kinds
from tests.runs import postgres
from tests.web import serviced
from twotsrec import recipes
from twotsrec.runs import live as live_lib
from twotsrec.serving import online

_LATER = 2e9


def _service():
  run = kinds.loaded('2ts')
  return recipes.of(run.experiment.config).service(run.experiment, run.params)


def _event(user, item, time, **more):
  return {'user': user, 'item': item, 'time': time, **more}


def _lists(app, users, k=6):
  (told,) = serviced.post(app, ('/recommend', {'users': users, 'k': k}))
  assert told.status_code == 200, told.text
  return [(one['items'], one['scores']) for one in told.json()['lists']]


def _expected(users, events, k=6):
  """Lists by states that are moved one event after the other."""
  service, people = _service(), kinds.loaded('2ts').people
  made = []
  for user in users:
    (place,) = online.users_of(service, [user])
    state = online.start(service, place)
    owned = set()
    if place >= 0:
      begin, end = people.owned.offsets[place : place + 2]
      owned = set(people.owned.items[begin:end].tolist())
    for who, item in events:
      if who == user:
        (number,) = online.items_of(service, [item])
        state = online.update(service, state, number)
        owned.add(int(number))
    scores = np.asarray(service.weights.item) @ np.asarray(
      online.query(service, state)[0]
    )
    scores[[0, *(owned if people.exclude_seen else ())]] = -np.inf
    best = np.argsort(-scores, kind='stable')[:k]
    best = best[np.isfinite(scores[best])]
    made.append((people.item_ids[best - 1].tolist(), scores[best]))
  return made


def _same(told, wanted):
  for (items, scores), (theirs, reached) in zip(told, wanted, strict=True):
    assert items == theirs
    np.testing.assert_allclose(scores, reached, rtol=1e-5)


@pytest.fixture(params=['sqlite', 'postgres'])
def path(request, tmp_path):
  """Where states are kept."""
  if request.param == 'postgres':
    return postgres.url()
  return str(tmp_path / 'states.db')


def test_events_move_lists_and_outlive_the_process(path):
  people = kinds.loaded('2ts').people
  users = [*people.user_ids[:3].tolist(), 987654]  # one is new
  items = people.item_ids.tolist()
  log = [(users[0], items[4]), (users[3], items[7]), (users[0], items[2])]
  log += [(users[1], items[9])]
  bodies = [_event(*one, _LATER + at) for at, one in enumerate(log)]
  with serviced.running(serviced.with_states('2ts', path)) as app:
    _same(_lists(app, users), _expected(users, []))
    (told,) = serviced.post(app, ('/events', {'events': bodies}))
    assert told.json() == {
      'model': '2ts',
      'accepted': 4,
      'repeated': 0,
      'late': 0,
      'refused': 0,
      'unknown_items': 0,
      'new_users': 1,
    }
    _same(_lists(app, users), _expected(users, log))
  with serviced.running(serviced.with_states('2ts', path)) as app:
    _same(_lists(app, users), _expected(users, log))
    (again,) = serviced.post(app, ('/events', {'events': bodies}))
    assert again.json()['accepted'] == 0 and again.json()['repeated'] == 4
    _same(_lists(app, users), _expected(users, log))


def test_clients_at_once_are_stored_as_one_after_the_other(tmp_path):
  people = kinds.loaded('2ts').people
  users, items = people.user_ids.tolist(), people.item_ids.tolist()
  log = [(users[n % 5], items[3 * n % len(items)]) for n in range(20)]
  requests = [
    ('/events', {'events': [_event(*one, _LATER + at, id=f'e{at}')]})
    for at, one in enumerate(log)
  ]
  mixed = [
    _event(users[0], items[0], _LATER, **told) for told in ({}, {'id': 1})
  ]
  bad = ('/events', {'events': mixed})
  path = str(tmp_path / 'states.db')
  with serviced.running(serviced.with_states('2ts', path)) as app:
    told = serviced.post(app, *requests, bad)
    assert [one.status_code for one in told] == [200] * 20 + [400]
    assert 'id' in told[-1].json()['detail']
    assert sum(one.json()['accepted'] for one in told[:-1]) == 20
    _same(_lists(app, users[:5]), _expected(users[:5], log))


def test_two_services_of_one_store_count_an_event_once(path):
  """Both get the same events at the same time, and see what the other did."""
  people = kinds.loaded('2ts').people
  users = [*people.user_ids[:4].tolist(), 'somebody']
  items = people.item_ids.tolist()
  log = [(users[n % 5], items[3 * n % len(items)]) for n in range(30)]
  requests = [
    ('/events', {'events': [_event(*one, _LATER + at, id=f'e{at}')]})
    for at, one in enumerate(log)
  ]
  take = serviced.with_states('2ts', path)
  with serviced.running(take) as one, serviced.running(take) as other:
    with futures.ThreadPoolExecutor() as both:
      told = list(
        both.map(lambda app: serviced.post(app, *requests), (one, other))
      )
    answers = [answer.json() for part in told for answer in part]
    assert sum(answer['accepted'] for answer in answers) == len(log)
    assert sum(answer['repeated'] for answer in answers) == len(log)
    assert sum(answer['new_users'] for answer in answers) == 1
    for app in (one, other):
      _same(_lists(app, users), _expected(users, log))
    more = (users[4], items[1])
    serviced.post(one, ('/events', {'events': [_event(*more, _LATER + 99)]}))
    _same(_lists(other, users), _expected(users, [*log, more]))


def test_a_store_that_does_not_answer_is_no_fault_of_who_asks():
  """PostgreSQL is away: events are sent again later, all else is answered."""
  people = kinds.loaded('2ts').people
  user, item = people.user_ids[0].item(), people.item_ids[0].item()
  url = postgres.url()
  event = ('/events', {'events': [_event(user, item, _LATER)]})
  lists = ('/recommend', {'users': [user], 'k': 3})
  history = ('/recommend', {'histories': [[item]], 'k': 3})
  with serviced.running(serviced.with_states('2ts', url)) as app:
    with postgres.closed(url):
      told = serviced.post(app, event, event, lists, lists, history)
      assert [one.status_code for one in told] == [503] * 4 + [200]
      assert 'ask again' in told[0].json()['detail']
      assert postgres.PASSWORD not in told[0].text
    (told,) = serviced.post(app, event)
    assert told.json()['accepted'] == 1


def test_each_client_is_told_of_its_own_events(tmp_path):
  items = kinds.loaded('2ts').people.item_ids.tolist()
  new = _event('somebody', items[0], _LATER, id='first')
  requests = [
    ('/events', {'events': [new]}),
    ('/events', {'events': [new, _event(54321, items[1], _LATER, id='x')]}),
    ('/events', {'events': [_event('somebody', 10**9, _LATER + 1)]}),
  ]
  path = str(tmp_path / 'states.db')
  with serviced.running(serviced.with_states('2ts', path)) as app:
    told = [one.json() for one in serviced.post(app, *requests)]
  names = ('accepted', 'repeated', 'new_users', 'unknown_items')
  assert [tuple(one[name] for name in names) for one in told] == [
    (1, 0, 1, 0),
    (1, 1, 1, 0),
    (1, 0, 0, 1),
  ]


def test_texts_are_the_numbers_that_they_write(tmp_path):
  people = kinds.loaded('2ts').people
  user, item = people.user_ids[0].item(), people.item_ids[3].item()
  path = str(tmp_path / 'states.db')
  dated = _event(str(user), str(item), '2033-05-18T03:33:20Z')
  with serviced.running(serviced.with_states('2ts', path)) as app:
    first, second = (
      serviced.post(app, ('/events', {'events': [event]}))[0].json()
      for event in (dated, _event(user, item, 2_000_000_000))
    )
    assert first['accepted'] == 1 and second['repeated'] == 1
    _same(_lists(app, [str(user)]), _expected([user], [(user, item)]))


def test_what_came_after_training_is_carried_to_the_next_run(tmp_path):
  """Here the next run is the same one with an empty store."""
  people = kinds.loaded('2ts').people
  users, items = people.user_ids[:4].tolist(), people.item_ids.tolist()
  log = [(users[n % 4], items[5 * n % len(items)]) for n in range(12)]
  events = [
    _event(*one, _LATER + at, **({'id': at} if at < 6 else {}))
    for at, one in enumerate(log)
  ]
  takes = [
    serviced.with_states('2ts', str(tmp_path / f'{name}.db'))
    for name in ('old', 'new')
  ]
  service, prepared = _service(), kinds.loaded('2ts').experiment.prepared
  with serviced.running(takes[0]) as app:
    for some in (events[:6], events[6:]):
      serviced.post(app, ('/events', {'events': some}))
  with serviced.running(*takes) as app:
    _same(_lists(app, users), _expected(users, log))
    for some in (events[:6], events[6:]):  # they are recognized there, too
      (told,) = serviced.post(app, ('/events', {'events': some}))
      assert told.json()['repeated'] == 6
    _same(_lists(app, users), _expected(users, log))
  with live_lib.opened(str(tmp_path / 'new.db'), service, prepared) as live:
    played = live_lib.play(live, [[live_lib.Event(users[0], items[0], _LATER)]])
  assert played[0].placed + played[0].late + played[0].too_late == 1
