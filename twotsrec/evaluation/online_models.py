"""The online protocol of 2TS for any model of histories (2TS sec. 4).

A held-out event is ranked by what the model makes of all earlier events of its
user, those of validation and test among them, as long a part of them as the
model reads; parameters stand still. Candidates, lists, buckets and means are
those of 2TS, so that the rows of a run compare with those of a 2TS run event by
event. `evaluation.online` asks for it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.evaluation import protocols
from twotsrec.evaluation import samples


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  routes_of: Callable[[prepared_lib.Targets], types.Route | None],
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks the events of a split, as `contracts.Recipe.rank`.

  Args:
    experiment: with `two_time.evaluation_lists`, and perhaps a sample of users.
    ranker: a model or a rule.
    split: 'validation' or 'test'.
    routes_of: events -> the plugins that serve them, or None.
    show: progress.
  """
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  index = prepared_lib.SPLITS.index(split)
  online.held_out(prepared, index)  # says so if there are none
  held = prepared_lib.targets(prepared, index)
  held = samples.of_targets(prepared, held, evaluation)
  held = held._replace(history_end=held.event)
  lists = experiment.config.two_time.evaluation_lists
  among = online.usual_rules(prepared, lists, evaluation.seed)
  ranks = online.rank_rule(
    ranker,
    prepared,
    held.event,
    among,
    evaluation,
    progress=show,
    routes=routes_of(held),
  )
  return ranked(experiment, ranks, section(experiment, ranks))


def ranked(
  experiment: contracts.Experiment,
  ranks: dict[str, np.ndarray],
  section: dict[str, Any],
) -> contracts.Ranked:
  """Ranks of `online.rank` for the report of a run; `section` is the paper's.

  The part of the report ranks among all items without the user's past, or with
  it where users come back to items.
  """
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  with_past = protocols.counts_past(prepared)
  part, rows = online_report.for_run_report(
    ranks, prepared, experiment.groups, evaluation, with_past
  )
  return contracts.Ranked(
    part=part,
    rows=rows,
    protocols={'online': section},
    events=ranks,
  )


def section(
  experiment: contracts.Experiment,
  ranks: dict[str, np.ndarray],
  threshold: int | None = None,
) -> dict[str, Any]:
  """The paper's metrics by bucket, of users on both sides of a threshold."""
  config, num_items = experiment.config, experiment.prepared.num_items
  options = online_report.Options(
    # A small catalog has fewer others than a list has places.
    lists=min(config.two_time.evaluation_lists, num_items - 1),
    threshold=threshold,
    resamples=config.evaluation.bootstrap,
    seed=config.evaluation.seed,
  )
  return online_report.build(ranks, options)


def protocol(experiment: contracts.Experiment) -> dict[str, Any]:
  """What the report says of the ranking, besides what any protocol says."""
  config = experiment.config
  return {
    **protocols.of_streams(experiment.prepared),
    'order': 'online: an event is ranked by all earlier ones of its user',
    'candidate_lists': config.two_time.evaluation_lists,
    'lists_seed': config.evaluation.seed,
  }
