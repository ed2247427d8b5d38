"""Models of several behaviors on graphs: COPF and its relatives (COPF sec. 4).

A run trains fusion and head on batches of users; with `plugin.name` it is PIN's
stage 2 on the target's vectors, which the graphs give once.

Departure: in PIN's stage 2 the trunk learns on. Here it stands still, because
plugins read vectors that the graphs gave once; `plugin.trunk_learning_rate=0`
is asked for.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import dislikes
from twotsrec.data import impressions
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import discoveries
from twotsrec.evaluation import offline
from twotsrec.models import behavior_ranker
from twotsrec.models import multi_behavior
from twotsrec.objectives import auxiliaries
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.plugins import plugged
from twotsrec.recipes import pin
from twotsrec.training import behavior_steps
from twotsrec.training import expert_diagnostics
from twotsrec.training import meta_weights
from twotsrec.training import optimizers
from twotsrec.training import phases
from twotsrec.training import settings
from twotsrec.training import sources
from twotsrec.training import summary
from twotsrec.training import updates

# What sets behaviors side by side. Of one alone the constraints of a fusion and
# the transfers of a head all come to the same, and alignment is idle.
_OF_SEVERAL = (
  'behavior.prior', 'behavior.temperature', 'behavior.anchors',
  'behavior.normalizer', 'behavior.similarity', 'head.unique_weight',
  'data.strip_heldout',
)  # fmt: skip


class System(NamedTuple):
  """A model of several behaviors, with the data it is trained on.

  Attributes:
    model: scores of all behaviors.
    stage2: the trunk that the graphs leave, with plugins on it, or None.
    behaviors: training pairs by behavior.
    context: graphs, and who showed what.
    serve: (params, context) -> parameters that rank.
  """

  model: multi_behavior.MultiBehavior
  stage2: pin.System | None
  behaviors: behaviors_lib.Behaviors
  context: dict[str, Any]
  serve: Callable[..., types.Params]


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """Graphs and model, with plugins if there are any."""
  config = pin.of_stage(experiment.config)
  prepared = experiment.prepared
  dislikes.refuse(prepared, 'a model of several behaviors')
  impressions.refuse(prepared, 'a model of several behaviors')
  discoveries.require_both(experiment)
  behaviors = behaviors_lib.of_prepared(prepared, config.data.strip_heldout)
  if len(behaviors.names) == 1:
    _check_one(config)
  if config.behavior.aggregate == 'behaviors':
    number = len(behaviors.names)
    aggregators.check_number(config.aggregator, number, 'behaviors')
  shape = (behaviors.num_users, behaviors.num_items)
  model = multi_behavior.make(config, len(behaviors.names), *shape)
  auxiliaries.check_extra(config, model.extra)
  context = {'item_counts': offline.item_counts(prepared)}
  edges, touches = behavior_feeds.edges(behaviors), behaviors.touches
  context |= model.context(edges, touches)
  stage2, serve = None, jax.jit(model.serve)
  if pin.has_plugins(config):
    loss = config.behavior.loss  # as in stage 1
    train = dataclasses.replace(config.train, objective=loss)
    config = dataclasses.replace(config, train=train)
    name = f'{config.model.name} with head.name={config.head.name}'
    sizes = types.Sizes(*shape, 1)  # users are looked up, not read
    stage2 = pin.system_of(config, model.trunk, context, sizes, name)
    serve = _with_prior
  system = System(
    model=model,
    stage2=stage2,
    behaviors=behaviors,
    context=context,
    serve=serve,
  )
  return experiment._replace(config=config, system=system)


def _check_one(config):
  """Refuses what sets a sole behavior beside others."""
  options, paths = config.behavior, _OF_SEVERAL
  if options.contrastive:  # 0 says what happens in any case
    paths += ('behavior.contrastive',)
  if options.aggregate == 'behaviors':
    paths += ('behavior.aggregate',)
  fields.refuse_changed(
    config,
    paths,
    'as the data have one behavior',
    'give a behavior column with several, the target last',
  )


def _with_prior(params, context):
  """Plugged parameters with what the prior adds to scores."""
  if 'prior' not in context:
    return params
  trunk, own = plugged.split(params)
  return plugged.join(behavior_ranker.with_prior(trunk, context['prior']), own)


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """One phase: fusion and head, or plugins on what they came to."""
  config, system = experiment.config, experiment.system
  group, judge = experiment.groups.user_group, _judge(experiment)
  if system.stage2 is not None:
    source = sources.of_pairs(config, system.behaviors, group)
    return pin.train_plugins(
      experiment, work, system.stage2, source, _judge, as_trunk
    )
  behavior_objectives.check(config.behavior, len(system.behaviors.names))
  source, layout = sources.of_users(config, system.behaviors, group)
  init = jax.jit(system.model.init)
  learner = contracts.Learner(init=init, context=system.context)
  how = phases.How(
    train=config.train,
    update=_update(experiment, source, layout),
    keys=phases.keys_of(jax.random.key(config.train.seed)),
    judge=judge,
    diagnose=expert_diagnostics.make_diagnose(
      config, system.model, system.behaviors
    ),
    rate=config.train.learning_rate,
  )
  return summary.served(experiment, work.fit('', learner, source, how))


def as_trunk(experiment, params):
  """Trained parameters of stage 1 as those of the model plugins attach to."""
  system = experiment.system
  return jax.jit(system.model.freeze)(params, system.context)


def _update(experiment, source, layout) -> updates.Update:
  """COPF eq. 16-17; the aggregator over behaviors or groups, if there is one.

  Losses are reported by behavior, whatever is aggregated over.
  """
  config, system = experiment.config, experiment.system
  behaviors = system.behaviors
  number, sizes = len(behaviors.names), source.sizes
  aggregator, init_method = None, lambda key, params: ()
  if config.behavior.aggregate != 'loss':
    aggregator = aggregators.make(config.aggregator)
    init_method = lambda key, params: aggregator.init(len(sizes), params)
  gradient = behavior_steps.make_gradient(
    system.model, config, behaviors.num_users, sizes, aggregator, layout.unique
  )
  if config.behavior.meta_rate:
    width = system.model.width
    init_method = lambda key, params: meta_weights.init(
      key, width, config.behavior
    )
    gradient = meta_weights.make_gradient(
      system.model, config, behaviors.num_users, layout.unique
    )
  # A rate that falls once an epoch, as in the authors' code.
  every = max((layout.num_draws or behaviors.num_users) // layout.batch_size, 1)
  update = updates.of_gradient(
    gradient,
    optimizers.make(config.train, config.behavior.decay_rate, every),
    init_method,
    post=behavior_steps.make_post(system.model, config, sizes, aggregator),
  )
  return update._replace(num_losses=number)


def _judge(experiment) -> Callable[..., dict[str, Any]] | None:
  train = experiment.config.train
  if train.select_metric == 'none':
    return None
  if train.select_metric == 'loss':
    raise types.UserError(
      'train.select_metric loss judges sequence models; for'
      ' model.name=multi_behavior use hr@10, another ranking metric, or none'
    )
  # Epochs are compared by their own scores, whoever gets the places then.
  ranker_of = lambda params: _plain(experiment, params)
  return offline.make_metric(experiment, ranker_of, train)


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters as a finished run has them."""
  system = experiment.system
  if system.stage2 is None:
    return system.model.init(jax.random.key(0))
  return pin.template(experiment._replace(system=system.stage2))


