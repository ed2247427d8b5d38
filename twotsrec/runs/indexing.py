"""An index of a run's items, with what it finds of the exact lists."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.ops import rows
from twotsrec.runs import opened as opened_lib
from twotsrec.serving import approximate
from twotsrec.serving import exporting
from twotsrec.serving import people as people_lib

K = 20  # items of the lists that are compared
_USERS = 1000  # of a sample, evenly over all
_SLICE = 1 << 14  # items whose vectors are made at once


def check(workdir: str, opened: opened_lib.Run) -> None:
  """Refuses a model whose scores are no inner products.

  Raises:
    types.UserError: the model and the way out.
  """
  if opened.ranker.model.factors is None:
    raise types.UserError(
      f'{workdir}: scores of {opened.experiment.config.model.name} are no inner'
      ' products of a user and an item (with plugins or a prior they never'
      ' are), so no index can find its lists; export it with --search=exact, or'
      ' train one like gru4rec or sasrec'
    )


def make(
  opened: opened_lib.Run, recall: float
) -> tuple[approximate.Index, dict[str, Any]]:
  """An index that looks at as few of its lists as the recall needs.

  The recall is of lists of `K` items as they are served: what a user has is
  left out if it was in the evaluation. A sample of known users is asked.

  Args:
    opened: the run, of a model with factors.
    recall: the least, of the exact lists; probes are doubled until it is
      reached or every list is looked at.
  Returns:
    The index and what a manifest says of it.
  """
  people, top = opened.people, opened.programs.top
  every = np.arange(len(people.user_ids))
  users = every[:: max(1, -(-len(every) // _USERS))]
  allowed = np.arange(len(people.item_ids) + 1) > 0
  asked = list(people_lib.requests(people, users))
  ask = lambda top: list(top(asked, K, people.exclude_seen, allowed))
  exact, queries = ask(top), _queries(opened, asked)
  index = approximate.build(vectors(opened))
  while True:
    found = ask(approximate.around(top, queries, index))
    reached = approximate.measured(found, exact)
    if reached >= recall or index.probes >= index.lists.nlist:
      break
    probes = min(2 * index.probes, index.lists.nlist)
    index = index._replace(probes=probes)
  about = {
    'made_by': f'faiss {approximate.package().__version__}',
    'dimensions': index.lists.d,
    'lists': index.lists.nlist,
    'probes': index.probes,
    'recall': round(reached, 4),
    'k': K,
    'users': len(users),
  }
  return index, about


def vectors(opened: opened_lib.Run) -> np.ndarray:
  """Vectors of all items, f32[I + 1, Q]; that of padding first."""
  ranker = opened.ranker
  nobody = np.zeros((1, ranker.history_length), np.int32)
  encoded = _encoded(ranker, nobody, np.full(1, -1))
  of_items = jax.jit(
    lambda params, encoded, ids: exporting.factors(
      ranker.model, params, encoded, ids
    )[1]
  )
  count = len(opened.people.item_ids) + 1
  made = []
  for first in range(0, count, _SLICE):
    ids = np.minimum(np.arange(first, first + _SLICE), count - 1)
    made.append(np.asarray(of_items(ranker.params, encoded, ids)))
  return np.concatenate(made)[:count]


def _queries(opened, asked) -> approximate.Queries:
  """Vectors of the users of requests, each of which is computed once."""
  ranker, nothing = opened.ranker, jnp.zeros(1, jnp.int32)

  @functools.cache
  def of(place):
    request = asked[place]
    encoded = _encoded(ranker, request.history, request.user)
    return np.asarray(
      exporting.factors(ranker.model, ranker.params, encoded, nothing)[0]
    )

  places = {id(request): place for place, request in enumerate(asked)}
  return lambda request: of(places[id(request)])


def _encoded(ranker, history, user) -> Any:
  inputs = {
    'history': jnp.asarray(history),
    'user': jnp.asarray(user, jnp.int32),
    'route': types.Route(np.zeros(1, np.int32), np.ones(1, np.float32)),
  }
  table = rows.gather(ranker.params.tables['item'], inputs['history'])
  return ranker.model.encode(ranker.params.net, table, ranker.context, inputs)
