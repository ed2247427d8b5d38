"""Asks a service with many clients at once, and kills it while they write.

    python launch/benchmarks/serving.py --workdir=runs/mine --out=load.json
    python launch/benchmarks/serving.py --workdir=runs/two_time --suite=kills \\
        --kills=10 --out=kills.json

`load` starts launch/serve.py and has clients ask for lists of random users
without a pause; a run with states also gets events. It reports requests a
second, the median and the 99th percentile of their seconds, and the median of
one client alone beside that of the library call. `kills` sends events of new
users, kills the service with SIGKILL again and again, sends what was not
acknowledged anew, and counts what is stored in the end. With --states at
PostgreSQL and --servers=2 one of two services is killed each time, and what it
did not acknowledge is sent to the other.
"""

import asyncio
from collections.abc import Iterator
import contextlib
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple
import urllib.request

from absl import flags
import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parent))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import clients

_SERVE = pathlib.Path(__file__).resolve().parents[1] / 'serve.py'
_SUITE = flags.DEFINE_enum('suite', 'load', ['load', 'kills'], 'What is done.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'A finished run.')
_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_CLIENTS = flags.DEFINE_integer('clients', 200, 'At once.', lower_bound=1)
_SECONDS = flags.DEFINE_float('seconds', 30.0, 'Of asking.', 0.0)
_KILLS = flags.DEFINE_integer('kills', 10, 'Of suite kills.', lower_bound=1)
_K = flags.DEFINE_integer('k', 20, 'Items of a list.', lower_bound=1)
_EVENTS = flags.DEFINE_float(
  'events', 0.5, 'Share of requests that bring an event, of a run of 2TS.', 0, 1
)
_STATES = flags.DEFINE_string(
  'states',
  '',
  'Of a run of 2TS: postgresql://USER@HOST/DATABASE in place of files; empty.',
)
_SERVERS = flags.DEFINE_integer(
  'servers', 1, 'Of suite kills: at once, over one PostgreSQL.', 1
)
_EACH = 20  # events of a user in suite kills, fewer than a store keeps


def main() -> int:
  """Measures, and writes what was found."""
  from twotsrec import models
  from twotsrec.runs import opened
  from twotsrec.training import files

  workdir, out = cli.required(_WORKDIR), cli.required(_OUT)
  run = opened.load(workdir)
  moves = run.experiment.config.model.name == models.TWO_TIME
  with tempfile.TemporaryDirectory() as folder:
    states = (_STATES.value or folder) if moves else ''
    if _SUITE.value == 'load':
      found = _load(workdir, run, states)
    else:
      found = _kill(workdir, run, states)
  files.write_json(pathlib.Path(out), {'suite': _SUITE.value, **found})
  print(json.dumps(found, indent=1))
  return 0


def _load(workdir, run, states) -> dict[str, Any]:
  """Many clients, then one, then the library."""
  people, draw = run.people, random.Random(0)
  users, items = people.user_ids.tolist(), people.item_ids.tolist()
  begin = time.time()
  lists = lambda: ('/recommend', {'users': [draw.choice(users)], 'k': _K.value})

  def ask():
    if not states or draw.random() >= _EVENTS.value:
      return lists()
    event = {'user': draw.choice(users), 'item': draw.choice(items)}
    return '/events', {'events': [event | {'time': begin + draw.random()}]}

  with _served(workdir, states) as service:
    many = _asked(service.port, ask, _CLIENTS.value, _SECONDS.value)
    alone = _asked(service.port, lists, 1, _SECONDS.value / 4)
  paths = sorted({answer.path for answer in many})
  return {
    'clients': _CLIENTS.value,
    'users': len(users),
    'items': len(items),
    'all': _figures(many, _SECONDS.value),
    'by_path': {
      path: _figures([a for a in many if a.path == path], _SECONDS.value)
      for path in paths
    },
    'one_client_ms': _figures(alone, _SECONDS.value / 4)['median_ms'],
    'library_ms': _library_ms(run, users, draw),
  }


def _asked(port, ask, number, seconds) -> list[clients.Answer]:
  """All answers to so many clients in so many seconds."""
  answers: list[clients.Answer] = []
  end = time.monotonic() + seconds
  client = clients.Client(
    ask=ask, take=answers.append, ended=lambda: time.monotonic() > end
  )
  asyncio.run(clients.ask_all(port, [client] * number))
  return answers


def _figures(answers, seconds) -> dict[str, Any]:
  good = [a.seconds * 1e3 for a in answers if a.status == 200]
  quantile = lambda q: round(float(np.quantile(good, q)), 2) if good else None
  return {
    'requests': len(answers),
    'errors': len(answers) - len(good),
    'requests_per_second': round(len(good) / seconds, 1),
    'median_ms': quantile(0.5),
    'p99_ms': quantile(0.99),
  }


def _library_ms(run, users, draw, calls: int = 200) -> float:
  """Median milliseconds of the call that the service makes."""
  from twotsrec.runs import opened

  answers = opened.answers_of(run)
  seconds = []
  for _ in range(calls):
    begin = time.perf_counter()
    answers.recommend(users=[draw.choice(users)], k=_K.value)
    seconds.append(time.perf_counter() - begin)
  return round(float(np.median(seconds[calls // 4 :])) * 1e3, 2)


def _kill(workdir, run, states) -> dict[str, Any]:
  """Kills the service under load; every event must be there once, no other."""
  from twotsrec import types

  if not states:
    raise types.UserError(
      f'{workdir} has no states that move; name a run of'
      ' model.name=two_time_scale, or use --suite=load'
    )
  draw, begin = random.Random(0), time.time()
  sent = [0] * _CLIENTS.value  # events of each client that are acknowledged
  tally = {'answers': 0, 'without': 0}
  for kill in range(_KILLS.value + 1):
    last = kill == _KILLS.value
    with contextlib.ExitStack() as stack:
      services = [
        stack.enter_context(_served(workdir, states))
        for _ in range(_SERVERS.value)
      ]
      end = time.monotonic() + draw.uniform(1.0, 4.0)
      writers = [
        _writer(n, sent, run.people.item_ids, begin, end, last, tally)
        for n in range(_CLIENTS.value)
      ]
      # Whoever got no answer asks another service after a kill.
      shares = [
        writers[(kill + at) % len(services) :: len(services)]
        for at in range(len(services))
      ]
      when = None if last else end
      asyncio.run(_until_killed(services, shares, when))
  return {
    'kills': _KILLS.value,
    'servers': _SERVERS.value,
    'clients': _CLIENTS.value,
    'acknowledged': sum(sent),
    'requests': tally['answers'],
    'without_an_answer': tally['without'],
    **_stored(run, states, sent),
  }


async def _until_killed(services, shares, when):
  """Clients write, a share to each service; one is killed at a moment."""

  async def kill():
    if when is not None:
      await asyncio.sleep(max(when - time.monotonic(), 0.0))
      services[0].process.send_signal(signal.SIGKILL)

  pairs = zip(services, shares, strict=True)
  asked = [clients.ask_all(service.port, share) for service, share in pairs]
  await asyncio.gather(kill(), *asked)


def _name(client, number) -> str:
  """User of an event: a new one after so many, all of whose events are kept."""
  return f'client{client}-{number // _EACH}'


def _writer(client, sent, items, begin, end, last, tally) -> clients.Client:
  """Sends one event after the other, each until it is acknowledged."""
  done = False

  def ask():
    number = sent[client]
    event = {
      'user': _name(client, number),
      'item': items[number % len(items)].item(),
      'time': begin + number,
      'id': f'{client}-{number}',
    }
    return '/events', {'events': [event]}

  def take(answer):
    nonlocal done
    tally['answers'] += 1
    if answer.status == 200:
      sent[client] += 1
      done = last
    elif answer.status == 0:
      tally['without'] += 1
    else:
      raise ValueError(f'refused: {answer.body}')

  return clients.Client(
    ask, take, ended=lambda: done or (not last and time.monotonic() > end)
  )


def _stored(run, states, sent) -> dict[str, Any]:
  """What the store has, held against what was acknowledged."""
  from twotsrec import recipes
  from twotsrec.data import ids as ids_lib
  from twotsrec.runs import event_identity
  from twotsrec.runs import state_store
  from twotsrec.serving import online_windows

  service = recipes.of(run.experiment.config).service(
    run.experiment, run.params
  )
  place = states
  if not state_store.is_url(states):
    (place,) = map(str, pathlib.Path(states).glob('*.db'))
  with state_store.opened(place, service, create=False) as store:
    stored = state_store.read_all(store)
  row = online_windows.rows(stored.window)
  there = sorted(
    zip(stored.ids[row].tolist(), stored.window.identity.tolist(), strict=True)
  )
  wanted = [
    (_name(client, number), f'{client}-{number}')
    for client, count in enumerate(sent)
    for number in range(count)
  ]
  names, codes = np.unique([one for _, one in wanted], return_inverse=True)
  identity = event_identity.of_ids(ids_lib.Texts(names, codes.astype(np.int32)))
  expected = sorted(zip([user for user, _ in wanted], identity.tolist()))
  if there != expected:
    raise ValueError(
      f'{len(expected)} events were acknowledged and {len(there)} are stored;'
      f' {len(set(expected) - set(there))} are lost'
    )
  return {'stored': len(there), 'lost': 0, 'twice': 0}


class _Service(NamedTuple):
  """A service that was started."""

  process: subprocess.Popen
  port: int


@contextlib.contextmanager
def _served(workdir, states) -> Iterator[_Service]:
  """A service that is ready; it is ended with the context."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  command = [sys.executable, str(_SERVE), f'--workdir={workdir}']
  command += [f'--port={port}', '--watch=0']
  process = subprocess.Popen([*command, f'--states={states}'])
  try:
    _await_ready(process, port)
    yield _Service(process, port)
  finally:
    process.terminate()
    process.wait()


def _await_ready(process, port, patience: float = 300.0):
  end = time.monotonic() + patience
  while time.monotonic() < end:
    if process.poll() is not None:
      raise ValueError(f'the service ended with code {process.returncode}')
    with contextlib.suppress(OSError):
      with urllib.request.urlopen(f'http://127.0.0.1:{port}/ready'):
        return
    time.sleep(0.1)
  raise ValueError('the service does not get ready')


if __name__ == '__main__':
  cli.run(main)
