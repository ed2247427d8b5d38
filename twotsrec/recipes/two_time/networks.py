"""Training phases of 2TS's networks, one by one or both at once (2TS sec. 3.2).

Networks on frozen vectors are independent and go one by one. A shared read-out
W is trained by the losses of both, and so are the embeddings of
2TS-SingleStage, which trains everything at once (2TS sec. 4.2).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import stream_jobs
from twotsrec.evaluation import players as players_lib
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.plugins import plugged
from twotsrec.training import optimizers
from twotsrec.training import phases
from twotsrec.training import stream_sources
from twotsrec.training import stream_steps
from twotsrec.training import updates

# Of random numbers. The one network of a control draws what the network of
# inactive users draws, so that what it reads is all that differs.
_STREAMS = {'both': 4, 'active': 6, 'inactive': 8, 'everyone': 8}
_SHARED = ('readout',)

# Parameters of `ccf.init` to train along, and their context.
Embeddings = tuple[types.Params, dict[str, Any]]


class Setting(NamedTuple):
  """Inputs that the phases of a run have in common.

  Attributes:
    experiment: data and settings.
    vectors: of items and users, from stage 1.
  """

  experiment: contracts.Experiment
  vectors: stream_objectives.Vectors

  @property
  def config(self) -> config_lib.Config:
    """Of the run."""
    return self.experiment.config

  @property
  def stages(self) -> types.Stages:
    """Of every network."""
    return two_rnn.make_stages(self.config.two_time, self.config.model.width)


# ---- One network


def make_parts(
  setting: Setting,
  job: stream_jobs.Job,
  judge: players_lib.Judge | None,
  trunk: types.PyTree | None = None,
) -> phases.Parts:
  """A phase that trains one network on its events (2TS eq. 11 or 12).

  Args:
    setting: data, and vectors that are frozen.
    job: with its events.
    judge: of the network on validation events; None takes the last epoch.
    trunk: a trained network to put plugins in; None trains it from the start.
  """
  config, name = setting.config, job.part.name
  loss_of = lambda stages: stream_objectives.make(stages, job.part.own_start)
  learner = contracts.Learner(
    init=lambda key: types.Params({}, init_net(setting, job.part, key)),
    context={'vectors': setting.vectors},
    loss=loss_of(setting.stages),
  )
  source = stream_sources.of_job(config, setting.experiment.prepared, job)
  if trunk is not None:
    stands_on = contracts.Trunk(setting.stages, learner, loss_of)
    learner = learner._replace(init=_init_plugged(setting, job, trunk))
    update = updates.with_plugins(
      config, stands_on, learner, source, clipped(config)
    )
  elif job.part.reads == 'carried':
    update = _carried(setting, job, source)
  else:
    optimizer = clipped(config)(config.two_time.rate)
    update = updates.aggregated(config, learner, source, optimizer)
  of = lambda params: ({name: params.net}, setting.vectors)
  how = _how(config, update, judge, of, name, trunk is not None)
  return phases.Parts(learner=learner, source=source, how=how)


def clipped(config: config_lib.Config) -> updates.OptimizerOf:
  """The optimizer of a network at a learning rate."""
  return lambda rate: optimizers.clipped(rate, config.two_time.clip)


def _how(config, update, judge, of, name, plugins_on=False) -> phases.How:
  """Update and selection; `of` takes parameters to networks and vectors."""
  return phases.How(
    train=train_config(config, plugins_on),
    update=update,
    keys=phase_keys(config, name, plugins_on),
    judge=judge and (lambda params: {'mrr': judge(*of(params))}),
  )


def phase_keys(
  config: config_lib.Config, name: str, plugins_on: bool = False
) -> phases.Keys:
  """Random numbers of their own for each phase."""
  key = jax.random.fold_in(jax.random.key(config.train.seed), _STREAMS[name])
  return phases.keys_of(jax.random.fold_in(key, 1) if plugins_on else key)


def train_config(
  config: config_lib.Config, plugins_on: bool = False
) -> config_lib.TrainConfig:
  """Epochs, stopping and selection of a phase of stage 2.

  Training everything at once takes more epochs.
  """
  options, plugin = config.two_time, config.plugin
  epochs, patience = options.epochs, options.patience
  if options.variant in config_lib.ONE_STAGE:
    epochs = options.single_stage_epochs
  if plugins_on:
    epochs, patience = plugin.epochs, plugin.patience
  return dataclasses.replace(
    config.train,
    epochs=epochs,
    patience=patience,
    evaluate_every=1,
    learning_rate=options.rate,
    select_metric='mrr',
    select_on='validation',
  )


def init_net(
  setting: Setting, part: stream_jobs.Part, key: jax.Array
) -> types.PyTree:
  """A fresh network; psi only where users start at it."""
  net = setting.stages.init(key, None, types.Sizes(1, 1, 1)).net
  extractor = dict(net['extractor'])
  if part.own_start:
    del extractor['psi']
  if setting.vectors.user is not None:
    extractor = two_rnn.with_scale(extractor, setting.vectors.user)
  return {**net, 'extractor': extractor}


def init_plugins(
  setting: Setting, job: stream_jobs.Job, net: types.PyTree, key: jax.Array
) -> types.PyTree:
  """A plugin for every activeness group of a job, leaves [G, ...]."""
  table = {'embedding': setting.vectors.item}
  trunk = types.Params({'item': table}, net)
  sizes = types.Sizes(1, table['embedding'].shape[0] - 1, 2)
  plugin = plugins.make(setting.config.plugin)
  return plugin.init(key, setting.stages, trunk, len(job.sizes), sizes)


def _init_plugged(setting, job, trunk):
  """(key) -> a trained network and plugins of all groups."""

  def init(key):
    params = types.Params({}, trunk)
    joined = plugged.join(params, init_plugins(setting, job, trunk, key))
    return jax.tree.map(jnp.array, joined)  # the first update donates it

  return init


def _carried(setting, job, source) -> updates.Update:
  """States go on from step to step, and their gradient is cut there."""
  config = setting.config
  aggregator = aggregators.make(config.aggregator)
  objective = stream_objectives.make_carried(setting.stages, job.part.own_start)
  streams_at_once = stream_sources.make_layout(job, config.two_time).shape[2]
  width = two_rnn.cell_of(config.two_time).states * config.model.width
  return updates.of_gradient(
    stream_steps.make_carried_gradient(objective, aggregator, source.sizes),
    clipped(config)(config.two_time.rate),
    lambda key, params: {
      'carried': jnp.zeros((streams_at_once, width)),
      'method': aggregator.init(len(job.sizes), params),
    },
  )


# ---- Both networks at once


def make_joint(
  setting: Setting,
  jobs: tuple[stream_jobs.Job, ...],
  judge: players_lib.Judge | None,
  embeddings: Embeddings | None = None,
) -> phases.Parts:
  """A phase whose steps hold events of both networks, in proportion.

  Args:
    setting: data, and vectors that are frozen unless there are `embeddings`.
    jobs: of inactive and of active users.
    judge: of both on validation events; None takes the last epoch.
    embeddings: to train along.
  """
  config = setting.config
  context = embeddings[1] if embeddings else {'vectors': setting.vectors}
  learner = contracts.Learner(
    init=lambda key: _init_joint(setting, jobs, key, embeddings),
    context=context,
    loss=stream_objectives.make_joint(setting.stages),
  )
  source = stream_sources.of_both(config, setting.experiment.prepared, jobs)
  optimizer = clipped(config)(config.two_time.rate)
  update = updates.aggregated(config, learner, source, optimizer)
  of = lambda params: (
    stream_objectives.of_both(params),
    stream_objectives.vectors_of(params, context),
  )
  how = _how(config, update, judge, of, 'both')
  return phases.Parts(learner=learner, source=source, how=how)


def _init_joint(setting, jobs, key, embeddings) -> types.Params:
  if embeddings is not None:
    # Starts are small at first, and no scale to keep the states within.
    setting = setting._replace(vectors=setting.vectors._replace(user=None))
  keys = jax.random.split(key)
  nets = {
    job.part.name: init_net(setting, job.part, k)
    for job, k in zip(jobs, keys, strict=True)
  }
  shared = {}
  if setting.config.two_time.share_readout:
    for net in nets.values():
      shared |= {k: net['extractor'].pop(k) for k in _SHARED}
  nets['shared'] = shared
  if embeddings is None:
    return types.Params({}, nets)
  params = jax.tree.map(jnp.array, embeddings[0])
  return types.Params(params.tables, {**nets, **params.net})
