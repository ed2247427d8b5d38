"""Clients that ask a service over HTTP without a pause, in one process."""

import asyncio
from collections.abc import Callable, Sequence
import json
import time
from typing import Any, NamedTuple


class Client(NamedTuple):
  """Somebody who asks.

  Attributes:
    ask: () -> path and body of the next request.
    take: gets every answer.
    ended: () -> whether nothing more is asked.
  """

  ask: Callable[[], tuple[str, dict[str, Any]]]
  take: Callable[[Any], None]
  ended: Callable[[], bool]


class Answer(NamedTuple):
  """What came back, and after how long.

  Attributes:
    path: that was asked.
    asked: what was sent.
    status: of HTTP; 0 where the connection broke.
    seconds: from sending to the whole answer.
    body: of JSON; None where the connection broke.
  """

  path: str
  asked: dict[str, Any]
  status: int
  seconds: float
  body: Any


async def ask_all(port: int, clients: Sequence[Client]) -> None:
  """All clients at once, each without a pause, until all have ended.

  Args:
    port: on this machine.
    clients: a broken connection is opened anew after the answer that says so.
  """
  await asyncio.gather(*(_ask(port, client) for client in clients))


async def _ask(port, client):
  connection = None
  while not client.ended():
    path, body = client.ask()
    begin = time.perf_counter()
    status, answer = 0, None
    try:
      if connection is None:
        connection = await asyncio.open_connection('127.0.0.1', port)
      status, answer = await _post(*connection, path, body)
    except (OSError, asyncio.IncompleteReadError, ValueError):
      if connection is not None:
        connection[1].close()
      connection = None
    seconds = time.perf_counter() - begin
    client.take(Answer(path, body, status, seconds, answer))
    if connection is None:
      await asyncio.sleep(0.05)
  if connection is not None:
    connection[1].close()


async def _post(reader, writer, path, body) -> tuple[int, Any]:
  """Status and body of one request on an open connection."""
  data = json.dumps(body).encode()
  head = (
    f'POST {path} HTTP/1.1\r\nhost: localhost\r\n'
    f'content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n'
  )
  writer.write(head.encode() + data)
  await writer.drain()
  told = (await reader.readuntil(b'\r\n\r\n')).decode().lower().split('\r\n')
  headers = dict(line.split(': ', 1) for line in told[1:] if ': ' in line)
  answer = await reader.readexactly(int(headers['content-length']))
  return int(told[0].split()[1]), json.loads(answer)
