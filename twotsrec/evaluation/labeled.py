"""Impressions of a split, scored and judged by their labels.

Every impression is scored with the history of its own moment. The AUC of a
group pools all clicks and all other impressions of its users (PIN sec. 4.1.2,
eq. 14, "computed in the group level"); that of a user compares the clicks of
the user with what else was shown to the user in the split. The other metrics
rank a click among the same, and the log loss is the mean over impressions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import auc
from twotsrec.evaluation import counting
from twotsrec.evaluation import ranking
from twotsrec.evaluation import report as report_lib
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles

_AT_ONCE = 8  # impressions of one history that are scored together, at most

Routes = Callable[[prepared_lib.Targets], types.Route | None]


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  routes_of: Routes,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """As `contracts.Recipe.rank`, with a row per impression.

  Args:
    experiment: data with labels.
    ranker: the model.
    split: 'validation' or 'test'.
    routes_of: impressions -> which parameters serve them.
    show: progress.
  """
  config, prepared, groups, _ = experiment
  shown = of_split(experiment, split)
  targets = impressions.targets(shown)
  task = ranking.Task(ranker, prepared, targets, routes_of(targets))
  clicks = int(np.sum(shown.label))
  show = show and _of_clicks(show, clicks)
  scores = score(task, tiles.sizes_of(config.evaluation), show)
  group = groups_lib.of_events(groups, shown.user, shown.number)
  rows = _rows(shown, group, scores, len(groups.sizes), config.evaluation)
  probable = np.full(len(scores), np.nan)
  if ranker.log_odds:
    probable = log_loss(scores, shown.label)
  rows |= {'label': shown.label.astype(np.int8), 'log_loss': probable}
  activity = impressions.train_counts(prepared)
  part = report_lib.build(rows, activity, len(groups.sizes), config.evaluation)
  return contracts.Ranked(part, rows)


def _of_clicks(show, number):
  """The progress in clicks, which are the held-out items of a report."""
  of = lambda shown: lambda done, total: shown(done * number // total, number)
  if isinstance(show, counting.Kept):
    return show._replace(show=of(show.show))
  return of(show)


def of_split(
  experiment: contracts.Experiment, split: str
) -> impressions.Impressions:
  """The impressions of the users that are ranked.

  Raises:
    types.UserError: these users have no clicks, or nothing else.
  """
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  shown = impressions.of_split(prepared, prepared_lib.SPLITS.index(split))
  drawn = samples.users(prepared.num_users, evaluation.users, evaluation.seed)
  chosen = drawn[shown.user]
  shown = impressions.Impressions(*(column[chosen] for column in shown))
  if not shown.label.any() or shown.label.all():
    raise types.UserError(
      f'the evaluation.users={evaluation.users} users that are drawn have no'
      f' clicks in the {split} split, or nothing else; draw more of the'
      f' {prepared.num_users:,} users'
    )
  return shown


def score(
  task: ranking.Task,
  sizes: tiles.Sizes = tiles.SIZES,
  show: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Scores of the targets, f32[E]; those of one history share its encoding."""
  targets, routes = task.targets, task.routes
  # A route follows from the history and its user, too.
  keys = [np.asarray(targets.history_end), np.asarray(targets.user)]
  order, routes = tiles.by_route(routes, len(targets.user), keys)
  row, column = _places([key[order] for key in keys])
  begins = column == 0
  lists = np.zeros((np.count_nonzero(begins), _AT_ONCE), np.int32)
  lists[row, column] = targets.item[order]
  first = order[begins]
  if routes is not None:
    routes = types.Route(*(leaf[begins] for leaf in routes))
  task = task._replace(
    targets=prepared_lib.Targets(*(values[first] for values in targets)),
    routes=routes,
  )
  whole = counting.Fold(
    init=lambda own: own[:, None],
    step=lambda own, rows, scores, there: np.hstack([own, scores]),
  )
  counts = ranking.rank_targets(
    task, lists, sizes=sizes, fold=whole, progress=show
  )
  scores = np.empty(len(order), np.float32)
  scores[order] = counts.folded[row, column]
  return scores


def _places(keys) -> tuple[np.ndarray, np.ndarray]:
  """Row and column of neighbors with equal keys [E], `_AT_ONCE` in a row."""
  begins = np.ones(len(keys[0]), bool)
  begins[1:] = np.any([np.diff(key) != 0 for key in keys], axis=0)
  place = np.arange(len(begins))
  place -= np.maximum.accumulate(np.where(begins, place, 0))
  column = place % _AT_ONCE
  return np.cumsum(column == 0) - 1, column


def log_loss(log_odds: np.ndarray, label: np.ndarray) -> np.ndarray:
  """Cross-entropy of every impression, f64[E]."""
  log_odds = np.asarray(log_odds, np.float64)
  return np.logaddexp(0.0, log_odds) - np.where(label, log_odds, 0.0)


def _rows(shown, group, scores, num_groups, evaluation) -> dict[str, Any]:
  """`report.per_target`; what was not clicked takes part in no rank."""
  label, clicks = shown.label, np.flatnonzero(shown.label)
  others = np.flatnonzero(~label)
  counts = _counts(shown.user, label, scores)
  # The groups of clicks, and then those of what they are compared with.
  groups = np.concatenate([group[clicks], group[others]])
  fold = auc.pooled_counts(groups, num_groups)
  pooled = fold.init(scores[clicks])
  rows = len(clicks) + np.arange(len(others))
  pooled = fold.step(
    pooled, rows, scores[others][:, None], np.ones((len(others), 1), bool)
  )
  placements = np.full((2, len(label)), np.nan)
  placements[:, clicks] = auc.placements(pooled, evaluation.auc_ties)
  pair = placements[0], placements[1]
  targets = impressions.targets(shown)
  return report_lib.per_target(targets, group, counts, pair, evaluation)


def _counts(user, label, scores) -> counting.Counts:
  """What else was shown to the user of a click, above it and tied with it."""
  _, level = np.unique(scores, return_inverse=True)
  levels = int(level.max()) + 1
  number = user.astype(np.int64) * levels + level
  others = np.sort(number[~label])
  ends = np.searchsorted(others, (user.astype(np.int64) + 1) * levels)
  starts = np.searchsorted(others, user.astype(np.int64) * levels)
  left = np.searchsorted(others, number, side='left')
  right = np.searchsorted(others, number, side='right')
  of_clicks = lambda values: np.where(label, values, 0)
  return counting.Counts(
    better=of_clicks(ends - right),
    tied=of_clicks(right - left),
    num_negatives=of_clicks(ends - starts),
    positive_score=scores,
  )


def click_rates(prepared: prepared_lib.Prepared) -> np.ndarray:
  """Log odds of a click on each item in training, f32[I + 1].

  A rate is shrunk toward that of all impressions as if it had been shown ten
  times more, so that no item is certain.
  """
  shown = impressions.of_split(prepared, prepared_lib.TRAIN)
  count = lambda items: np.bincount(items, minlength=prepared.num_items + 1)
  clicks, every = count(shown.item[shown.label]), count(shown.item)
  mean = np.mean(shown.label)
  rate = (clicks + 10 * mean) / (every + 10)
  return np.log(rate / (1 - rate)).astype(np.float32)


def described(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """How impressions are judged, for the protocol of a report."""
  prepared = experiment.prepared
  index = prepared_lib.SPLITS.index(split)
  others, clicks = impressions.counts(prepared)[index].tolist()
  return {
    'negatives': 'what was shown to the user in the split and not clicked',
    'impressions': others + clicks,
    'clicks': clicks,
  }
