"""JODIE: states of users and items that events move, in t-batches.

Training goes through the train events once an epoch, in order of time, a span
at a step; states go on from step to step and are back at their start when an
epoch begins. Held-out events are ranked as they come, among all items in the
states that they have just then.

Departure: the authors' program goes on training while it ranks, and its states
after training are those that the epoch has left. Here parameters stand still,
as in 2TS, and states are replayed from the start with them.
Departure: gaps are standardized over train events, not the whole log.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import metrics
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import span_feeds
from twotsrec.data import timelines
from twotsrec.evaluation import moving_items
from twotsrec.evaluation import offline
from twotsrec.evaluation import online
from twotsrec.evaluation import online_models
from twotsrec.evaluation import rules
from twotsrec.models import jodie
from twotsrec.models import known_users
from twotsrec.objectives import spans as objectives
from twotsrec.training import optimizers
from twotsrec.training import phases
from twotsrec.training import settings
from twotsrec.training import stream_steps
from twotsrec.training import summary
from twotsrec.training import updates

READS = (
  fields.Reads('groups.* model.* jodie.*'),
  fields.Reads('data.*', but='data.num_negatives data.negative_*'),
  fields.Reads(
    'aggregator.*', but='aggregator.table_gradients aggregator.form'
  ),
  fields.Reads(
    'train.learning_rate train.beta2 train.epochs train.patience'
    ' train.min_epochs train.evaluate_every train.checkpoint_every train.keep'
    ' train.seed'
  ),
  fields.Reads('two_time.evaluation_lists'),
  fields.Reads(
    'evaluation.*',
    but='evaluation.candidates evaluation.num_candidates evaluation.users'
    ' evaluation.online',
  ),
)
_MOST = 1 << 30  # bytes of the prediction layer; Adam takes four times it


class System(NamedTuple):
  """The ranker, and the log as it is replayed.

  Attributes:
    model: of the states after all events.
    player: (split) -> the events up to it, made when they are needed.
  """

  model: types.Model
  player: Callable[[int], moving_items.Player]


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, or that nothing reads."""
  settings.check(config, READS)


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The ranker; refuses logs without times, or with too many one-hot rows."""
  config, prepared = experiment.config, experiment.prepared
  impressions.refuse(prepared, 'model.name=jodie')
  fields.refuse_options(config.model, 'model', ('width',))
  size = 4 * jodie.size(config, prepared.num_users, prepared.num_items)
  if size > _MOST:
    raise types.UserError(
      f'jodie.static {config.jodie.static} needs a prediction layer of'
      f' {size:,} bytes for {prepared.num_users:,} users and'
      f' {prepared.num_items:,} items, and {_MOST:,} are allowed; use'
      ' jodie.static=learned'
    )
  make = lambda split: moving_items.make(prepared, split, config.jodie.spans)
  timelines.require_times(prepared)
  system = System(known_users.make(), functools.cache(make))
  return experiment._replace(system=system)


def make_parts(experiment: contracts.Experiment) -> phases.Parts:
  """What learns, the spans of its events, and how.

  Raises:
    types.UserError: an aggregator that needs a gradient for each group.
  """
  config, prepared = experiment.config, experiment.prepared
  line = timelines.make(prepared, prepared_lib.TRAIN, config.jodie.spans)
  layout = timelines.lay_out(line)
  group = groups_lib.of_events(experiment.groups, line.user, line.event)
  number = config.groups.num_groups
  counts = np.bincount(group, minlength=number)
  source = contracts.Source(
    feed=span_feeds.make(line, layout, group),
    # An aggregator may divide by a size, or take its logarithm.
    sizes=jnp.asarray(np.maximum(counts, 1), jnp.float32),
    batch_of=span_feeds.make_batch_of(
      prepared.num_items, config.jodie.loss == 'triplet'
    ),
    plan_of=lambda epoch: np.arange(line.num_spans, dtype=np.int32),
  )
  learner = contracts.Learner(
    init=functools.partial(_init, experiment),
    context={'first_item': jnp.asarray(line.first[1])},
  )
  judge = _judge(experiment)
  how = phases.How(
    train=dataclasses.replace(
      config.train,
      select_metric='mrr' if judge else 'none',
      select_on='validation',
    ),
    update=_update(experiment, source),
    keys=phases.keys_of(jax.random.key(config.train.seed)),
    judge=judge,
    rate=config.train.learning_rate,
  )
  return phases.Parts(learner=learner, source=source, how=how)


def _init(experiment, key) -> types.Params:
  prepared = experiment.prepared
  sizes = prepared.num_users, prepared.num_items
  return types.Params({}, jodie.init(key, experiment.config, *sizes))


def _update(experiment, source) -> updates.Update:
  """Adam on the loss of a span; states stand in the method's state."""
  config, prepared = experiment.config, experiment.prepared
  aggregator = aggregators.make(config.aggregator)
  of_net = objectives.make(config)

  def objective(params, context, span, states):
    return of_net(params.net, context, span, states)

  adam = optimizers.make(config.train)
  if config.jodie.l2:
    adam = optax.chain(optax.add_decayed_weights(config.jodie.l2), adam)
  return updates.of_gradient(
    stream_steps.make_carried_gradient(objective, aggregator, source.sizes),
    adam,
    lambda key, params: {
      'carried': jodie.init_states(
        prepared.num_users, prepared.num_items, config.model.width
      ),
      'method': aggregator.init(len(source.sizes), params),
    },
  )


