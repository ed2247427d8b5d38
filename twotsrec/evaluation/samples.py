"""A fixed sample of users to rank, where all would take too long."""

from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import candidates


def at_most(most: int, number: int, seed: Any) -> np.ndarray:
  """Places of `most` of a number of things, ascending; all if there are fewer.

  `seed` is of `numpy.random.default_rng`.
  """
  if number <= most:
    return np.arange(number)
  generator = np.random.default_rng(seed)
  return np.sort(generator.choice(number, most, replace=False))


def users(num_users: int, number: int, seed: int) -> np.ndarray:
  """`number` of the users, bool[U]; all of them for 0.

  Whoever is in a sample is in every larger one of the same seed.
  """
  if not 0 < number < num_users:
    return np.ones(num_users, np.bool_)
  chances = candidates.random_words(np.arange(num_users), 1, seed)[:, 0]
  chosen = np.zeros(num_users, np.bool_)
  chosen[np.argsort(chances, kind='stable')[:number]] = True
  return chosen


def of_targets(
  prepared: prepared_lib.Prepared,
  targets: prepared_lib.Targets,
  evaluation: config_lib.EvaluationConfig,
) -> prepared_lib.Targets:
  """The targets of the users that are ranked.

  Raises:
    types.UserError: none of them has a held-out item.
  """
  if not evaluation.users:
    return targets
  drawn = users(prepared.num_users, evaluation.users, evaluation.seed)
  chosen = drawn[targets.user]
  if not np.any(chosen):
    raise types.UserError(
      f'none of the evaluation.users={evaluation.users} users that are drawn'
      f' has a held-out item; draw more of the {prepared.num_users:,} users'
    )
  return prepared_lib.Targets(*(column[chosen] for column in targets))
