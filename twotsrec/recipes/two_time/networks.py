"""Training phases of 2TS's networks, one by one or both at once (2TS sec. 3.2).

Networks on frozen vectors are independent and go one by one. A shared read-out
W is trained by the losses of both, and so are the embeddings of
2TS-SingleStage, which trains everything at once (2TS sec. 4.2).
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.models import ccf
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
_SHARED = ('readout',)

# (networks by the name of their part, vectors) -> MRR on validation events
Judge = Callable[[dict[str, types.PyTree], stream_objectives.Vectors], float]
# Parameters of `ccf.init` to train along, and their context.
Embeddings = tuple[types.Params, dict[str, Any]]


class Setting(NamedTuple):
  """What the phases of a run have in common.

  Attributes:
    config: of the run.
    prepared: the data.
    vectors: of items and users, from stage 1.
  """

  config: config_lib.Config
  prepared: prepared_lib.Prepared
  vectors: stream_objectives.Vectors

  @property
  def stages(self) -> types.Stages:
    """Of every network."""
    return two_rnn.make_stages(self.config.two_time, self.config.model.width)


# ---- One network


def make_parts(
  setting: Setting,
  job: jobs_lib.Job,
  judge: Judge | None,
  trunk: types.PyTree | None = None,
) -> phases.Parts:
  """A phase that trains one network on its events (2TS eq. 11 or 12).

  Args:
    setting: data, and vectors that are frozen.
    job: with its events.
    judge: of the network on validation events; None takes the last epoch.
    trunk: a trained network to put plugins in; None trains it from the start.
  Raises:
    types.UserError: parts that do not go together.
  """
  config, name = setting.config, job.part.name
  loss_of = lambda stages: stream_objectives.make(stages, job.part.own_start)
  learner = contracts.Learner(
    init=lambda key: types.Params({}, init_net(setting, job.part, key)),
    context={'vectors': setting.vectors},
    loss=loss_of(setting.stages),
  )
  source = make_source(setting, job)
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
  """How a phase goes on; `of` takes parameters to what is judged."""
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
  """How a phase of stage 2 runs, stops and selects.

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
  setting: Setting, part: jobs_lib.Part, key: jax.Array
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
  setting: Setting, job: jobs_lib.Job, net: types.PyTree, key: jax.Array
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
  options, seed = setting.config.two_time, setting.config.train.seed

  def laid_out(layout, **others):
    return contracts.Source(
      feed=stream_feeds.make_feed(setting.prepared, job.group),
      sizes=jnp.asarray(job.sizes),
      batch_of=_batch_of(setting, layout.shape),
      plan_of=lambda epoch: layout.plan_of(seed, epoch),
      **others,
    )

  by_group = lambda: laid_out(make_layout(job, options, by_group=True))
  return laid_out(
    make_layout(job, options),
    by_group=None if job.part.reads == 'carried' else by_group,
  )


