"""What a stage-2 phase of 2TS compiles: one network on frozen vectors."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.plugins import plugged
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.training import optimizers
from twotsrec.training import phases
from twotsrec.training import stream_steps
from twotsrec.training import updates

# Of random numbers. The one network of a control draws what the network of
# inactive users draws, so that what it reads is all that differs.
_STREAMS = {'both': 4, 'active': 6, 'inactive': 8, 'everyone': 8}
_LOADERS = {'packed': streams.packed, 'padded': streams.padded}


class Setting(NamedTuple):
  """What the phases of a run have in common.

  Attributes:
    config: of the run.
    prepared: the data.
    vectors: frozen vectors of items and users, from stage 1.
  """

  config: config_lib.Config
  prepared: prepared_lib.Prepared
  vectors: stream_objectives.Vectors


def make_parts(
  setting: Setting,
  job: jobs_lib.Job,
  judge: Callable[[types.PyTree], float] | None,
  trunk: types.PyTree | None = None,
) -> phases.Parts:
  """A phase that trains one network on its events (2TS eq. 11 or 12).

  Args:
    setting: data and vectors.
    job: whose events.
    judge: net -> MRR on validation events; None takes the last epoch.
    trunk: a trained network to put plugins in; None trains it from the start.
  Raises:
    types.UserError: parts that do not go together.
  """
  config, has_trunk = setting.config, trunk is not None
  learner, source = _learner(setting, job), make_source(setting, job)
  if has_trunk:
    learner, update = _with_plugins(setting, job, learner, source, trunk)
  elif job.part.reads == 'carried':
    update = _carried(setting, job, learner, source)
  else:
    optimizer = clipped(config)(config.two_time.rate)
    update = updates.aggregated(config, learner, source, optimizer)
  how = phases.How(
    train=train_config(config, has_trunk),
    update=update,
    keys=phase_keys(config, job.part.name, has_trunk),
    judge=judge and (lambda params: {'mrr': judge(params.net)}),
  )
  return phases.Parts(learner=learner, source=source, how=how)


def clipped(config: config_lib.Config) -> updates.OptimizerOf:
  """The optimizer of a network at a learning rate."""
  return lambda rate: optimizers.clipped(rate, config.two_time.clip)


def phase_keys(
  config: config_lib.Config, name: str, plugins_on: bool = False
) -> phases.Keys:
  """Random numbers of their own for each phase."""
  key = jax.random.fold_in(jax.random.key(config.train.seed), _STREAMS[name])
  if plugins_on:
    key = jax.random.fold_in(key, 1)
  return phases.keys_of(key)


def train_config(
  config: config_lib.Config, plugins_on: bool = False
) -> config_lib.TrainConfig:
  """How a phase of stage 2 runs, stops and selects."""
  options, plugin = config.two_time, config.plugin
  return dataclasses.replace(
    config.train,
    epochs=plugin.epochs if plugins_on else options.epochs,
    patience=plugin.patience if plugins_on else options.patience,
    evaluate_every=1,
    learning_rate=options.rate,
    select_metric='mrr',
    select_on='validation',
  )


def init_net(
  setting: Setting, part: jobs_lib.Part, key: jax.Array
) -> types.PyTree:
  """A fresh network; psi only where users start at it."""
  options, width = setting.config.two_time, setting.config.model.width
  stages = two_rnn.make_stages(options, width)
  net = stages.init(key, None, types.Sizes(1, 1, 1)).net
  extractor = dict(net['extractor'])
  if part.own_start:
    del extractor['psi']
  if setting.vectors.user is not None:
    extractor = two_rnn.with_scale(extractor, setting.vectors.user)
  return {**net, 'extractor': extractor}


def init_plugins(
  setting: Setting, job: jobs_lib.Job, net: types.PyTree, key: jax.Array
) -> types.PyTree:
  """A plugin for every activeness group of a job, leaves [G, ...]."""
  options, width = setting.config.plugin, setting.config.model.width
  stages = two_rnn.make_stages(setting.config.two_time, width)
  table = {'embedding': setting.vectors.item}
  trunk = types.Params({'item': table}, net)
  sizes = types.Sizes(1, table['embedding'].shape[0] - 1, 2)
  return plugins.make(options).init(key, stages, trunk, len(job.sizes), sizes)


def _learner(setting, job) -> contracts.Learner:
  """A fresh network and the loss of its events."""
  config = setting.config
  stages = two_rnn.make_stages(config.two_time, config.model.width)
  return contracts.Learner(
    init=lambda key: types.Params({}, init_net(setting, job.part, key)),
    context={'vectors': setting.vectors},
    loss=stream_objectives.make(stages, job.part.own_start),
  )


def _with_plugins(setting, job, bare, source, trunk):
  """Plugins of all groups on a trained network: (learner, update)."""
  config = setting.config

  def init(key):
    params = types.Params({}, trunk)
    joined = plugged.join(params, init_plugins(setting, job, trunk, key))
    return jax.tree.map(jnp.array, joined)  # the first update donates it

  learner = bare._replace(init=init, loss=None)
  stands_on = contracts.Trunk(
    stages=two_rnn.make_stages(config.two_time, config.model.width),
    learner=bare,
    loss_of=lambda stages: stream_objectives.make(stages, job.part.own_start),
  )
  update = updates.with_plugins(
    config, stands_on, learner, source, clipped(config)
  )
  return learner, update


def _carried(setting, job, learner, source) -> updates.Update:
  """States go on from step to step, and their gradient is cut there."""
  config = setting.config
  aggregator = aggregators.make(config.aggregator)
  stages = two_rnn.make_stages(config.two_time, config.model.width)
  objective = stream_objectives.make_carried(stages, job.part.own_start)
  streams_at_once = make_layout(job, config.two_time).shape[2]
  width = two_rnn.cell_of(config.two_time).states * config.model.width
  return updates.of_gradient(
    stream_steps.make_carried_gradient(objective, aggregator, source.sizes),
    clipped(config)(config.two_time.rate),
    lambda key, params: {
      'carried': jnp.zeros((streams_at_once, width)),
      'method': aggregator.init(len(job.sizes), params),
    },
  )


def make_source(setting: Setting, job: jobs_lib.Job) -> contracts.Source:
  """The events of a job, in streams; packed where they are cut by group."""
  config = setting.config
  laid_out = lambda layout: {
    'batch_of': _batch_of(setting, layout.shape),
    'plan_of': lambda epoch: layout.plan_of(config.train.seed, epoch),
  }
  flat = contracts.Source(
    feed=stream_feeds.make_feed(setting.prepared, job.group),
    sizes=jnp.asarray(job.sizes),
    **laid_out(make_layout(job, config.two_time)),
  )
  if job.part.reads == 'carried':
    return flat
  stacked = lambda: make_layout(job, config.two_time, by_group=True)
  return flat._replace(
    by_group=lambda: flat._replace(**laid_out(stacked()), by_group=None)
  )


def make_layout(
  job: jobs_lib.Job, options: config_lib.TwoTimeConfig, by_group: bool = False
) -> streams.Layout:
  """How the events of a job are laid out; `by_group` is packed."""
  tokens = jobs_lib.tokens(job.runs, options)
  if job.part.reads == 'carried':
    width = min(max(tokens // options.window, 1), len(job.users))
    return streams.carried(job.runs, options.window, width)
  longest = int(job.runs.length.max())
  if not by_group:
    return _LOADERS[options.loader](job.runs, longest, tokens)
  num_steps = streams.packed(job.runs, longest, tokens).shape[0]
  runs_of = lambda mine: streams.Runs(*(x[mine] for x in job.runs))
  of_run = job.group[job.users]
  return streams.stacked(
    [
      streams.packed(runs_of(of_run == g), longest, tokens, num_steps)
      for g in range(len(job.sizes))
    ]
  )


def _batch_of(setting, shape):
  """(feed, entries, key) -> Batch; leaves [G, ...] where groups are stacked."""
  options = setting.config.two_time
  batch_of = stream_feeds.make_batch_of(
    shape[-2:],
    setting.prepared.num_items,
    *stream_objectives.negatives(options),
  )
  if len(shape) == 3:
    return batch_of
  by_group = jax.vmap(batch_of, in_axes=(None, 0, None))

  def stacked_batch_of(feed, entries, key):
    batch = by_group(feed, entries, key)
    # Filling is of user 0; here it belongs to its row's group.
    own = jnp.arange(shape[1], dtype=batch.group.dtype)
    group = jnp.broadcast_to(own[:, None], batch.group.shape)
    return batch._replace(group=group)

  return stacked_batch_of
