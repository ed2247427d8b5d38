"""States of users that follow their events, in the numbers of a run.

What moves a state is one step of a network, whether a run or an export computes
it: `Steps`. `answers.States` has the same in external ids.
"""

from collections.abc import Callable, Iterator
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.evaluation import gathers
from twotsrec.serving import list_rules
from twotsrec.serving import requests as requests_lib

FIELDS = ('state', 'last', 'network', 'group', 'consumed', 'skipped')
_FEWEST = 16

# Arrays of users by the names of `FIELDS`, as `online.State` has them.
Now = dict[str, np.ndarray]


class Steps(NamedTuple):
  """What moves and reads states.

  Attributes:
    known: the users of the run after all of its events, [U, ...].
    new: somebody without any event, [1, ...].
    update: (now, items i32[B]) -> now.
    query: (now) -> f32[B, D]; a score is a product with an item's vector.
    vectors: f32[I + 1, D].
  """

  known: Now
  new: Now
  update: Callable[[Now, np.ndarray], Now]
  query: Callable[[Now], np.ndarray]
  vectors: np.ndarray


def start(steps: Steps, users: np.ndarray) -> Now:
  """States of users i64[B], -1 for somebody new."""
  is_new = users < 0

  def pick(name):
    chosen = np.repeat(steps.new[name], len(users), axis=0)
    chosen[~is_new] = steps.known[name][users[~is_new]]
    return chosen

  return {name: pick(name) for name in FIELDS}


def top(
  steps: Steps, now: Now, k: int, allowed: np.ndarray, rules: list_rules.Rules
) -> Iterator[requests_lib.Chunk]:
  """Lists of the users of some states, that keep to the rules."""
  queries = jnp.asarray(steps.query(now))
  count = len(queries)
  nothing = gathers.Exclusions(np.zeros(count + 1, np.int64), np.zeros(0, int))
  request = requests_lib.Request(
    history=np.zeros((count, 1), np.int32), seen=nothing, user=np.arange(count)
  )

  def best(requests, depth):
    size = min(max(_FEWEST, 1 << (depth - 1).bit_length()), len(allowed) - 1)
    for one in requests:
      ids, scores = _best(queries[one.user], steps.vectors, allowed, size)
      made = np.asarray(ids), np.asarray(scores)
      yield requests_lib.Chunk(*(leaf[:, :depth] for leaf in made))

  most = int(np.sum(allowed))
  return list_rules.lists(best, [request], k, most, rules)


@functools.partial(jax.jit, static_argnums=3)
def _best(queries, vectors, allowed, k):
  scores = jnp.where(allowed, queries @ vectors.T, -jnp.inf)
  scores, ids = jax.lax.top_k(scores, k)
  return jnp.where(scores == -jnp.inf, 0, ids), scores
