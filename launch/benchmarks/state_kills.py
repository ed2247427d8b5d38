"""Writers of one store that are killed at any moment, and what must be left.

Every writer plays batches of events without end, and a writer that was killed
is started again at the last batch that it reported, which it must recognize. In
the end every user has all events once, in the order of time, with the bits of
one go.

Writers that end often should start fast, so a NumPy function moves the states
here, and nothing is compiled; all else is what online.py does.
"""

from collections.abc import Callable
import multiprocessing
import multiprocessing.connection
import signal
import time
from typing import Any, NamedTuple

import numpy as np

from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.runs import event_tables
from twotsrec.runs import online_batches
from twotsrec.runs import state_store
from twotsrec.serving import online

_USERS, _ITEMS = 2000, 1000
_WIDTH = 64
_EVENTS = 64  # of a batch, of as many users
_BEGIN = 1.6e9  # a second of 2020
_RULES = online_batches.Rules(late='replay', keep_events=10_000)
_MEAN_PAUSE = 0.2  # seconds from a report of a writer to its end
_PATIENCE = 300.0  # seconds in which a writer must report something


class _Writer(NamedTuple):
  """A process that writes."""

  process: Any
  reports: multiprocessing.connection.Connection
  reported: list[int]  # last batch that was committed


def run(
  path: str,
  kills: int,
  writers: int,
  say: Callable[[str], None] = lambda text: None,
  seed: int = 0,
) -> dict[str, Any]:
  """Kills writers; figures of what was played.

  Args:
    path: of the store, which is made.
    kills: how many times a writer is killed.
    writers: how many write at once.
    say: gets a line about progress.
    seed: of the moments.
  Raises:
    ValueError: an event was lost or played twice, or a state has other bits.
  """
  context = multiprocessing.get_context('forkserver')
  # A process that has imported what takes long forks the writers.
  context.set_forkserver_preload([online_batches.__name__])
  generator, begin = np.random.default_rng(seed), time.monotonic()
  live = [_start(context, path, number, -1) for number in range(writers)]
  for kill in range(kills):
    number = int(generator.integers(writers))
    _await_report(live[number])
    time.sleep(generator.exponential(_MEAN_PAUSE))
    live[number].process.kill()
    live[number].process.join()
    _drain(live[number])
    if live[number].process.exitcode != -signal.SIGKILL:
      raise ValueError(f'writer {number} ended by itself')
    say(f'kill {kill + 1} of {kills}')
    live[number] = _start(context, path, number, live[number].reported[-1])
  for number, writer in enumerate(live):
    _await_report(writer)
    writer.reports.send('stop')
    writer.process.join()
    _drain(writer)
    if writer.process.exitcode:
      raise ValueError(f'writer {number} failed')
  batches = [writer.reported[-1] + 1 for writer in live]
  seconds = time.monotonic() - begin
  return {
    'kills': kills,
    'writers': writers,
    'batches': sum(batches),
    'events': _check(path, batches),
    'seconds': round(seconds, 1),
  }


def write(
  path: str,
  number: int,
  first: int,
  reports: multiprocessing.connection.Connection,
) -> None:
  """Plays batches of a writer from `first` on, until it is told to stop."""
  service, prepared = _service(), _prepared()
  with state_store.opened(path, service) as store:
    batch = first
    while not reports.poll():
      events = event_tables.of_table(prepared, _table(number, batch))
      sound, _, why = online_batches.sound(store, prepared, events)
      if why:
        raise ValueError(f'a good clock is refused: {why}')
      with state_store.writing(store):
        online_batches.play(store, prepared, sound, _RULES)
      reports.send(batch)
      batch += 1


def _start(context, path, number, reported) -> _Writer:
  ours, theirs = context.Pipe()
  first = max(reported, 0)
  process = context.Process(target=write, args=(path, number, first, theirs))
  process.start()
  theirs.close()
  return _Writer(process, ours, [reported])


def _await_report(writer):
  """Waits until the writer has committed a batch since it was started."""
  if len(writer.reported) == 1:
    if not writer.reports.poll(_PATIENCE):
      raise ValueError('a writer does not write')
    writer.reported.append(writer.reports.recv())


def _drain(writer):
  """Takes the reports of a writer that has ended."""
  try:
    while writer.reports.poll():
      writer.reported.append(writer.reports.recv())
  except (EOFError, OSError):
    pass
  writer.reports.close()


def _table(number, batch) -> tables.Table:
  """A batch of a writer; all times differ, those of writers alternate."""
  generator = np.random.default_rng([number, batch])
  places = np.arange(_EVENTS)
  return tables.make(
    f'batch {batch} of writer {number}',
    user=generator.choice(_USERS, _EVENTS, replace=False),
    item=generator.integers(_ITEMS, size=_EVENTS),
    time=_BEGIN + batch * 1000 + places + number / 16,
  )


def _service() -> online.Service:
  """States that a function in NumPy moves."""
  users, zero = np.arange(_USERS), np.zeros(_USERS, np.int32)
  states = np.zeros((_USERS, _WIDTH), np.float32)
  known = online.State(states, zero, zero, zero, zero, zero)
  vectors = np.zeros((_ITEMS + 1, _WIDTH), np.float32)
  return online.Service(
    cell='sum',
    networks=('everyone',),
    groups=1,
    digest=bytes(16),
    weights=online.Weights(vectors, (None,)),
    known=known,
    new=online.State(*(leaf[:1] for leaf in known)),
    ids=online.Ids(users, np.arange(_ITEMS)),
    advance=_advance,
    read=lambda weights, state: state.state,
  )


def _advance(weights, state, item) -> online.State:
  """Half of the state, and the item; the order of events matters."""
  del weights
  before, moves = np.asarray(state.state), item > 0
  return online.State(
    np.where(moves[:, None], 0.5 * before + np.float32(item)[:, None], before),
    last=np.where(moves, item, state.last),
    network=state.network,
    group=state.group,
    consumed=np.asarray(state.consumed) + moves,
    skipped=np.asarray(state.skipped) + (item == 0),
  )


def _prepared() -> prepared_lib.Prepared:
  """Data of a run that has seen one event of every user."""
  user = np.arange(_USERS, dtype=np.int32)
  return prepared_lib.build(
    user,
    np.ones_like(user),
    np.zeros(len(user), np.int8),
    user_ids=user.astype(np.int64),
    item_ids=np.arange(_ITEMS),
    times=np.full(len(user), _BEGIN - 1),
    source='made up',
  )


def _check(path, batches) -> int:
  """Compares the store with all batches in one go; the number of events."""
  service, prepared = _service(), _prepared()
  parts = [
    event_tables.of_table(prepared, _table(number, batch))
    for number, count in enumerate(batches)
    for batch in range(count)
  ]
  user = np.concatenate([part.ids[part.row] for part in parts])
  order = np.lexsort((np.concatenate([part.when for part in parts]), user))
  item = np.concatenate([part.items for part in parts])[order]
  ids = np.unique(user)
  offsets = np.append(np.searchsorted(user[order], ids), len(item))
  expected = online.play(service, online.start(service, ids), offsets, item)
  with state_store.opened(path, service, create=False) as store:
    stored = state_store.read_all(store)
  if not np.array_equal(stored.ids, ids):
    raise ValueError('users were lost')
  if not np.array_equal(stored.window.item, item):
    raise ValueError('events were lost, or played twice')
  for name, ours, whole in zip(
    online.State._fields, stored.state, expected, strict=True
  ):
    if ours.tobytes() != whole.tobytes():
      raise ValueError(f'{name} is not what one go gives')
  return len(item)
