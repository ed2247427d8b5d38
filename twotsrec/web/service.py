"""The service as a process: a worker with the model behind a web server."""

from collections.abc import Callable, Iterator
import contextlib
import threading
import time
from typing import NamedTuple

import uvicorn

from twotsrec.web import app as app_lib
from twotsrec.web import asking
from twotsrec.web import limits as limits_lib
from twotsrec.web import loading
from twotsrec.web import worker as worker_lib


class Address(NamedTuple):
  """Where a service listens."""

  host: str = '127.0.0.1'
  port: int = 8000


@contextlib.contextmanager
def running(
  options: loading.Options,
  limits: limits_lib.Limits,
  watch_seconds: float = 0.0,
  tell: Callable[[str], None] = print,
) -> Iterator[limits_lib.App]:
  """The application with its model loaded; the worker ends with the context.

  Args:
    options: what is served.
    limits: what is refused.
    watch_seconds: between two looks for a new model; 0 for none.
    tell: a line for who runs the service.
  Raises:
    types.UserError: a model that cannot be served.
  """
  take = loading.load(options)
  handle, close = asking.make()
  worker = worker_lib.start(handle, close)
  counted = app_lib.figures()
  name = ''

  def put(take):
    nonlocal name
    name = worker.result(take)
    counted.loads.inc()

  end = lambda: None
  try:
    put(take)
    if watch_seconds:
      end = loading.watch(options, lambda: name, put, tell, watch_seconds)
    yield app_lib.make(worker.submit, limits, counted, lambda: name)
  finally:
    end()
    worker.stop()


def serve(app: limits_lib.App, address: Address) -> None:
  """Answers until SIGTERM or SIGINT; requests that have begun are finished."""
  uvicorn.run(
    app,
    host=address.host,
    port=address.port,
    log_level='warning',
    access_log=False,
    timeout_graceful_shutdown=30,
  )


@contextlib.contextmanager
def beside(app: limits_lib.App) -> Iterator[str]:
  """Answers in a thread of this process until the context ends.

  Yields:
    Its address on this machine, at a port that was free.
  Raises:
    RuntimeError: the server did not start; it has said why.
  """
  server = uvicorn.Server(
    # What the program around it does with its logs stays as it is.
    uvicorn.Config(app, port=0, log_config=None, access_log=False)
  )
  thread = threading.Thread(target=server.run)
  thread.start()
  try:
    while not server.started:
      if not thread.is_alive():
        raise RuntimeError('the service did not start')
      time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f'http://{host}:{port}'
  finally:
    server.should_exit = True
    thread.join()
