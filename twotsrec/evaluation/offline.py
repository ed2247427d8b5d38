"""The offline protocol of a run: held-out items ranked by what was trained.

What a recipe does if it has no protocol of its own: `rank`, `protocol` and
`rules` are the fields of `contracts.Recipe` of these names.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import models
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import auc
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import candidates
from twotsrec.evaluation import ranking
from twotsrec.evaluation import report as report_lib
from twotsrec.evaluation import rules as rules_lib
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles
from twotsrec.models import closed_form
from twotsrec.models import reminders

SPLITS = ('validation', 'test')


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
  have behaviors.
  """
  config, prepared, groups, _ = experiment
  evaluation = config.evaluation
  targets = _held_out(experiment, split)
  routes = None
  if ranker.routing is not None:
    routes = routing_lib.of_targets(
      prepared, groups, targets, config.groups.key, ranker.routing
    )
  targets, group, routes = _sorted_by_group(groups, targets, routes)
  counts = ranking.rank_targets(
    ranking.Task(ranker, prepared, targets, routes),
    _among(experiment, targets, split),
    sizes=tiles.Sizes(evaluation.user_tile, evaluation.item_tile),
    fold=auc.pooled_counts(group, len(groups.sizes)),
    progress=show,
  )
  placements = auc.placements(counts.folded, evaluation.auc_ties)
  rows = report_lib.per_target(targets, group, counts, placements, evaluation)
  parts = behaviors.part_names(prepared)
  if parts:
    rows['part'] = behaviors.parts(prepared, targets)
  order = np.argsort(targets.event)
  rows = {name: values[order] for name, values in rows.items()}
  activity = prepared_lib.train_counts(prepared)
  part = report_lib.build(rows, activity, len(groups.sizes), evaluation, parts)
  return contracts.Ranked(part, rows)


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """Describes how a split is ranked; without lists if it has no events.

  Raises:
    types.UserError: what the data cannot serve, and the way out.
  """
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  asked, events = evaluation.candidates, held_out(experiment, split)
  names = behaviors.names(prepared)
  if asked in ('unbought', 'never_interacted') and not names:
    raise types.UserError(
      f'evaluation.candidates is {asked!r}, but these data have no behaviors,'
      " so nothing says what was bought; use 'all' or 'sampled'"
    )
  described = {
    'split': split,
    'candidates': 'all' if asked == 'sampled' and not events else asked,
    'auc_ties': evaluation.auc_ties,
    'rank_ties': evaluation.rank_ties,
    'negatives': _negatives(names, asked),
    'bootstrap': evaluation.bootstrap,
  }
  if events:
    targets = _held_out(experiment, split)  # some are new
    if asked == 'sampled':
      lists = _lists(experiment, targets)
      described['num_candidates'] = evaluation.num_candidates
      described['negatives_digest'] = candidates.digest(lists)
  if evaluation.users:
    described['users'] = min(evaluation.users, prepared.num_users)
  if names:
    described['behaviors'] = list(names)
    described['strip_heldout'] = experiment.config.data.strip_heldout
  return described


def held_out(experiment: contracts.Experiment, split: str) -> int:
  """Number of events of a split."""
  index = prepared_lib.SPLITS.index(split)
  return int(np.sum(np.asarray(experiment.prepared.split) == index))


def _negatives(names: tuple[str, ...], asked: str) -> str:
  """The candidates of a held-out item in words."""
  if asked == 'unbought':
    return (
      f'items without a {names[-1]} of the user in the splits before; other'
      ' behaviors leave an item in'
    )
  text = 'items the user never interacted with in the whole data'
  if asked == 'never_interacted':
    return (
      f'{text}; held-out items toward which the user had shown'
      f' {" or ".join(names[:-1])} are left out'
    )
  if len(names) > 1:
    text += (
      ', by any behavior; a held-out item is ranked among them also where the'
      f' user had shown {" or ".join(names[:-1])} toward it'
    )
  return text


def _held_out(
  experiment: contracts.Experiment, split: str
) -> prepared_lib.Targets:
  """Events to rank: those of a split, or the discoveries among them."""
  prepared = experiment.prepared
  targets = prepared_lib.targets(prepared, prepared_lib.SPLITS.index(split))
  if not targets.user.size:
    raise types.UserError(
      f'the {split} split is empty; prepare the data with one'
      ' (data.validation=True holds one event per user out)'
    )
  evaluation = experiment.config.evaluation
  targets = samples.of_targets(prepared, targets, evaluation)
  if experiment.config.evaluation.candidates != 'never_interacted':
    return targets
  new = behaviors.is_new(prepared, targets)
  if not np.any(new):
    raise types.UserError(
      "evaluation.candidates is 'never_interacted', but no held-out item of the"
      f" {split} split is new to its user; use 'unbought'"
    )
  return prepared_lib.Targets(*(column[new] for column in targets))


def _sorted_by_group(
  groups: groups_lib.Groups,
  targets: prepared_lib.Targets,
  routes: types.Route | None,
) -> tuple[prepared_lib.Targets, np.ndarray, types.Route | None]:
  """Targets in order of group, so that a tile's pairs mostly share one.

  Inside a group they are in order of their routes, which a tile must share.
  """
  group = groups_lib.of_events(groups, targets.user, targets.event)
  order = np.lexsort((*tiles.route_keys(routes), group))
  targets = prepared_lib.Targets(*(column[order] for column in targets))
  if routes is not None:
    routes = types.Route(*(leaf[order] for leaf in routes))
  return targets, group[order].astype(np.int32), routes


