"""Rankers that are solved for or counted, not trained.

They are models by themselves (`model.name`), and stand beside other models
where `evaluation.rules` names them.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import cascading_rank
from twotsrec.models import closed_form
from twotsrec.models import pair_experts
from twotsrec.ops import graph

_OF_BEHAVIORS: dict[str, Callable[..., contracts.Ranker]] = {
  'cascading_rank': lambda e: of_cascade(e),
  'pair_experts': lambda e: of_experts(e, count(e)),
}
NAMES = (*closed_form.NAMES, *_OF_BEHAVIORS)


def ranker(
  experiment: contracts.Experiment,
  name: str,
  params: types.Params | None = None,
) -> contracts.Ranker:
  """A model of `NAMES`.

  Args:
    experiment: data and settings.
    name: 'ease' and 'item_knn' read whole histories; the others know the users
      of the log.
    params: of one that reads histories; None fits them to the train events.
  Raises:
    types.UserError: an unknown name, too many items, or too few behaviors.
  """
  if name in _OF_BEHAVIORS:
    return _OF_BEHAVIORS[name](experiment)
  if name not in NAMES:
    raise types.UserError(
      f'evaluation.rules {name!r}; known: {", ".join(NAMES)}'
    )
  prepared, options = experiment.prepared, experiment.config.closed_form
  if params is None:
    params = closed_form.make(name, train_pairs(prepared), options)
  return contracts.Ranker(
    model=closed_form.make_model(name, prepared.num_items, options),
    params=params,
    context={},
    history_length=longest_history(prepared),
  )


def of_cascade(experiment: contracts.Experiment) -> contracts.Ranker:
  """CascadingRank on the training pairs of an experiment."""
  model, params, context = cascading_rank.make(
    _edges(experiment), experiment.config.cascade
  )
  return contracts.Ranker(model, params, context, reads_history=False)


def count(experiment: contracts.Experiment) -> pair_experts.Counted:
  """What the log says of its pairs, for `of_experts`."""
  options = experiment.config.closed_form
  return pair_experts.count(
    _edges(experiment), options, _log(experiment).touches
  )


def of_experts(
  experiment: contracts.Experiment,
  counted: pair_experts.Counted,
  params: types.Params | None = None,
) -> contracts.Ranker:
  """The pair of experts; they are fitted where no parameters are given."""
  num_items = experiment.prepared.num_items
  if params is None:
    params = pair_experts.params(pair_experts.fit(counted), num_items)
  return contracts.Ranker(
    model=pair_experts.make_model(num_items),
    params=params,
    context=pair_experts.context(counted),
    reads_history=False,
  )


def _log(experiment) -> behaviors_lib.Behaviors:
  strip = experiment.config.data.strip_heldout
  return behaviors_lib.of_prepared(experiment.prepared, strip)


def _edges(experiment) -> graph.Edges:
  """Training pairs of every behavior."""
  log = _log(experiment)
  pairs = behavior_feeds.edges(log)
  return graph.make_edges(pairs, log.num_users, log.num_items)


def longest_history(prepared: prepared_lib.Prepared) -> int:
  """Events of the user who has most, at least 1."""
  return int(np.max(np.diff(prepared.user_offsets), initial=1))


def train_pairs(prepared: prepared_lib.Prepared) -> scipy.sparse.csr_matrix:
  """Pairs of users and items in train events, U x I, once each."""
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  users = prepared.event_users[train]
  items = np.asarray(prepared.items)[train] - 1
  shape = (prepared.num_users, prepared.num_items)
  ones = np.ones(len(users), np.float64)
  pairs = scipy.sparse.csr_matrix((ones, (users, items)), shape)
  pairs.data[:] = 1.0  # an item that was taken twice counts once
  return pairs
