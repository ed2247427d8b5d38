"""A service in this process, and requests to it."""

import asyncio
from collections.abc import Iterator
import contextlib
import functools
import json
from typing import Any

import httpx

from tests.runs import kinds
from twotsrec import recipes
from twotsrec.runs import live as live_lib
from twotsrec.runs import opened
from twotsrec.web import app as app_lib
from twotsrec.web import asking
from twotsrec.web import limits as limits_lib
from twotsrec.web import worker as worker_lib


@functools.cache
def model(kind: str) -> asking.Model:
  """A finished run of `kinds`, ready to answer; without a store."""
  return asking.Model(name=kind, answers=opened.answers_of(kinds.loaded(kind)))


def with_states(kind: str, path: str) -> asking.Take:
  """The same with a store."""
  run = kinds.loaded(kind)
  make = recipes.of(run.experiment.config).service
  service = make(run.experiment, run.params)

  def take(old):
    stack = contextlib.ExitStack()
    live = stack.enter_context(
      live_lib.opened(path, service, run.experiment.prepared)
    )
    if old is not None and old.live is not None:
      live_lib.carry(old.live, live)
    return model(kind)._replace(live=live, close=stack.close)

  return asking.Take(take)


@contextlib.contextmanager
def running(*takes: asking.Take, **limits) -> Iterator[Any]:
  """The application of a service that has taken up models."""
  handle, close = asking.make()
  worker = worker_lib.start(handle, close)
  name = ''
  try:
    for take in takes:
      name = worker.result(take)
    yield app_lib.make(
      worker.submit,
      limits_lib.Limits(**limits),
      app_lib.figures(),
      lambda: name,
    )
  finally:
    worker.stop()


def plain(kind: str) -> asking.Take:
  """Puts a model without a store in place."""
  return asking.Take(lambda old: model(kind))


def post(app: Any, *requests: tuple[str, Any]) -> list[httpx.Response]:
  """Answers to requests that are sent at once; bodies of bytes go as are."""

  async def ask():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport) as client:
      return await asyncio.gather(
        *(
          client.post(
            f'http://service{path}',
            content=body if isinstance(body, bytes) else json.dumps(body),
            headers={'content-type': 'application/json'},
          )
          for path, body in requests
        )
      )

  return asyncio.run(ask())


def get(app: Any, path: str) -> httpx.Response:
  """An answer to GET."""

  async def ask():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport) as client:
      return await client.get(f'http://service{path}')

  return asyncio.run(ask())