def _among(experiment, targets, split) -> rules_lib.Rule | np.ndarray:
  """The rule for the candidates, or lists of them.

  What the user interacted with in the whole data is no negative; or with
  'unbought' only what the user bought in the splits before: a purchase held out
  for validation is left out when test items are ranked, a test item is not left
  out when validation items are.
  """
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  if evaluation.candidates == 'unbought':
    before = prepared_lib.SPLITS.index(split)
    bought = behaviors.bought(prepared, before)
    return rules_lib.without(bought, prepared.num_items, rules_lib.UNBOUGHT)
  if evaluation.candidates == 'sampled':
    return _lists(experiment, targets)
  seen = prepared_lib.seen_items(prepared, 'all')
  return rules_lib.without(seen, prepared.num_items)


def _lists(experiment, targets) -> np.ndarray:
  """Sampled candidates, i32[T, 1 + n]."""
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  seen = prepared_lib.seen_items(prepared, 'all')
  number, seed = evaluation.num_candidates, evaluation.seed
  return candidates.draw(targets, seen, prepared.num_items, number, seed)


# ---- What stands beside a model


def rules(experiment: contracts.Experiment) -> dict[str, contracts.Ranker]:
  """Untrained rankers that stand beside a model in every table.

  Popularity; with behaviors the reminder rules, on what is trained on.
  """
  config, prepared = experiment.config, experiment.prepared
  asked = {
    name: closed_form_ranker(experiment, name)
    for name in config.evaluation.rules
  }
  if not behaviors.names(prepared):
    return {'popularity': popularity(experiment), **asked}
  trained_on = behaviors_lib.of_prepared(prepared, config.data.strip_heldout)
  reminding = {
    name: contracts.Ranker(
      model=model,
      params=params,
      context=None,
      history_length=config.data.history_length,
    )
    for name, (model, params) in reminders.rules(trained_on).items()
  }
  return reminding | asked


def closed_form_ranker(
  experiment: contracts.Experiment,
  name: str,
  params: types.Params | None = None,
) -> contracts.Ranker:
  """An item-item model, which reads whole histories.

  Args:
    experiment: data and settings.
    name: 'ease' or 'item_knn'.
    params: of the model; None fits them to the train events.
  Raises:
    types.UserError: an unknown name, or too many items.
  """
  if name not in closed_form.NAMES:
    raise types.UserError(
      f'evaluation.rules {name!r}; known: {", ".join(closed_form.NAMES)}'
    )
  prepared, options = experiment.prepared, experiment.config.closed_form
  if params is None:
    params = closed_form.make(name, _train_pairs(prepared), options)
  return contracts.Ranker(
    model=closed_form.make_model(name, prepared.num_items, options),
    params=params,
    context={},
    history_length=int(np.max(np.diff(prepared.user_offsets), initial=1)),
  )


def _train_pairs(prepared):
  """Pairs of users and items in train events, U x I, once each."""
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  users = prepared_lib.event_users(prepared)[train]
  items = np.asarray(prepared.items)[train] - 1
  shape = (prepared.num_users, prepared.num_items)
  ones = np.ones(len(users), np.float64)
  pairs = scipy.sparse.csr_matrix((ones, (users, items)), shape)
  pairs.data[:] = 1.0  # an item that was taken twice counts once
  return pairs


def popularity(experiment: contracts.Experiment) -> contracts.Ranker:
  """Items by their training events."""
  prepared, length = experiment.prepared, experiment.config.data.history_length
  model = models.make(config_lib.ModelConfig(name='popularity'))
  context = {'item_counts': item_counts(prepared)}
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


def make_metric(
  experiment: contracts.Experiment,
  ranker_of: Callable[[Any], contracts.Ranker],
  train: config_lib.TrainConfig,
) -> Callable[[Any], dict[str, Any]]:
  """params -> {metric: value, metric_by_group: values}, for selection.

  `group_auc` is the mean of the groups' AUC: every group counts the same, but
  for empty ones, which have none.

  Args:
    experiment: data and protocol.
    ranker_of: trained parameters -> what ranks with them.
    train: names the metric and the split.
  Raises:
    types.UserError: an unknown metric, or no events to select on.
  """
  evaluation = dataclasses.replace(experiment.config.evaluation, bootstrap=0)
  quick = experiment._replace(
    config=dataclasses.replace(experiment.config, evaluation=evaluation)
  )
  ranked = report_lib.metric_names(evaluation.ks)
  known = [*ranked, 'group_auc']
  require_selection_events(experiment, train)
  if train.select_metric not in known:
    raise types.UserError(
      f'train.select_metric {train.select_metric!r}; known: loss, none,'
      f' {", ".join(known)}'
    )

  def metric(params):
    part = rank(quick, ranker_of(params), train.select_on).part
    values = {k: part['overall'][k]['value'] for k in ranked}
    by_group = {k: [g[k]['value'] for g in part['groups']] for k in ranked}
    aucs = [value for value in by_group['auc'] if value is not None]
    return {
      **values,
      **{f'{k}_by_group': v for k, v in by_group.items()},
      'group_auc': sum(aucs) / len(aucs) if aucs else None,
      'group_auc_by_group': by_group['auc'],
    }

  return metric


def require_selection_events(
  experiment: contracts.Experiment, train: config_lib.TrainConfig
) -> None:
  """Refuses to select on a split without events.

  Raises:
    types.UserError: which split, and the ways out.
  """
  if not held_out(experiment, train.select_on):
    raise types.UserError(
      f'no {train.select_on} events to select on; prepare the data with some'
      ' (data.validation=True), or take the last epoch with'
      ' train.select_metric=none'
    )
