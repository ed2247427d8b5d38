"""The offline protocol of a run: held-out items ranked by what was trained.

What a recipe does if it has no protocol of its own: `rank`, `protocol` and
`rules` are the fields of `contracts.Recipe` of these names.
"""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import models
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import feeds
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import auc
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import candidates
from twotsrec.evaluation import fitted
from twotsrec.evaluation import labeled
from twotsrec.evaluation import online_models
from twotsrec.evaluation import protocols
from twotsrec.evaluation import ranking
from twotsrec.evaluation import report as report_lib
from twotsrec.evaluation import rules as rules_lib
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles
from twotsrec.models import reminders
from twotsrec.models import seen_again as seen_again_lib

SPLITS = ('validation', 'test')
# Products for `item_knn` beside a model that did not ask for it.
_AFFORDABLE = 1e10


# ---- Ranking


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks the held-out items of a split, as `contracts.Recipe.rank`.

  A target belongs to the group of its event if events have groups, else to that
  of its user. Rows come in the order of the events, with `part` if the data
  have behaviors; of data with labels they are impressions. With
  `evaluation.online` it is the protocol of 2TS.
  """
  config, prepared, groups, _ = experiment
  evaluation = config.evaluation
  if _asked(experiment) == protocols.SHOWN:
    route = lambda targets: routes_of(experiment, ranker, targets)
    return labeled.rank(experiment, ranker, split, route, show)
  if evaluation.online:
    routes_of_held = lambda held: routes_of(experiment, ranker, held)
    return online_models.rank(experiment, ranker, split, routes_of_held, show)
  targets, left_out = _held_out(experiment, split)
  routes = routes_of(experiment, ranker, targets)
  task, group = _sorted_by_group(
    groups, ranking.Task(ranker, prepared, targets, routes)
  )
  targets = task.targets
  counts = ranking.rank_targets(
    task,
    _among(experiment, targets, split),
    sizes=tiles.sizes_of(evaluation),
    fold=auc.pooled_counts(group, len(groups.sizes)),
    progress=show,
  )
  placements = auc.placements(counts.folded, evaluation.auc_ties)
  rows = report_lib.per_target(targets, group, counts, placements, evaluation)
  if kind := protocols.list_of(prepared, _asked(experiment), targets):
    rows['list'] = np.full(targets.event.shape, kind, np.int8)
  parts = behaviors.part_names(prepared, targets.event)
  if parts:
    rows['part'] = behaviors.parts(prepared, targets)
  order = np.argsort(targets.event)
  rows = {name: values[order] for name, values in rows.items()}
  activity = prepared_lib.train_counts(prepared)
  part = report_lib.build(
    rows, activity, len(groups.sizes), evaluation, parts, left_out
  )
  return contracts.Ranked(part, rows)


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """Describes how a split is ranked; without lists if it has no events.

  Raises:
    types.UserError: what the data cannot serve, and the way out.
  """
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  events, index = held_out(experiment, split), prepared_lib.SPLITS.index(split)
  asked = protocols.resolved(prepared, evaluation.candidates)
  names = behaviors.names(prepared)
  by_labels = asked == protocols.SHOWN
  if by_labels and events:
    labeled.of_split(experiment, split)  # some can be judged
  described = {
    'split': split,
    'candidates': 'all' if asked == 'sampled' and not events else asked,
    'auc_ties': evaluation.auc_ties,
    'rank_ties': evaluation.rank_ties,
    'negatives': protocols.in_words(prepared, asked, index),
    'had_before': protocols.share_known(prepared, asked, index),
    'bootstrap': evaluation.bootstrap,
    **(labeled.described(experiment, split) if by_labels else {}),
  }
  if events and not by_labels:
    targets, _ = _held_out(experiment, split)  # some can be ranked
    if asked == 'sampled':
      lists = _lists(experiment, targets)
      described['num_candidates'] = evaluation.num_candidates
      described['negatives_digest'] = candidates.digest(lists)
  if evaluation.users:
    described['users'] = min(evaluation.users, prepared.num_users)
  if names:
    described['behaviors'] = list(names)
    described['strip_heldout'] = experiment.config.data.strip_heldout
  online = online_models.protocol(experiment) if evaluation.online else {}
  return described | online


def held_out(experiment: contracts.Experiment, split: str) -> int:
  """Number of events of a split."""
  index = prepared_lib.SPLITS.index(split)
  return int(np.sum(np.asarray(experiment.prepared.split) == index))


def to_rank(experiment: contracts.Experiment, split: str) -> int:
  """Events of a split of the users that are ranked, about."""
  number = experiment.config.evaluation.users
  every = experiment.prepared.num_users
  share = min(number, every) / every if number else 1.0
  return round(held_out(experiment, split) * share)


def _held_out(
  experiment: contracts.Experiment, split: str
) -> tuple[prepared_lib.Targets, int]:
  """Events to rank, and how many others the split has."""
  prepared = experiment.prepared
  return protocols.targets(
    prepared,
    _asked(experiment),
    prepared_lib.SPLITS.index(split),
    lambda held: samples.of_targets(
      prepared, held, experiment.config.evaluation
    ),
  )


def routes_of(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  targets: prepared_lib.Targets,
) -> types.Route | None:
  """Which parameters serve each target; None where all share theirs."""
  if ranker.routing is None:
    return None
  return routing_lib.of_targets(
    experiment.prepared,
    experiment.groups,
    targets,
    experiment.config.groups.key,
    ranker.routing,
  )


def _asked(experiment: contracts.Experiment) -> str:
  asked = experiment.config.evaluation.candidates
  return protocols.resolved(experiment.prepared, asked)


def _sorted_by_group(
  groups: groups_lib.Groups, task: ranking.Task
) -> tuple[ranking.Task, np.ndarray]:
  """The task in order of group, so that a tile's pairs mostly share one.

  Inside a group targets are in order of their routes, which a tile must share,
  and of the lengths of their histories where that makes tiles faster.
  """
  targets, routes = task.targets, task.routes
  group = groups_lib.of_events(groups, targets.user, targets.event)
  lengths = [ranking.history_lengths(task)] if ranking.is_fast(task) else []
  order, routes = tiles.by_route(routes, group.size, lengths, [group])
  targets = prepared_lib.Targets(*(column[order] for column in targets))
  task = task._replace(targets=targets, routes=routes)
  return task, group[order].astype(np.int32)


def _among(experiment, targets, split) -> rules_lib.Rule | np.ndarray:
  """The rule for the candidates, or lists of them."""
  asked = _asked(experiment)
  if asked == 'sampled':
    return _lists(experiment, targets)
  index = prepared_lib.SPLITS.index(split)
  return protocols.rule(experiment.prepared, asked, index)


def _lists(experiment, targets) -> np.ndarray:
  """Sampled candidates, i32[T, 1 + n]."""
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  seen = prepared_lib.seen_items(prepared, 'all')
  number, seed = evaluation.num_candidates, evaluation.seed
  return candidates.draw(targets, seen, prepared.num_items, number, seed)


# ---- What stands beside a model


def rules(experiment: contracts.Experiment) -> dict[str, contracts.Ranker]:
  """Untrained rankers that stand beside a model in every table.

  Those of `rules_of_histories`, or with behaviors the reminder rules, on what
  is trained on, and the models of `evaluation.rules`.
  """
  if experiment.config.evaluation.online:  # shows them for both splits
    return rules_of_histories(experiment, passes=2)
  if behaviors.names(experiment.prepared):
    return _with_fitted(experiment, _reminders(experiment))
  return rules_of_histories(experiment)


def rules_of_histories(
  experiment: contracts.Experiment, passes: int = 1
) -> dict[str, contracts.Ranker]:
  """Rules of users whose events are all of one kind.

  Popularity; of impressions the click rate of an item; where users come back
  to items, what they had before it; item-item neighbors where that takes no
  more than `_AFFORDABLE` products; the models of `evaluation.rules`. `passes`
  is how often test items are ranked by a rule; of several what users had before
  takes no more scores than that, either.
  """
  prepared = experiment.prepared
  made = {'popularity': popularity(experiment)}
  if impressions.there_are(experiment.prepared):
    made['click_rate'] = click_rate(experiment)
  scores = passes * to_rank(experiment, 'test') * prepared.num_items
  if np.any(prepared.again) and (passes == 1 or scores <= _AFFORDABLE):
    made['seen_again'] = seen_again(experiment)
  cheap = can_afford_neighbors(experiment, passes)
  return _with_fitted(experiment, made, ['item_knn'] if cheap else [])


def _with_fitted(experiment, made, usual=()) -> dict[str, contracts.Ranker]:
  """Also models that are solved for; none stands beside itself."""
  own = experiment.config.model.name
  made = {name: ranker for name, ranker in made.items() if name != own}
  for name in dict.fromkeys((*usual, *experiment.config.evaluation.rules)):
    if name != own:
      made[name] = fitted.ranker(experiment, name)
  return made


def left_out(
  experiment: contracts.Experiment, names: Iterable[str]
) -> list[str]:
  """Who is not among such rules, of these names, since it would take long."""
  names = {*names, experiment.config.model.name}
  again = ['seen_again'] if np.any(experiment.prepared.again) else []
  usual = ['popularity', *again, 'item_knn']
  absent = [name for name in usual if name not in names]
  return absent if len(absent) < len(usual) else []  # a recipe of other rules


def can_afford_neighbors(experiment: contracts.Experiment, passes: int) -> bool:
  """Whether neighbors are fitted and ranked in about half a minute."""
  prepared = experiment.prepared
  counts = np.diff(np.asarray(prepared.user_offsets)).astype(np.float64)
  neighbors = experiment.config.closed_form.neighbors
  ranked = to_rank(experiment, 'test') * prepared.num_items * neighbors
  return max(passes * ranked, 10 * float(np.sum(counts**2))) <= _AFFORDABLE


def _reminders(experiment) -> dict[str, contracts.Ranker]:
  """The rules of a log with behaviors."""
  config, prepared = experiment.config, experiment.prepared
  trained_on = behaviors_lib.of_prepared(prepared, config.data.strip_heldout)
  made = reminders.rules(trained_on)
  if np.any(prepared.again):
    made['bought_again'] = reminders.bought_again(trained_on)
  return {
    name: contracts.Ranker(
      model=model,
      params=params,
      context=None,
      history_length=config.data.history_length,
    )
    for name, (model, params) in made.items()
  }


def seen_again(experiment: contracts.Experiment) -> contracts.Ranker:
  """What a user had, in the better order of the two, then popularity."""
  prepared = experiment.prepared
  model, params = seen_again_lib.rule(
    np.asarray(item_counts(prepared), np.float64),
    seen_again_lib.better_order(prepared),
  )
  return contracts.Ranker(
    model=model,
    params=params,
    context=None,
    history_length=fitted.longest_history(prepared),
  )


def popularity(experiment: contracts.Experiment) -> contracts.Ranker:
  """Items by their training events."""
  return _of_items(experiment, item_counts(experiment.prepared))


def click_rate(experiment: contracts.Experiment) -> contracts.Ranker:
  """Items by the share of their training impressions that were clicked."""
  rates = jnp.asarray(labeled.click_rates(experiment.prepared))
  return _of_items(experiment, rates)._replace(log_odds=True)


def _of_items(experiment, item_scores) -> contracts.Ranker:
  """One score for an item, f32[I + 1], whoever asks."""
  prepared, length = experiment.prepared, experiment.config.data.history_length
  model = models.make(config_lib.ModelConfig(name='popularity'))
  context = {'item_counts': item_scores}
  sizes = types.Sizes(prepared.num_users, prepared.num_items, length)
  return contracts.Ranker(
    model=model,
    params=model.init(jax.random.key(0), context, sizes),
    context=context,
    history_length=length,
  )


def item_counts(prepared: prepared_lib.Prepared) -> jax.Array:
  """Training events per item, f32[I + 1]."""
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  items = np.asarray(prepared.items)[train]
  counts = np.bincount(items, minlength=prepared.num_items + 1)
  return jnp.asarray(counts, jnp.float32)


# ---- Selection


# How the values of groups become one, for selection.
_OVER: dict[str, Callable[[list[float]], float]] = {
  'group': lambda values: sum(values) / len(values),
  'worst': min,
}


def make_metric(
  experiment: contracts.Experiment,
  ranker_of: Callable[[Any], contracts.Ranker],
  train: config_lib.TrainConfig,
) -> Callable[[Any], dict[str, Any]]:
  """params -> {metric: value, metric_by_group: values}, for selection.

  `group_auc`, `group_ndcg@10` and so on are means over the groups, all counting
  the same but for empty ones; `worst_ndcg@10` is that of the worst group.

  Args:
    experiment: data and protocol.
    ranker_of: trained parameters -> what ranks with them.
    train: names the metric and the split.
  Raises:
    types.UserError: an unknown metric, or no events to select on.
  """
  # One list of candidates is enough to select by.
  evaluation = dataclasses.replace(
    experiment.config.evaluation, bootstrap=0, online=False
  )
  quick = experiment._replace(
    config=dataclasses.replace(experiment.config, evaluation=evaluation)
  )
  ranked = report_lib.metric_names(evaluation.ks)
  over = {f'{name}_{k}': (k, of) for name, of in _OVER.items() for k in ranked}
  require_selection_events(experiment, train)
  if _asked(experiment) != protocols.SHOWN:
    protocols.require_rivals(
      experiment.prepared,
      _asked(experiment),
      prepared_lib.SPLITS.index(train.select_on),
      f'{train.select_metric} to select by; {last_epoch(experiment)}',
    )
  if train.select_metric not in (*ranked, *over):
    raise types.UserError(
      f'train.select_metric {train.select_metric!r}; known: loss, none,'
      f' {", ".join(ranked)}, and group_ or worst_ before one, of the groups'
    )

  def metric(params):
    part = rank(quick, ranker_of(params), train.select_on).part
    values = {k: part['overall'][k]['value'] for k in ranked}
    by_group = {k: [g[k]['value'] for g in part['groups']] for k in ranked}
    found = values | {f'{k}_by_group': v for k, v in by_group.items()}
    for name in sorted({'group_auc', train.select_metric} & over.keys()):
      k, of = over[name]
      some = [value for value in by_group[k] if value is not None]
      found |= {name: of(some) if some else None}
      found[f'{name}_by_group'] = by_group[k]
    return found

  return metric


def require_selection_events(
  experiment: contracts.Experiment,
  train: config_lib.TrainConfig,
  negatives: bool = False,
) -> None:
  """Refuses to select on a split without events, or without `negatives`.

  Raises:
    types.UserError: which split, and the ways out.
  """
  if not held_out(experiment, train.select_on):
    raise types.UserError(
      f'no {train.select_on} events to select on; prepare the data with some'
      f' (data.validation=True), or {last_epoch(experiment)}'
    )
  split = prepared_lib.SPLITS.index(train.select_on)
  negatives &= not impressions.there_are(experiment.prepared)  # labels instead
  if negatives and not feeds.has_negatives(experiment.prepared, split):
    raise types.UserError(
      f'no user with {train.select_on} events has an item left that could be a'
      ' negative, so there is no loss to select by; ' + last_epoch(experiment)
    )


def last_epoch(experiment: contracts.Experiment) -> str:
  """The way out of a selection that cannot be made."""
  stage = 'train' if experiment.config.plugin.name == 'none' else 'plugin'
  return f'take the last epoch with {stage}.select_metric=none'
