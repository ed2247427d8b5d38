r"""Answers over HTTP: lists, similar items, scores, and states that move.

    python launch/serve.py --workdir=runs/mine
    curl localhost:8000/recommend -H 'content-type: application/json' \
      -d '{"users": ["anna"], "k": 10}'

Serves a finished run, or a folder that launch/export.py wrote; needs the extra
`serve`. http://localhost:8000/docs describes all requests, /metrics has figures
for Prometheus, /health and /ready are for load balancers. With --states a run
of 2TS takes events, which are stored before they are acknowledged. A new model
in --workdir, or behind the link that it is, is taken up without interruption.
"""

from absl import flags

import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'A finished run, or an export.')
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address; 0.0.0.0 for all.')
_PORT = flags.DEFINE_integer(
  'port', 8000, 'Port.', lower_bound=0, upper_bound=65535
)
_STATES = flags.DEFINE_string(
  'states',
  '',
  'Of states that events move, for runs that have states: a folder, or'
  ' postgresql://USER@HOST/DATABASE for several servers at once.',
)
_CATEGORIES = flags.DEFINE_string(
  'categories',
  '',
  'For at_most: an item feature, or a table of two columns, item and category.',
)
_SEARCH = flags.DEFINE_enum(
  'search',
  'exact',
  ['exact', 'approximate'],
  'approximate: lists by the index of an export that has one.',
)
_TOKEN_FILE = flags.DEFINE_string(
  'token_file', '', 'File with a token that requests must carry.'
)
_WATCH = flags.DEFINE_float(
  'watch', 5.0, 'Seconds between two looks for a new model; 0: none.', 0.0
)
_BODY = flags.DEFINE_integer(
  'max_body', 1 << 20, 'Bytes of a request.', lower_bound=1
)
_K = flags.DEFINE_integer('max_k', 1000, 'Items of a list.', lower_bound=1)
_USERS = flags.DEFINE_integer(
  'max_users', 1000, 'Users or histories of a request.', lower_bound=1
)
_HISTORY = flags.DEFINE_integer(
  'max_history', 10_000, 'Items of a history, events.', lower_bound=1
)
_RATE = flags.DEFINE_float(
  'rate', 0.0, 'Requests a second of one client; 0: any number.', 0.0
)


def main() -> int:
  """Serves until it is stopped."""
  workdir = cli.required(_WORKDIR)
  from twotsrec import web

  service = web.load()
  from twotsrec.web import limits
  from twotsrec.web import loading

  options = loading.Options(
    workdir=workdir,
    states=_STATES.value,
    categories=_CATEGORIES.value,
    search=_SEARCH.value,
  )
  allowed = limits.Limits(
    body=_BODY.value,
    k=_K.value,
    users=_USERS.value,
    history=_HISTORY.value,
    rate=_RATE.value,
    token=limits.read_token(_TOKEN_FILE.value) if _TOKEN_FILE.value else '',
  )
  tell = lambda line: print(line, flush=True)
  with service.running(options, allowed, _WATCH.value, tell) as app:
    tell(f'serving {workdir} on http://{_HOST.value}:{_PORT.value}/docs')
    service.serve(app, service.Address(_HOST.value, _PORT.value))
  return 0


if __name__ == '__main__':
  cli.run(main)
