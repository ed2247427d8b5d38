"""Bytes of a store of states, and seconds of what is done with it."""

from collections.abc import Callable
import os
import pathlib
import statistics
import time
from typing import Any

import numpy as np

import two_time_scale
from twotsrec.runs import state_files
from twotsrec.runs import state_store
from twotsrec.serving import online
from twotsrec.serving import online_windows

_BATCH = 4096  # users who are read and written at once
_REPEATS = 5
_EVENTS = 64  # of a user whose window is full


def size(
  folder: pathlib.Path, users: int, say: Callable[[str], None]
) -> dict[str, Any]:
  """Bytes and seconds; medians of what is done with batches of users."""
  service = two_time_scale.online_service()
  archive, path = str(folder / 'states.npz'), str(folder / 'states.db')
  seconds, stored = {}, _made_up(service, users)

  def timed(name, work):
    begin = time.perf_counter()
    result = work()
    seconds.setdefault(name, []).append(time.perf_counter() - begin)
    say(f'{name}: {seconds[name][-1]:.3f} s')
    return result

  timed('write file', lambda: state_files.save(archive, service, stored))
  with state_store.opened(path, service) as store:

    def put(part):
      with state_store.writing(store):
        state_store.write(store, part)

    timed('import', lambda: put(state_files.load(archive, service)))
    store.database.run('PRAGMA wal_checkpoint(TRUNCATE)')
    after_import = os.path.getsize(path)
    generator = np.random.default_rng(1)
    for _ in range(_REPEATS):
      ids = np.sort(generator.choice(users, min(_BATCH, users), replace=False))
      part, _ = timed('read a batch', lambda i=ids: state_store.read(store, i))
      part = _with_events(service, part, generator)
      timed('write a batch', lambda p=part: put(p))
      timed('read it again', lambda i=ids: state_store.read(store, i))
      timed('write it again', lambda p=part: put(p))
    timed('read all', lambda: state_store.read_all(store))
  return {
    'users': users,
    'batch': min(_BATCH, users),
    'events_of_a_batch_user': _EVENTS,
    'bytes': {'file': os.path.getsize(archive), 'store': after_import},
    'seconds': {n: round(statistics.median(s), 3) for n, s in seconds.items()},
  }


def _made_up(service, users) -> online_windows.Stored:
  """States of users who have played nothing since an import."""
  nobody = np.full(users, -1)
  time_of = np.full(users, 1.6e9)
  stored = online_windows.begin(service, np.arange(users), nobody, time_of)
  drawn = np.random.default_rng(0).standard_normal(
    stored.state.state.shape, np.float32
  )
  state = stored.state._replace(state=drawn)
  return stored._replace(state=state, start=state)


def _with_events(service, stored, generator) -> online_windows.Stored:
  """The users with full windows."""
  count = len(stored.ids)
  total = count * _EVENTS
  window = online_windows.Window(
    offsets=np.arange(count + 1) * _EVENTS,
    time=np.tile(1.6e9 + np.arange(_EVENTS), count),
    item=generator.integers(1, service.num_items, total).astype(np.int32),
    identity=generator.integers(1, 2**62, total),
  )
  moved = online.State(*(leaf.copy() for leaf in stored.state))
  moved.state[:] += 1
  return stored._replace(state=moved, window=window)
