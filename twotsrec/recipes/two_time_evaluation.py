"""The online protocol of 2TS for trained parameters, a split at a time."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import movement
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.recipes import two_time_phases as phases
from twotsrec.recipes import two_time_serving as serving
from twotsrec.training import progress


def evaluate(
  experiment: experiment_lib.Experiment,
  params: types.Params | None,
  split: int,
  quiet: bool = False,
  players: dict[str, serving.Player] | None = None,
) -> dict[str, np.ndarray]:
  """Ranks of a split's events, what `online.rank` returns.

  Args:
    experiment: of the run.
    params: of `serving.two_time_ranker`; None ranks by popularity.
    split: prepared.VALIDATION or prepared.TEST.
    quiet: no progress display.
    players: of the run, if they are there; else they are compiled here.
  """
  prepared, config = experiment.prepared, experiment.config
  if params is None:
    blocks, item = online.popularity(prepared, split)
  else:
    item = params.tables['item']['embedding']
    vectors = stream_objectives.Vectors(item, params.net['user']['start'])
    setting = phases.Setting(config, prepared, vectors)
    blocks = serving.blocks(
      setting,
      players or serving.make_players(setting, experiment.groups),
      params.net['networks'],
      vectors,
      np.asarray(prepared.split) == split,
    )
  total = int(np.sum(np.asarray(prepared.split) == split))
  label = f'evaluate {prepared_lib.SPLITS[split]}'
  with progress.reporter(total, label, quiet=quiet, unit='events') as show:
    return online.rank(
      blocks,
      jnp.asarray(item),
      prepared,
      split,
      lists=config.two_time.evaluation_lists,
      seed=config.evaluation.seed,
      progress=progress.of_totals(show),
    )


def standard_part(
  experiment: experiment_lib.Experiment, per_target: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """What `evaluation.evaluate` returns, so that all tables read it."""
  return online_report.for_run_report(
    per_target,
    experiment.prepared,
    experiment.groups,
    experiment.config.evaluation,
  )


def online_part(
  experiment: experiment_lib.Experiment, per_target: dict[str, np.ndarray]
) -> dict[str, Any]:
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
