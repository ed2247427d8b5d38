"""Sequence models: one trunk for all users, a model per group, or plugins.

`aggregator.name=joint` is PIN's base model and `backdoor` stage 1 of PIN (sec.
3.2, eq. 7); with `plugin.name` a run is stage 2 (sec. 3.3).
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import models
from twotsrec import types
from twotsrec.data import feeds
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import offline
from twotsrec.evaluation import prior_fit
from twotsrec.objectives import beside
from twotsrec.objectives import mixing
from twotsrec.objectives import sampled as objectives
from twotsrec.recipes import pin
from twotsrec.training import grouped
from twotsrec.training import sequential
from twotsrec.training import settings
from twotsrec.training import sources
from twotsrec.training import summary
from twotsrec.training import updates
from twotsrec.training import validation


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The model, with plugins if there are any."""
  config = pin.of_stage(experiment.config)
  prepared = experiment.prepared
  if impressions.there_are(prepared):
    _check_labels(config)
  context = {'item_counts': offline.item_counts(prepared)}
  sizes = types.Sizes(
    prepared.num_users, prepared.num_items, config.data.history_length
  )
  trunk, name = models.make(config.model), config.model.name
  if impressions.there_are(prepared):
    beside.refuse('a log with labels', trunk)
  mixing.check(config.augment.mix, trunk, sizes)
  system = pin.system_of(config, trunk, context, sizes, name)
  return experiment._replace(config=config, system=system)


def _check_labels(config) -> None:
  """Refuses settings that change nothing, or make no sense, of labels."""
  usual = config_lib.Config()
  for setting, reason in (
    ('train.objective', 'labels are learned by cross-entropy'),
    ('train.positions', 'an impression is an example of its own'),
    ('evaluation.online', 'what was shown is what a click is ranked among'),
    ('prior.terms', 'a prior would shift the log odds'),
    ('augment.substitute', 'a label is of the history that there was'),
    ('augment.insert', 'a label is of the history that there was'),
    ('augment.mix', 'a label is of the history that there was'),
    ('data.num_negatives', 'what was not clicked is the negatives'),
    ('data.negative_power', 'what was not clicked is the negatives'),
    ('data.negative_mode', 'what was not clicked is the negatives'),
    ('data.negative_exclude', 'what was not clicked is the negatives'),
  ):
    section, field = setting.split('.')
    value = getattr(getattr(config, section), field)
    only = getattr(getattr(usual, section), field)
    if value != only:
      raise types.UserError(
        f'{setting} is {value!r}, but the data have labels of impressions:'
        f' {reason}; set it to {only!r}, as configs/pin/own.py does'
      )


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """One phase: the model, or plugins on a trained trunk."""
  config, system = experiment.config, experiment.system
  source, judge = sources.of_histories(experiment), judge_of(experiment)
  prior_fit.require_events(experiment)
  if pin.has_plugins(config):
    served = pin.train_plugins(experiment, work, system, source, judge_of)
    return prior_fit.add(served, ranker)
  learner = pin.learner(config, system.model, system)
  update = _update(config, learner, source, system)
  how = pin.how(experiment, learner, source, update, judge)
  if config.train.method == 'separate':
    by_group = lambda params: grouped.unstack(params, len(source.sizes))
    how = how._replace(
      by_group=by_group,
      judge=judge and (lambda params, every=judge: every(by_group(params))),
    )
  trained = work.fit('', learner, source, how)
  return prior_fit.add(summary.served(experiment, trained), ranker)


def _update(config, learner, source, system) -> updates.Update:
  """The update that `train.method` and `train.penalty` name."""
  method = config.train.method
  if method in sequential.NAMES:
    beside.refuse(f'train.method {method!r}', system.model)
    return updates.in_sequence(
      config, system.model, system.sizes, learner, source
    )
  if method == 'separate':
    return updates.by_itself(config, learner, source)
  if config.train.penalty != 'none':
    beside.refuse(f'train.penalty {config.train.penalty!r}', system.model)
    return updates.penalized(config, system.model, learner, source)
  optimizer = updates.of_model(config)
  return updates.aggregated(config, learner, source, optimizer)


def judge_of(
  experiment: contracts.Experiment,
) -> Callable[[Any], dict[str, Any]] | None:
  """params -> metrics for selection; None if nothing is selected.

  Raises:
    types.UserError: nothing is held out for it, or an unknown metric.
  """
  config, system = experiment.config, experiment.system
  train = config.train
  if train.select_metric == 'none':
    return None
  if train.select_metric != 'loss':
    ranker_of = lambda params: ranker(experiment, params)
    return offline.make_metric(experiment, ranker_of, train)
  offline.require_selection_events(experiment, train, negatives=True)
  # Among all items nobody touched, so never against the item itself.
  data = dataclasses.replace(config.data, negative_exclude='all')
  split = prepared_lib.SPLITS.index(train.select_on)
  feed = feeds.make_feed(experiment.prepared, experiment.groups, data, split)
  # One target at a time, whatever training does.
  last = objectives.of_judge(pin.loss_of(config, system.sizes))
  loss = validation.make_loss(
    objectives.make(last, system.model),
    sources.batch_of(config, system.sizes.num_items, single=True),
    config.groups.num_groups,
  )
  return validation.make_evaluate(
    loss, system.context, feed, train.batch_size, jax.random.key(data.seed)
  )


def ranker(experiment: contracts.Experiment, params: Any) -> contracts.Ranker:
  """The model, which ranks; with what histories say, once that has weights."""
  system = experiment.system
  alone = contracts.Ranker(
    model=system.model,
    params=params,
    context=system.context,
    history_length=system.sizes.history_length,
    routing=routing_lib.from_config(experiment.config),
    log_odds=impressions.there_are(experiment.prepared),
  )
  return prior_fit.around(alone, experiment)


def in_force(
  config: config_lib.Config, report: Mapping[str, Any]
) -> config_lib.Config:
  """The configuration with what a run fitted: prior and shrinkage."""
  return pin.in_force(prior_fit.in_force(config, report), report)


RECIPE = contracts.Recipe(
  check=settings.sequence,
  build=build,
  train=train,
  template=pin.template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=offline.protocol,
  systems=pin.systems,
  in_force=in_force,
  notes=lambda experiment: feeds.notes(experiment.prepared, experiment.config),
  grows=True,
)
