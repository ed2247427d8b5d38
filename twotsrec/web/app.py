"""The service as an ASGI application: routes, errors, health and figures."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import fastapi
from fastapi import responses
import prometheus_client

import twotsrec
from twotsrec import types
from twotsrec.web import bodies
from twotsrec.web import limits as limits_lib

_PATHS = (
  '/recommend', '/similar', '/scores', '/events', '/model', '/metrics',
)  # fmt: skip
_ABOUT = (
  'Lists of items for known users and for histories, similar items, scores and,'
  ' for models with states, events that move them. Ids are those of the table'
  ' that the model was trained on.'
)


class Figures(NamedTuple):
  """What is counted, of one service.

  Attributes:
    registry: of all figures.
    seconds: of requests, by path and status.
    events: that were stored.
    loads: models that were taken up.
  """

  registry: Any
  seconds: Any
  events: Any
  loads: Any


def figures() -> Figures:
  """Figures that stand at 0."""
  registry = prometheus_client.CollectorRegistry()
  return Figures(
    registry=registry,
    seconds=prometheus_client.Histogram(
      'twotsrec_request_seconds',
      'Seconds of requests.',
      ('path', 'status'),
      registry=registry,
      buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
    ),
    events=prometheus_client.Counter(
      'twotsrec_events', 'Events that were stored.', registry=registry
    ),
    loads=prometheus_client.Counter(
      'twotsrec_model_loads', 'Models that were taken up.', registry=registry
    ),
  )


def make(
  submit: Callable[[Any], Any],
  limits: limits_lib.Limits,
  counted: Figures,
  current: Callable[[], str],
) -> limits_lib.App:
  """The application.

  Args:
    submit: of the worker that has the model.
    limits: what is refused.
    counted: figures of the service.
    current: () -> name of the model that serves.
  """
  api = fastapi.FastAPI(
    title='twotsrec', version=twotsrec.__version__, description=_ABOUT
  )
  _handle_errors(api)
  _ask_routes(api, submit, limits, counted)
  _state_routes(api, counted, current)

  def count(path, status, seconds):
    known = path if path in (*_PATHS, *limits_lib.OPEN) else 'other'
    counted.seconds.labels(known, str(status)).observe(seconds)

  return limits_lib.around(api, limits, count)


def _handle_errors(api):
  """An error of who asks is a 4xx that says why, one of the service a 503."""

  @api.exception_handler(types.Unavailable)
  async def unavailable(request, error):
    del request
    detail = f'{error}; ask again in a moment'
    return responses.JSONResponse(
      {'detail': detail}, 503, headers={'Retry-After': '1'}
    )

  @api.exception_handler(types.UserError)
  async def refused(request, error):
    del request
    return responses.JSONResponse({'detail': str(error)}, 400)


def _ask_routes(api, submit, limits, counted):
  """What is answered by the model."""

  async def ask(job):
    future = submit(job)
    if future is None:
      raise fastapi.HTTPException(
        503,
        'more requests wait than are answered soon; ask again in a moment',
        {'Retry-After': '1'},
      )
    return await asyncio.wrap_future(future)

  @api.post('/recommend')
  async def recommend(body: bodies.Recommend) -> bodies.Lists:
    """Lists for users, or for histories of anybody."""
    _check(len(body.users or body.histories or ()), limits.users, 'users')
    _check(body.k, limits.k, 'k')
    _check(body.reasons, limits.k, 'reasons')
    for history in body.histories or ():
      _check(len(history), limits.history, 'a history')
    return await ask(body)

  @api.post('/similar')
  async def similar(body: bodies.Similar) -> bodies.Lists:
    """The items nearest to each of several."""
    _check(len(body.items), limits.users, 'items')
    _check(body.k, limits.k, 'k')
    return await ask(body)

  @api.post('/scores')
  async def scores(body: bodies.Scores) -> bodies.Scored:
    """Scores of given items."""
    _check(len(body.items), limits.history, 'items')
    _check(len(body.history or ()), limits.history, 'a history')
    return await ask(body)

  @api.post('/events')
  async def events(body: bodies.Events) -> bodies.Played:
    """Moves states of users; events are stored before this answers."""
    _check(len(body.events), limits.history, 'events')
    played = await ask(body)
    counted.events.inc(played.accepted)
    return played


def _check(number, most, what):
  """Refuses more than is allowed."""
  if number > most:
    raise types.UserError(f'{what}: {number:,} asked for; allowed are {most:,}')


def _state_routes(api, counted, current):
  """What is told of the service itself."""

  @api.get('/health')
  async def health() -> dict[str, str]:
    """Whether the process answers."""
    return {'status': 'ok'}

  @api.get('/ready')
  async def ready() -> dict[str, str]:
    """Whether a model serves."""
    return {'status': 'ready', 'model': current()}

  @api.get('/model')
  async def model() -> dict[str, str]:
    """Which model serves."""
    return {'model': current(), 'version': twotsrec.__version__}

  @api.get('/metrics')
  async def metrics() -> responses.Response:
    """Figures in the form of Prometheus."""
    return responses.Response(
      prometheus_client.generate_latest(counted.registry),
      media_type=prometheus_client.CONTENT_TYPE_LATEST,
    )
