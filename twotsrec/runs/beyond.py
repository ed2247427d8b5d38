"""Beyond accuracy: what lists of recommendations are like, by group.

The lists are those that recommend.py gives, of a fixed sample of the users with
ranked items, so that making them takes little beside the ranking itself.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from twotsrec import contracts
from twotsrec import recipes
from twotsrec.evaluation import lists as lists_lib
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles
from twotsrec.runs import opened
from twotsrec.runs import seen
from twotsrec.serving import people as people_lib
from twotsrec.serving import recommend as serving

USERS = 1000  # of the sample, at most


def of(
  experiment: contracts.Experiment,
  ranked: contracts.Ranked,
  systems: Mapping[str, contracts.Ranker],
) -> dict[str, Any] | None:
  """The section `lists` of a report; None of rows that tell no user and group.

  Args:
    experiment: of the run.
    ranked: held-out items of the split that is reported.
    systems: {name: ranker}, the model and the rules beside it.
  Returns:
    {'k', 'users', 'seen': whether items that a user has may be in a list,
    'systems': {name: what `lists.build` returns}}.
  """
  if not {'user', 'group'} <= ranked.rows.keys():
    return None
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  k = min(
    10 if 10 in evaluation.ks else max(evaluation.ks, default=10),
    prepared.num_items,
  )
  users, row = np.unique(ranked.rows['user'], return_index=True)
  chosen = samples.at_most(USERS, users.size, evaluation.seed)
  users, row = users[chosen], row[chosen]
  group = ranked.rows['group'][row]
  protocol = recipes.of(experiment.config).protocol(experiment, 'test')
  leave_out = not seen.were_ranked(protocol)
  values = lists_lib.make_values(prepared, evaluation.seed)
  made = {}
  for name, ranker in systems.items():
    chunks = serving.recommend(
      ranker,
      people_lib.requests(opened.people(experiment, ranker), users),
      num_items=prepared.num_items,
      k=k,
      sizes=tiles.Sizes(evaluation.user_tile, evaluation.item_tile),
      exclude_seen=leave_out,
    )
    lists = np.concatenate([chunk.ids for chunk in chunks])
    made[name] = lists_lib.build(
      lists,
      group,
      values(lists),
      len(experiment.groups.sizes),
      prepared.num_items,
    )
  return {
    'k': k,
    'users': users.size,
    'seen': not leave_out,
    'systems': made,
  }
