r"""An index of items beside the exact lists: what it finds, and how fast.

    python launch/benchmarks/search.py --out=search.json

Vectors of items are made up around topics, with lengths as different as those
of popular and rare items; users ask alone, one after the other, for 20 items.
Time is that of the processor, over all threads, since machines are shared.
Needs the extra `ann`.
"""

import json
import pathlib
import sys
import time
from typing import Any

from absl import flags
import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli

_OUT = flags.DEFINE_string('out', None, 'JSON file.')
_ITEMS = flags.DEFINE_integer('items', 1_000_000, 'Of them.', lower_bound=100)
_WIDTH = flags.DEFINE_integer('width', 64, 'Of a vector.', lower_bound=1)
_USERS = flags.DEFINE_integer('users', 100, 'That ask.', lower_bound=2)
_PROBES = flags.DEFINE_multi_integer(
  'probes', [1, 8, 32, 128], 'Lists of the index that are looked at.'
)
_K = 20
_TOPICS = 2000


def main() -> int:
  """Measures, and writes what was found."""
  from twotsrec.training import files

  out = pathlib.Path(cli.required(_OUT))
  found = measure(_ITEMS.value, _WIDTH.value, _USERS.value, _PROBES.value)
  files.write_json(out, found)
  print(json.dumps(found, indent=1))
  return 0


def measure(items: int, width: int, users: int, probes: Any) -> dict[str, Any]:
  """Seconds, milliseconds of a list and recall, for each number of probes."""
  import jax.numpy as jnp

  from twotsrec import contracts
  from twotsrec.models import known_users
  from twotsrec.serving import approximate
  from twotsrec.serving import recommend

  vectors, queries = _made_up(items, width, users)
  params = known_users.params(jnp.asarray(queries), jnp.asarray(vectors))
  ranker = contracts.Ranker(known_users.make(), params, {})

  def exact(requests, k, exclude_seen, allowed):
    yield from recommend.recommend(
      ranker,
      requests,
      num_items=items,
      k=k,
      exclude_seen=exclude_seen,
      allowed=allowed,
    )

  begin = time.process_time()
  index = approximate.build(vectors)
  seconds = time.process_time() - begin
  whole, exact_ms = _asked(exact, users, items)
  rows = []
  for number in probes:
    search = approximate.around(
      exact, lambda one: queries[one.user], index._replace(probes=number)
    )
    found, ms = _asked(search, users, items)
    recall = approximate.measured(found, whole)
    rows.append({'probes': number, 'recall': round(recall, 4), 'ms': ms})
  return {
    'items': items,
    'width': width,
    'users': users,
    'k': _K,
    'lists': index.lists.nlist,
    'build_seconds': round(seconds, 1),
    'exact_ms': exact_ms,
    'searches': rows,
  }


def _made_up(items, width, users) -> tuple[np.ndarray, np.ndarray]:
  """Vectors f32[I + 1, D] and queries f32[U, D] of the same topics."""
  rng = np.random.default_rng(0)
  topics = rng.normal(size=(_TOPICS, width)).astype(np.float32)

  def near(count):
    noise = rng.normal(size=(count, width)).astype(np.float32)
    return topics[rng.integers(_TOPICS, size=count)] + noise

  lengths = rng.lognormal(0.0, 0.3, (items + 1, 1)).astype(np.float32)
  return near(items + 1) * lengths, near(users)


def _asked(top, users, items) -> tuple[list[Any], float]:
  """Lists of all users, and the median milliseconds of one."""
  from twotsrec.evaluation import gathers
  from twotsrec.serving import requests

  allowed = np.arange(items + 1) > 0
  nothing = gathers.Exclusions(np.zeros(2, np.int64), np.zeros(0, np.int64))
  lists, spent = [], []
  for user in range(users):
    request = requests.Request(
      np.zeros((1, 1), np.int32), nothing, user=np.array([user])
    )
    begin = time.process_time()
    (chunk,) = top([request], _K, True, allowed)
    spent.append(time.process_time() - begin)
    lists.append(chunk)
  return lists, round(float(np.median(spent)) * 1e3, 2)


if __name__ == '__main__':
  cli.run(main)
