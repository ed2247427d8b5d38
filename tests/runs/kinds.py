"""A finished run of every kind, and what its model says of everything."""

from collections.abc import Callable
import functools
import pathlib

import jax.numpy as jnp
import numpy as np

from tests import finished
from twotsrec import types
from twotsrec.data import routing
from twotsrec.ops import rows
from twotsrec.runs import opened as opened_lib

KINDS: dict[str, Callable[[], pathlib.Path]] = {
  **{
    name: functools.partial(finished.run, name)
    for name in (
      'ga',
      'ga_pn',
      'soft',
      'separate',
      'every_position',
      'copf',
      'copf_plugins',
    )
  },
  'prior': finished.prior,
  '2ts': finished.two_time,
  'jodie': finished.jodie,
  'ease': finished.coming_back,
  'item_knn': functools.partial(finished.untrained, 'item_knn'),
  'cascading_rank': functools.partial(finished.untrained, 'cascading_rank'),
  'pair_experts': functools.partial(
    finished.untrained, 'pair_experts', **{'discovery.by': 'each'}
  ),
}


@functools.cache
def loaded(kind: str) -> opened_lib.Run:
  """The run as `opened.load` gives it."""
  return opened_lib.load(str(KINDS[kind]()))


def scores(kind: str, user: int, history: np.ndarray) -> np.ndarray:
  """Scores of items 1..I, f32[I], by the model as it is, one user alone.

  Args:
    kind: of `KINDS`.
    user: of the run, or -1.
    history: all items of the user, oldest first.
  """
  run = loaded(kind)
  ranker, length = run.ranker, run.ranker.history_length
  groups, key = run.experiment.groups, run.experiment.config.groups.key
  route = types.Route(np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32))
  if ranker.routing and user >= 0:
    route = routing.of_users(
      run.experiment.prepared, groups, np.array([user]), key, ranker.routing
    )
  elif ranker.routing:
    clicks = np.array([len(history)])
    route = routing.of_histories(clicks, groups, key, ranker.routing)
  params = ranker.params
  if isinstance(params, list):
    params = params[int(route.groups[0, 0])]
  recent = np.zeros((1, length), np.int32)
  own = np.asarray(history)[-length:]
  recent[0, : len(own)] = own
  if route.groups.shape[1] == 1:  # of all rows together
    route = types.Route(route.groups[0], route.weights[0])
  inputs = {
    'history': jnp.asarray(recent),
    'route': types.Route(*map(jnp.asarray, route)),
    'user': jnp.asarray([user], jnp.int32),
  }
  table = params.tables['item']
  history_rows = rows.gather(table, inputs['history'])
  encoded = ranker.model.encode(
    params.net, history_rows, ranker.context, inputs
  )
  items = jnp.arange(1, run.experiment.prepared.num_items + 1)
  of_items = rows.gather(table, items)
  return np.asarray(ranker.model.score(params.net, encoded, of_items))[0]


def own(kind: str, user: int) -> np.ndarray:
  """Items of all events of a user, oldest first."""
  prepared = loaded(kind).experiment.prepared
  first, end = prepared.user_offsets[user : user + 2]
  return np.asarray(prepared.items[first:end])