def make_layout(
  job: jobs_lib.Job,
  options: config_lib.TwoTimeConfig,
  by_group: bool = False,
  steps: int | None = None,
) -> streams.Layout:
  """How the events of a job are laid out.

  Args:
    job: with its events.
    options: size of a step, loader.
    by_group: groups side by side, packed.
    steps: S of a packed layout, in place of the size of a step.
  """
  tokens, longest = jobs_lib.tokens(job.runs, options), job.runs.length.max()
  if job.part.reads == 'carried':
    width = min(max(tokens // options.window, 1), len(job.users))
    return streams.carried(job.runs, options.window, width)
  if steps is None and not by_group:
    return _LOADERS[options.loader](job.runs, int(longest), tokens)
  pack = lambda runs: streams.packed(runs, int(longest), tokens, steps)
  if not by_group:
    return pack(job.runs)
  steps = pack(job.runs).shape[0]
  of_run = job.group[job.users]
  return streams.stacked(
    [
      pack(streams.Runs(*(column[of_run == g] for column in job.runs)))
      for g in range(len(job.sizes))
    ]
  )


def _batch_of(setting, shape):
  """(feed, entries, key) -> Batch; leaves [G, ...] where groups are stacked."""
  batch_of = stream_feeds.make_batch_of(
    shape[-2:],
    setting.prepared.num_items,
    *stream_objectives.negatives(setting.config.two_time),
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


# ---- Both networks at once


def make_joint(
  setting: Setting,
  jobs: tuple[jobs_lib.Job, ...],
  judge: Judge | None,
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
    loss=make_objective(setting.stages, jobs),
  )
  source = _joint_source(setting, jobs, embeddings is not None)
  optimizer = clipped(config)(config.two_time.rate)
  update = updates.aggregated(config, learner, source, optimizer)
  of = lambda params: (of_both(params), vectors_of(params, context))
  how = _how(config, update, judge, of, 'both')
  return phases.Parts(learner=learner, source=source, how=how)


def make_objective(
  stages: types.Stages, jobs: tuple[jobs_lib.Job, ...]
) -> Callable[..., jax.Array]:
  """(params, context, Pair, key) -> f32[n], losses of both networks.

  The mean of the losses is (|D_in| L_in + |D_act| L_act) / |D| where a batch
  holds both in proportion.
  """
  losses = [stream_objectives.make(stages, job.part.own_start) for job in jobs]

  def objective(params, context, batch, key=None):
    given = {'vectors': vectors_of(params, context)}
    values = [
      loss(network(params, job.part.name), given, part, key)
      for job, loss, part in zip(jobs, losses, batch.parts, strict=True)
    ]
    return jnp.concatenate(values)

  return objective


def vectors_of(
  params: types.Params, context: dict[str, Any]
) -> stream_objectives.Vectors:
  """Item and user vectors: frozen, or trained along."""
  if 'vectors' in context:
    return context['vectors']
  users = params.tables['user']['embedding']
  return stream_objectives.Vectors(ccf.item_vectors(params, context), users)


def network(params: types.Params, name: str) -> types.Params:
  """One of the networks as if it had been trained alone."""
  net = params.net[name]
  extractor = {**net['extractor'], **params.net['shared']}
  return types.Params({}, {**net, 'extractor': extractor})


def of_both(params: types.Params) -> dict[str, types.PyTree]:
  """Both networks, by the name of their part."""
  names = ('inactive', 'active')
  return {name: network(params, name).net for name in names}


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


def _joint_source(setting, jobs, windows_anew) -> contracts.Source:
  """Events of both networks side by side, of groups one after the other."""
  seed, first = setting.config.train.seed, len(jobs[0].sizes)
  layouts = [make_layout(jobs[0], setting.config.two_time)]
  layouts.append(
    _second_layout(setting, jobs[1], windows_anew, layouts[0].shape[0])
  )
  groups = (jobs[0].group, jobs[1].group + first)

  def plan_of(epoch):
    plans = [layout.plan_of(seed, epoch) for layout in layouts]
    return np.concatenate([p.reshape(len(p), -1) for p in plans], axis=1)

  return contracts.Source(
    feed=tuple(stream_feeds.make_feed(setting.prepared, g) for g in groups),
    sizes=jnp.asarray(np.concatenate([job.sizes for job in jobs])),
    batch_of=_pair_of(setting, layouts),
    plan_of=plan_of,
  )


def _second_layout(setting, job, windows_anew, num_steps) -> streams.Layout:
  """Streams of active users in as many steps; windows may be drawn anew."""
  options = setting.config.two_time
  if not (windows_anew and options.single_stage_window == 'random'):
    return make_layout(job, options, steps=num_steps)
  start = np.asarray(setting.prepared.user_offsets)[job.users]
  end = job.runs.start + job.runs.length  # of the train events
  whole = streams.Runs(start, end - start)

  def drawn(seed):
    generator = np.random.default_rng(seed)
    runs = streams.windows(whole, options.window, generator)
    return make_layout(job._replace(runs=runs), options, steps=num_steps)

  return drawn(0)._replace(
    plan_of=lambda seed, epoch: drawn((seed, epoch, 1)).plan_of(seed, epoch)
  )


def _pair_of(setting, layouts):
  """(feeds, entries, key) -> Pair."""
  makers = [_batch_of(setting, layout.shape) for layout in layouts]
  first = int(np.prod(layouts[0].shape[1:]))

  def batch_of(feeds, entries, key):
    halves = jnp.split(entries, [first])
    keys = jax.random.split(key)
    parts = [
      make(feed, half, k)
      for make, feed, half, k in zip(makers, feeds, halves, keys, strict=True)
    ]
    return stream_objectives.pair(*parts)

  return batch_of