def _judge(experiment):
  """params -> {'mrr'} of validation events among all items, or None."""
  prepared = experiment.prepared
  split = prepared_lib.VALIDATION
  if not np.any(np.asarray(prepared.split) == split):
    return None
  player = experiment.system.player(split)
  events = online.held_out(prepared, split)
  among = [rules.everything(prepared.num_items)]

  def judge(params):
    ranks = moving_items.rank(player, params.net, events, among)
    values = metrics.reciprocal_rank(ranks['better'], ranks['tied'])
    return {'mrr': float(np.mean(values))}

  return judge


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters as a finished run has them."""
  return _init(experiment, jax.random.key(0))


def ranker(
  experiment: contracts.Experiment, params: types.Params
) -> contracts.Ranker:
  """Users of the log by the states after all events, at the end of the log."""
  player, net = experiment.system.player(prepared_lib.TEST), params.net
  query, items = moving_items.after_all(player, net)
  return contracts.Ranker(
    model=experiment.system.model,
    params=known_users.params(query, items, jodie=net),
    context={},
    history_length=experiment.config.data.history_length,
    reads_history=False,
  )


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks a split's events as they come, as `contracts.Recipe.rank`.

  Rules are ranked by histories as they are before each event. The part of the
  report ranks among all items without the user's past, or with it where users
  come back to items; the protocol `online` is that of 2TS.
  """
  prepared, config = experiment.prepared, experiment.config
  index, evaluation = prepared_lib.SPLITS.index(split), config.evaluation
  lists = config.two_time.evaluation_lists
  events = online.held_out(prepared, index)
  among = online.usual_rules(prepared, lists, evaluation.seed)
  if ranker.model is experiment.system.model:
    player, net = experiment.system.player(index), ranker.params.net['jodie']
    ranks = moving_items.rank(player, net, events, among, show)
  else:
    ranks = online.rank_rule(
      ranker, prepared, events, among, evaluation, progress=show
    )
  section = online_models.section(experiment, ranks)
  return online_models.ranked(experiment, ranks, section)


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """Protocol of the ranking of events, for the report."""
  return {
    **offline.protocol(experiment, split),
    **online_models.protocol(experiment),
    'order': 'online: an event is ranked, then it moves user and item',
    'selection': 'validation mrr among all items',
  }


RECIPE = contracts.Recipe(
  check=check,
  build=build,
  train=summary.of_one_phase(make_parts),
  template=template,
  rank=rank,
  ranker=ranker,
  # Both splits are ranked under three rules for the candidates.
  rules=lambda experiment: offline.rules_of_histories(experiment, passes=6),
  protocol=protocol,
  grows=True,
)
