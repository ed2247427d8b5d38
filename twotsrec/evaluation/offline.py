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
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import evaluate as evaluate_lib
from twotsrec.evaluation import report as report_lib
from twotsrec.models import closed_form
from twotsrec.models import reminders

SPLITS = ('validation', 'test')


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks the held-out items of a split, as `contracts.Recipe.rank`."""
  config = experiment.config
  part, rows = evaluate_lib.evaluate(
    ranker,
    experiment.prepared,
    experiment.groups,
    prepared_lib.SPLITS.index(split),
    config.evaluation,
    key=config.groups.key,
    progress=show,
  )
  return contracts.Ranked(part, rows)


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """How a split is ranked; without candidate lists if it has no events.

  Raises:
    types.UserError: what the data cannot serve, and the way out.
  """
  evaluation = experiment.config.evaluation
  if evaluation.candidates == 'sampled' and not held_out(experiment, split):
    evaluation = dataclasses.replace(evaluation, candidates='all')
  index = prepared_lib.SPLITS.index(split)
  described = evaluate_lib.protocol(experiment.prepared, index, evaluation)
  names = behaviors.names(experiment.prepared)
  if names:
    described['behaviors'] = list(names)
    described['strip_heldout'] = experiment.config.data.strip_heldout
  return described


def rules(experiment: contracts.Experiment) -> dict[str, contracts.Ranker]:
  """What every table shows beside a model: nothing of it is trained.

  Popularity; with behaviors the reminder rules, on what is trained on.
  """
  length = experiment.config.data.history_length
  asked = {
    name: closed_form_ranker(experiment, name)
    for name in experiment.config.evaluation.rules
  }
  if not behaviors.names(experiment.prepared):
    return {'popularity': popularity(experiment), **asked}
  trained_on = behaviors_lib.of_prepared(
    experiment.prepared, experiment.config.data.strip_heldout
  )
  reminding = {
    name: contracts.Ranker(
      model=model, params=params, context=None, history_length=length
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
  """Who has what by the train events, U x I, once each."""
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


def held_out(experiment: contracts.Experiment, split: str) -> int:
  """Number of events of a split."""
  index = prepared_lib.SPLITS.index(split)
  return int(np.sum(np.asarray(experiment.prepared.split) == index))


def make_metric(
  experiment: contracts.Experiment,
  ranker_of: Callable[[Any], contracts.Ranker],
  train: config_lib.TrainConfig,
) -> Callable[[Any], dict[str, Any]]:
  """params -> {metric: value, metric_by_group: values}, for selection.

  `group_auc` is the mean of the groups' AUC: every group counts the same.

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
    values |= {f'{k}_by_group': v for k, v in by_group.items()}
    return values | _group_auc(by_group['auc'])

  return metric


def _group_auc(by_group):
  """Empty groups, without an AUC, take no part in the mean."""
  values = [value for value in by_group if value is not None]
  mean = sum(values) / len(values) if values else None
  return {'group_auc': mean, 'group_auc_by_group': by_group}


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
