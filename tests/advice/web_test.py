"""What the service refuses, followed."""

import sys
from unittest import mock

import numpy as np
import pytest

from tests import finished
from tests.advice import following
from tests.advice.following import Call
from tests.launch import scripts
from tests.runs import kinds
from tests.web import serviced
from twotsrec import web
from twotsrec.runs import exports
from twotsrec.runs import live as live_lib
from twotsrec.web import app as app_lib
from twotsrec.web import asking
from twotsrec.web import bodies
from twotsrec.web import limits
from twotsrec.web import loading

LATER = 1_700_000_000


def asked(body, kind='ease', **changes):
  """The answer to one body, or what it is refused with."""
  model = serviced.model(kind)._replace(**changes)
  handle, _ = asking.make()
  _, answer = handle([asking.Take(lambda old: model), body])
  if isinstance(answer, Exception):
    raise answer
  return answer


def recommend(**body):
  return asked(bodies.Recommend(**body))


def categories():
  count = len(serviced.model('ease').answers.people.item_ids)
  return [-1, *[0] * count]


def at_most(**changes):
  return asked(bodies.Recommend(users=[1], at_most=1), **changes)


def scores(**body):
  return asked(bodies.Scores(items=[1], **body))


def moved(folder, kind='2ts'):
  """An event, to a run with states or without."""
  event = bodies.Events(events=[bodies.Event(user=1, item=1, time=LATER)])
  if kind != '2ts':
    return asked(event, kind)
  handle, close = asking.make()
  take = serviced.with_states(kind, str(folder / 'states.db'))
  _, answer = handle([take, event])
  close()
  assert answer.accepted == 1
  return answer


def played(folder, *parts):
  """What becomes of events of one request."""
  take = serviced.with_states('2ts', str(folder / 'states.db'))
  model = take.make(None)
  try:
    (result,) = live_lib.play(model.live, [parts])
  finally:
    model.close()
  if isinstance(result, Exception):
    raise result
  return result


def event(user=1, time=LATER, identity=None):
  return live_lib.Event(user, 1, time, identity)


def token(folder, text):
  path = folder / 'token'
  path.write_text(text)
  return limits.read_token(str(path))


def served(workdir, states=''):
  """A model in place, its store closed again."""
  take = loading.load(loading.Options(str(workdir), str(states)))
  take.make(None).close()


def exported(folder):
  path = folder / 'export'
  if not path.exists():
    exports.run(str(finished.coming_back()), str(path), ['cpu'])
  return path


def without(name):
  """The service where a package is not installed."""
  with mock.patch.dict(sys.modules, {name: None} if name else {}):
    sys.modules.pop('twotsrec.web.service', None)
    return web.load()


def killed(kind):
  """The benchmark that kills a service, up to where it would start one."""
  sys.path[:0] = [str(scripts.LAUNCH), str(scripts.LAUNCH / 'benchmarks')]
  try:
    with scripts.forgotten():
      import serving as benchmark

      run = kinds.loaded(kind)
      if kind == '2ts':
        assert benchmark._name(3, benchmark._EACH) == 'client3-1'
        return
      benchmark._kill('runs/a', run, '')
  finally:
    del sys.path[:2]


CALLS = [
  Call(
    'give users or histories: one of them',
    lambda folder: recommend(),
    'give (users)',
    lambda folder, name: recommend(**{name: [1]}),
  ),
  Call(
    'is not in the training data; leave it out, send',
    lambda folder: recommend(users=['nobody']),
    r'or pass (popular)=true',
    lambda folder, name: recommend(users=['nobody'], **{name: True}),
  ),
  Call(
    'at_most needs categories of items, and the',
    lambda folder: at_most(),
    r'start with --(categories)=FILE',
    lambda folder, name: at_most(category=np.array(categories(), 'int32')),
  ),
  Call(
    'give user or history: one of them',
    lambda folder: scores(),
    'give (user)',
    lambda folder, name: scores(**{name: 1}),
  ),
  Call(
    'the model has no states that move, so events',
    lambda folder: moved(folder, 'ease'),
    'a run of model.name=two_time_scale with --states',
    moved,
  ),
  Call(
    '{}: {} asked for; allowed are {}',
    lambda folder: app_lib._check(3, 2, 'users'),
    r'allowed are (\d)',
    lambda folder, number: app_lib._check(int(number), 2, 'users'),
  ),
  Call(
    'is empty; write a token of your choice into it',
    lambda folder: token(folder, '\n'),
    'write a token',
    lambda folder: token(folder, 'secret'),
  ),
  Call(
    'holds no finished run and no export; train',
    lambda folder: served(folder),
    'train one .*, or name its folder',
    lambda folder: served(finished.coming_back()),
  ),
  Call(
    'is an export, and states are stored by runs',
    lambda folder: served(exported(folder), folder / 'states'),
    'leave --states out',
    lambda folder: served(exported(folder)),
  ),
  Call(
    'has no states that move; leave it out, or serve',
    lambda folder: served(finished.coming_back(), folder / 'states'),
    'leave it out, or serve a run of model.name=two_time_scale',
    lambda folder: served(finished.two_time(), folder / 'states'),
  ),
  Call(
    'some events have an id and others none; give',
    lambda folder: played(folder, event(), event(2, identity='a')),
    'give all of one request an id, or none',
    lambda folder: played(folder, event(), event(2)),
  ),
  Call(
    '{} is not installed; run: pip install -e',
    lambda folder: without('uvicorn'),
    r"pip install -e '\.\[serve\]'",
    lambda folder: without(''),
  ),
  Call(
    '{} has no states that move; name a run of',
    lambda folder: killed('ease'),
    'name a run of model.name=two_time_scale',
    lambda folder: killed('2ts'),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_the_service_does_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
