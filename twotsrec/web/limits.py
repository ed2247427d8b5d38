"""Who may ask, how much, and how often: an ASGI layer around the service.

It is outermost, so what it refuses costs nothing, and it counts all requests.
"""

from collections.abc import Awaitable, Callable
import hmac
import json
import pathlib
import time
from typing import NamedTuple

from twotsrec import types
from twotsrec.training import files

App = Callable[..., Awaitable[None]]
OPEN = ('/health', '/ready')  # what a load balancer asks, without a token
_CLIENTS = 10_000  # clients whose rate is remembered


class Limits(NamedTuple):
  """What is refused.

  Attributes:
    body: bytes of a request.
    k: items of a list.
    users: users, histories or items that one request asks for.
    history: items of a history.
    rate: requests a second of one client, with bursts of as many, or of one;
      0 for any number.
    token: that requests must carry; '' for none.
  """

  body: int = 1 << 20
  k: int = 1000
  users: int = 1000
  history: int = 10_000
  rate: float = 0.0
  token: str = ''


def read_token(path: str) -> str:
  """The token in a file, without the end of the line.

  Raises:
    types.UserError: a file that cannot be read, or is empty.
  """
  with files.explained(path, 'read'):
    token = pathlib.Path(path).read_text(encoding='utf-8').strip()
  if not token:
    raise types.UserError(
      f'{path} is empty; write a token of your choice into it'
    )
  return token


class _Refusal(NamedTuple):
  """An answer in place of the service's."""

  status: int
  detail: str
  headers: tuple[tuple[bytes, bytes], ...] = ()


def around(
  app: App,
  limits: Limits,
  count: Callable[[str, int, float], None],
  clock: Callable[[], float] = time.monotonic,
) -> App:
  """The service behind its limits.

  Args:
    app: an ASGI application.
    limits: what is refused.
    count: called with path, status and seconds of every request.
    clock: seconds, for rates.
  """
  allowance = _allowance(limits.rate, clock)

  async def limited(scope, receive, send):
    if scope['type'] != 'http':
      await app(scope, receive, send)
      return
    begin, status = time.perf_counter(), 500

    async def told(message):
      nonlocal status
      if message['type'] == 'http.response.start':
        status = message['status']
      await send(message)

    try:
      refusal = _refused(scope, limits, allowance)
      body = None
      if refusal is None:
        body = await _body(receive, limits.body)
        refusal = _too_large(limits.body) if body is None else None
      if refusal is not None:
        await _answer(told, refusal)
      else:
        await app(scope, _replayed(body, receive), told)
    finally:
      count(scope['path'], status, time.perf_counter() - begin)

  return limited


def _refused(scope, limits, allowance) -> _Refusal | None:
  """What a request is refused with before its body is read."""
  if scope['path'] in OPEN:
    return None
  headers = dict(scope['headers'])
  if limits.token:
    given = headers.get(b'authorization', b'')
    wanted = f'Bearer {limits.token}'.encode()
    if not hmac.compare_digest(given, wanted):
      return _Refusal(
        401,
        'send the header "Authorization: Bearer TOKEN" with the token of this'
        ' service',
        ((b'www-authenticate', b'Bearer'),),
      )
  wait = allowance((scope.get('client') or ('',))[0])
  if wait:
    return _Refusal(
      429,
      f'more than {limits.rate:g} requests a second; ask again in'
      f' {wait:.1f} seconds',
      ((b'retry-after', str(int(wait) + 1).encode()),),
    )
  kind = headers.get(b'content-type', b'')
  if scope['method'] == 'POST' and b'json' not in kind:
    return _Refusal(
      415, 'send JSON with the header "Content-Type: application/json"'
    )
  length = headers.get(b'content-length', b'0')
  if length.isdigit() and int(length) > limits.body:
    return _too_large(limits.body)
  return None


def _too_large(most) -> _Refusal:
  return _Refusal(
    413, f'the body has more than {most:,} bytes; send fewer at once'
  )


async def _body(receive, most) -> bytes | None:
  """All of a body, None if it has more bytes than allowed."""
  parts, size = [], 0
  while True:
    message = await receive()
    if message['type'] != 'http.request':  # the client has gone
      return b''.join(parts)
    parts.append(message.get('body', b''))
    size += len(parts[-1])
    if size > most:
      return None
    if not message.get('more_body'):
      return b''.join(parts)


def _replayed(body, receive):
  """Receives a body that was read already."""
  left = [{'type': 'http.request', 'body': body, 'more_body': False}]

  async def again():
    return left.pop() if left else await receive()

  return again


async def _answer(send, refusal):
  body = json.dumps({'detail': refusal.detail}).encode()
  headers = [
    (b'content-type', b'application/json'),
    (b'content-length', str(len(body)).encode()),
    *refusal.headers,
  ]
  start = {'status': refusal.status, 'headers': headers}
  await send({'type': 'http.response.start', **start})
  await send({'type': 'http.response.body', 'body': body})


def _allowance(rate: float, clock) -> Callable[[str], float]:
  """(client) -> 0, or the seconds until it may ask again: a token bucket."""
  if not rate:
    return lambda client: 0.0
  most = max(rate, 1.0)
  left: dict[str, tuple[float, float]] = {}

  def take(client: str) -> float:
    now = clock()
    tokens, last = left.pop(client, (most, now))
    tokens = min(most, tokens + (now - last) * rate)
    wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / rate
    left[client] = (tokens if wait else tokens - 1.0, now)
    if len(left) > _CLIENTS:  # the one that has been silent longest
      left.pop(next(iter(left)))
    return wait

  return take