def ranker(experiment: contracts.Experiment, params: Any) -> contracts.Ranker:
  """Scores of the target for users of the log; no graph is walked any more.

  With places shared out, if `discovery` asks for it.
  """
  return discoveries.around(experiment, _plain(experiment, params))


def _plain(experiment, params) -> contracts.Ranker:
  system = experiment.system
  serve = lambda one: system.serve(one, system.context)
  several = isinstance(params, list)
  return contracts.Ranker(
    model=system.stage2.model if system.stage2 else system.model.ranker,
    params=[serve(one) for one in params] if several else serve(params),
    context=system.context,
    history_length=1,
    routing=routing_lib.from_config(experiment.config),
    reads_history=False,
  )


def notes(experiment: contracts.Experiment) -> list[str]:
  """Limits that the data set to such a model, a line each."""
  return behaviors_lib.notes(experiment.prepared, experiment.system.behaviors)


def systems(
  config: config_lib.Config, workdir: str
) -> dict[str, config_lib.Config]:
  """As `pin.systems`, where a system refuses what it ignores.

  A gradient is one sum there (COPF eq. 16) unless it is asked for by group.
  """
  replace, reads = dataclasses.replace, settings.MULTI_BEHAVIOR
  by_group = replace(config.behavior, aggregate='groups')
  made = pin.systems(replace(config, behavior=by_group), workdir, reads)
  as_one = replace(config.behavior, aggregate='loss')
  base = replace(made['base'], behavior=as_one)
  stage2 = made['ga_pn']
  form = config_lib.AggregatorConfig().form
  return {
    'base': replace(base, aggregator=config_lib.AggregatorConfig()),
    'ga': fields.only_read(made['ga'], reads),
    'ga_pn': replace(stage2, aggregator=replace(stage2.aggregator, form=form)),
  }


RECIPE = contracts.Recipe(
  check=settings.multi_behavior,
  build=build,
  train=train,
  template=template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=offline.protocol,
  systems=systems,
  in_force=pin.in_force,
  notes=notes,
  grows=True,
)
