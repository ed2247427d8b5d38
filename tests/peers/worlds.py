"""A small log ranked by a model without ties, and every score of it."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tests.evaluation import toys
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import auc
from twotsrec.evaluation import ranking
from twotsrec.evaluation import report
from twotsrec.evaluation import rules

KS = (1, 5, 10)
_USERS, _ITEMS, _LENGTH = 60, 50, 4


class Ranked(NamedTuple):
  """What our report says, and what it was made of.

  Attributes:
    metrics: {name: value} over everybody.
    scores: f64[T, I + 1] of every item.
    targets: held-out items, several of a user.
    candidates: the held-out item and its rivals, item ids by target.
  """

  metrics: dict[str, Any]
  scores: np.ndarray
  targets: prepared_lib.Targets
  candidates: list[np.ndarray]


@functools.cache
def ranked() -> Ranked:
  """One held-out item of every user among all that it never had."""
  rng = np.random.default_rng(0)
  data = toys.log(rng, num_users=_USERS, num_items=_ITEMS)
  table = rng.normal(size=(_ITEMS + 1, 6)).astype(np.float32)
  params = types.Params({'item': {'embedding': jnp.asarray(table)}}, {})
  targets = prepared_lib.targets(data, prepared_lib.TEST)
  group = np.zeros(_USERS, np.int32)
  counts = ranking.rank_targets(
    ranking.Task(
      contracts.Ranker(toys.dot_model(), params, None, _LENGTH), data, targets
    ),
    rules.without(prepared_lib.seen_items(data, 'all'), _ITEMS),
    fold=auc.pooled_counts(group, 1),
  )
  assert not counts.tied.any()
  evaluation = config_lib.EvaluationConfig(ks=KS, bootstrap=0)
  placements = auc.placements(counts.folded)
  rows = report.per_target(targets, group, counts, placements, evaluation)
  activity = prepared_lib.train_counts(data)
  overall = report.build(rows, activity, 1, evaluation)['overall']
  candidates = [
    np.append(item, toys.loop_negatives(data, user))
    for user, item in zip(targets.user, targets.item)
  ]
  return Ranked(
    metrics={name: cell['value'] for name, cell in overall.items()},
    scores=toys.loop_scores(params, data, targets, _LENGTH),
    targets=targets,
    candidates=candidates,
  )
