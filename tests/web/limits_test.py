"""What is refused before the service sees it."""

import asyncio
import json

import pytest

from twotsrec import types
from twotsrec.web import limits as limits_lib


async def _echo(scope, receive, send):
  """Answers with the body."""
  message = await receive()
  start = {'type': 'http.response.start', 'status': 200, 'headers': []}
  await send(start)
  await send({'type': 'http.response.body', 'body': message['body']})


_JSON = (b'content-type', b'application/json')


def _asked(app, path='/recommend', parts=(b'',), headers=(), client='1.1.1.1'):
  """(status, body, headers) of a request whose body comes in parts."""
  left = [
    {
      'type': 'http.request',
      'body': part,
      'more_body': at + 1 < len(parts),
    }
    for at, part in enumerate(parts)
  ]
  sent = []

  async def receive():
    return left.pop(0)

  async def send(message):
    sent.append(message)

  scope = {
    'type': 'http',
    'method': 'POST',
    'path': path,
    'headers': [_JSON, *headers],
    'client': (client, 1),
  }
  asyncio.run(app(scope, receive, send))
  return sent[0]['status'], sent[1]['body'], dict(sent[0]['headers'])


def _around(clock=lambda: 0.0, **changes):
  counted = []
  app = limits_lib.around(
    _echo,
    limits_lib.Limits(**changes),
    lambda path, status, seconds: counted.append((path, status)),
    clock,
  )
  return app, counted


@pytest.mark.parametrize('size, status', [(10, 200), (11, 413)])
@pytest.mark.parametrize('announced', [True, False])
@pytest.mark.parametrize('pieces', [1, 3])
def test_a_body_has_so_many_bytes_at_most(size, status, announced, pieces):
  app, counted = _around(body=10)
  body = bytes(range(size))
  cuts = [size * n // pieces for n in range(pieces + 1)]
  parts = [body[a:b] for a, b in zip(cuts[:-1], cuts[1:])]
  headers = [(b'content-length', str(size).encode())] if announced else []
  code, answer, _ = _asked(app, parts=parts, headers=headers)
  assert code == status
  if status == 200:
    assert answer == body
  else:
    assert '10 bytes' in json.loads(answer)['detail']
  assert counted == [('/recommend', status)]


@pytest.mark.parametrize(
  'given, status',
  [
    (None, 401),
    ('Bearer wrong', 401),
    ('secret', 401),
    ('Bearer secret', 200),
  ],
)
def test_a_token_is_asked_for(given, status):
  app, _ = _around(token='secret')
  headers = [(b'authorization', given.encode())] if given else []
  code, answer, told = _asked(app, headers=headers)
  assert code == status
  if status == 401:
    assert b'Bearer' in answer and told[b'www-authenticate'] == b'Bearer'
  for path in limits_lib.OPEN:
    assert _asked(app, path, headers=headers)[0] == 200


def test_a_client_has_a_rate_of_its_own():
  now = [0.0]
  app, _ = _around(lambda: now[0], rate=2.0)
  ask = lambda client: _asked(app, client=client)
  assert [ask('a')[0] for _ in range(3)] == [200, 200, 429]
  assert ask('b')[0] == 200
  status, answer, headers = ask('a')
  assert status == 429 and '2 requests a second' in answer.decode()
  assert headers[b'retry-after'] == b'1'
  now[0] = 0.5
  assert [ask('a')[0] for _ in range(2)] == [200, 429]
  now[0] = 100.0  # it saves up one second's, no more
  assert [ask('a')[0] for _ in range(3)] == [200, 200, 429]


def test_slow_rates_let_one_through():
  now = [0.0]
  app, _ = _around(lambda: now[0], rate=0.1)
  assert [_asked(app)[0] for _ in range(2)] == [200, 429]
  now[0] = 10.0
  assert _asked(app)[0] == 200


def test_a_body_is_json():
  app, counted = _around()
  form = [(b'content-type', b'application/x-www-form-urlencoded')]
  code, answer, _ = _asked(app, headers=form)
  assert code == 415 and b'Content-Type: application/json' in answer
  assert counted == [('/recommend', 415)]


def test_a_token_is_read_from_a_file(tmp_path):
  path = tmp_path / 'token'
  path.write_text('secret\n')
  assert limits_lib.read_token(str(path)) == 'secret'
  path.write_text(' \n')
  with pytest.raises(types.UserError, match='is empty'):
    limits_lib.read_token(str(path))
  with pytest.raises(types.UserError, match='cannot read'):
    limits_lib.read_token(str(tmp_path / 'none'))
