"""Measures the store of states, and tries to break it; writes JSON.

    python launch/benchmarks/states.py --suite=size --users=1000000 \\
        --out=size.json
    python launch/benchmarks/states.py --suite=kills --kills=100 --writers=4 \\
        --out=kills.json

`size` is the bytes of states made up in the size of ML-1M (d = 64), and seconds
of what is done with them. `kills` ends writers with SIGKILL while they write to
one store, and fails if an event is lost or played twice.
"""

from collections.abc import Callable
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

from absl import flags
import numpy as np

# Modules beside this script, and what all scripts share one folder up.
sys.path.append(str(pathlib.Path(__file__).resolve().parent))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
import state_kills
import two_time_scale
from twotsrec.runs import state_files
from twotsrec.runs import state_store
from twotsrec.serving import online
from twotsrec.serving import online_windows
from twotsrec.training import files

_BATCH = 4096  # users who are read and written at once
_REPEATS = 5
_EVENTS = 64  # of a user whose window is full

_SUITE = flags.DEFINE_enum('suite', 'size', ['size', 'kills'], 'What to do.')
_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_USERS = flags.DEFINE_integer(
  'users', 1_000_000, 'Suite size: states.', lower_bound=1
)
_KILLS = flags.DEFINE_integer('kills', 100, 'Suite kills.', lower_bound=1)
_WRITERS = flags.DEFINE_integer(
  'writers', 4, 'Suite kills: processes that write.', lower_bound=1
)


def main() -> int:
  """Measures in a folder that is gone afterwards."""
  out = pathlib.Path(cli.required(_OUT))
  say = lambda text: print(text, file=sys.stderr, flush=True)
  with tempfile.TemporaryDirectory() as folder:
    if _SUITE.value == 'kills':
      path = os.path.join(folder, 'states.db')
      measured = state_kills.run(path, _KILLS.value, _WRITERS.value, say)
    else:
      measured = size(pathlib.Path(folder), _USERS.value, say)
  files.write_json(out, {'suite': _SUITE.value, **measured})
  print(files.read_json(out))
  return 0


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


if __name__ == '__main__':
  cli.run(main)
