"""The online protocol of 2TS for trained parameters, a split at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

from twotsrec import contracts
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import movement
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.recipes.two_time import serving
from twotsrec.training import online_rows


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks a split's events as they come, as `contracts.Recipe.rank`.

  Popularity is ranked the same way. The part of the report ranks among all
  items without the user's past; the protocol `online` has the paper's rules.
  """
  prepared, config = experiment.prepared, experiment.config
  index = prepared_lib.SPLITS.index(split)
  ranks = online.rank(
    _queries(experiment, ranker, index),
    prepared,
    online.held_out(prepared, index),
    online.usual_rules(
      prepared, config.two_time.evaluation_lists, config.evaluation.seed
    ),
    progress=show,
  )
  part, per_target = online_report.for_run_report(
    ranks, prepared, experiment.groups, config.evaluation
  )
  return contracts.Ranked(
    part=part,
    rows=per_target,
    protocols={'online': _online_part(experiment, ranks)},
    events=online_rows.kept(ranks),
  )


def _queries(experiment, ranker, split) -> online.Queries:
  """Queries before all events of a split, and the vectors of items."""
  prepared, system = experiment.prepared, experiment.system
  if ranker.model is not system.model:
    return online.popularity(prepared, split)
  item = ranker.params.tables['item']['embedding']
  vectors = stream_objectives.Vectors(item, ranker.params.net['user']['start'])
  setting = networks_lib.Setting(experiment.config, prepared, vectors)
  players = system.players or serving.make_players(setting, experiment.groups)
  wanted = np.asarray(prepared.split) == split
  networks = ranker.params.net['networks']
  blocks = serving.blocks(setting, players, networks, vectors, wanted)
  return online.Queries(blocks, item)


def _online_part(experiment, per_target) -> dict[str, Any]:
  """The paper's metrics by bucket, and how far states move.

  `share_left_out` of the events have an item that training has in windows left
  out of stage 1 alone: known from training, hence `warm`, but its x_i is 0.
  """
  options, prepared = experiment.config.two_time, experiment.prepared
  divided = any(p.name == 'active' for p in jobs_lib.parts(options.variant))
  evaluation = experiment.config.evaluation
  told = online_report.build(
    per_target,
    online_report.Options(
      # A small catalog has fewer others than a list has places.
      lists=min(options.evaluation_lists, prepared.num_items - 1),
      threshold=options.threshold if divided else None,
      resamples=evaluation.bootstrap,
      seed=evaluation.seed,
    ),
  )
  left_out = jobs_lib.left_out_items(prepared, options)[per_target['item']]
  return told | {
    'movement': movement.curves(per_target, options.threshold),
    'share_left_out': float(np.mean(left_out)),
  }
